//! The cost of the hot loop in a disassembly. The drivers' listings differ, and have a module each that reads a line.

pub mod anv;
pub mod radv;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

/// What a line of a listing is.
enum Line {
    /// Nothing that matters here.
    Other,
    /// The target of jumps.
    Label(String),
    Instruction {
        cost: usize,
        next: Next,
    },
}

/// Where a program goes on after an instruction.
#[derive(Debug, PartialEq)]
enum Next {
    /// At the next instruction.
    Following,
    /// There too, or at this label.
    FollowingOr(String),
    /// At this label.
    Label(String),
    /// Nowhere.
    End,
}

/// Instructions that run one after the other, up to a jump or the target of one.
#[derive(Default)]
struct Block {
    cost: usize,
    /// Where it may go on.
    next: Vec<usize>,
}

/// What every turn of the hot loop costs. That loop is the one that costs most, and what only some turns run, such as what
/// is done with a find, is left out.
fn cost_of_a_turn(listing: &str, line: impl Fn(&str) -> Result<Line>) -> Result<usize> {
    let blocks = blocks(listing, line)?;
    let mut hottest: Option<(usize, usize, BTreeSet<usize>)> = None;
    for (tail, block) in blocks.iter().enumerate() {
        for &head in block.next.iter().filter(|&&head| head <= tail) {
            let body = body(&blocks, head, tail);
            if hottest
                .as_ref()
                .is_none_or(|(.., other)| cost(&blocks, other) < cost(&blocks, &body))
            {
                hottest = Some((head, tail, body));
            }
        }
    }
    let Some((head, tail, body)) = hottest else {
        bail!("the listing has no loop");
    };
    for &from in &body {
        let inner = blocks[from]
            .next
            .iter()
            .any(|to| *to <= from && *to != head && body.contains(to));
        ensure!(
            !inner,
            "the hot loop has a loop in it, whose turns cannot be counted"
        );
    }
    // A block that no way from head to tail can avoid runs on every turn.
    let always = body
        .iter()
        .copied()
        .filter(|&block| !reaches(&blocks, &body, head, tail, block));
    Ok(always.map(|block| blocks[block].cost).sum())
}

fn blocks(listing: &str, line: impl Fn(&str) -> Result<Line>) -> Result<Vec<Block>> {
    let mut blocks = vec![Block::default()];
    let mut labels = BTreeMap::new();
    let mut jumps = Vec::new();
    // Whether the last instruction goes on to the next one.
    let mut falls_through = true;
    for text in listing.lines() {
        let place = blocks.len() - 1;
        match line(text)? {
            Line::Other => {}
            Line::Label(label) => {
                if falls_through {
                    blocks[place].next.push(place + 1);
                }
                blocks.push(Block::default());
                labels.insert(label, place + 1);
                falls_through = true;
            }
            Line::Instruction { cost, next } => {
                blocks[place].cost += cost;
                falls_through = next != Next::End;
                let always_jumps = matches!(next, Next::Label(_));
                if let Next::Label(target) | Next::FollowingOr(target) = next {
                    jumps.push((place, target));
                    blocks.push(Block::default());
                    if !always_jumps {
                        blocks[place].next.push(place + 1);
                    }
                }
            }
        }
    }
    for (from, target) in jumps {
        let Some(&to) = labels.get(&target) else {
            bail!("a jump to {target}, which is not there");
        };
        blocks[from].next.push(to);
    }
    Ok(blocks)
}

/// The blocks of the loop that ends with a jump from `tail` back to `head`: from which `tail` is reached without `head`.
fn body(blocks: &[Block], head: usize, tail: usize) -> BTreeSet<usize> {
    let mut body = BTreeSet::from([head]);
    let mut open = vec![tail];
    while let Some(to) = open.pop() {
        if body.insert(to) {
            open.extend((0..blocks.len()).filter(|&from| blocks[from].next.contains(&to)));
        }
    }
    body
}

/// Whether a way within `body` leads from `head` to `tail` and not through `without`.
fn reaches(
    blocks: &[Block],
    body: &BTreeSet<usize>,
    head: usize,
    tail: usize,
    without: usize,
) -> bool {
    let mut seen = BTreeSet::from([without]);
    let mut open = vec![head];
    while let Some(block) = open.pop() {
        if body.contains(&block) && seen.insert(block) {
            open.extend(&blocks[block].next);
        }
    }
    without != tail && seen.contains(&tail)
}

fn cost(blocks: &[Block], body: &BTreeSet<usize>) -> usize {
    body.iter().map(|&block| blocks[block].cost).sum()
}

#[cfg(test)]
mod tests {
    use super::radv::vector_instructions_a_turn;

    const LOOP: &str = "
        BB0:
            v_mov_b32_e32 v0, 0                 ; 7e000280
        BB1:
            v_add_nc_u32_e32 v0, 1, v0          ; 4a000081
            v_dual_mov_b32 v1, v2 :: v_dual_mov_b32 v3, v4
            s_cbranch_execz BB3
            v_xor_b32_e32 v0, v0, v1
            s_cbranch_scc0 BB4
        BB3:
            s_add_u32 s0, s0, 1
            v_nop
            s_cbranch_scc1 BB1
        BB4:
            v_mov_b32_e32 v5, 0
            s_endpgm
            s_code_end";

    #[test]
    fn what_every_turn_runs_is_counted_and_nothing_else() {
        assert_eq!(vector_instructions_a_turn(LOOP).unwrap(), 2);
    }

    #[test]
    fn of_two_loops_the_larger_is_counted() {
        let two = format!(
            "BB8:\n v_mov_b32 v0, v1\n s_cbranch_scc1 BB8\n{}",
            LOOP.replace("\n        BB0:\n", "\n")
        );
        assert_eq!(vector_instructions_a_turn(&two).unwrap(), 2);
    }

    #[test]
    fn a_jump_back_from_the_end_of_the_text_makes_a_loop_too() {
        let listing =
            "BB1:\n s_cbranch_scc0 BB9\n v_mov_b32 v0, v1\n s_branch BB1\nBB9:\n s_endpgm";
        assert_eq!(vector_instructions_a_turn(listing).unwrap(), 1);
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let nested = LOOP.replace("s_add_u32 s0, s0, 1", "s_cbranch_scc1 BB3");
        for listing in ["", "v_mov_b32 v0, v1\ns_endpgm", "s_branch BB7", &nested] {
            assert!(vector_instructions_a_turn(listing).is_err(), "{listing}");
        }
    }
}
