//! How many servers a load needs, and what an autoscaler should look at: a simulation of servers behind a Kubernetes
//! Service, in virtual time. Nothing is measured, so that it gives the same on every machine.
//!
//!     cargo bench --bench scaling
//!
//! **The model.** A server has one device, on which a search alone takes so many seconds on average (`L4`, `CORES`). That time
//! is spread exponentially and has no memory: so while a server has anything to do, it ends a search at the inverse rate, any
//! of the `TURNS` that take turns with the same chance, and the next in line takes its place. Arrivals are a Poisson process,
//! whose rate a `Load` may change with time. No request is given up: what takes longer than 300 s, a server would have
//! refused.
//!
//! **Which server.** A Service chooses one at random, of those that are ready, for each connection. If clients opened one for
//! each request, that would be for each request (`Routing::Requests`), and so it is where nothing else is said. But they keep
//! them: then there are `CONNECTIONS`, each request takes any of them, and a connection stays with its server until that
//! goes, or until the server closes it (`ATTO_WORK_MAX_CONNECTION_AGE`), after times that are taken as spread exponentially
//! about `AGE`. A connection takes any number of requests at once, though with HTTP/1.1 a client opens another for each:
//! so this is the worst of it.
//!
//! **The autoscaler** is the Horizontal Pod Autoscaler's algorithm (Kubernetes' documentation, "Horizontal Pod Autoscaling",
//! "Algorithm details") with the `behavior` of the manifests in `k8s`: every `PERIOD` seconds the wanted number is that of
//! the ready servers times the metric's mean over them by its target, rounded up; nothing is changed within a tenth. As
//! many as there are, or four, may come in 30 s, and one may go in 60 s, if no more were wanted at any time in the last
//! `CALM` seconds. KEDA configures the same autoscaler. Metrics are means over the `WINDOW` latest scrapes.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of servers and requests are small"
)]

use std::collections::VecDeque;
use std::fmt;

use fastrand::Rng;

/// Mean seconds that a LIVE search of 2026 (2^32 hashes) takes alone on an NVIDIA L4 at its power limit, 3.2 GH/s. An
/// estimate, from the instructions of a hash and the card's clock.
const L4: f64 = 1.34;
/// The same on the four processor cores of a pod of the overlay `cpu`: 0.2 GH/s.
const CORES: f64 = 20.0;
/// Connections that clients keep, and after how many seconds on average the server closes one.
const CONNECTIONS: usize = 40;
const AGE: f64 = 30.0;
/// How many searches take turns on a server: the default of `ATTO_WORK_QUEUE_SIZE`.
const TURNS: usize = 4;
/// Seconds between two decisions of the autoscaler, and between two scrapes.
const PERIOD: f64 = 15.0;
/// For how many seconds it keeps what was wanted.
const CALM: f64 = 300.0;
/// How many scrapes a metric is the mean of: a minute.
const WINDOW: usize = 4;
/// The fewest and the most servers.
const SERVERS: (usize, usize) = (2, 10);
/// In how many seconds as many servers may come as there are, or four, and in how many one may go.
const UP: f64 = 30.0;
const DOWN: f64 = 60.0;
/// Seconds from the decision until a new server is ready: on a node that has the image and a free card, and where a
/// node must be made first.
const START: [f64; 2] = [20.0, 240.0];
/// What the manifests of `k8s` have. At a steady load it is the busy part that decides, which is calm: 60 of 100 are one and a
/// half searches to a server. When more comes than there are cards for, that part can be 100 of 100 and no more, which asks for
/// two thirds more servers at a time; the searches that pile up say how many are needed.
const DEFAULT: Signal = Signal::Either {
    searches: 2.0,
    busy: 0.6,
};
/// Requests of each simulation of a steady load, and seconds of each of an autoscaler.
const REQUESTS: u64 = 400_000;
const DRAWS: u64 = 40;
const DURATION: f64 = 12.0 * 3600.0;

fn main() {
    println!("A search alone takes {L4} s on average; {TURNS} take turns on a server.\n");
    steady();
    kept();
    cards();
    autoscaled();
    autoscaled_kept();
}

