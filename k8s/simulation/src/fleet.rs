//! The servers, and the Service that sends requests to them.

use std::collections::VecDeque;
use std::fmt;

use fastrand::Rng;

use crate::autoscaler::{Autoscaler, PERIOD, SERVERS, Scrape, Signal};
use crate::load::Load;
use crate::times::Times;
use crate::{AGE, CONNECTIONS, L4, SLOTS};

/// What a Service chooses a server for.
#[derive(Clone, Copy)]
pub(crate) enum Routing {
    /// Each request.
    Requests,
    /// Each connection. It stays with its server until the server ends, or closes it after this many seconds on average.
    Kept(Option<f64>),
}

impl Routing {
    pub(crate) const ALL: [Self; 3] = [Self::Requests, Self::Kept(Some(AGE)), Self::Kept(None)];
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests => f.pad("one for each request"),
            Self::Kept(Some(age)) => f.pad(&format!("closed after {age} s")),
            Self::Kept(None) => f.pad("never closed"),
        }
    }
}

/// A server and the times at which its requests came.
#[derive(Default)]
struct Server {
    /// Counted from the first server that there was.
    number: usize,
    running: Vec<f64>,
    waiting: VecDeque<f64>,
    ready_at: f64,
    /// Whether it takes no more requests, and is gone when it has none.
    leaves: bool,
}

impl Server {
    fn searches(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    fn is_ready(&self, now: f64) -> bool {
        self.ready_at <= now && !self.leaves
    }

    fn begin(&mut self, arrived: f64) {
        if self.running.len() < SLOTS {
            self.running.push(arrived);
        } else {
            self.waiting.push_back(arrived);
        }
    }

    /// Ends one of the running searches. The time at which it came.
    fn end(&mut self, random: &mut Rng) -> f64 {
        let arrived = self.running.swap_remove(random.usize(..self.running.len()));
        self.running.extend(self.waiting.pop_front());
        arrived
    }
}

/// A kept connection.
#[derive(Clone, Copy)]
struct Connection {
    /// The number of its server.
    server: usize,
    until: f64,
}

/// The servers and their autoscaler.
pub(crate) struct Fleet {
    servers: Vec<Server>,
    /// Servers that there have been.
    made: usize,
    /// Mean seconds of a search that has a server to itself.
    pub(crate) search: f64,
    routing: Routing,
    connections: Vec<Option<Connection>>,
    autoscaler: Option<Autoscaler>,
    /// Seconds until a new server is ready.
    start: f64,
    pub(crate) random: Rng,
    /// Seconds for which servers were busy since the last decision, added up.
    busy_seconds: f64,
    /// Seconds of all servers so far, the starting ones included.
    pub(crate) server_seconds: f64,
}

impl Fleet {
    /// A fixed number of servers.
    pub(crate) fn fixed(servers: usize) -> Self {
        Self {
            servers: (0..servers)
                .map(|number| Server {
                    number,
                    ..Server::default()
                })
                .collect(),
            made: servers,
            search: L4,
            routing: Routing::Requests,
            connections: vec![None; CONNECTIONS],
            autoscaler: None,
            start: 0.0,
            random: Rng::with_seed(2026),
            busy_seconds: 0.0,
            server_seconds: 0.0,
        }
    }

    /// Servers whose number follows this signal. A new one is ready after `start` seconds.
    pub(crate) fn scaled(signal: Signal, start: f64) -> Self {
        Self {
            autoscaler: Some(Autoscaler::new(signal)),
            start,
            ..Self::fixed(SERVERS.0)
        }
    }

    pub(crate) fn routed(self, routing: Routing) -> Self {
        Self { routing, ..self }
    }

    /// How often the number of servers was changed.
    pub(crate) fn changes(&self) -> usize {
        self.autoscaler.as_ref().map_or(0, Autoscaler::changes)
    }

