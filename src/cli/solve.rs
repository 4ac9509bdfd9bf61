//! `work-server solve`: computes one work without a server.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::block::{Block, BlockArgs};
use super::error::CommandError;
use super::output::print;
use super::terminal::{self, Pace};
use crate::config::DeviceArgs;
use crate::device;
use crate::scheduler::{Limits, Scheduler};
use crate::telemetry::Metrics;
use crate::work::{AnyNetwork, Difficulty, Nonce, Rule, digest};

/// How long devices may take to end their last slice.
const STOP_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) devices: DeviceArgs,

    #[command(flatten)]
    block: BlockArgs,

    /// Print a JSON object: `work`, `network`, `timestamp`, `target`, `threshold`, `digest` and `seconds`; for NANO `work`,
    /// `network`, `hash`, `difficulty`, `digest`, `multiplier`, the digest's to fffffff800000000, and `seconds`
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Report {
    Atto {
        work: String,
        network: &'static str,
        timestamp: i64,
        target: String,
        threshold: u64,
        digest: u64,
        seconds: f64,
    },
    Nano {
        work: String,
        network: &'static str,
        hash: String,
        difficulty: String,
        digest: String,
        multiplier: String,
        seconds: f64,
    },
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let block = args.block.block()?;
    let request = block.request();
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
        line.set_message(progress(request.network(), request.rule(), hashes, rate));
    };
    let solved = terminal::watch(line, show, || pollster::block_on(scheduler.solve(request)));
    let seconds = started.elapsed().as_secs_f64();
    scheduler.stop(STOP_WITHIN);
    let nonce = solved?.work.nonce();
    if args.json {
        let report = Report::new(&block, nonce, seconds);
        print(serde_json::to_string(&report)?)?;
    } else {
        print(block.work_text(nonce))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Report {
    fn new(block: &Block, nonce: Nonce, seconds: f64) -> Self {
        let work = block.work_text(nonce);
        let network = block.request().network().as_str();
        let digest = digest(nonce, block.target());
        match *block {
            Block::Atto {
                target, timestamp, ..
            } => Self::Atto {
                work,
                network,
                timestamp: timestamp.as_millis(),
                target: target.to_string(),
                threshold: block.rule().bound(),
                digest: digest.get(),
                seconds,
            },
            Block::Nano { root, difficulty } => {
                let reached = Difficulty::from(digest);
                Self::Nano {
                    work,
                    network,
                    hash: root.to_string(),
                    difficulty: difficulty.to_string(),
                    digest: reached.to_string(),
                    multiplier: reached.multiplier(Difficulty::NANO_SEND).to_string(),
                    seconds,
                }
            }
        }
    }
}

/// The state of a search that has tested this many hashes. A search has no memory: the expected rest is always as long as
/// at its start.
fn progress(network: AnyNetwork, rule: Rule, hashes: u64, rate: f64) -> String {
    let needed = rule.expected_hashes();
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
    use crate::work::{Network, Threshold};

    #[test]
    fn a_search_says_how_likely_it_was_to_have_ended() {
        let (live, rule) = (Network::Live.into(), Threshold::new((1 << 32) - 1).into());
        // As many hashes as a search needs on average: the chance is 1 - 1/e.
        assert_eq!(
            progress(live, rule, 1 << 32, 1e9),
            "LIVE: 4.29 GH tested, 1.00 GH/s, chance by now 63.2 %, 4.29 s more on average"
        );
        let begun = progress(live, rule, 0, 0.0);
        assert!(begun.ends_with("chance by now 0.0 %"), "{begun}");
    }
}
