//! `work-server devices`: the devices that could be used, and those that `auto` uses.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::error::CommandError;
use super::output::print;
use super::terminal::table;
use crate::device::DeviceError;
use crate::device::cpu::{self, Kernel};
use crate::device::gpu::discovery::{Nonconformant, Obstacle, Reasons};
use crate::device::gpu::{Adapter, AdapterInfo, AdapterKind, Listing};
use crate::milliseconds::milliseconds;

/// How long listing the cards may take, and finding out why there are not more.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print a JSON object: `cpu`, the list `gpu`, and `obstacles`, the reasons why a card of this machine is not listed
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    cpu: Processor,
    gpu: Vec<Card>,
    /// Why the graphics cards could not be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_error: Option<String>,
    /// Why cards of this machine are not in the list `gpu`.
    obstacles: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    #[serde(flatten)]
    obstacle: Obstacle,
    text: String,
}

impl From<Obstacle> for Reason {
    fn from(obstacle: Obstacle) -> Self {
        let text = obstacle.to_string();
        Self { obstacle, text }
    }
}

#[derive(Debug, Serialize)]
struct Processor {
    threads: usize,
    /// The one expected to be fastest first.
    kernels: Vec<&'static str>,
    #[serde(flatten)]
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Card {
    #[serde(flatten)]
    info: AdapterInfo,
    #[serde(flatten)]
    usage: Usage,
}

/// Whether the backend `auto` uses a device, and when or why not.
#[derive(Debug, Serialize)]
struct Usage {
    used_by_default: bool,
    used: &'static str,
}

impl Usage {
    fn of_card(kind: AdapterKind) -> Self {
        match kind {
            AdapterKind::Software => Self {
                used_by_default: false,
                used: "no: software, slower than the processor; --backend gpu allows it",
            },
            AdapterKind::Discrete
            | AdapterKind::Integrated
            | AdapterKind::Virtual
            | AdapterKind::Other => Self {
                used_by_default: true,
                used: "by default",
            },
        }
    }

    /// `has_cards` is true if a card is used by default.
    fn of_processor(has_cards: bool) -> Self {
        if has_cards {
            Self {
                used_by_default: false,
                used: "when no card is left",
            }
        } else {
            Self {
                used_by_default: true,
                used: "by default: there is no card to use",
            }
        }
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let started = Instant::now();
    let listing = Listing::begin()?;
    let (gpu, gpu_error): (Vec<_>, _) = match listing.wait(LIMIT).unwrap_or_else(late) {
        Ok(adapters) => (
            adapters
                .iter()
                .map(|adapter| adapter.info().clone())
                .collect(),
            None,
        ),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    tracing::debug!(
        adapters = gpu.len(),
        milliseconds = milliseconds(started.elapsed()),
        "listed the Vulkan adapters"
    );
    let nonconformant = if gpu_error.is_none() {
        Nonconformant::Sought
    } else {
        Nonconformant::NotSought
    };
    let reasons = Reasons::begin(gpu.clone(), nonconformant)?;
    let obstacles = reasons.wait(LIMIT).unwrap_or_else(|| {
        tracing::warn!(limit = ?LIMIT, "finding out why there are not more cards has not ended");
        Vec::new()
    });
    let kernels = Kernel::available().into_iter().map(Kernel::name).collect();
    let card = |info: AdapterInfo| Card {
        usage: Usage::of_card(info.kind),
        info,
    };
    let gpu: Vec<_> = gpu.into_iter().map(card).collect();
    let cpu = Processor {
        threads: cpu::available_threads().get(),
        kernels,
        usage: Usage::of_processor(gpu.iter().any(|card| card.usage.used_by_default)),
    };
    let report = Report {
        cpu,
        gpu,
        gpu_error,
        obstacles: obstacles.into_iter().map(Reason::from).collect(),
    };
    if args.json {
        print(serde_json::to_string(&report)?)?;
    } else {
        print_text(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn late() -> Result<Vec<Adapter>, DeviceError> {
    Err(DeviceError::Late {
        step: "listing them".to_owned(),
        limit: LIMIT,
    })
}

fn print_text(report: &Report) -> std::io::Result<()> {
    let Report {
        cpu,
        gpu,
        gpu_error,
        obstacles,
    } = report;
    let mut devices = table(["Index", "Device", "Kind", "Driver", "Kernels", "Used"], 1);
    devices.add_row([
        "-",
        "cpu",
        &match cpu.threads {
            1 => "1 thread".to_owned(),
            threads => format!("{threads} threads"),
        },
        "-",
        &cpu.kernels.join(", "),
        cpu.usage.used,
    ]);
    for Card { info, usage } in gpu {
        let kernels: Vec<_> = info.kernels.iter().map(|kernel| kernel.name()).collect();
        devices.add_row([
            &*info.index.to_string(),
            &info.label,
            &format!("{:?}", info.kind).to_lowercase(),
            &info.driver,
            &kernels.join(", "),
            usage.used,
        ]);
    }
    print(devices)?;
    if let Some(error) = gpu_error {
        print(format_args!("No graphics card is listed: {error}"))?;
    } else if gpu.is_empty() {
        print("No graphics card is listed: no Vulkan driver has a device here")?;
    }
    for reason in obstacles {
        print(format_args!("No further card is listed: {}", reason.text))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_used_if_there_is_no_card() {
        assert!(!Usage::of_card(AdapterKind::Software).used_by_default);
        assert!(Usage::of_card(AdapterKind::Other).used_by_default);
        assert!(Usage::of_processor(false).used_by_default);
        assert!(!Usage::of_processor(true).used_by_default);
    }
}
