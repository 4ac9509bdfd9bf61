//! The answers of late, for clients that ask again since they lost the connection on which the answer came.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::work::{Target, Work, WorkRequest};

/// Which answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// How many; none is kept if this is zero.
    pub entries: usize,
    /// For how long.
    pub lasts: Duration,
}

impl Memory {
    /// 4096 answers for ten minutes. A choice: twice the time for which the published client waits, so that one
    /// which gave up at the very end still finds its answer; and, with some 200 bytes each, less than a megabyte. A
    /// load that has more answers in ten minutes is one of easy work, which is soon searched for again.
    pub const DEFAULT: Self = Self {
        entries: 4096,
        lasts: Duration::from_secs(600),
    };
}

/// The answers that are kept. The newest for a target takes the place of the one before.
#[derive(Debug)]
pub(super) struct Answers {
    limits: Memory,
    works: HashMap<Target, (Work, Instant)>,
    /// The targets in the order of their answers; one that has had several is there as often.
    order: VecDeque<(Target, Instant)>,
}

impl Answers {
    pub(super) fn new(limits: Memory) -> Self {
        Self {
            limits,
            works: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Keeps an answer that was found at `now`, which is never before the last.
    pub(super) fn keep(&mut self, target: Target, work: Work, now: Instant) {
        if self.limits.entries == 0 {
            return;
        }
        self.works.insert(target, (work, now));
        self.order.push_back((target, now));
        while let Some(&(target, since)) = self.order.front() {
            let is_old = now.duration_since(since) >= self.limits.lasts;
            if !is_old && self.order.len() <= self.limits.entries {
                break;
            }
            self.order.pop_front();
            // A newer answer for the same target stays.
            if self.works.get(&target).is_some_and(|kept| kept.1 == since) {
                self.works.remove(&target);
            }
        }
    }

    /// An answer that is kept and is one to this request.
    pub(super) fn recall(&self, request: &WorkRequest, now: Instant) -> Option<Work> {
        let &(work, since) = self.works.get(request.target())?;
        if now.duration_since(since) >= self.limits.lasts {
            return None;
        }
        Work::verify(work.nonce(), request.target(), request.threshold())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Network, Nonce, Timestamp};

    const MEMORY: Memory = Memory {
        entries: 3,
        lasts: Duration::from_secs(60),
    };

    fn target(number: u8) -> Target {
        Target::new([number; 32])
    }

    fn request(network: Network, number: u8) -> WorkRequest {
        let time = Timestamp::from_millis(1_795_329_945_748).unwrap();
        WorkRequest::new(network, time, target(number), time).unwrap()
    }

    /// Work for LOCAL that is none for LIVE.
    fn work(number: u8) -> Work {
        let under = |nonce, network| {
            let threshold = request(network, number).threshold();
            Work::verify(Nonce::new(nonce), &target(number), threshold)
        };
        (0..)
            .filter(|&nonce| under(nonce, Network::Live).is_none())
            .find_map(|nonce| under(nonce, Network::Local))
            .unwrap()
    }

    #[test]
    fn an_answer_is_recalled_until_it_is_old() {
        let (now, mut answers) = (Instant::now(), Answers::new(MEMORY));
        let asked = request(Network::Local, 1);
        assert_eq!(answers.recall(&asked, now), None);
        answers.keep(target(1), work(1), now);
        let last = now + MEMORY.lasts - Duration::from_nanos(1);
        assert_eq!(answers.recall(&asked, last), Some(work(1)));
        assert_eq!(answers.recall(&asked, now + MEMORY.lasts), None);
    }

    #[test]
    fn an_answer_serves_no_harder_request() {
        let (now, mut answers) = (Instant::now(), Answers::new(MEMORY));
        answers.keep(target(1), work(1), now);
        assert_eq!(answers.recall(&request(Network::Live, 1), now), None);
        assert_eq!(answers.recall(&request(Network::Local, 2), now), None);
    }

    #[test]
    fn the_oldest_go_first_and_none_is_kept_beyond_the_bound() {
        let (start, mut answers) = (Instant::now(), Answers::new(MEMORY));
        for number in 0..100 {
            let now = start + Duration::from_millis(number.into());
            answers.keep(target(number), work(number), now);
            assert!(answers.works.len() <= 3 && answers.order.len() <= 3);
        }
        let now = start + Duration::from_secs(1);
        let kept = |number| answers.recall(&request(Network::Local, number), now);
        assert_eq!(
            [96, 97, 98, 99].map(|number| kept(number).is_some()),
            [false, true, true, true]
        );
    }

    #[test]
    fn old_answers_leave_when_a_new_one_comes() {
        let (now, mut answers) = (Instant::now(), Answers::new(MEMORY));
        answers.keep(target(1), work(1), now);
        answers.keep(target(2), work(2), now + MEMORY.lasts);
        assert_eq!((answers.works.len(), answers.order.len()), (1, 1));
    }

    #[test]
    fn a_newer_answer_outlives_the_older_for_its_target() {
        let (now, mut answers) = (Instant::now(), Answers::new(MEMORY));
        let later = now + Duration::from_secs(30);
        answers.keep(target(1), work(1), now);
        answers.keep(target(1), work(1), later);
        answers.keep(target(2), work(2), now + MEMORY.lasts);
        assert!(
            answers
                .recall(&request(Network::Local, 1), now + MEMORY.lasts)
                .is_some()
        );
    }

    #[test]
    fn a_memory_of_no_entries_keeps_nothing() {
        let none = Memory {
            entries: 0,
            ..MEMORY
        };
        let (now, mut answers) = (Instant::now(), Answers::new(none));
        answers.keep(target(1), work(1), now);
        assert_eq!(answers.recall(&request(Network::Local, 1), now), None);
    }
}