/// How long requests take at a steady load, by how much of the servers it takes up.
fn steady() {
    println!(
        "Steady load, seconds from request to answer; bursts are five times the rate for a sixth of the time."
    );
    println!(
        "{:>8} {:>8} {:>30} {:>26} {:>24}",
        "busy",
        "servers",
        "Poisson: mean (in theory)",
        "p50   p95   p99",
        "bursts: p50   p95   p99"
    );
    for busy in [0.3, 0.5, 0.7, 0.8, 0.9] {
        for servers in [1, 4, 16] {
            let rate = busy * servers as f64 / L4;
            let seconds = REQUESTS as f64 / rate;
            let calm = Fleet::fixed(servers).run(&Load::Steady(rate), seconds);
            // Five times the rate for a sixth of the time, so that the mean stays the same.
            let bursts = Load::Bursts {
                calm: rate * 0.6,
                burst: rate * 3.0,
                every: 360.0,
                lasts: 60.0,
            };
            let bursty = Fleet::fixed(servers).run(&bursts, seconds);
            let theory = L4 / (1.0 - busy);
            println!(
                "{:>7.0}% {servers:>8} {:>19.2} {:>10} {:>26} {:>24}",
                100.0 * busy,
                calm.mean(),
                format!("({theory:.2})"),
                calm.percentiles(),
                bursty.percentiles()
            );
        }
    }
    println!();
}

/// The same, where clients keep their connections. How these are spread over the servers is drawn `DRAWS` times.
fn kept() {
    println!("The same, Poisson, with {CONNECTIONS} kept connections: p50   p95   p99.");
    println!(
        "{:>8} {:>8} {:>24} {:>24} {:>24}",
        "busy", "servers", "one for each request", "closed after 30 s", "never closed"
    );
    for busy in [0.3, 0.5, 0.7] {
        for servers in [4, 16] {
            let rate = busy * servers as f64 / L4;
            let times = Routing::ALL.map(|routing| {
                let draws = (0..DRAWS).flat_map(|draw| {
                    let mut fleet = Fleet::fixed(servers).routed(routing);
                    fleet.random.seed(draw);
                    fleet
                        .run(&Load::Steady(rate), (REQUESTS / DRAWS) as f64 / rate)
                        .0
                });
                Times::of(draws.collect()).percentiles()
            });
            println!(
                "{:>7.0}% {servers:>8} {:>24} {:>24} {:>24}",
                100.0 * busy,
                times[0],
                times[1],
                times[2]
            );
        }
    }
    println!();
}

/// How many cards it takes for so many works a second, 99 of 100 of which are there in time.
fn cards() {
    // Nominal clocks, 94 of 100 parts of the bound of its instructions; the first two at their power limits.
    let cards = [
        ("T4", 1.7),
        ("L4", 3.2),
        ("A100", 5.8),
        ("H100", 9.9),
        ("RTX 4090", 12.3),
    ];
    let limits = [5.0, 10.0, 30.0];
    println!(
        "Cards for so many LIVE works of 2026 a second, 99 of 100 within 5, 10 and 30 s (Poisson; estimated hash rates)."
    );
    println!(
        "{:>10} {:>6} {:>16} {:>16} {:>16} {:>16}",
        "card", "GH/s", "1/s", "5/s", "20/s", "100/s"
    );
    for (card, rate) in cards {
        let search = 2_f64.powi(32) / (rate * 1e9);
        let row = [1.0, 5.0, 20.0, 100.0].map(|works| {
            limits
                .map(|limit| {
                    needed(works, search, limit).map_or("-".to_owned(), |cards| cards.to_string())
                })
                .join(" / ")
        });
        println!(
            "{card:>10} {rate:>6} {:>16} {:>16} {:>16} {:>16}",
            row[0], row[1], row[2], row[3]
        );
    }
    println!();
}

