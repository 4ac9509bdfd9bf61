//! The cache of recent answers. A client that lost its connection asks again and gets its answer from here.

use std::collections::{HashMap, VecDeque};
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use crate::work::{Rule, Target, Work, WorkRequest, digest};

/// Which answers are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerCache {
    /// How many answers are cached. Zero turns the cache off.
    pub entries: usize,
    /// How long an answer stays cached.
    pub lasts: Duration,
}

impl AnswerCache {
    /// 4096 answers for ten minutes. The published client waits half as long, so a client that gave up at the very end
    /// still finds its answer. 4096 answers of some 200 bytes take less than a megabyte. Only easy work gives more
    /// answers in ten minutes, and easy work is soon found again.
    pub const DEFAULT: Self = Self {
        entries: 4096,
        lasts: Duration::from_secs(600),
    };
}

/// The cache key. It includes the kind of rule: the best answer under one rule is the worst under the other.
type Key = (Target, Discriminant<Rule>);

fn key(request: &WorkRequest) -> Key {
    (*request.target(), discriminant(&request.rule()))
}

/// The best answer for each key. The answer with the best digest serves every request that another would.
#[derive(Debug)]
pub(super) struct Answers {
    limits: AnswerCache,
    works: HashMap<Key, (Work, Instant)>,
    /// Keys in the order in which their answers came. A key with several answers is there several times.
    order: VecDeque<(Key, Instant)>,
}

