//! The choice of the fastest kernel on the processor.
//!
//! As many threads race as will search, all at once. Hyperthreads of one core share its execution units, and a kernel that is
//! the fastest with a core to itself may lose beside another hyperthread. On Zen 3 `avx2-mixed` is 24 % faster than
//! `avx2-single` in the first case and 30 % slower in the second.
//!
//! Speed is hashes per second of CPU time. While every thread has a core, that is wall-clock time. Where threads wait
//! for their cores, because of a CPU limit or of other programs, wall-clock time would include the waiting: beside 13
//! busy processes on two cores, one race in ten then chose a kernel that is never the fastest there.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::STEP;
use super::clock::thread_cpu_time;
use super::kernel::Kernel;
use super::search::Midstate;
use crate::work::{Rule, Target};

/// How long a kernel runs before each lap: until every thread has changed to it and the clock has settled.
const SETTLE: Duration = Duration::from_micros(500);

/// How long a kernel is measured each time. The kernels take turns, since programs on the other hyperthreads come and go
/// within milliseconds.
const LAP: Duration = Duration::from_micros(2500);

/// How many laps each kernel has in a race.
const LAPS: usize = 8;

/// No lap begins after this time. Seven kernels take less than half of it, unless the process waits for its cores.
const LIMIT: Duration = Duration::from_millis(400);

/// A kernel and its speed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) kernel: Kernel,
    /// Hashes per second of one thread, while all threads search.
    pub(super) hashes_per_second: f64,
}

/// Measures `kernels`, at least one, on this many threads at once. Returns the fastest, and all that were measured:
/// kernels without a lap before [`LIMIT`] are missing.
///
/// Takes 24 ms for each kernel, and 3 ms if there is only one. The calling thread is one of those that race, so the race
/// neither waits for a thread that is slow to start nor for one that gets no core.
pub(super) fn fastest(kernels: &[Kernel], threads: NonZeroUsize) -> (Rate, Vec<Rate>) {
    let race = Arc::new(Race::new(kernels));
    for _ in 1..threads.get() {
        let race = Arc::clone(&race);
        // Not joined: it ends by itself, a search after the race.
        let started = thread::Builder::new().spawn(move || race.follow());
        if let Err(error) = started {
            tracing::warn!(%error, "cannot start a thread: the kernels are measured on fewer threads than will search");
            break;
        }
    }
    race.lead();
    let rates = race.rates();
    let fastest = rates
        .iter()
        .max_by(|a, b| a.hashes_per_second.total_cmp(&b.hashes_per_second));
    let fastest = *fastest.expect("the first lap is run whatever the time");
    (fastest, rates)
}

/// What the threads share.
struct Race {
    runners: Vec<Runner>,
    midstate: Midstate,
    /// The current phase. A lap of a kernel has two: the first to settle, the second to count. See [`Race::turn`].
    phase: AtomicUsize,
}

/// A kernel, with the sums of its laps.
struct Runner {
    kernel: Kernel,
    hashes: AtomicU64,
    /// CPU time of all threads.
    nanoseconds: AtomicU64,
}

/// The phase after the race.
const ENDED: usize = usize::MAX;

impl Race {
    fn new(kernels: &[Kernel]) -> Self {
        let runner = |&kernel: &Kernel| Runner {
            kernel,
            hashes: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        };
        Self {
            runners: kernels.iter().map(runner).collect(),
            midstate: Midstate::new(&Target::new([0x55; 32]), Rule::HARDEST),
            phase: AtomicUsize::new(0),
        }
    }

    /// The kernel of a phase, and whether it counts.
    fn turn(&self, phase: usize) -> (&Runner, bool) {
        (
            &self.runners[phase / 2 % self.runners.len()],
            phase % 2 == 1,
        )
    }

    /// Goes from phase to phase, and searches too.
    fn lead(&self) {
        let started = Instant::now();
        let laps = if self.runners.len() == 1 { 1 } else { LAPS };
        // One more phase of settling at the end, in which the other threads add the last lap to the sums.
        for phase in 0..=2 * laps * self.runners.len() {
            let (_, counts) = self.turn(phase);
            if phase > 0 && !counts && started.elapsed() > LIMIT {
                break;
            }
            self.phase.store(phase, Ordering::Relaxed);
            let began = Instant::now();
            let length = if counts { LAP } else { SETTLE };
            self.run(phase, || began.elapsed() < length);
        }
        self.phase.store(ENDED, Ordering::Relaxed);
    }

    /// Searches in every phase until the race has ended.
    fn follow(&self) {
        loop {
            let phase = self.phase.load(Ordering::Relaxed);
            if phase == ENDED {
                return;
            }
            self.run(phase, || self.phase.load(Ordering::Relaxed) == phase);
        }
    }

    /// Searches while the phase goes on, at least once.
    fn run(&self, phase: usize, goes_on: impl Fn() -> bool) {
        let (runner, counts) = self.turn(phase);
        let started = thread_cpu_time();
        let mut hashes = 0;
        loop {
            // None of these nonces is valid, so all of them are tested.
            black_box(runner.kernel.search(&self.midstate, 0, STEP));
            hashes += STEP;
            if !goes_on() {
                break;
            }
        }
        if counts {
            let took = (thread_cpu_time() - started).as_nanos();
            let nanoseconds = u64::try_from(took).unwrap_or(u64::MAX);
            runner.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
            runner.hashes.fetch_add(hashes, Ordering::Relaxed);
        }
    }

    fn rates(&self) -> Vec<Rate> {
        let rate = |runner: &Runner| {
            let hashes = runner.hashes.load(Ordering::Relaxed);
            let nanoseconds = runner.nanoseconds.load(Ordering::Relaxed);
            (hashes > 0).then(|| Rate {
                kernel: runner.kernel,
                hashes_per_second: hashes as f64 * 1e9 / nanoseconds.max(1) as f64,
            })
        };
        self.runners.iter().filter_map(rate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn race(threads: usize) -> (Rate, Vec<Rate>, Duration) {
        let started = Instant::now();
        let threads = NonZeroUsize::new(threads).expect("not zero");
        let (fastest, rates) = fastest(&Kernel::available(), threads);
        (fastest, rates, started.elapsed())
    }

    #[test]
    fn every_kernel_is_measured_and_the_fastest_is_chosen() {
        let (fastest, rates, _) = race(2);
        let most = rates.iter().map(|rate| rate.hashes_per_second);
        assert_eq!(fastest.hashes_per_second, most.fold(0.0, f64::max));
        assert!(rates.iter().any(|rate| rate.kernel == fastest.kernel));
        assert!(
            rates.iter().all(|rate| rate.hashes_per_second > 1e4),
            "{rates:?}"
        );
    }

    #[test]
    fn threads_that_hardly_get_a_core_delay_the_race_little() {
        // Most of them get to run only once or never.
        let (fastest, rates, took) = race(64);
        assert!(took < 20 * LIMIT, "{took:?}");
        assert!(fastest.hashes_per_second > 1e4, "{rates:?}");
    }

    #[test]
    fn a_single_kernel_is_measured_in_one_lap() {
        let kernel = Kernel::named("portable").expect("every processor has it");
        let (fastest, rates) = fastest(&[kernel], NonZeroUsize::MIN);
        assert_eq!((fastest.kernel, rates.len()), (kernel, 1));
    }
}
