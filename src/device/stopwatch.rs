//! Time limits for drivers. A busy machine does not use them up.
//!
//! A driver that gets no core makes no progress, and is not hung. Linux counts how long each thread was ready to run
//! and waited for a core. Between two looks, the longest wait of any thread does not count against the limit. It may be
//! another thread each time, since a driver hands its work from thread to thread. Threads that search on the processor
//! are left out: they have a lower priority, and wait wherever something else runs.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use procfs::ProcResult;
use procfs::process::Process;

/// On a busy machine a limit is at most this many times as long.
const LONGEST: u32 = 30;

/// How often the threads are looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// Measures how long a driver has had for something.
#[derive(Clone, Debug)]
pub struct Stopwatch {
    began: Instant,
    /// How much of the time since then does not count against a limit.
    withheld: Duration,
    /// The process whose threads call the driver.
    process: i32,
    /// How long each of its threads had waited for a core at the last look, by the number of the thread.
    seen: HashMap<i32, Duration>,
}

impl Stopwatch {
    /// Begins to measure this process.
    pub fn begin() -> Self {
        Self::begin_with(std::process::id())
    }

    /// Begins to measure another process.
    pub(super) fn begin_with(process: u32) -> Self {
        let process = process.cast_signed();
        Self {
            began: Instant::now(),
            withheld: Duration::ZERO,
            process,
            seen: waits(process).unwrap_or_default(),
        }
    }

    /// The whole time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long to wait before the next call. Zero if `limit` since the beginning is over.
    pub(super) fn wait_for(&mut self, limit: Duration) -> Duration {
        let now = waits(self.process).unwrap_or_default();
        self.withheld += longest(&self.seen, &now);
        self.seen = now;
        left(limit, self.elapsed(), self.withheld).min(INTERVAL)
    }

    /// Sleeps to the end of `limit` since the beginning.
    pub fn sleep(&mut self, limit: Duration) {
        loop {
            let wait = self.wait_for(limit);
            if wait.is_zero() {
                return;
            }
            thread::sleep(wait);
        }
    }

    /// Receives a message that has arrived, or that arrives within `limit` since the beginning.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_timeout`].
    pub(super) fn receive<T>(
        &mut self,
        limit: Duration,
        receiver: &Receiver<T>,
    ) -> Result<T, RecvTimeoutError> {
        loop {
            let wait = self.wait_for(limit);
            let received = receiver.recv_timeout(wait);
            if wait.is_zero() || !matches!(received, Err(RecvTimeoutError::Timeout)) {
                return received;
            }
        }
    }
}

/// What is left of a limit after `elapsed`, of which `withheld` does not count.
fn left(limit: Duration, elapsed: Duration, withheld: Duration) -> Duration {
    (limit + withheld)
        .min(limit * LONGEST)
        .saturating_sub(elapsed)
}

/// The longest that a thread has waited between two looks.
fn longest(before: &HashMap<i32, Duration>, now: &HashMap<i32, Duration>) -> Duration {
    let waited = now.iter().map(|(thread, now)| {
        let before = before.get(thread).copied().unwrap_or_default();
        now.saturating_sub(before)
    });
    waited.max().unwrap_or_default()
}

/// How long each thread of a process has waited for a core so far, without those that are less urgent than its first one.
/// An error on a kernel without this count.
fn waits(process: i32) -> ProcResult<HashMap<i32, Duration>> {
    let process = Process::new(process)?;
    let niceness = process.task_main_thread()?.stat()?.nice;
    let mut waits = HashMap::new();
    // A thread may end while it is looked at.
    for task in process.tasks()?.flatten() {
        if let (Ok(stat), Ok(counted)) = (task.stat(), task.schedstat())
            && stat.nice <= niceness
        {
            waits.insert(task.tid, Duration::from_nanos(counted.run_delay));
        }
    }
    Ok(waits)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn time_without_a_core_does_not_count_up_to_a_bound() {
        let limit = seconds(10);
        assert_eq!(left(limit, seconds(3), seconds(0)), seconds(7));
        assert_eq!(left(limit, seconds(12), seconds(9)), seconds(7));
        assert_eq!(left(limit, seconds(12), seconds(1)), seconds(0));
        assert_eq!(left(limit, seconds(299), seconds(299)), seconds(1));
        assert_eq!(left(limit, seconds(301), seconds(301)), seconds(0));
    }

    #[test]
    fn the_thread_that_waited_longest_counts() {
        let before = HashMap::from([(1, seconds(5)), (2, seconds(100)), (3, seconds(7))]);
        let now = HashMap::from([(1, seconds(8)), (2, seconds(101)), (4, seconds(2))]);
        assert_eq!(longest(&before, &now), seconds(3));
        assert_eq!(longest(&before, &HashMap::new()), seconds(0));
    }

    #[test]
    fn threads_of_this_process_are_seen() {
        let process = std::process::id().cast_signed();
        let (end, ended) = mpsc::channel::<()>();
        let waiting = std::thread::spawn(move || ended.recv());
        // The first one and this one and that one.
        assert!(waits(process).unwrap().len() >= 3);
        drop(end);
        assert!(waiting.join().unwrap().is_err());
        assert!(waits(i32::MAX).is_err());
    }

    #[test]
    fn a_message_that_never_arrives_is_waited_for_up_to_the_limit() {
        const LIMIT: Duration = Duration::from_millis(20);
        let mut watch = Stopwatch::begin();
        let (sender, receiver) = mpsc::channel();
        let over = watch.receive(LIMIT, &receiver);
        assert_eq!(over, Err(RecvTimeoutError::Timeout));
        assert!(watch.elapsed() >= LIMIT);
        sender.send(1).unwrap();
        assert_eq!(watch.receive(LIMIT, &receiver), Ok(1));
        drop(sender);
        let over = watch.receive(LIMIT, &receiver);
        assert_eq!(over, Err(RecvTimeoutError::Disconnected));
    }
}
