//! `work-server bench`: the search alone, device by device, without queue or network.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::terminal::{self, Column, Pace};
use super::{CommandError, print};
use crate::config::DeviceArgs;
use crate::device::cpu::clock::{core_frequency, process_cpu_time};
use crate::device::cpu::{self, Kernel};
use crate::device::gpu::{self, AdapterKind};
use crate::device::{
    self, Backend, Capacity, Device, DeviceError, Engine, Searched, Slice, Trial, rate,
};
use crate::work::{Network, Threshold, Timestamp};

/// Engines find the length of their slices in this time, before anything is counted.
const WARM_UP: Duration = Duration::from_millis(300);

/// From this part of the time on, something is at work all the time: the rest is the beginning and the end.
const ALWAYS: f64 = 0.95;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) devices: DeviceArgs,

    /// How many seconds each device is measured [range: 1 to 3600]
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Print a JSON object: `devices` with what each did, `together` with the sum of their rates, and in both
    /// `networks` with the seconds for one work
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    devices: Vec<Measurement>,
    /// All devices at once, by the sum of their rates.
    together: Together,
}

/// What one device did. CPU time is the whole process's: a driver's threads count too.
#[derive(Debug, Serialize)]
struct Measurement {
    name: String,
    backend: Backend,
    kernel: String,
    /// The kernels that were measured at the start, and their rates then.
    trials: Vec<Trial>,
    threads: usize,
    hashes: u64,
    seconds: f64,
    cpu_seconds: f64,
    hashes_per_second: f64,
    hashes_per_cpu_second: f64,
    /// Cycles a second of a core; none for a card.
    clock_hertz: Option<f64>,
    /// Of a core; none for a card.
    cycles_per_hash: Option<f64>,
    /// How much of what the processor's ports allow; none where nobody knows.
    percent_of_bound: Option<f64>,
    /// How much of the time the card was at work, by its own clock; none for a processor, and where there is no clock
    /// to believe.
    percent_busy: Option<f64>,
    /// What keeps it from more, in words.
    limited_by: String,
    networks: [Expected; 4],
}

#[derive(Debug, Serialize)]
struct Together {
    hashes_per_second: f64,
    networks: [Expected; 4],
}

/// How long one work of now takes at some rate.
#[derive(Debug, Serialize)]
struct Expected {
    network: &'static str,
    threshold: u64,
    /// On average.
    expected_seconds: f64,
    /// In 99 of 100 cases it takes less. A search has no memory, so its time is spread exponentially, and this is
    /// ln 100 times the mean.
    p99_seconds: f64,
}

