//! A core's frequency and a thread's CPU time, to express a hash rate in cycles per hash.
//!
//! Neither a changing clock nor other programs distort this figure, except on a hyperthread of the same core: `probe.rs`
//! shows those.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The CPU time of the calling thread so far.
pub fn thread_cpu_time() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// The CPU time of all threads of this process so far.
pub fn process_cpu_time() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

fn duration(time: Timespec) -> Duration {
    // A CPU time is never negative, and nanoseconds are less than a second.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// The CPU time in seconds that `f` takes on the calling thread, without what reading the clock takes.
pub fn cpu_seconds(f: impl FnOnce()) -> f64 {
    static CLOCK: OnceLock<f64> = OnceLock::new();
    let clock = CLOCK.get_or_init(|| {
        let read = || (thread_cpu_time(), thread_cpu_time());
        // The least: disturbances can only add to it.
        let costs = (0..1000).map(|_| read()).map(|(from, to)| to - from);
        costs.min().unwrap_or_default().as_secs_f64()
    });
    let started = thread_cpu_time();
    f();
    let seconds = (thread_cpu_time() - started).as_secs_f64();
    (seconds - clock).max(1e-9)
}

/// The frequency in hertz of the core that the calling thread runs on, measured over about 40 µs of CPU time.
///
/// Times a chain of alternating exclusive ors and additions, each of which needs the result before it. The optimiser
/// cannot fold them, and each takes one cycle on every current 64-bit processor.
pub(super) fn core_frequency() -> f64 {
    const TURNS: u32 = 1 << 12;
    const PAIRS: u32 = 16;
    let (a, b) = black_box((0x9E37_79B9_7F4A_7C15_u64, 0xBF58_476D_1CE4_E5B9_u64));
    let seconds = cpu_seconds(|| {
        let mut x = black_box(1_u64);
        // Written out, so that neither counting the turns nor a build for tests adds cycles.
        macro_rules! pairs {
            ($($pair:literal)*) => { $(_ = $pair; x = (x ^ a).wrapping_add(b);)* };
        }
        let mut turn = 0;
        while turn < TURNS {
            pairs!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
            turn += 1;
        }
        black_box(x);
    });
    f64::from(TURNS * PAIRS * 2) / seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_runs_at_some_gigahertz() {
        let frequency = core_frequency();
        assert!((1e8..1e11).contains(&frequency), "{frequency}");
    }

    #[test]
    fn a_thread_has_no_more_time_than_its_process() {
        let (thread, process) = (thread_cpu_time(), process_cpu_time());
        assert!(thread <= process, "{thread:?} of {process:?}");
    }
}