/// The fewest servers with which 99 of 100 requests take no longer than `limit`, at `works` requests a second. The servers'
/// requests are so many Poisson processes, so one of them stands for all.
fn needed(works: f64, search: f64, limit: f64) -> Option<u32> {
    let holds = |servers: u32| {
        let rate = works * search / f64::from(servers) / L4;
        rate * L4 < 1.0
            && Fleet::fixed(1)
                .run(&Load::Steady(rate), 40_000.0 / rate)
                .percentile(0.99)
                <= limit * L4 / search
    };
    let (mut too_few, mut enough) = ((works * search) as u32, 1);
    enough = enough.max(2 * too_few + 1);
    while !holds(enough) {
        enough *= 2;
        if enough > 10_000 {
            return None;
        }
    }
    while enough - too_few > 1 {
        let middle = too_few.midpoint(enough);
        if middle > 0 && holds(middle) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Some(enough)
}

/// A wave and bursts, of so many devices' worth of work.
fn changing(search: f64) -> [(&'static str, Load); 2] {
    let one = 1.0 / search;
    [
        (
            "day",
            Load::Wave {
                low: 0.5 * one,
                high: 5.0 * one,
                period: 6.0 * 3600.0,
            },
        ),
        (
            "bursts",
            Load::Bursts {
                calm: one,
                burst: 5.0 * one,
                every: 1800.0,
                lasts: 180.0,
            },
        ),
    ]
}

/// What several signals and targets make of loads that change.
fn autoscaled() {
    let loads = changing(L4);
    let signals = [
        Signal::Searches(1.0),
        Signal::Searches(2.0),
        Signal::Searches(4.0),
        Signal::Busy(0.5),
        Signal::Busy(0.7),
        DEFAULT,
    ];
    println!(
        "Autoscaled from {} to {} servers. `day`: a wave from 0.5 to 5 cards' worth of work every 6 hours; `bursts`: 5 cards' worth for 3 minutes of every 30, else 1.",
        SERVERS.0, SERVERS.1
    );
    for start in START {
        println!("A new server is ready after {start} s.");
        println!(
            "{:>8} {:<38} {:>14} {:>22} {:>13} {:>10} {:>10}",
            "load",
            "signal and target",
            "servers, mean",
            "seconds: p50   p95   p99",
            "over 30 s",
            "changes/h",
            "busy"
        );
        for (name, load) in &loads {
            let scaled = signals.map(|signal| (signal.to_string(), Fleet::scaled(signal, start)));
            let fixed = ("8 servers, always".to_owned(), Fleet::fixed(8));
            for (what, mut fleet) in scaled.into_iter().chain([fixed]) {
                let times = fleet.run(load, DURATION);
                println!(
                    "{name:>8} {what:<38} {:>14.1} {:>24} {:>12.2}% {:>10.1} {:>9.0}%",
                    fleet.server_seconds / DURATION,
                    times.percentiles(),
                    100.0 * times.share_over(30.0),
                    fleet.changed.len() as f64 / DURATION * 3600.0,
                    100.0 * times.0.len() as f64 * L4 / fleet.server_seconds,
                );
            }
        }
    }
    println!();
}

/// What the manifests make of loads that change where clients keep their connections, on cards and on processors.
fn autoscaled_kept() {
    println!(
        "The same with the manifests' signal and {CONNECTIONS} kept connections, on cards and on processors."
    );
    println!(
        "{:>8} {:>7} {:>8} {:<22} {:>8} {:>24} {:>11} {:>10}",
        "search",
        "start",
        "load",
        "connections",
        "servers",
        "seconds: p50   p95   p99",
        "over 300 s",
        "changes/h"
    );
    for (search, start) in [(L4, START[0]), (L4, START[1]), (CORES, START[0])] {
        for (name, load) in changing(search) {
            for routing in Routing::ALL {
                let mut fleet = Fleet::scaled(DEFAULT, start).routed(routing);
                fleet.search = search;
                let times = fleet.run(&load, DURATION);
                println!(
                    "{search:>6} s {start:>5} s {name:>8} {:<22} {:>8.1} {:>24} {:>10.2}% {:>10.1}",
                    routing.to_string(),
                    fleet.server_seconds / DURATION,
                    times.percentiles(),
                    100.0 * times.share_over(300.0),
                    fleet.changed.len() as f64 / DURATION * 3600.0,
                );
            }
        }
    }
}

/// What a Service chooses a server for.
#[derive(Clone, Copy)]
enum Routing {
    /// Each request.
    Requests,
    /// Each of the connections that clients keep, until its server goes; or closes it, after so many seconds on average.
    Kept(Option<f64>),
}

impl Routing {
    const ALL: [Self; 3] = [Self::Requests, Self::Kept(Some(AGE)), Self::Kept(None)];
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

/// How many requests a second come, as it changes with time.
enum Load {
    Steady(f64),
    /// So many in bursts that come regularly, from the beginning of each cycle, and so many else.
    Bursts {
        calm: f64,
        burst: f64,
        every: f64,
        lasts: f64,
    },
    /// A sine.
    Wave {
        low: f64,
        high: f64,
        period: f64,
    },
}

impl Load {
    fn at(&self, time: f64) -> f64 {
        match *self {
            Self::Steady(rate) => rate,
            Self::Bursts {
                calm,
                burst,
                every,
                lasts,
            } => {
                if time % every < lasts {
                    burst
                } else {
                    calm
                }
            }
            Self::Wave { low, high, period } => {
                let phase = (time / period * std::f64::consts::TAU).cos();
                low + (high - low) * (1.0 - phase) / 2.0
            }
        }
    }

    fn highest(&self) -> f64 {
        match *self {
            Self::Steady(rate) => rate,
            Self::Bursts { calm, burst, .. } => burst.max(calm),
            Self::Wave { high, .. } => high,
        }
    }
}

/// What the autoscaler looks at, and what it aims at.
#[derive(Clone, Copy)]
enum Signal {
    /// Searches that run or wait, by server.
    Searches(f64),
    /// The part of the time in which a server searches: its hashes by its hash rate.
    Busy(f64),
    /// Both, of which the one counts that asks for more, as with several metrics of one autoscaler.
    Either { searches: f64, busy: f64 },
}

impl Signal {
    /// How far above its target the metric is.
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

/// One server: when each of its requests came.
#[derive(Default)]
struct Server {
    /// Counted from the first that there was.
    number: usize,
    running: Vec<f64>,
    waiting: VecDeque<f64>,
    ready_at: f64,
    /// Takes no more requests, and is gone when it has none.
    leaves: bool,
}

impl Server {
    fn searches(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    fn begin(&mut self, arrived: f64) {
        if self.running.len() < TURNS {
            self.running.push(arrived);
        } else {
            self.waiting.push_back(arrived);
        }
    }

    /// Ends one of those that run. When it came.
    fn end(&mut self, random: &mut Rng) -> f64 {
        let arrived = self.running.swap_remove(random.usize(..self.running.len()));
        self.running.extend(self.waiting.pop_front());
        arrived
    }
}

/// A kept connection: to which server, and until when.
#[derive(Clone, Copy)]
struct Connection {
    server: usize,
    until: f64,
}

/// The servers and their autoscaler.
struct Fleet {
    servers: Vec<Server>,
    /// How many there have been.
    made: usize,
    /// Mean seconds of a search alone.
    search: f64,
    routing: Routing,
    connections: Vec<Option<Connection>>,
    scaling: Option<(Signal, f64)>,
    random: Rng,
    /// The metrics as last scraped, the mean over the ready servers, since the decision before the last.
    scraped: VecDeque<(f64, f64)>,
    /// Seconds for which servers were busy since the last scrape.
    busy_seconds: f64,
    /// What was wanted, and when.
    wanted: VecDeque<(f64, usize)>,
    /// How many came or went, and when.
    changed: Vec<(f64, isize)>,
    /// Of all servers, the starting ones included.
    server_seconds: f64,
}

impl Fleet {
    fn fixed(servers: usize) -> Self {
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
            scaling: None,
            random: Rng::with_seed(2026),
            scraped: VecDeque::new(),
            busy_seconds: 0.0,
            wanted: VecDeque::new(),
            changed: Vec::new(),
            server_seconds: 0.0,
        }
    }

    fn scaled(signal: Signal, start: f64) -> Self {
        Self {
            scaling: Some((signal, start)),
            ..Self::fixed(SERVERS.0)
        }
    }

    fn routed(self, routing: Routing) -> Self {
        Self { routing, ..self }
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
        let ready = |(_, server): &(usize, &Server)| server.ready_at <= now && !server.leaves;
        let count = self.servers.iter().enumerate().filter(ready).count();
        let drawn = self.random.usize(..count);
        let mut servers = self.servers.iter().enumerate().filter(ready);
        servers.nth(drawn).expect("so many are ready").0
    }

    /// How long the requests took that came in so many seconds.
    fn run(&mut self, load: &Load, duration: f64) -> Times {
        let mut times = Vec::new();
        let (mut now, mut next_decision) = (0.0, PERIOD);
        while now < duration {
            let busy = self
                .servers
                .iter()
                .filter(|server| !server.running.is_empty())
                .count();
            let ends = busy as f64 / self.search;
            let total = load.highest() + ends;
            // The time to the next event of a Poisson process of the sum of all rates.
            let step = -(1.0 - self.random.f64()).ln() / total;
            let until = if self.scaling.is_some() {
                next_decision
            } else {
                f64::INFINITY
            };
            let passed = step.min(until - now);
            self.busy_seconds += passed * busy as f64;
            self.server_seconds += passed * self.servers.len() as f64;
            now += passed;
            if passed < step {
                // No memory: what would have come later is drawn anew.
                next_decision += PERIOD;
                self.decide(now);
                continue;
            }
            let event = self.random.f64() * total;
            if event < ends {
                let nth = self.random.usize(..busy);
                let mut at_work = self
                    .servers
                    .iter_mut()
                    .filter(|server| !server.running.is_empty());
                let server = at_work.nth(nth).expect("so many are at work");
                times.push(now - server.end(&mut self.random));
                self.servers
                    .retain(|server| !(server.leaves && server.searches() == 0));
            } else if event - ends < load.at(now) {
                self.choose(now).begin(now);
            }
        }
        Times::of(times)
    }

    /// A turn of the autoscaler.
    fn decide(&mut self, now: f64) {
        let Some((signal, start)) = self.scaling else {
            return;
        };
        let ready = |server: &&Server| server.ready_at <= now && !server.leaves;
        let count = self.servers.iter().filter(ready).count() as f64;
        let searches: usize = self
            .servers
            .iter()
            .filter(ready)
            .map(Server::searches)
            .sum();
        self.scraped.push_back((
            searches as f64 / count,
            (self.busy_seconds / PERIOD / count).min(1.0),
        ));
        self.busy_seconds = 0.0;
        if self.scraped.len() > WINDOW {
            self.scraped.pop_front();
        }
        let mean = |part: fn(&(f64, f64)) -> f64| {
            self.scraped.iter().map(part).sum::<f64>() / self.scraped.len() as f64
        };
        let excess = signal.excess(mean(|seen| seen.0), mean(|seen| seen.1));
        let has = self.servers.iter().filter(|server| !server.leaves).count();
        let mut wanted = if (excess - 1.0).abs() <= 0.1 {
            has
        } else {
            (count * excess).ceil() as usize
        };
        // Servers that are on their way are not asked for again.
        if excess > 1.0 {
            wanted = wanted.max(has);
        }
        wanted = wanted.clamp(SERVERS.0, SERVERS.1);
        self.wanted.push_back((now, wanted));
        self.wanted.retain(|&(at, _)| at > now - CALM);
        let calm = self
            .wanted
            .iter()
            .map(|&(_, wanted)| wanted)
            .max()
            .unwrap_or(wanted);
        let changed = |period: f64, way: fn(isize) -> bool| -> isize {
            let recent = self
                .changed
                .iter()
                .filter(|&&(at, by)| at > now - period && way(by));
            recent.map(|&(_, by)| by).sum()
        };
        let to = if wanted > has {
            let before = has - changed(UP, |by| by > 0).unsigned_abs();
            wanted.min(before + before.max(4)).max(has)
        } else {
            let before = has + changed(DOWN, |by| by < 0).unsigned_abs();
            calm.max(before - 1).min(has)
        };
        if to != has {
            self.changed.push((now, to as isize - has as isize));
        }
        for _ in has..to {
            self.made += 1;
            self.servers.push(Server {
                number: self.made - 1,
                ready_at: now + start,
                ..Server::default()
            });
        }
        for _ in to..has {
            // The youngest leaves first, which may not even be ready.
            if let Some(server) = self.servers.iter_mut().rev().find(|server| !server.leaves) {
                server.leaves = true;
            }
        }
        self.servers
            .retain(|server| !(server.leaves && server.searches() == 0));
    }
}

/// How long requests took, in order.
struct Times(Vec<f64>);

impl Times {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    fn percentile(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part) as usize]
    }

    fn percentiles(&self) -> String {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|part| self.percentile(part));
        format!("{p50:6.1} {p95:6.1} {p99:6.1}")
    }

    fn share_over(&self, limit: f64) -> f64 {
        let over = self.0.iter().filter(|&&time| time > limit).count();
        over as f64 / self.0.len() as f64
    }
}
