//! `work-server verify`: checks one work.

use std::process::ExitCode;

use serde::Serialize;

use super::block::BlockArgs;
use super::error::CommandError;
use super::output::print;
use crate::work::{Difficulty, Rule, digest};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    block: BlockArgs,

    /// Work to check: 16 hex digits as Atto writes them; for NANO 1 to 16 hex digits as Nano writes them
    #[arg(long, value_name = "HEX")]
    work: String,

    /// Print a JSON object: `valid`, `digest` and `threshold`; for NANO `valid`, `digest`, `difficulty` and `multiplier`,
    /// the digest's to fffffff800000000
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Report {
    Atto {
        valid: bool,
        digest: u64,
        threshold: u64,
    },
    Nano {
        valid: bool,
        digest: String,
        difficulty: String,
        multiplier: String,
    },
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let block = args.block.block()?;
    let nonce = block
        .parse_work(&args.work)
        .map_err(|error| CommandError::Usage(format!("--work {:?}: {error}", args.work)))?;
    let (digest, rule) = (digest(nonce, block.target()), block.rule());
    let valid = rule.admits(digest);
    match rule {
        Rule::AtMost(threshold) if args.json => {
            let report = Report::Atto {
                valid,
                digest: digest.get(),
                threshold: threshold.get(),
            };
            print(serde_json::to_string(&report)?)?;
        }
        Rule::AtLeast(difficulty) if args.json => {
            let reached = Difficulty::from(digest);
            let report = Report::Nano {
                valid,
                digest: reached.to_string(),
                difficulty: difficulty.to_string(),
                multiplier: reached.multiplier(Difficulty::NANO_SEND).to_string(),
            };
            print(serde_json::to_string(&report)?)?;
        }
        Rule::AtMost(threshold) => {
            print(format_args!(
                "digest    {digest:>20}\nthreshold {threshold:>20}"
            ))?;
            print(if valid {
                "valid"
            } else {
                "not valid: the digest is above the threshold"
            })?;
        }
        Rule::AtLeast(difficulty) => {
            let reached = Difficulty::from(digest);
            print(format_args!(
                "digest     {reached}\ndifficulty {difficulty}"
            ))?;
            print(if valid {
                "valid"
            } else {
                "not valid: the digest is below the difficulty"
            })?;
        }
    }
    Ok(if valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
