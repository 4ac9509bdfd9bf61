//! `work-server solve`: computes one work without a server.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::error::CommandError;
use super::output::print;
use super::terminal::{self, Pace};
use crate::config::DeviceArgs;
use crate::device;
use crate::scheduler::{Limits, Scheduler};
use crate::telemetry::Metrics;
use crate::work::{Network, Target, Threshold, Timestamp, WorkRequest, digest};

/// How long devices may take to end their last slice.
const STOP_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) devices: DeviceArgs,

    /// Network: LIVE, BETA, DEV or LOCAL
    #[arg(long)]
    network: Network,

    /// Target of the work: 64 hex digits
    #[arg(long, value_name = "HEX")]
    target: Target,

    /// Time of the block in Unix milliseconds [default: now]
    #[arg(long, value_name = "MS")]
    timestamp: Option<Timestamp>,

    /// Print a JSON object: `work`, `network`, `timestamp`, `target`, `threshold`, `digest` and `seconds`
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
    // The block may have any time, so its own time counts as the present.
    let request = WorkRequest::new(args.network, timestamp, args.target, timestamp)
        .expect("the block's time is not ahead of itself");
    let limits = Limits::new(NonZeroUsize::MIN, 0);
    let scheduler = Scheduler::start(limits, Metrics::new())?;
    scheduler.put_to_work(device::open(&args.devices.choice())?)?;
    let started = Instant::now();
    let line = ProgressBar::new_spinner();
    line.set_style(
        ProgressStyle::with_template("{msg:.bold}").expect("the template is well formed"),
    );
    let mut pace = Pace::from(0);
    let show = |line: &ProgressBar| {
        let devices = scheduler.devices();
        let hashes = devices.iter().map(|device| device.hashes).sum();
        let rate = pace.after(hashes);
        line.set_message(progress(args.network, request.threshold(), hashes, rate));
    };
    let solved = terminal::watch(line, show, || pollster::block_on(scheduler.solve(request)));
    let seconds = started.elapsed().as_secs_f64();
    scheduler.stop(STOP_WITHIN);
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

/// The state of a search that has tested this many hashes. A search has no memory: the expected rest is always as long as
/// at its start.
fn progress(network: Network, threshold: Threshold, hashes: u64, rate: f64) -> String {
    let needed = threshold.expected_hashes();
    let chance = 100.0 * (1.0 - (-(hashes as f64) / needed).exp());
    let tested = terminal::hashes(hashes as f64);
    let at = terminal::hashes(rate);
    let line = format!("{network}: {tested} tested, {at}/s, chance by now {chance:.1} %");
    if rate > 0.0 {
        let ahead = terminal::seconds(needed / rate);
        format!("{line}, {ahead} more on average")
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_says_how_likely_it_was_to_have_ended() {
        let threshold = Threshold::new((1 << 32) - 1);
        // As many hashes as a search needs on average: the chance is 1 - 1/e.
        assert_eq!(
            progress(Network::Live, threshold, 1 << 32, 1e9),
            "LIVE: 4.29 GH tested, 1.00 GH/s, chance by now 63.2 %, 4.29 s more on average"
        );
        let begun = progress(Network::Live, threshold, 0, 0.0);
        assert!(begun.ends_with("chance by now 0.0 %"), "{begun}");
    }
}
