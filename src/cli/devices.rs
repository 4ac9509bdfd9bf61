//! `work-server devices`: what could be used, and what `auto` would choose.

use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

use super::{CommandError, print};
use crate::device::cpu::{self, Kernel};
use crate::device::gpu::driver::Machine;
use crate::device::gpu::obstacle::{Obstacle, obstacles};
use crate::device::gpu::{self, AdapterInfo, AdapterKind};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    cpu: Processor,
    gpu: Vec<AdapterInfo>,
    /// Why there is no list of graphics cards.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_error: Option<String>,
    /// Why cards of this machine are not in the list.
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
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let started = Instant::now();
    let (gpu, gpu_error): (Vec<_>, _) = match gpu::adapters() {
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
        milliseconds = started.elapsed().as_secs_f64() * 1e3,
        "listed the Vulkan adapters"
    );
    let obstacles = obstacles(&Machine::here(), &gpu.iter().collect());
    let kernels = Kernel::available().into_iter().map(Kernel::name).collect();
    let cpu = Processor {
        threads: cpu::available_threads().get(),
        kernels,
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

fn print_text(report: &Report) -> std::io::Result<()> {
    print(format_args!(
        "cpu  {} threads, kernels {}",
        report.cpu.threads,
        report.cpu.kernels.join(", ")
    ))?;
    if let Some(error) = &report.gpu_error {
        print(format_args!("gpu  none: {error}"))?;
    } else if report.gpu.is_empty() {
        print("gpu  none: no Vulkan driver has a device here")?;
    }
    for adapter in &report.gpu {
        let AdapterInfo {
            index,
            label,
            kind,
            driver,
            forms,
            ..
        } = adapter;
        let used = if *kind == AdapterKind::Software {
            "only by --backend gpu"
        } else {
            "by default"
        };
        print(format_args!(
            "gpu  {index}: {label}, {kind:?}, driver {driver}, kernels {}; used {used}",
            forms
                .iter()
                .map(|form| form.name())
                .collect::<Vec<_>>()
                .join(", ")
        ))?;
    }
    for reason in &report.obstacles {
        print(format_args!("gpu  why not: {}", reason.text))?;
    }
    Ok(())
}
