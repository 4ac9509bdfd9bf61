//! The order of searches, as plain data: who runs, who waits, who is next.
//!
//! At most `running` searches are in progress at once, and the others wait in order of arrival. **An engine
//! takes the running search that the fewest engines work on; among equals, the one that was served longest
//! ago.** So a single search has every engine, several share them in turns, and an easy search that runs
//! beside a hard one ends soon.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::job::Job;

/// The searches that have not ended.
#[derive(Debug)]
pub(super) struct Queue {
    /// How many may run at once.
    max_running: NonZeroUsize,
    /// How many may wait.
    capacity: usize,
    /// Those that run, the one served longest ago first.
    running: VecDeque<Running>,
    /// Those that wait, the longest waiting first.
    waiting: VecDeque<Arc<Job>>,
}

#[derive(Debug)]
struct Running {
    job: Arc<Job>,
    /// How many engines work on it now.
    engines: usize,
}

/// As many searches wait as may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    pub(super) const fn new(max_running: NonZeroUsize, capacity: usize) -> Self {
        Self {
            max_running,
            capacity,
            running: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    /// How many searches run.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// How many searches wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many searches may wait.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Adds a search.
    pub(super) fn push(&mut self, job: Arc<Job>) -> Result<(), Full> {
        if self.running.len() < self.max_running.get() {
            self.running.push_back(Running { job, engines: 0 });
            return Ok(());
        }
        if self.waiting.len() >= self.capacity {
            return Err(Full);
        }
        self.waiting.push_back(job);
        Ok(())
    }

    /// The search that an engine should work on next, counted as one more engine's.
    pub(super) fn take(&mut self) -> Option<Arc<Job>> {
        // `min_by_key` gives the first of equals: the one served longest ago.
        let (index, _) = self
            .running
            .iter()
            .enumerate()
            .min_by_key(|(_, running)| running.engines)?;
        let mut next = self.running.remove(index)?;
        next.engines += 1;
        let job = Arc::clone(&next.job);
        self.running.push_back(next);
        Some(job)
    }

    /// An engine no longer works on `job`, which may have ended since.
    pub(super) fn put_back(&mut self, job: &Arc<Job>) {
        if let Some(running) = self
            .running
            .iter_mut()
            .find(|running| Arc::ptr_eq(&running.job, job))
        {
            running.engines -= 1;
        }
    }

    /// Takes out a search that has ended. Whether one that waited may run now.
    pub(super) fn remove(&mut self, job: &Arc<Job>) -> bool {
        let Some(index) = self
            .running
            .iter()
            .position(|running| Arc::ptr_eq(&running.job, job))
        else {
            self.waiting.retain(|waiting| !Arc::ptr_eq(waiting, job));
            return false;
        };
        self.running.remove(index);
        let next = self.waiting.pop_front();
        let promoted = next.is_some();
        self.running
            .extend(next.map(|job| Running { job, engines: 0 }));
        promoted
    }

    /// Takes out everything.
    pub(super) fn drain(&mut self) -> Vec<Arc<Job>> {
        let running = self.running.drain(..).map(|running| running.job);
        running.chain(self.waiting.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::work::{Network, Target, Timestamp, WorkRequest};

    fn job(number: u8) -> Arc<Job> {
        let time = Timestamp::from_millis(Timestamp::FIRST).unwrap();
        let request =
            WorkRequest::new(Network::Live, time, Target::new([number; 32]), time).unwrap();
        Arc::new(Job::new(request, oneshot::channel().0))
    }

    fn queue(max_running: usize, capacity: usize) -> Queue {
        Queue::new(NonZeroUsize::new(max_running).unwrap(), capacity)
    }

    /// The number that `job` was made with.
    fn number(job: Option<Arc<Job>>) -> Option<u8> {
        job.map(|job| job.request.target().as_bytes()[0])
    }

    #[test]
    fn one_search_has_every_engine() {
        let mut queue = queue(4, 0);
        queue.push(job(1)).unwrap();
        assert_eq!(
            [queue.take(), queue.take(), queue.take()].map(number),
            [Some(1); 3]
        );
    }

    #[test]
    fn running_searches_take_turns() {
        let mut queue = queue(4, 0);
        let jobs = [job(1), job(2), job(3)];
        for job in &jobs {
            queue.push(Arc::clone(job)).unwrap();
        }
        let mut served = Vec::new();
        for _ in 0..6 {
            let job = queue.take().unwrap();
            queue.put_back(&job);
            served.extend(number(Some(job)));
        }
        assert_eq!(served, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn a_second_engine_takes_the_search_that_has_none() {
        let mut queue = queue(4, 0);
        queue.push(job(1)).unwrap();
        let first = queue.take();
        queue.push(job(2)).unwrap();
        assert_eq!(number(queue.take()), Some(2));
        queue.put_back(&first.unwrap());
        assert_eq!(number(queue.take()), Some(1));
    }

    #[test]
    fn the_rest_waits_in_order_up_to_the_capacity() {
        let mut queue = queue(1, 2);
        let first = job(1);
        queue.push(Arc::clone(&first)).unwrap();
        queue.push(job(2)).unwrap();
        queue.push(job(3)).unwrap();
        assert_eq!(queue.push(job(4)), Err(Full));
        assert_eq!((queue.running(), queue.waiting()), (1, 2));
        assert!(queue.remove(&first));
        assert_eq!((queue.running(), queue.waiting()), (1, 1));
        assert_eq!(number(queue.take()), Some(2));
    }

    #[test]
    fn a_search_that_waits_can_leave() {
        let mut queue = queue(1, 2);
        let (second, third) = (job(2), job(3));
        queue.push(job(1)).unwrap();
        queue.push(Arc::clone(&second)).unwrap();
        queue.push(third).unwrap();
        assert!(!queue.remove(&second));
        assert_eq!((queue.running(), queue.waiting()), (1, 1));
        assert_eq!(number(queue.take()), Some(1));
    }

    #[test]
    fn putting_back_what_has_ended_changes_nothing() {
        let mut queue = queue(1, 0);
        queue.push(job(1)).unwrap();
        let taken = queue.take().unwrap();
        queue.remove(&taken);
        queue.put_back(&taken);
        assert_eq!(number(queue.take()), None);
    }
}
