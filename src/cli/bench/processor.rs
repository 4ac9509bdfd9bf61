//! The search on the processor, slice by slice between probes of the cores.

use std::time::{Duration, Instant};

use super::threads::at_once;
use crate::device::cpu::clock::thread_cpu_time;
use crate::device::cpu::probe::{Figures, Probe, Runs};
use crate::device::{self, Device, DeviceError, Engine, NonceRange, Slice, StopFlag};
use crate::work::{Rule, Target};

/// What all threads did, without the time for probes.
pub(super) struct Search {
    pub(super) hashes: u64,
    /// The mean of the threads.
    pub(super) seconds: f64,
    /// The sum of the threads.
    pub(super) cpu_seconds: f64,
    /// The mean frequency of a core.
    pub(super) hertz: f64,
    pub(super) figures: Figures,
}

/// Keeps every engine of the processor busy for this long.
pub(super) fn search(device: &mut Device, duration: Duration) -> Result<Search, DeviceError> {
    let engines = device.engines.iter_mut();
    let searches =
        at_once(engines.map(|engine| move || search_on_thread(&mut **engine, duration)))?;
    let threads = searches.len() as f64;
    let mut all = OnThread::default();
    for search in searches {
        let search = search?;
        all.hashes += search.hashes;
        all.seconds += search.seconds;
        all.cpu_seconds += search.cpu_seconds;
        all.cycles += search.cycles;
        all.runs.append(search.runs);
    }
    Ok(Search {
        hashes: all.hashes,
        seconds: all.seconds / threads,
        cpu_seconds: all.cpu_seconds,
        hertz: all.cycles / all.cpu_seconds,
        figures: all.runs.figures(),
    })
}

#[derive(Default)]
struct OnThread {
    hashes: u64,
    seconds: f64,
    cpu_seconds: f64,
    cycles: f64,
    runs: Runs,
}

fn search_on_thread(engine: &mut dyn Engine, duration: Duration) -> Result<OnThread, DeviceError> {
    let mut search = OnThread::default();
    let mut start = fastrand::u64(..);
    let mut before = Probe::take();
    while search.seconds < duration.as_secs_f64() {
        let slice = slice(engine, start);
        start = start.wrapping_add(slice.nonces.count);
        let (wall, cpu) = (Instant::now(), thread_cpu_time());
        let hashes = device::search(engine, slice)?.tried;
        let cpu_seconds = (thread_cpu_time() - cpu).as_secs_f64();
        search.seconds += wall.elapsed().as_secs_f64();
        let after = Probe::take();
        search.hashes += hashes;
        search.cpu_seconds += cpu_seconds;
        search.cycles += cpu_seconds * f64::midpoint(before.hertz, after.hertz);
        search.runs.add(hashes, cpu_seconds, before, after);
        before = after;
    }
    Ok(search)
}

/// A slice of the length that the engine wants. Under this rule it almost never has a valid nonce.
fn slice(engine: &dyn Engine, start: u64) -> Slice {
    let rule = Rule::HARDEST;
    Slice {
        target: Target::new(*b"a target that stands for all oth"),
        rule,
        nonces: NonceRange {
            start,
            count: engine.lengths(&[rule]).into_iter().sum(),
        },
        stop: StopFlag::default(),
    }
}
