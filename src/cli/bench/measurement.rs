//! The measurement of one device.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::expected::{Expected, KINDS, expected};
use super::limits;
use super::processor::{self, Search};
use super::threads::at_once;
use crate::cli::terminal::{self, Pace};
use crate::device::cpu::clock::process_cpu_time;
use crate::device::cpu::probe::Figures;
use crate::device::cpu::{self, Kernel};
use crate::device::{
    Backend, Capacity, Device, DeviceError, DeviceInfo, Engine, Searched, Slice, Trial, rate,
};
use crate::work::Rule;

/// How long engines run before they are measured, to find the length of their slices.
const WARM_UP: Duration = Duration::from_millis(300);

/// The measurement of one device. CPU time is that of the search; for a card it is that of the whole process, since a
/// driver has threads too.
#[derive(Debug, Serialize)]
pub(super) struct Measurement {
    pub(super) name: String,
    pub(super) backend: Backend,
    pub(super) kernel: String,
    /// The kernels that were measured at the start, and their rates then.
    pub(super) trials: Vec<Trial>,
    pub(super) threads: usize,
    pub(super) hashes: u64,
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) hashes_per_second: f64,
    pub(super) hashes_per_cpu_second: f64,
    /// The frequency of a core. `None` for a card.
    pub(super) clock_hertz: Option<f64>,
    /// Cycles of a core. `None` for a card.
    pub(super) cycles_per_hash: Option<f64>,
    /// Cycles per hash, by what else was at work on the core. `None` for a card.
    pub(super) cycles: Option<Figures>,
    /// How near the kernel comes to the bound of the cores, when it has one to itself. `None` if either is unknown.
    pub(super) percent_of_bound: Option<f64>,
    /// The cores that this bound was counted for.
    pub(super) bound_of: Option<&'static str>,
    /// The part of the time for which the card was busy, by its own clock. `None` for a processor, and for a card without
    /// a credible clock.
    pub(super) percent_busy: Option<f64>,
    /// What keeps it from a higher hash rate, in words.
    pub(super) limited_by: String,
    pub(super) networks: [Expected; KINDS],
}

/// Runs all engines of `device` at once, first to warm up, then to count.
pub(super) fn measure(
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
    let started = Instant::now();
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
    match device.info.backend {
        Backend::Cpu => {
            let search = || processor::search(&mut device, duration);
            let search = terminal::watch(line, show, search)?;
            Ok(of_processor(device.info, &search))
        }
        Backend::Gpu => {
            let (started, cpu_before) = (Instant::now(), process_cpu_time());
            let card_before = time_on_device(&device);
            let hashes = terminal::watch(line, show, || run_engines(&mut device, duration))?;
            let seconds = started.elapsed().as_secs_f64();
            let cpu_seconds = (process_cpu_time() - cpu_before).as_secs_f64();
            let on_device = time_on_device(&device).zip(card_before);
            let percent_busy = on_device.map(|(after, before)| {
                // The times of overlapping dispatches add up to more than 100 %.
                (100.0 * (after - before).as_secs_f64() / seconds).min(100.0)
            });
            let limited_by = limits::of_card(is_software, percent_busy);
            Ok(Measurement {
                percent_busy,
                ..Measurement::new(device.info, hashes, seconds, cpu_seconds, limited_by)
            })
        }
    }
}

fn of_processor(info: DeviceInfo, search: &Search) -> Measurement {
    let &Search {
        hashes,
        seconds,
        cpu_seconds,
        hertz,
        figures,
    } = search;
    let bound = Kernel::named(&info.kernel).ok().and_then(Kernel::bound);
    let of_bound = figures.alone.zip(bound);
    let percent_of_bound = of_bound.map(|(alone, bound)| 100.0 * bound.cycles / alone.median);
    let bound_of = of_bound.map(|(_, bound)| bound.cores);
    // If there are more threads than cores, they share the cores.
    let cores = info.threads.min(cpu::available_threads().get());
    let cpu_share = cpu_seconds / seconds / cores as f64;
    let limited_by = limits::of_processor(
        info.threads,
        cpu_share,
        hertz,
        &figures,
        percent_of_bound.zip(bound_of),
    );
    Measurement {
        clock_hertz: Some(hertz),
        cycles_per_hash: Some(hertz * cpu_seconds / hashes as f64),
        cycles: Some(figures),
        percent_of_bound,
        bound_of,
        ..Measurement::new(info, hashes, seconds, cpu_seconds, limited_by)
    }
}

impl Measurement {
    /// What is known of every device.
    fn new(
        info: DeviceInfo,
        hashes: u64,
        seconds: f64,
        cpu_seconds: f64,
        limited_by: String,
    ) -> Self {
        let hashes_per_second = hashes as f64 / seconds;
        Self {
            name: info.name,
            backend: info.backend,
            kernel: info.kernel,
            trials: info.trials,
            threads: info.threads,
            hashes,
            seconds,
            cpu_seconds,
            hashes_per_second,
            hashes_per_cpu_second: hashes as f64 / cpu_seconds,
            clock_hertz: None,
            cycles_per_hash: None,
            cycles: None,
            percent_of_bound: None,
            bound_of: None,
            percent_busy: None,
            limited_by,
            networks: expected(hashes_per_second),
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:.bold} [{bar:30}] {msg}")
        .expect("the template is well formed")
        .progress_chars("=> ")
}

/// The sum of all engines' times. `None` if one of them is unknown.
fn time_on_device(device: &Device) -> Option<Duration> {
    let times = device.engines.iter().map(|engine| engine.time_on_device());
    times.sum()
}

/// An engine that counts its hashes, for the progress bar.
struct Counting {
    engine: Box<dyn Engine>,
    counted: Arc<AtomicU64>,
}

impl Engine for Counting {
    fn capacity(&self) -> Capacity {
        self.engine.capacity()
    }

    fn lengths(&self, rules: &[Rule]) -> Vec<u64> {
        self.engine.lengths(rules)
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
