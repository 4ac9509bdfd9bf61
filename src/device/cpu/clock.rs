//! How fast a core runs and how much of it a thread had, so that a hash rate can be told in cycles a hash: a
//! figure that neither a changing clock nor a neighbour distorts, unless that is a hyperthread of the same core.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The CPU time of the calling thread so far.
pub fn thread_cpu_time() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// The CPU time of this process so far, all threads together.
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

/// Cycles a second of the core that the calling thread runs on, measured over some five milliseconds of its
/// time.
///
/// A chain of operations is timed, each of which needs the one before: an exclusive or and an addition by
/// turns, which nobody can fold, and each of which takes one cycle on every 64-bit processor of today.
pub fn core_frequency() -> f64 {
    const LINKS: u32 = 1 << 20;
    /// Pairs of operations a link, written out so that counting the links costs no cycle of its own.
    const PAIRS: u32 = 8;
    let (a, b) = black_box((0x9E37_79B9_7F4A_7C15_u64, 0xBF58_476D_1CE4_E5B9_u64));
    let mut x = black_box(1_u64);
    let started = thread_cpu_time();
    for _ in 0..LINKS {
        for _ in 0..PAIRS {
            x = (x ^ a).wrapping_add(b);
        }
    }
    black_box(x);
    f64::from(LINKS * PAIRS * 2) / (thread_cpu_time() - started).as_secs_f64()
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
