//! `work-server verify`: checks one work.

use std::process::ExitCode;

use serde::Serialize;

use super::error::CommandError;
use super::output::print;
use crate::work::{Network, Nonce, Target, Threshold, Timestamp, digest};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Network: LIVE, BETA, DEV or LOCAL
    #[arg(long)]
    network: Network,

    /// Target of the work: 64 hex digits
    #[arg(long, value_name = "HEX")]
    target: Target,

    /// Work to check: 16 hex digits
    #[arg(long, value_name = "HEX")]
    work: Nonce,

    /// Time of the block in Unix milliseconds [default: now]
    #[arg(long, value_name = "MS")]
    timestamp: Option<Timestamp>,

    /// Print a JSON object: `valid`, `digest` and `threshold`
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    digest: u64,
    threshold: u64,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let threshold =
        Threshold::required(args.network, args.timestamp.unwrap_or_else(Timestamp::now));
    let digest = digest(args.work, &args.target);
    let valid = digest.meets(threshold);
    if args.json {
        let report = Report {
            valid,
            digest: digest.get(),
            threshold: threshold.get(),
        };
        print(serde_json::to_string(&report)?)?;
    } else {
        print(format_args!(
            "digest    {digest:>20}\nthreshold {threshold:>20}"
        ))?;
        print(if valid {
            "valid"
        } else {
            "not valid: the digest is above the threshold"
        })?;
    }
    Ok(if valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