/// How long works take at this rate, for each network.
fn expected(hashes_per_second: f64) -> [Expected; 4] {
    let now = Timestamp::now();
    let of = |network: Network| {
        let threshold = Threshold::required(network, now);
        let mean = threshold.expected_hashes() / hashes_per_second;
        Expected {
            network: network.as_str(),
            threshold: threshold.get(),
            expected_seconds: mean,
            p99_seconds: mean * 100_f64.ln(),
        }
    };
    Network::ALL.map(of)
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let opened = device::open(&args.devices.choice())?;
    let duration = Duration::from_secs(args.seconds);
    let mut devices = opened.devices;
    if devices.is_empty() {
        let fallback = opened.fallback.map(|fallback| fallback.open());
        devices.extend(fallback.transpose()?);
    }
    let software = software_adapters(&devices);
    let measured = devices.into_iter().map(|device| {
        let is_software = software.contains(&device.info.name);
        measure(device, is_software, duration)
    });
    let devices = measured.collect::<Result<Vec<_>, _>>()?;
    let hashes_per_second = devices.iter().map(|device| device.hashes_per_second).sum();
    let report = Report {
        devices,
        together: Together {
            hashes_per_second,
            networks: expected(hashes_per_second),
        },
    };
    if args.json {
        print(serde_json::to_string(&report)?)?;
    } else {
        print_tables(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The names of the adapters that are software, if one of these devices may be one of them.
fn software_adapters(devices: &[Device]) -> Vec<String> {
    let is_card = |device: &Device| device.info.backend == Backend::Gpu;
    let adapters = if devices.iter().any(is_card) {
        // Those that could be opened are listed.
        gpu::adapters().unwrap_or_default()
    } else {
        Vec::new()
    };
    let software = adapters.iter().map(gpu::Adapter::info);
    let software = software.filter(|info| info.kind == AdapterKind::Software);
    software.map(|info| info.label.clone()).collect()
}

fn print_tables(report: &Report) -> Result<(), CommandError> {
    let rate = |rate: f64| format!("{}/s", terminal::hashes(rate));
    let mut rates: Vec<_> = report
        .devices
        .iter()
        .map(|device| {
            let cycles = device.cycles_per_hash;
            [
                device.name.clone(),
                device.kernel.clone(),
                device.threads.to_string(),
                rate(device.hashes_per_second),
                cycles.map_or("-".to_owned(), |cycles| format!("{cycles:.1}")),
                device.limited_by.clone(),
            ]
        })
        .collect();
    let mut times = Vec::new();
    let mut add = |name: &str, networks: &[Expected; 4]| {
        let row = |what: &str, figure: fn(&Expected) -> f64| {
            let [live, beta, dev, local] = networks
                .each_ref()
                .map(|network| terminal::seconds(figure(network)));
            [format!("{name}, {what}"), live, beta, dev, local]
        };
        times.push(row("expected", |network| network.expected_seconds));
        times.push(row("99 of 100 within", |network| network.p99_seconds));
    };
    for device in &report.devices {
        add(&device.name, &device.networks);
    }
    if report.devices.len() > 1 {
        let sum = rate(report.together.hashes_per_second);
        let note = "the sum; each was measured alone";
        rates.push(["all together", "", "", &sum, "", note].map(str::to_owned));
        add("all together", &report.together.networks);
    }
    let header = [
        ("Device", Column::Text),
        ("Kernel", Column::Word),
        ("Threads", Column::Figure),
        ("Rate", Column::Figure),
        ("Cycles/hash", Column::Figure),
        ("Limited by", Column::Text),
    ];
    print(terminal::figures(header, &rates))?;
    let [live, beta, dev, local] = Network::ALL.map(|network| (network.as_str(), Column::Figure));
    let header = [
        ("Seconds for one work", Column::Text),
        live,
        beta,
        dev,
        local,
    ];
    Ok(print(terminal::figures(header, &times))?)
}

/// Runs every engine of `device` at once, first to warm up, then to count, with the clock measured on as many
/// cores before and after.
fn measure(
    mut device: Device,
    is_software: bool,
    duration: Duration,
) -> Result<Measurement, DeviceError> {
    let counted = Arc::new(AtomicU64::new(0));
    let count = |engine| -> Box<dyn Engine> {
        let counted = Arc::clone(&counted);
        Box::new(Counting { engine, counted })
    };
    device.engines = device.engines.into_iter().map(count).collect();
    run_engines(&mut device, WARM_UP)?;
    let is_processor = device.info.backend == Backend::Cpu;
    let clock_before = clock(device.info.threads)?;
    let card_before = time_on_device(&device);
    let (started, cpu_before) = (Instant::now(), process_cpu_time());
    let line = ProgressBar::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    line.set_style(style());
    line.set_prefix(device.info.name.clone());
    let mut pace = Pace::from(counted.load(Ordering::Relaxed));
    let show = |line: &ProgressBar| {
        let elapsed = started.elapsed().min(duration);
        line.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let rate = terminal::hashes(pace.after(counted.load(Ordering::Relaxed)));
        line.set_message(format!(
            "{:.0} of {} s  {rate}/s",
            elapsed.as_secs_f64(),
            duration.as_secs()
        ));
    };
    let hashes = terminal::watch(line, show, || run_engines(&mut device, duration))?;
    let (seconds, cpu_seconds) = (
        started.elapsed().as_secs_f64(),
        (process_cpu_time() - cpu_before).as_secs_f64(),
    );
    let on_device = time_on_device(&device).zip(card_before);
    let percent_busy = on_device.map(|(after, before)| {
        // Two dispatches that overlap are both counted.
        (100.0 * (after - before).as_secs_f64() / seconds).min(100.0)
    });
    let clock = (clock_before + clock(device.info.threads)?) / 2.0;
    let clock_hertz = is_processor.then_some(clock);
    let cycles_per_hash = clock_hertz.map(|clock| clock * cpu_seconds / hashes as f64);
    let bound = Kernel::named(&device.info.kernel)
        .ok()
        .and_then(Kernel::bound);
    let hashes_per_second = hashes as f64 / seconds;
    let percent_of_bound = cycles_per_hash
        .zip(bound)
        .map(|(cycles, bound)| 100.0 * bound / cycles);
    let limited_by = if is_processor {
        // More threads than cores share them.
        let cores = device.info.threads.min(cpu::available_threads().get());
        let cpu_share = cpu_seconds / seconds / cores as f64;
        what_limits_cores(device.info.threads, cpu_share, clock, percent_of_bound)
    } else {
        what_limits_card(is_software, percent_busy)
    };
    Ok(Measurement {
        name: device.info.name,
        backend: device.info.backend,
        kernel: device.info.kernel,
        trials: device.info.trials,
        threads: device.info.threads,
        hashes,
        seconds,
        cpu_seconds,
        hashes_per_second,
        hashes_per_cpu_second: hashes as f64 / cpu_seconds,
        clock_hertz,
        cycles_per_hash,
        percent_of_bound,
        percent_busy,
        limited_by,
        networks: expected(hashes_per_second),
    })
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:.bold} [{bar:30}] {msg}")
        .expect("the template is well formed")
        .progress_chars("=> ")
}

/// Of a processor: `cpu_share` of their time the threads had a core, whose clock is `clock`.
fn what_limits_cores(
    threads: usize,
    cpu_share: f64,
    clock: f64,
    percent_of_bound: Option<f64>,
) -> String {
    let available = cpu::available_threads().get();
    let cores = if threads < available {
        format!("{threads} of {available} cores (--threads)")
    } else {
        format!("{available} cores")
    };
    let gigahertz = clock / 1e9;
    let shared = if cpu_share < ALWAYS {
        let percent = 100.0 * cpu_share;
        format!(", which the search had {percent:.0} % of the time beside other programs")
    } else {
        String::new()
    };
    let bound = percent_of_bound.map_or(String::new(), |percent| {
        format!("; the code is at {percent:.0} % of the bound of its ports")
    });
    format!("{cores} at {gigahertz:.1} GHz{shared}{bound}")
}

/// Of a card that was at work for so much of the time.
fn what_limits_card(is_software: bool, percent_busy: Option<f64>) -> String {
    match percent_busy {
        _ if is_software => {
            "the processor, which this software acts as a card on; --backend cpu is faster"
                .to_owned()
        }
        None => "unknown: the card has no clock that tells how busy it was".to_owned(),
        Some(percent) if percent >= 100.0 * ALWAYS => {
            format!("the card, at work {percent:.0} % of the time by its own clock")
        }
        Some(percent) => format!(
            "the host or its driver: by its own clock the card was at work {percent:.0} % of the time"
        ),
    }
}

/// Of all engines together; none if one of them does not know.
fn time_on_device(device: &Device) -> Option<Duration> {
    let times = device.engines.iter().map(|engine| engine.time_on_device());
    times.sum()
}

/// An engine whose hashes are counted as they are tested, to be shown meanwhile.
struct Counting {
    engine: Box<dyn Engine>,
    counted: Arc<AtomicU64>,
}

impl Engine for Counting {
    fn capacity(&self) -> Capacity {
        self.engine.capacity()
    }

    fn lengths(&self, thresholds: &[Threshold]) -> Vec<u64> {
        self.engine.lengths(thresholds)
    }

    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError> {
        self.engine.submit(batch)
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        let searched = self.engine.complete()?;
        let tried = searched.iter().map(|done| done.tried).sum();
        self.counted.fetch_add(tried, Ordering::Relaxed);
        Ok(searched)
    }

    fn time_on_device(&self) -> Option<Duration> {
        self.engine.time_on_device()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_take_as_long_as_their_hashes() {
        let live = &expected(1e6)[0];
        assert_eq!(live.network, "LIVE");
        let hashes = Threshold::new(live.threshold).expected_hashes();
        assert_eq!(live.expected_seconds, hashes / 1e6);
        // Of an exponential distribution with this mean, all but a hundredth lies below.
        let beyond = (-live.p99_seconds / live.expected_seconds).exp();
        assert!((beyond - 0.01).abs() < 1e-12, "{beyond}");
    }

    #[test]
    fn what_limits_is_told_as_far_as_it_is_known() {
        let cores = cpu::available_threads().get();
        let told = what_limits_cores(cores, 0.99, 2.4e9, Some(94.4));
        let bound = "; the code is at 94 % of the bound of its ports";
        assert_eq!(told, format!("{cores} cores at 2.4 GHz{bound}"));
        let told = what_limits_cores(cores, 0.5, 2.4e9, None);
        assert!(told.ends_with("which the search had 50 % of the time beside other programs"));
        let cases = [
            (false, Some(99.0), "the card, at work 99 %"),
            (false, Some(60.0), "the host or its driver"),
            (false, None, "unknown"),
            (true, Some(99.0), "the processor"),
        ];
        for (is_software, busy, expected) in cases {
            let told = what_limits_card(is_software, busy);
            assert!(told.contains(expected), "{told}");
        }
    }
}