    /// How long the requests took that came in `duration` seconds.
    pub(crate) fn run(&mut self, load: &Load, duration: f64) -> Times {
        let mut times = Vec::new();
        let (mut now, mut next_decision) = (0.0, PERIOD);
        while now < duration {
            let is_busy = |server: &&mut Server| !server.running.is_empty();
            let busy = self.servers.iter_mut().filter(is_busy).count();
            let ends = busy as f64 / self.search;
            let total = load.highest() + ends;
            // The time to the next event of a Poisson process whose rate is the sum of all rates.
            let step = -(1.0 - self.random.f64()).ln() / total;
            let until = match self.autoscaler {
                Some(_) => next_decision,
                None => f64::INFINITY,
            };
            let passed = step.min(until - now);
            self.busy_seconds += passed * busy as f64;
            self.server_seconds += passed * self.servers.len() as f64;
            now += passed;
            if passed < step {
                // The process has no memory, so the next event may be drawn again.
                next_decision += PERIOD;
                self.rescale(now);
                continue;
            }
            let event = self.random.f64() * total;
            if event < ends {
                let nth = self.random.usize(..busy);
                let server = self.servers.iter_mut().filter(is_busy).nth(nth);
                let server = server.expect("that many are busy");
                times.push(now - server.end(&mut self.random));
                self.remove_idle_leavers();
            } else if event - ends < load.at(now) {
                self.choose(now).begin(now);
            }
        }
        Times::of(times)
    }

    /// The server that gets a request.
    fn choose(&mut self, now: f64) -> &mut Server {
        let lasts = match self.routing {
            Routing::Requests => {
                let place = self.any_ready(now);
                return &mut self.servers[place];
            }
            Routing::Kept(None) => f64::INFINITY,
            Routing::Kept(Some(age)) => -(1.0 - self.random.f64()).ln() * age,
        };
        let nth = self.random.usize(..CONNECTIONS);
        let kept = self.connections[nth].filter(|connection| connection.until > now);
        let place = kept.and_then(|connection| {
            self.servers
                .iter()
                .position(|server| server.number == connection.server && !server.leaves)
        });
        let place = place.unwrap_or_else(|| {
            let place = self.any_ready(now);
            self.connections[nth] = Some(Connection {
                server: self.servers[place].number,
                until: now + lasts,
            });
            place
        });
        &mut self.servers[place]
    }

    /// The place of a ready server, at random.
    fn any_ready(&mut self, now: f64) -> usize {
        let ready = |(_, server): &(usize, &Server)| server.is_ready(now);
        let count = self.servers.iter().enumerate().filter(ready).count();
        let drawn = self.random.usize(..count);
        let mut servers = self.servers.iter().enumerate().filter(ready);
        servers.nth(drawn).expect("that many are ready").0
    }

    /// Has the autoscaler decide, and follows.
    fn rescale(&mut self, now: f64) {
        let Some(autoscaler) = &mut self.autoscaler else {
            return;
        };
        let ready = self.servers.iter().filter(|server| server.is_ready(now));
        let has = self.servers.iter().filter(|server| !server.leaves).count();
        let scrape = Scrape {
            ready: ready.clone().count(),
            servers: has,
            searches: ready.map(Server::searches).sum(),
            busy_seconds: std::mem::take(&mut self.busy_seconds),
        };
        let to = autoscaler.decide(now, &scrape);
        for _ in has..to {
            self.servers.push(Server {
                number: self.made,
                ready_at: now + self.start,
                ..Server::default()
            });
            self.made += 1;
        }
        for _ in to..has {
            // The youngest leaves first, even before it is ready.
            if let Some(server) = self.servers.iter_mut().rev().find(|server| !server.leaves) {
                server.leaves = true;
            }
        }
        self.remove_idle_leavers();
    }

    fn remove_idle_leavers(&mut self) {
        self.servers
            .retain(|server| !server.leaves || server.searches() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_takes_as_long_as_queueing_theory_says() {
        for busy in [0.3, 0.7] {
            let rate = busy / L4;
            let mean = Fleet::fixed(1)
                .run(&Load::Steady(rate), 400_000.0 / rate)
                .mean();
            let theory = L4 / (1.0 - busy);
            assert!((mean / theory - 1.0).abs() < 0.02, "{mean} and {theory}");
        }
    }

    #[test]
    fn a_new_server_gets_nothing_of_connections_that_are_never_closed() {
        let signal = Signal::Searches(2.0);
        let load = Load::Steady(5.0 / L4);
        let p99 = |routing| {
            let mut fleet = Fleet::scaled(signal, 20.0).routed(routing);
            fleet.run(&load, 3600.0).percentile(0.99)
        };
        let [each, aged, kept] = Routing::ALL.map(p99);
        assert!(
            kept > 5.0 * aged && kept > 5.0 * each,
            "{each} {aged} {kept}"
        );
    }
}
