//! The measurement of one device.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::expected::{Expected, expected};
use super::limits;
use crate::cli::terminal::{self, Pace};
use crate::device::cpu::clock::{core_frequency, process_cpu_time};
use crate::device::cpu::{self, Kernel};
use crate::device::{Backend, Capacity, Device, DeviceError, Engine, Searched, Slice, rate};
use crate::work::Threshold;

/// How long engines run before they are measured, to find the length of their slices.
const WARM_UP: Duration = Duration::from_millis(300);

/// The measurement of one device. CPU time is that of the whole process, since a driver has threads too.
#[derive(Debug, Serialize)]
pub(super) struct Measurement {
    pub(super) name: String,
    pub(super) backend: Backend,
    pub(super) kernel: String,
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
    /// The hash rate relative to the most that the processor's ports allow. `None` if that is unknown.
    pub(super) percent_of_bound: Option<f64>,
    /// The part of the time for which the card was busy, by its own clock. `None` for a processor, and for a card without
    /// a credible clock.
    pub(super) percent_busy: Option<f64>,
    /// What keeps it from a higher hash rate, in words.
    pub(super) limited_by: String,
    pub(super) networks: [Expected; 4],
}

/// Runs all engines of `device` at once, first to warm up, then to count. Measures the clock of as many cores before and
/// after.
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
        // The times of overlapping dispatches add up to more than 100 %.
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
        // If there are more threads than cores, they share the cores.
        let cores = device.info.threads.min(cpu::available_threads().get());
        let cpu_share = cpu_seconds / seconds / cores as f64;
        limits::of_processor(device.info.threads, cpu_share, clock, percent_of_bound)
    } else {
        limits::of_card(is_software, percent_busy)
    };
    Ok(Measurement {
        name: device.info.name,
        backend: device.info.backend,
        kernel: device.info.kernel,
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

/// The mean frequency of a core in hertz, while this many are busy.
fn clock(threads: usize) -> Result<f64, DeviceError> {
    let frequencies = at_once((0..threads).map(|_| core_frequency))?;
    Ok(frequencies.into_iter().sum::<f64>() / threads as f64)
}

/// Runs each function on a thread of its own.
fn at_once<T: Send>(
    functions: impl Iterator<Item = impl FnOnce() -> T + Send>,
) -> Result<Vec<T>, DeviceError> {
    thread::scope(|scope| {
        let threads: Vec<_> = functions.map(|function| scope.spawn(function)).collect();
        let panicked = |_| DeviceError::Panicked("in a thread of the measurement".to_owned());
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(panicked))
            .collect()
    })
}
