//! The algorithm of Kubernetes' Horizontal Pod Autoscaler ("Horizontal Pod Autoscaling", "Algorithm details") with the
//! `behavior` of the manifests in `k8s`. KEDA configures the same autoscaler.

use std::collections::VecDeque;
use std::fmt;

/// Seconds between two decisions, and between two scrapes of a metric.
pub(crate) const PERIOD: f64 = 15.0;
/// The fewest and the most servers.
pub(crate) const SERVERS: (usize, usize) = (2, 10);
/// Scrapes that a metric is the mean of: one minute of them.
const WINDOW: usize = 4;
/// Seconds for which no more servers must have been wanted before one goes.
const CALM: f64 = 300.0;
/// In these seconds the number of servers may double, or grow by four.
const UP: f64 = 30.0;
/// In these seconds one server may go.
const DOWN: f64 = 60.0;

/// The metric that is followed, and its target for a server.
#[derive(Clone, Copy)]
pub(crate) enum Signal {
    /// Searches that run or wait.
    Searches(f64),
    /// The share of the time in which a server searches: its hashes divided by its hash rate.
    Busy(f64),
    /// Both. The one that asks for more servers counts, as with several metrics of one autoscaler.
    Either { searches: f64, busy: f64 },
}

impl Signal {
    /// The metric divided by its target.
    fn excess(self, searches: f64, busy: f64) -> f64 {
        match self {
            Self::Searches(target) => searches / target,
            Self::Busy(target) => busy / target,
            Self::Either {
                searches: first,
                busy: second,
            } => (searches / first).max(busy / second),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Searches(target) => write!(f, "running + waiting, {target}"),
            Self::Busy(target) => write!(f, "busy, {target}"),
            Self::Either { searches, busy } => {
                write!(f, "running + waiting, {searches}, or busy, {busy}")
            }
        }
    }
}

/// What a scrape finds.
pub(crate) struct Scrape {
    /// Servers that are ready.
    pub(crate) ready: usize,
    /// Servers that are ready or start.
    pub(crate) servers: usize,
    /// Searches that run or wait on the ready servers.
    pub(crate) searches: usize,
    /// Seconds for which servers searched since the last scrape, added up.
    pub(crate) busy_seconds: f64,
}

/// Decides how many servers there should be.
pub(crate) struct Autoscaler {
    signal: Signal,
    /// Searches and busy share of a ready server, as last scraped.
    scraped: VecDeque<(f64, f64)>,
    /// How many servers were wanted, and when.
    wanted: VecDeque<(f64, usize)>,
    /// How many servers came or went, and when.
    changes: Vec<(f64, isize)>,
}

impl Autoscaler {
    pub(crate) fn new(signal: Signal) -> Self {
        Self {
            signal,
            scraped: VecDeque::new(),
            wanted: VecDeque::new(),
            changes: Vec::new(),
        }
    }

    /// How often the number of servers was changed.
    pub(crate) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// The number of servers that there should be from `now` on, a time in seconds.
    pub(crate) fn decide(&mut self, now: f64, scrape: &Scrape) -> usize {
        let has = scrape.servers;
        let wanted = self.wanted(scrape);
        self.wanted.push_back((now, wanted));
        self.wanted.retain(|&(at, _)| at > now - CALM);
        let highest = self.wanted.iter().map(|&(_, wanted)| wanted).max();
        let highest = highest.unwrap_or(wanted);
        let to = if wanted > has {
            let before = has - self.changed(now - UP, |by| by > 0);
            wanted.min(before + before.max(4)).max(has)
        } else {
            let before = has + self.changed(now - DOWN, |by| by < 0);
            highest.max(before - 1).min(has)
        };
        if to != has {
            self.changes.push((now, to as isize - has as isize));
        }
        to
    }

    /// The number of servers by the metric alone.
    fn wanted(&mut self, scrape: &Scrape) -> usize {
        let ready = scrape.ready as f64;
        let busy = (scrape.busy_seconds / PERIOD / ready).min(1.0);
        self.scraped
            .push_back((scrape.searches as f64 / ready, busy));
        if self.scraped.len() > WINDOW {
            self.scraped.pop_front();
        }
        let mean = |part: fn(&(f64, f64)) -> f64| {
            self.scraped.iter().map(part).sum::<f64>() / self.scraped.len() as f64
        };
        let excess = self.signal.excess(mean(|seen| seen.0), mean(|seen| seen.1));
        let mut wanted = if (excess - 1.0).abs() <= 0.1 {
            scrape.servers
        } else {
            (ready * excess).ceil() as usize
        };
        // Servers that start count as if they were ready.
        if excess > 1.0 {
            wanted = wanted.max(scrape.servers);
        }
        wanted.clamp(SERVERS.0, SERVERS.1)
    }

    /// How many servers have come since a time, or have gone.
    fn changed(&self, since: f64, way: fn(isize) -> bool) -> usize {
        let recent = self
            .changes
            .iter()
            .filter(|&&(at, by)| at > since && way(by));
        recent.map(|&(_, by)| by.unsigned_abs()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of servers after each of these decisions, if every server has this many searches.
    fn decisions(searches: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut autoscaler = Autoscaler::new(Signal::Searches(2.0));
        let mut servers = SERVERS.0;
        let decide = |(nth, searches): (usize, usize)| {
            let scrape = Scrape {
                ready: servers,
                servers,
                searches: searches * servers,
                busy_seconds: 0.0,
            };
            servers = autoscaler.decide(PERIOD * nth as f64, &scrape);
            servers
        };
        searches.into_iter().enumerate().map(decide).collect()
    }

    #[test]
    fn nothing_changes_at_the_target() {
        assert_eq!(decisions([2; 100]), [2; 100]);
    }

    #[test]
    fn servers_come_four_or_as_many_as_there_are_in_30_seconds() {
        assert_eq!(decisions([20; 4]), [6, 6, 10, 10]);
    }

    #[test]
    fn servers_go_one_a_minute_after_five_minutes() {
        let calm = vec![0; 60];
        let counts = decisions([vec![20; 4], calm].concat());
        let first = counts.iter().rposition(|&count| count == 10).unwrap() + 1;
        // The mean of a minute asks for ten up to the seventh decision, and one server goes five minutes later.
        assert_eq!(first, 6 + 20, "{counts:?}");
        let later = &counts[first..];
        assert_eq!(later[..5], [9, 9, 9, 9, 8], "{counts:?}");
        assert_eq!(later.last(), Some(&SERVERS.0));
    }
}
