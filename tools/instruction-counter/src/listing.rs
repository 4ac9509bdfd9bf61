//! Vector instructions of the hot loop in a disassembly by RADV: labels that end in a colon, one instruction a line.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

/// Instructions that run one after the other, up to a jump or the target of one.
#[derive(Default)]
struct Block {
    /// How many of them work on vectors. A pair that is issued as one counts as one.
    vector: usize,
    /// Where it may go on.
    next: Vec<usize>,
}

/// How many vector instructions every turn of the hot loop runs. That loop is the one with the most of them, and what
/// only some turns run, such as what is done with a find, is left out.
pub fn vector_instructions_a_turn(listing: &str) -> Result<usize> {
    let blocks = blocks(listing)?;
    let mut hottest: Option<(usize, usize, BTreeSet<usize>)> = None;
    for (tail, block) in blocks.iter().enumerate() {
        for &head in block.next.iter().filter(|&&head| head <= tail) {
            let body = body(&blocks, head, tail);
            if hottest
                .as_ref()
                .is_none_or(|(.., other)| vector(&blocks, other) < vector(&blocks, &body))
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
    Ok(always.map(|block| blocks[block].vector).sum())
}

fn blocks(listing: &str) -> Result<Vec<Block>> {
    let mut blocks = vec![Block::default()];
    let mut labels = BTreeMap::new();
    let mut jumps = Vec::new();
    // Whether the last instruction goes on to the next one.
    let mut falls_through = true;
    for line in listing.lines() {
        let line = line.split(';').next().unwrap_or_default().trim();
        if let Some(label) = line.strip_suffix(':') {
            let place = blocks.len();
            if falls_through {
                blocks[place - 1].next.push(place);
            }
            blocks.push(Block::default());
            labels.insert(label.to_owned(), place);
            falls_through = true;
            continue;
        }
        let mut parts = line.split_whitespace();
        let Some(mnemonic) = parts.next() else {
            continue;
        };
        let place = blocks.len() - 1;
        if mnemonic.starts_with("v_") && mnemonic != "v_nop" {
            blocks[place].vector += 1;
        }
        let always_jumps = mnemonic == "s_branch";
        if always_jumps || mnemonic.starts_with("s_cbranch") {
            let Some(target) = parts.next() else {
                bail!("a jump without a target: {line}");
            };
            jumps.push((place, target.to_owned()));
            blocks.push(Block::default());
            if !always_jumps {
                blocks[place].next.push(place + 1);
            }
            falls_through = true;
        } else if mnemonic == "s_endpgm" {
            falls_through = false;
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

fn vector(blocks: &[Block], body: &BTreeSet<usize>) -> usize {
    body.iter().map(|&block| blocks[block].vector).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

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
