//! A line on standard error that shows progress while a command works.

use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

/// The time between two updates of a line.
const INTERVAL: Duration = Duration::from_millis(100);

/// Intervals that a rate spans: one second, in which a single slice or dispatch does not show.
const WINDOW: usize = 10;

/// Does `work` while `show` updates `line`, which is removed at the end. Nothing is shown if standard error is no terminal.
pub(in crate::cli) fn watch<T>(
    line: ProgressBar,
    mut show: impl FnMut(&ProgressBar) + Send,
    work: impl FnOnce() -> T,
) -> T {
    if line.is_hidden() {
        return work();
    }
    thread::scope(|scope| {
        // Closes when the work ends, even by a panic.
        let (_working, done) = mpsc::channel::<()>();
        scope.spawn(move || {
            while done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                show(&line);
            }
            line.finish_and_clear();
        });
        work()
    })
}

/// The recent hash rate, from a counter of hashes.
#[derive(Debug)]
pub(in crate::cli) struct Pace(VecDeque<(Instant, u64)>);

impl Pace {
    /// Begins now, at this count.
    pub(in crate::cli) fn from(hashes: u64) -> Self {
        Self([(Instant::now(), hashes)].into())
    }

    /// The hashes a second up to this count, which is read now.
    pub(in crate::cli) fn after(&mut self, hashes: u64) -> f64 {
        let now = Instant::now();
        self.0.push_back((now, hashes));
        if self.0.len() > WINDOW {
            self.0.pop_front();
        }
        let (since, before) = self.0[0];
        let seconds = (now - since).as_secs_f64().max(1e-9);
        hashes.saturating_sub(before) as f64 / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_latest_counts() {
        let mut pace = Pace::from(1_000_000);
        thread::sleep(Duration::from_millis(1));
        let rate = pace.after(1_000_100);
        assert!(rate > 0.0 && rate <= 100_000.0, "{rate}");
        for _ in 0..WINDOW {
            pace.after(1_000_100);
        }
        assert_eq!(pace.after(1_000_100), 0.0);
    }
}
