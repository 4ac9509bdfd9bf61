//! `work-server solve`: one work, without a server.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{CommandError, print};
use crate::config::DeviceArgs;
use crate::device;
use crate::scheduler::{Limits, Scheduler};
use crate::telemetry::Metrics;
use crate::work::{Network, Target, Timestamp, WorkRequest, digest};

/// How long devices may take to end their last slice.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) devices: DeviceArgs,

    /// The network: LIVE, BETA, DEV or LOCAL
    #[arg(long)]
    network: Network,

    /// What the work is for: 64 hex digits
    #[arg(long, value_name = "HEX")]
    target: Target,

    /// The block's time in Unix milliseconds [default: now]
    #[arg(long, value_name = "MS")]
    timestamp: Option<Timestamp>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    work: String,
    network: &'static str,
    timestamp: i64,
    target: String,
    threshold: u64,
    digest: u64,
    seconds: f64,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let timestamp = args.timestamp.unwrap_or_else(Timestamp::now);
    // A block of any time may be prepared here, so its own time is the present.
    let request = WorkRequest::new(args.network, timestamp, args.target, timestamp)
        .expect("no time is ahead of itself");
    let limits = Limits::new(NonZeroUsize::MIN, 0);
    let scheduler = Scheduler::start(limits, Metrics::new())?;
    scheduler.put_to_work(device::open(&args.devices.choice())?)?;
    let started = Instant::now();
    let solved = pollster::block_on(scheduler.solve(request));
    let seconds = started.elapsed().as_secs_f64();
    scheduler.stop(FAREWELL);
    let work = solved?.work;
    if !args.json {
        print(work)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = Report {
        work: work.to_string(),
        network: args.network.as_str(),
        timestamp: timestamp.as_millis(),
        target: args.target.to_string(),
        threshold: request.threshold().get(),
        digest: digest(work.nonce(), &args.target).get(),
        seconds,
    };
    print(serde_json::to_string(&report)?)?;
    Ok(ExitCode::SUCCESS)
}
