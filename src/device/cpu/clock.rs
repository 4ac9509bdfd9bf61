//! A core's frequency and a thread's CPU time, to express a hash rate in cycles per hash.
//!
//! Neither a changing clock nor other programs distort this figure, except on a hyperthread of the same core.

use std::hint::black_box;
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

/// The frequency in hertz of the core that the calling thread runs on, measured over about 5 ms of CPU time.
///
/// Times a chain of alternating exclusive ors and additions, each of which needs the result before it. The optimiser
/// cannot fold them, and each takes one cycle on every current 64-bit processor.
pub fn core_frequency() -> f64 {
    const LINKS: u32 = 1 << 20;
    /// Pairs of operations in a link. The inner loop is unrolled, so that counting the links costs no cycle.
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
