//! `work-server bench`: the search alone, device by device, without queue or network.

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{CommandError, print};
use crate::config::DeviceArgs;
use crate::device::cpu::Kernel;
use crate::device::cpu::clock::{core_frequency, process_cpu_time};
use crate::device::{self, Backend, Device, DeviceError, rate};

/// Engines find the length of their slices in this time, before anything is counted.
const WARM_UP: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) devices: DeviceArgs,

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
    /// Of a core; none for a card.
    cycles_per_hash: Option<f64>,
    /// How much of what the processor's ports allow; none where nobody knows.
    percent_of_bound: Option<f64>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let opened = device::open(&args.devices.choice())?;
    let duration = Duration::from_secs(args.seconds);
    let mut devices = opened.devices;
    if devices.is_empty() {
        let fallback = opened.fallback.map(|fallback| fallback.open());
        devices.extend(fallback.transpose()?);
    }
    let measured = devices.into_iter().map(|device| measure(device, duration));
    let report = Report {
        devices: measured.collect::<Result<_, _>>()?,
    };
    if args.json {
        print(serde_json::to_string(&report)?)?;
    } else {
        print_table(&report.devices)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_table(devices: &[Measurement]) -> io::Result<()> {
    print(format_args!(
        "{:<40} {:<10} {:>7} {:>10} {:>10} {:>13} {:>10}",
        "device", "kernel", "threads", "MH/s", "MH/CPU s", "cycles a hash", "% of bound"
    ))?;
    for device in devices {
        let Measurement {
            name,
            kernel,
            threads,
            ..
        } = device;
        let (rate, cpu_rate) = (
            device.hashes_per_second / 1e6,
            device.hashes_per_cpu_second / 1e6,
        );
        let or_dash =
            |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.1}"));
        let (cycles, percent) = (
            or_dash(device.cycles_per_hash),
            or_dash(device.percent_of_bound),
        );
        print(format_args!(
            "{name:<40} {kernel:<10} {threads:>7} {rate:>10.2} {cpu_rate:>10.2} {cycles:>13} {percent:>10}"
        ))?;
    }
    Ok(())
}

/// Runs every engine of `device` at once, first to warm up, then to count, with the clock measured on as many
/// cores before and after.
fn measure(mut device: Device, duration: Duration) -> Result<Measurement, DeviceError> {
    run_engines(&mut device, WARM_UP)?;
    let clock_before = clock(device.info.threads)?;
    let (started, cpu_before) = (Instant::now(), process_cpu_time());
    let hashes = run_engines(&mut device, duration)?;
    let (seconds, cpu_seconds) = (
        started.elapsed().as_secs_f64(),
        (process_cpu_time() - cpu_before).as_secs_f64(),
    );
    let clock = (clock_before + clock(device.info.threads)?) / 2.0;
    let cycles_per_hash =
        (device.info.backend == Backend::Cpu).then(|| clock * cpu_seconds / hashes as f64);
    let bound = Kernel::named(&device.info.kernel)
        .ok()
        .and_then(Kernel::bound);
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
        cycles_per_hash,
        percent_of_bound: cycles_per_hash
            .zip(bound)
            .map(|(cycles, bound)| 100.0 * bound / cycles),
    })
}

fn run_engines(device: &mut Device, duration: Duration) -> Result<u64, DeviceError> {
    let counts = at_once(
        device
            .engines
            .iter_mut()
            .map(|engine| move || rate::measure(&mut **engine, duration)),
    );
    counts?
        .into_iter()
        .map(|measured| Ok(measured?.hashes))
        .sum()
}

/// Cycles a second of a core while as many are busy.
fn clock(threads: usize) -> Result<f64, DeviceError> {
    let frequencies = at_once((0..threads).map(|_| core_frequency))?;
    Ok(frequencies.into_iter().sum::<f64>() / threads as f64)
}

/// Does each of `jobs` on a thread of its own.
fn at_once<T: Send>(
    jobs: impl Iterator<Item = impl FnOnce() -> T + Send>,
) -> Result<Vec<T>, DeviceError> {
    thread::scope(|scope| {
        let threads: Vec<_> = jobs.map(|job| scope.spawn(job)).collect();
        let panicked = |_| DeviceError::Panicked("in a thread of the measurement".to_owned());
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(panicked))
            .collect()
    })
}
