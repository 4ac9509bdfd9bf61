//! What the scheduler may have in progress, and how a search ends.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::answers::AnswerCache;
use crate::work::Work;

/// How long an engine may take for a batch. It is well above the ten seconds after which a card's dispatch is given
/// up, so that a driver that still answers reports its own error.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The longest `Retry-After`: much may have changed by then.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// How much may be in progress, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many hard searches run at once; further ones wait for a slot. Easy searches, which one batch ends more often
    /// than not, always run at once.
    pub running: NonZeroUsize,
    /// How many hard searches may wait. `running + waiting` bounds all searches, easy ones included; one more is refused.
    pub waiting: usize,
    /// How long an engine may take for a batch before its searches go on elsewhere.
    pub patience: Duration,
    /// When a failed device is reopened.
    pub backoff: Backoff,
    /// How long a client may wait for an answer before it gets [`SolveError::Deadline`]; `None` for no limit. A client
    /// may have said that it waits for less. With either limit, the answer must be awaited in a tokio runtime with time
    /// enabled.
    pub deadline: Option<Duration>,
    /// Which answers are cached for clients that ask again.
    pub answers: AnswerCache,
}

impl Limits {
    /// `running` and `waiting` as given, no deadline, and the defaults of the service otherwise.
    pub const fn new(running: NonZeroUsize, waiting: usize) -> Self {
        Self {
            running,
            waiting,
            patience: PATIENCE,
            backoff: Backoff::DEFAULT,
            deadline: None,
            answers: AnswerCache::DEFAULT,
        }
    }
}

/// When a failed device is reopened. The first attempt is made at once; the delay before each later one doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The delay between the first attempt and the second.
    pub first: Duration,
    /// The longest delay. Up to 10 % is added to every delay, so that cards that failed together do not return together.
    pub longest: Duration,
    /// The backoff resets once a device has served for this long.
    pub reset_after: Duration,
}

impl Backoff {
    /// 1, 2, 4 … 60 seconds; resets after one minute of service. A driver that resets a card takes some seconds, and an
    /// operator who replaces one takes some minutes.
    pub const DEFAULT: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(60),
        reset_after: Duration::from_secs(60),
    };

    /// The delay before the next attempt after `attempts` of them, without jitter.
    fn delay(&self, attempts: u32) -> Duration {
        let Some(doublings) = attempts.checked_sub(1) else {
            return Duration::ZERO;
        };
        let delay = self.first.saturating_mul(2_u32.saturating_pow(doublings));
        delay.min(self.longest)
    }

    /// The delay before the next attempt after `attempts` of them.
    pub(super) fn delay_with_jitter(&self, attempts: u32) -> Duration {
        self.delay(attempts).mul_f64(1.0 + 0.1 * fastrand::f64())
    }
}

/// Why a search has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolveError {
    /// The queue is full, or longer than the client waits.
    #[error("too many searches are waiting")]
    QueueFull {
        /// The mean time until there is room, or until the queue is short enough for the client if no further search
        /// arrives. `None` if no engine's hash rate is known.
        room_in: Option<Duration>,
    },
    /// The scheduler refuses new searches, or has given up those it had.
    #[error("the server is shutting down")]
    Closed,
    /// Every device is out of service.
    #[error("no device is in service")]
    NoDevice,
    /// The client has waited for [`Limits::deadline`], or for as long as it said that it waits.
    #[error("there was no work within {} s", .0.as_secs_f64())]
    Deadline(Duration),
}

impl SolveError {
    /// When the client should retry: whole seconds from 1 to 300. `None` if a retry cannot be expected to help.
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Self::QueueFull { room_in } => {
                let room_in = room_in.unwrap_or_default().min(LONGEST_RETRY);
                let begun = u64::from(room_in.subsec_nanos() > 0);
                Some((room_in.as_secs() + begun).max(1))
            }
            // Another instance can serve at once. A device is reopened within a second or two, if that helps; and this
            // server cannot know when it is started again.
            Self::Closed | Self::NoDevice => Some(1),
            Self::Deadline(_) => None,
        }
    }
}

/// Work, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solved {
    /// Valid under the rule of the request.
    pub work: Work,
    /// From the request until a device began to search. Zero if one had begun already.
    pub waited: Duration,
    /// From then to the answer, including the time that went to other searches. Zero if the answer was cached.
    pub searched: Duration,
}

/// What the scheduler is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// How many searches run.
    pub running: usize,
    /// How many hard searches wait for a running one to end.
    pub waiting: usize,
    /// How many may wait.
    pub capacity: usize,
    /// Whether an engine is in service, or one is being opened.
    pub can_serve: bool,
    /// Hashes per second of all engines in service while they search, as measured; zero if nothing is known yet.
    pub hash_rate: f64,
    /// The mean time that a hard search admitted now would wait before it runs. `None` if no hash rate is known.
    pub expected_wait: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_whole_seconds_within_bounds() {
        let full = |millis| SolveError::QueueFull {
            room_in: Some(Duration::from_millis(millis)),
        };
        let cases = [
            (full(0), Some(1)),
            (full(1000), Some(1)),
            (full(1001), Some(2)),
            (full(299_001), Some(300)),
            (full(300_001), Some(300)),
            (full(u64::MAX), Some(300)),
            (SolveError::QueueFull { room_in: None }, Some(1)),
            (SolveError::NoDevice, Some(1)),
            (SolveError::Closed, Some(1)),
            (SolveError::Deadline(Duration::ZERO), None),
        ];
        for (error, expected) in cases {
            assert_eq!(error.retry_after(), expected, "{error:?}");
        }
    }

    #[test]
    fn delays_double_from_none_to_the_longest() {
        let seconds = |attempts| Backoff::DEFAULT.delay(attempts).as_secs();
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 40, u32::MAX].map(seconds),
            [0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
        );
    }

    #[test]
    fn jitter_adds_a_tenth_at_most() {
        for _ in 0..1000 {
            let delay = Backoff::DEFAULT.delay_with_jitter(4).as_secs_f64();
            assert!((8.0..=8.8).contains(&delay), "{delay}");
        }
        assert!(Backoff::DEFAULT.delay_with_jitter(0).is_zero());
    }
}
