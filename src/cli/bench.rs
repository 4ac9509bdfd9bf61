//! `work-server bench`: the search alone, device by device, without queue or network.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::{CommandError, print};
use crate::config::DeviceArgs;
use crate::device::{self, Backend, Device, DeviceError, Engine, NonceRange, Slice};
use crate::telemetry::{self, LogFormat};
use crate::work::{Target, Threshold};

/// Engines find the length of their slices in this time, before anything is counted.
const WARM_UP: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    devices: DeviceArgs,

    /// How many seconds each device is measured [range: 1 to 3600]
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    devices: Vec<Measurement>,
}

/// What one device did. CPU time is the whole process's: a driver's threads count too.
#[derive(Debug, Serialize)]
struct Measurement {
    name: String,
    backend: Backend,
    kernel: String,
    threads: usize,
    hashes: u64,
    seconds: f64,
    cpu_seconds: f64,
    hashes_per_second: f64,
    hashes_per_cpu_second: f64,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    telemetry::start_logging(LogFormat::Text);
    let opened = device::open(&args.devices.choice())?;
    let duration = Duration::from_secs(args.seconds);
    let measured = opened
        .devices
        .into_iter()
        .map(|device| measure(device, duration));
    let report = Report {
        devices: measured.collect::<Result<_, _>>()?,
    };
    if args.json {
        print(serde_json::to_string(&report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(format_args!(
        "{:<40} {:<10} {:>7} {:>10} {:>14}",
        "device", "kernel", "threads", "MH/s", "MH/CPU second"
    ))?;
    for device in &report.devices {
        let (rate, cpu_rate) = (
            device.hashes_per_second / 1e6,
            device.hashes_per_cpu_second / 1e6,
        );
        let Measurement {
            name,
            kernel,
            threads,
            ..
        } = device;
        print(format_args!(
            "{name:<40} {kernel:<10} {threads:>7} {rate:>10.2} {cpu_rate:>14.2}"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs every engine of `device` at once, first to warm up, then to count.
fn measure(mut device: Device, duration: Duration) -> Result<Measurement, DeviceError> {
    run_engines(&mut device, WARM_UP)?;
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let hashes = run_engines(&mut device, duration)?;
    let (seconds, cpu_seconds) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    Ok(Measurement {
        name: device.info.name,
        backend: device.info.backend,
        kernel: device.info.kernel,
        threads: device.info.threads,
        hashes,
        seconds,
        cpu_seconds,
        hashes_per_second: hashes as f64 / seconds,
        hashes_per_cpu_second: hashes as f64 / cpu_seconds,
    })
}

fn run_engines(device: &mut Device, duration: Duration) -> Result<u64, DeviceError> {
    thread::scope(|scope| {
        let threads: Vec<_> = device
            .engines
            .iter_mut()
            .map(|engine| scope.spawn(move || count(&mut **engine, duration)))
            .collect();
        let panicked = |_| DeviceError::Panicked("in the engine's thread".to_owned());
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(panicked)?)
            .sum()
    })
}

/// How many nonces the engine tests in this time.
fn count(engine: &mut dyn Engine, duration: Duration) -> Result<u64, DeviceError> {
    // No digest is this low, so every slice runs to its end.
    let threshold = Threshold::new(0);
    let (target, stop) = (
        Target::new(*b"a target that stands for all oth"),
        AtomicBool::new(false),
    );
    let started = Instant::now();
    let mut start = fastrand::u64(..);
    let mut hashes = 0;
    while started.elapsed() < duration {
        let nonces = NonceRange {
            start,
            count: engine.slice_length(threshold),
        };
        hashes += engine
            .search(&Slice {
                target: &target,
                threshold,
                nonces,
                stop: &stop,
            })?
            .tried;
        start = start.wrapping_add(nonces.count);
    }
    Ok(hashes)
}

/// The CPU time of this process so far, all threads together.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