impl Answers {
    pub(super) fn new(limits: AnswerCache) -> Self {
        Self {
            limits,
            works: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Caches an answer to this request that was found at `now`. `now` must never be before that of the last call.
    pub(super) fn keep(&mut self, request: &WorkRequest, work: Work, now: Instant) {
        if self.limits.entries == 0 {
            return;
        }
        let key = key(request);
        let met = |work: Work| {
            request
                .rule()
                .met_by(digest(work.nonce(), request.target()))
        };
        let best = match self.works.get(&key) {
            Some(&(kept, since))
                if now.duration_since(since) < self.limits.lasts
                    && met(kept).implies(met(work)) =>
            {
                kept
            }
            _ => work,
        };
        self.works.insert(key, (best, now));
        self.order.push_back((key, now));
        while let Some(&(key, since)) = self.order.front() {
            let is_old = now.duration_since(since) >= self.limits.lasts;
            if !is_old && self.order.len() <= self.limits.entries {
                break;
            }
            self.order.pop_front();
            // A newer answer of the same key stays.
            if self.works.get(&key).is_some_and(|kept| kept.1 == since) {
                self.works.remove(&key);
            }
        }
    }

    /// A cached answer that is valid under this request's rule.
    pub(super) fn recall(&self, request: &WorkRequest, now: Instant) -> Option<Work> {
        let &(work, since) = self.works.get(&key(request))?;
        if now.duration_since(since) >= self.limits.lasts {
            return None;
        }
        Work::verify(work.nonce(), request.target(), request.rule())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Difficulty, Network, Nonce, Timestamp};

    const CACHE: AnswerCache = AnswerCache {
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
            let rule = request(network, number).rule();
            Work::verify(Nonce::new(nonce), &target(number), rule)
        };
        (0..)
            .filter(|&nonce| under(nonce, Network::Live).is_none())
            .find_map(|nonce| under(nonce, Network::Local))
            .unwrap()
    }

    #[test]
    fn an_answer_is_recalled_until_it_is_old() {
        let (now, mut answers) = (Instant::now(), Answers::new(CACHE));
        let asked = request(Network::Local, 1);
        assert_eq!(answers.recall(&asked, now), None);
        answers.keep(&request(Network::Local, 1), work(1), now);
        let last = now + CACHE.lasts - Duration::from_nanos(1);
        assert_eq!(answers.recall(&asked, last), Some(work(1)));
        assert_eq!(answers.recall(&asked, now + CACHE.lasts), None);
    }

    #[test]
    fn an_answer_serves_no_harder_request() {
        let (now, mut answers) = (Instant::now(), Answers::new(CACHE));
        answers.keep(&request(Network::Local, 1), work(1), now);
        assert_eq!(answers.recall(&request(Network::Live, 1), now), None);
        assert_eq!(answers.recall(&request(Network::Local, 2), now), None);
    }

    #[test]
    fn an_answer_under_one_rule_is_none_under_the_other() {
        let (now, mut answers) = (Instant::now(), Answers::new(CACHE));
        let atto = request(Network::Local, 1);
        let easy = WorkRequest::nano(target(1), Difficulty::new(1));
        answers.keep(&atto, work(1), now);
        // Almost every nonce is valid under the easy rule, that of Atto's answer too.
        assert!(Work::verify(work(1).nonce(), &target(1), easy.rule()).is_some());
        assert_eq!(answers.recall(&easy, now), None);
        let hard = WorkRequest::nano(target(1), Difficulty::new(0xFFFF_0000_0000_0000));
        let found =
            (0..).find_map(|nonce| Work::verify(Nonce::new(nonce), &target(1), hard.rule()));
        let found = found.unwrap();
        answers.keep(&hard, found, now);
        assert_eq!(answers.recall(&easy, now), Some(found));
        // Neither replaces the other.
        assert_eq!(answers.recall(&atto, now), Some(work(1)));
    }

    #[test]
    fn the_larger_digest_stays_under_nano_s_rule() {
        let easy = WorkRequest::nano(target(1), Difficulty::new(0));
        let works = [0, 1].map(|nonce| {
            Work::verify(Nonce::new(nonce), &target(1), easy.rule()).expect("all are valid")
        });
        let value = |work: &Work| digest(work.nonce(), &target(1));
        let better = *works.iter().max_by_key(|work| value(work)).unwrap();
        for works in [works, [works[1], works[0]]] {
            let (now, mut answers) = (Instant::now(), Answers::new(CACHE));
            for work in works {
                answers.keep(&easy, work, now);
            }
            let asked = WorkRequest::nano(target(1), value(&better).into());
            assert_eq!(answers.recall(&asked, now), Some(better));
        }
    }

    #[test]
    fn the_oldest_are_evicted_first() {
        let (start, mut answers) = (Instant::now(), Answers::new(CACHE));
        for number in 0..10 {
            let now = start + Duration::from_millis(number.into());
            answers.keep(&request(Network::Local, number), work(number), now);
            assert!(answers.works.len() <= 3 && answers.order.len() <= 3);
        }
        let now = start + Duration::from_secs(1);
        let kept = |number| answers.recall(&request(Network::Local, number), now);
        assert_eq!(
            [6, 7, 8, 9].map(|number| kept(number).is_some()),
            [false, true, true, true]
        );
    }

    #[test]
    fn expired_answers_are_evicted_when_a_new_one_comes() {
        let (now, mut answers) = (Instant::now(), Answers::new(CACHE));
        answers.keep(&request(Network::Local, 1), work(1), now);
        answers.keep(&request(Network::Local, 2), work(2), now + CACHE.lasts);
        assert_eq!((answers.works.len(), answers.order.len()), (1, 1));
    }

    #[test]
    fn a_newer_answer_outlives_the_older_for_its_target() {
        let (now, mut answers) = (Instant::now(), Answers::new(CACHE));
        let later = now + Duration::from_secs(30);
        answers.keep(&request(Network::Local, 1), work(1), now);
        answers.keep(&request(Network::Local, 1), work(1), later);
        answers.keep(&request(Network::Local, 2), work(2), now + CACHE.lasts);
        assert!(
            answers
                .recall(&request(Network::Local, 1), now + CACHE.lasts)
                .is_some()
        );
    }

    #[test]
    fn the_smaller_digest_stays_whichever_came_first() {
        let asked = request(Network::Local, 1);
        let under = |nonce| Work::verify(Nonce::new(nonce), &target(1), asked.rule());
        let mut works: Vec<_> = (0..).filter_map(under).take(2).collect();
        works.sort_by_key(|work| digest(work.nonce(), &target(1)));
        let [better, worse] = [works[0], works[1]];
        for works in [[better, worse], [worse, better]] {
            let (now, mut answers) = (Instant::now(), Answers::new(CACHE));
            for work in works {
                answers.keep(&request(Network::Local, 1), work, now);
            }
            assert_eq!(answers.recall(&asked, now), Some(better));
        }
        // An expired answer with a better digest is replaced.
        let (now, mut answers) = (Instant::now(), Answers::new(CACHE));
        answers.keep(&request(Network::Local, 1), better, now);
        let later = now + CACHE.lasts;
        answers.keep(&request(Network::Local, 1), worse, later);
        assert_eq!(answers.recall(&asked, later), Some(worse));
    }

    #[test]
    fn a_cache_of_no_entries_keeps_nothing() {
        let none = AnswerCache {
            entries: 0,
            ..CACHE
        };
        let (now, mut answers) = (Instant::now(), Answers::new(none));
        answers.keep(&request(Network::Local, 1), work(1), now);
        assert_eq!(answers.recall(&request(Network::Local, 1), now), None);
    }
}
