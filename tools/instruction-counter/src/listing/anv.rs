//! A disassembly by ANV, such as
//!
//! ```text
//! LABEL1:
//! (+f0.0) break(16) JIP:  LABEL2        UIP:  LABEL2              { align1 1H };
//! add(16)         g1<1>D          g2<1,1,0>D      g3<1,1,0>D      { align1 1H I@1 compacted };
//! ```
//!
//! The number in parentheses is how many invocations the instruction is for. An operand in a register ends with its type.

use anyhow::{Context, Result, bail, ensure};

use super::{Line, Next};

/// Operands of 64 bits.
const LONG: [&str; 3] = [">Q", ">UQ", ">DF"];

/// How many operations every turn of the hot loop takes for `lanes` nonces, of a program that runs `width` invocations
/// side by side.
///
/// `lanes` is how many 32-bit results a vector engine has at once. An instruction for more invocations takes several
/// operations, and one with a 64-bit operand takes twice as many. Jumps, messages and waiting are left out.
pub fn operations_a_turn(listing: &str, width: usize, lanes: usize) -> Result<usize> {
    ensure!(
        width > 0,
        "the driver does not tell how wide the program is"
    );
    let results = super::cost_of_a_turn(listing, |text| line(text, lanes))?;
    Ok(results / width)
}

/// The cost is in 32-bit results: what the engine could have had in this time.
fn line(text: &str, lanes: usize) -> Result<Line> {
    // An indented line continues the one before. Padding (nop) has no size.
    if text.is_empty() || text.starts_with(char::is_whitespace) || text.starts_with("nop ") {
        return Ok(Line::Other);
    }
    if let Some(label) = text.strip_suffix(':') {
        return Ok(Line::Label(label.to_owned()));
    }
    let unknown = || format!("a line that this tool does not know: {text}");
    let mut instruction = text;
    if text.starts_with('(') {
        // The condition.
        (_, instruction) = text.split_once(") ").with_context(unknown)?;
    }
    let end = instruction
        .find(|char: char| !char.is_ascii_alphanumeric() && char != '_')
        .with_context(unknown)?;
    let (mnemonic, rest) = instruction.split_at(end);
    let (size, operands) = size(rest).with_context(unknown)?;
    let target = || {
        let (_, targets) = operands.split_once("JIP:").with_context(unknown)?;
        let target = targets.split_whitespace().next().with_context(unknown)?;
        anyhow::Ok(target.to_owned())
    };
    let next = match mnemonic {
        // Each is passed over if no invocation takes the branch.
        "if" | "else" | "while" => Next::FollowingOr(target()?),
        // The other invocations go on.
        "endif" | "break" | "cont" => Next::Following,
        "brc" | "brd" | "brw" | "call" | "calla" | "goto" | "halt" | "jmpi" | "join" | "ret" => {
            bail!("a jump that this tool does not know: {text}")
        }
        "send" | "sendc" | "sends" | "sendsc" | "sync" | "wait" => Next::Following,
        _ => {
            let operands = operands.split('{').next().unwrap_or_default();
            let is_long = operands
                .split_whitespace()
                .any(|operand| LONG.iter().any(|kind| operand.ends_with(kind)));
            let results = if is_long { 2 * size } else { size };
            return Ok(Line::Instruction {
                cost: results.max(lanes),
                next: Next::Following,
            });
        }
    };
    Ok(Line::Instruction { cost: 0, next })
}

/// The first number in parentheses, and what follows it.
fn size(text: &str) -> Option<(usize, &str)> {
    let mut rest = text;
    loop {
        let (inside, after) = rest.split_once('(')?.1.split_once(')')?;
        match inside.parse() {
            Ok(size) => return Some((size, after)),
            Err(_) => rest = after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `u64` for `bmg`, with most of the loop left out.
    const LOOP: &str = "
Push constant ranges:
    RANGE0 (64B): Vulkan push constants and API params

mov(16)         g51<1>Q         0x5bf2cd1ef9d6b596Q             { align1 WE_all 1H };

LABEL8:
cmp.ge.f0.0(16) null<1>UD       g68<8,8,1>UD    g72<8,8,1>UD    { align1 1H I@2 };
(+f0.0) break(16) JIP:  LABEL5        UIP:  LABEL5              { align1 1H };
sync nop(1)                     null<0,1,0>UB                   { align1 WE_all 1N $9.src };
mov(16)         g49<2>UD        g68<1,1,0>UD                    { align1 1H compacted };
mov(16)         g116<1>UQ       g49<8,4,2>UD                    { align1 1H };
add(16)         g35<1>Q         g11<0,1,0>Q     g116<1,1,0>Q    { align1 1H compacted };
bfn[0xd8](16)   g19<1>UD        0x00ffUW        g14.0<0,1,0>UD  g18.0<0,1,0>UD { align1 1H I@1 };
(-f0.0) if(16)  JIP:  LABEL6          UIP:  LABEL6              { align1 1H };
mov(16)         g53<1>D         g103<0,1,0>D                    { align1 1H };
send(16)        g26UD           g53UD           g55UD           0x6424050b                0x02000080
                            ugm MsgDesc: ( atomic_store, a32, d32, V1, L1UC_L3WB dst_len = 2 )  base_offset 0  { align1 1H $7 };
break(16)       JIP:  LABEL6          UIP:  LABEL5              { align1 1H };

LABEL6:
endif(16)       JIP:  LABEL5                                    { align1 1H };
nop                                                             ;

LABEL5:
while(16)       JIP:  LABEL8                                    { align1 1H };
";

    #[test]
    fn what_every_turn_runs_is_counted_and_64_bits_twice() {
        // cmp, mov and bfn once; mov to UQ and add twice.
        assert_eq!(operations_a_turn(LOOP, 16, 16).unwrap(), 7);
    }

    #[test]
    fn the_count_is_for_as_many_nonces_as_the_engine_has_lanes() {
        // Each instruction takes two turns of a narrow engine, which end with two turns' nonces.
        assert_eq!(operations_a_turn(LOOP, 16, 8).unwrap(), 7);
        let wide = LOOP.replace("(16)", "(32)");
        assert_eq!(operations_a_turn(&wide, 32, 16).unwrap(), 7);
        // A narrow instruction leaves lanes idle.
        let narrow = LOOP.replace("bfn[0xd8](16)", "bfn[0xd8](1)");
        assert_eq!(operations_a_turn(&narrow, 16, 16).unwrap(), 7);
    }

    #[test]
    fn a_line_that_is_not_known_is_refused() {
        for line in [
            "",
            "add g1<1>D",
            "jmpi(1) JIP: LABEL8",
            "(+f0.0) if(16) UIP: LABEL6",
        ] {
            let listing = LOOP.replace("nop     ", &format!("{line}\nnop     "));
            let counted = operations_a_turn(&listing, 16, 16);
            assert_eq!(counted.is_ok(), line.is_empty(), "{line}");
        }
    }
}
