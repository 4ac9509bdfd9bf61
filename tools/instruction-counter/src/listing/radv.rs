//! A disassembly by RADV: labels that end in a colon, one instruction a line.

use anyhow::{Context, Result};

use super::{Line, Next};

/// How many vector instructions every turn of the hot loop runs. A pair that is issued as one counts as one.
pub fn vector_instructions_a_turn(listing: &str) -> Result<usize> {
    super::cost_of_a_turn(listing, line)
}

fn line(text: &str) -> Result<Line> {
    let text = text.split(';').next().unwrap_or_default().trim();
    if let Some(label) = text.strip_suffix(':') {
        return Ok(Line::Label(label.to_owned()));
    }
    let mut parts = text.split_whitespace();
    let Some(mnemonic) = parts.next() else {
        return Ok(Line::Other);
    };
    let mut target = || {
        let target = parts.next();
        target
            .map(str::to_owned)
            .with_context(|| format!("a jump without a target: {text}"))
    };
    let next = match mnemonic {
        "s_branch" => Next::Label(target()?),
        "s_endpgm" => Next::End,
        _ if mnemonic.starts_with("s_cbranch") => Next::FollowingOr(target()?),
        _ => Next::Following,
    };
    let is_vector = mnemonic.starts_with("v_") && mnemonic != "v_nop";
    Ok(Line::Instruction {
        cost: usize::from(is_vector),
        next,
    })
}
