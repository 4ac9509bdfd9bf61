//! The hash rates of engines, and how long searches may be expected to wait and to take.
//!
//! A search has no memory: however long it has run, it still needs as many hashes on average as at its start. So the
//! rules alone say how much is ahead of a search.

use std::time::Duration;

use crate::device::DeviceInfo;

/// How long a search may be expected to take from its admission. Both are means of an exponential distribution: one
/// search in seven takes more than twice its mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Until it runs: the hashes that the searches ahead of it need, at the measured hash rate of all engines in service.
    /// Zero if it runs at once.
    pub wait: Duration,
    /// From then to its answer: its own hashes at its part of that rate. The searches that run beside it have the rest.
    pub solve: Duration,
}

/// Hashes of all engines: those until a search runs, and those from then to its answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Effort {
    /// Until it runs.
    pub(super) wait: f64,
    /// From then to its answer, those done for others meanwhile included.
    pub(super) solve: f64,
}

impl Effort {
    /// How long that takes at `rate` hashes per second. `None` if no rate is known.
    pub(super) fn at(self, rate: f64) -> Option<Estimate> {
        Some(Estimate {
            wait: time(self.wait, rate)?,
            solve: time(self.solve, rate)?,
        })
    }
}

/// How long `hashes` take at `rate` hashes per second. `None` if no rate is known.
pub(super) fn time(hashes: f64, rate: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(hashes / rate).ok()
}

/// The time constant of the average, in seconds of an engine's work: a batch of 20 ms counts for one part in 500. A
/// smaller one makes the hash rate jump, a larger one makes it lag.
const MEMORY: f64 = 10.0;

/// The weight, in seconds of work, of the measurement that was made when the device was opened.
const TRIAL: f64 = 0.1;

/// The hashes and the seconds of work of an engine, from which its hash rate follows. Older ones count exponentially
/// less. Time is the weight, not the number of batches: a batch that finds work at once says little.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Speed {
    hashes: f64,
    seconds: f64,
}

impl Speed {
    /// The rate measured when the device was opened, if there is one.
    pub(super) fn of(info: &DeviceInfo) -> Self {
        let mut trials = info.trials.iter();
        let Some(trial) = trials.find(|trial| trial.kernel == info.kernel) else {
            return Self::default();
        };
        Self {
            hashes: trial.hashes_per_second as f64 * TRIAL,
            seconds: TRIAL,
        }
    }

    /// Adds a batch that has tested `tried` nonces in the time `took`.
    pub(super) fn learn(&mut self, tried: u64, took: Duration) {
        let seconds = took.as_secs_f64();
        let rest = (-seconds / MEMORY).exp();
        self.hashes = self.hashes * rest + tried as f64;
        self.seconds = self.seconds * rest + seconds;
    }

    /// Hashes per second; zero if nothing is known.
    pub(super) fn rate(self) -> f64 {
        if self.seconds > 0.0 {
            self.hashes / self.seconds
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend, Trial};

    fn info(kernel: &str) -> DeviceInfo {
        let trial = |kernel: &str, hashes_per_second| Trial {
            kernel: kernel.to_owned(),
            hashes_per_second,
        };
        DeviceInfo {
            name: "card".to_owned(),
            backend: Backend::Gpu,
            kernel: kernel.to_owned(),
            threads: 1,
            trials: vec![trial("slow", 10), trial("fast", 1000)],
        }
    }

    #[test]
    fn an_engine_begins_with_what_its_own_kernel_was_measured_at() {
        assert_eq!(Speed::of(&info("fast")).rate(), 1000.0);
        assert_eq!(Speed::of(&info("other")).rate(), 0.0);
    }

    #[test]
    fn a_rate_follows_the_work_and_forgets_slowly() {
        let mut speed = Speed::of(&info("fast"));
        let millisecond = Duration::from_millis(1);
        (0..10_000).for_each(|_| speed.learn(5, millisecond));
        assert!((4900.0..5000.0).contains(&speed.rate()), "{speed:?}");
        // One slow batch among many counts only for as long as it lasted.
        speed.learn(0, Duration::from_secs(1));
        assert!((4000.0..4500.0).contains(&speed.rate()), "{speed:?}");
        (0..100).for_each(|_| speed.learn(200, Duration::from_secs(1)));
        assert!((200.0..201.0).contains(&speed.rate()), "{speed:?}");
    }

    #[test]
    fn a_batch_that_took_no_time_does_no_harm() {
        let mut speed = Speed::default();
        speed.learn(0, Duration::ZERO);
        assert_eq!(speed.rate(), 0.0);
    }

    #[test]
    fn without_a_hash_rate_there_is_no_estimate() {
        assert_eq!(time(1e9, 0.0), None);
        assert_eq!(time(0.0, 0.0), None);
        assert_eq!(time(1e300, 1.0), None);
        assert_eq!(time(1e9, 1e8), Some(Duration::from_secs(10)));
    }
}
