//! Servers behind proxies that choose one for each request, and clients that may give up and ask again.
//!
//! Time is in means of one search that has a server to itself, unless a [`Patience`](crate::setting::Patience) says otherwise. As in the rest, a
//! search has no memory: while a server has anything to do, it ends one of the searches in its slots at the rate of 1.
//!
//! Requests for one target share a search on the same server, and the server has the answer for [`CACHED`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use fastrand::Rng;

use crate::parts::{Client, Request, Sent, Server, State, Timer};
use crate::setting::{Choice, Order, Outcome, Proxy, Setting};
use crate::times::Times;

/// Seconds until a client asks again, the first time; twice as long each further time, up to [`LONGEST_PAUSE`].
const PAUSE: f64 = 1.0;
const LONGEST_PAUSE: f64 = 30.0;
/// How long an answer is cached: ten minutes of an L4.
const CACHED: f64 = 450.0;
/// Searches that a server takes beyond its slots: the default of `ATTO_WORK_QUEUE_CAPACITY`.
const CAPACITY: usize = 1000;

/// Among how many requests a repeated one finds its target.
pub(crate) const RECENT: usize = 100;

/// The servers, the proxies and the clients.
pub(crate) struct Farm {
    setting: Setting,
    servers: Vec<Server>,
    /// For each proxy, its requests at each server.
    open: Vec<Vec<usize>>,
    /// For each proxy, the requests that wait in it.
    queues: Vec<VecDeque<usize>>,
    clients: Vec<Client>,
    requests: Vec<Request>,
    /// The bits of a time, which are in the order of times, since none is negative.
    timers: BinaryHeap<Reverse<(u64, Timer)>>,
    now: f64,
    random: Rng,
    times: Vec<f64>,
    answered: Vec<usize>,
    came: Vec<usize>,
    cached: usize,
    busy: f64,
}

impl Farm {
    pub(crate) fn new(setting: Setting) -> Self {
        let (servers, replicas) = (setting.servers, setting.proxy.replicas);
        let classes = setting.patience.as_ref().map_or(1, |all| all.seconds.len());
        Self {
            servers: (0..servers).map(|_| Server::default()).collect(),
            open: vec![vec![0; servers]; replicas],
            queues: vec![VecDeque::new(); replicas],
            clients: Vec::new(),
            requests: Vec::new(),
            timers: BinaryHeap::new(),
            now: 0.0,
            random: Rng::with_seed(2026),
            times: Vec::new(),
            answered: vec![0; classes],
            came: vec![0; classes],
            cached: 0,
            busy: 0.0,
            setting,
        }
    }

    /// Another draw of the same.
    pub(crate) fn seeded(mut self, seed: u64) -> Self {
        self.random.seed(seed);
        self
    }

    /// What happens in this time.
    pub(crate) fn run(mut self, duration: f64) -> Outcome {
        let arrivals = self.setting.load * self.setting.servers as f64;
        while self.now < duration {
            let busy: Vec<usize> = (0..self.servers.len())
                .filter(|&place| {
                    let server = &self.servers[place];
                    !server.running.is_empty() && server.lost_until <= self.now
                })
                .collect();
            let total = arrivals + busy.len() as f64;
            // A Poisson process has no memory: what a timer interrupts is drawn again.
            let step = -(1.0 - self.random.f64()).ln() / total;
            let timer = self
                .timers
                .peek()
                .map(|Reverse((at, _))| f64::from_bits(*at));
            let passed = timer.map_or(step, |at| step.min(at - self.now));
            self.busy += passed * busy.len() as f64;
            self.now += passed;
            if passed < step {
                if let Some(Reverse((at, timer))) = self.timers.pop() {
                    self.now = f64::from_bits(at);
                    self.ring(timer);
                }
            } else if self.random.f64() * total < arrivals {
                self.arrive(duration);
            } else {
                let server = busy[self.random.usize(..busy.len())];
                self.end_a_search(server);
            }
        }
        let possible = self.now * self.setting.servers as f64;
        let works: usize = self.answered.iter().sum();
        Outcome {
            times: Times::of(self.times),
            goodput: works as f64 / possible,
            answered: self
                .answered
                .iter()
                .zip(&self.came)
                .map(|(answered, came)| *answered as f64 / *came as f64)
                .collect(),
            busy: self.busy / possible,
            cached: self.cached as f64 / works as f64,
            copies: self
                .requests
                .iter()
                .map(|request| request.sent)
                .sum::<usize>() as f64
                / works as f64,
        }
    }

    fn set(&mut self, after: f64, timer: Timer) {
        let at = self.now + after;
        if at.is_finite() {
            self.timers.push(Reverse((at.to_bits(), timer)));
        }
    }

    fn ring(&mut self, timer: Timer) {
        match timer {
            Timer::Hedge(request) => self.hedge(request),
            Timer::GivesUp(request) => self.give_up(request),
            Timer::AsksAgain(client) => self.ask(client),
            Timer::Back => {}
        }
    }

    /// A new client asks.
    fn arrive(&mut self, duration: f64) {
        let classes = self.answered.len();
        let class = self.random.usize(..classes);
        let is_repeated = self.random.f64() < self.setting.repeated && !self.clients.is_empty();
        let target = if is_repeated {
            let recent = self.clients.len().min(RECENT);
            let place = self.clients.len() - 1 - self.random.usize(..recent);
            self.clients[place].target
        } else {
            self.clients.len()
        };
        self.clients.push(Client {
            target,
            began: self.now,
            class,
            attempts: 0,
        });
        if self.now < duration {
            self.came[class] += 1;
        }
        self.ask(self.clients.len() - 1);
    }

    fn ask(&mut self, client: usize) {
        self.clients[client].attempts += 1;
        let proxy = self.random.usize(..self.setting.proxy.replicas);
        self.requests.push(Request {
            client,
            proxy,
            state: State::Open,
            copies: Vec::new(),
            sent: 0,
        });
        let request = self.requests.len() - 1;
        if let Some(patience) = self.patience_of(client) {
            self.set(patience, Timer::GivesUp(request));
        }
        self.route(request);
    }

    /// How long a client waits for an answer.
    fn patience_of(&self, client: usize) -> Option<f64> {
        let patience = self.setting.patience.as_ref()?;
        Some(patience.seconds[self.clients[client].class] / patience.search)
    }

    /// Sends a copy to a server, or has the request wait in the proxy.
    fn route(&mut self, request: usize) {
        match self.choose(request) {
            Some(server) => self.send(request, server),
            None => {
                let proxy = self.requests[request].proxy;
                self.queues[proxy].push_back(request);
            }
        }
    }

    /// A server that has no copy of the request yet. `None` if there is none with room.
    fn choose(&mut self, request: usize) -> Option<usize> {
        let Proxy { choice, most, .. } = self.setting.proxy;
        let Request { proxy, copies, .. } = &self.requests[request];
        let open = &self.open[*proxy];
        let may = |server: &usize| open[*server] < most && !copies.contains(server);
        let mut candidates: Vec<usize> = (0..self.servers.len()).filter(may).collect();
        if candidates.is_empty() {
            return None;
        }
        // Equals in any order.
        self.random.shuffle(&mut candidates);
        match choice {
            Choice::Random => candidates.pop(),
            Choice::FewerOfTwo => candidates
                .into_iter()
                .take(2)
                .min_by_key(|&place| open[place]),
            Choice::Fewest => candidates.into_iter().min_by_key(|&place| open[place]),
            Choice::Hashed(bound) => {
                let target = self.clients[self.requests[request].client].target;
                candidates.sort_by_key(|&place| hash(target, place));
                let all: usize = open.iter().sum();
                let share = (all + 1) as f64 / self.servers.len() as f64;
                let first = candidates
                    .iter()
                    .find(|&&place| (open[place] as f64) < (bound * share).ceil());
                first.or(candidates.first()).copied()
            }
        }
    }

    fn send(&mut self, request: usize, server: usize) {
        let proxy = self.setting.proxy;
        self.requests[request].sent += 1;
        match self.submit(request, server) {
            Sent::Waits => {
                let of = self.requests[request].proxy;
                self.open[of][server] += 1;
                self.requests[request].copies.push(server);
                if self.requests[request].sent < proxy.copies {
                    self.set(proxy.hedge, Timer::Hedge(request));
                }
            }
            Sent::Answered => {
                self.cached += 1;
                self.answer(request);
            }
            Sent::Refused => {
                self.requests[request].state = State::Ended;
                self.pause(request);
            }
        }
    }

    /// What a server makes of a copy.
    fn submit(&mut self, request: usize, server: usize) -> Sent {
        let client = self.requests[request].client;
        let target = self.clients[client].target;
        let patience = self.patience_of(client);
        let order = self.setting.order;
        let server = &mut self.servers[server];
        if server
            .answers
            .get(&target)
            .is_some_and(|&until| until > self.now)
        {
            return Sent::Answered;
        }
        if let Some(requests) = server.requests.get_mut(&target) {
            requests.push(request);
            return Sent::Waits;
        }
        let is_hopeless = order == Order::Refusal
            && patience.is_some_and(|patience| server.expected_wait() > patience);
        if is_hopeless || server.waiting.len() >= CAPACITY {
            return Sent::Refused;
        }
        server.requests.insert(target, vec![request]);
        server.waiting.push_back(target);
        server.promote(order);
        Sent::Waits
    }

    fn end_a_search(&mut self, place: usize) {
        let order = self.setting.order;
        let server = &mut self.servers[place];
        let slot = self.random.usize(..server.running.len());
        let target = server.running.swap_remove(slot);
        server.promote(order);
        server.answers.insert(target, self.now + CACHED);
        for request in server.requests.remove(&target).unwrap_or_default() {
            self.forget(request, place);
            self.answer(request);
        }
        self.drain_queues();
    }

    /// A server no longer has a copy of the request.
    fn forget(&mut self, request: usize, server: usize) {
        let Request { proxy, copies, .. } = &mut self.requests[request];
        copies.retain(|&place| place != server);
        self.open[*proxy][server] -= 1;
    }

    /// The request has its answer. The other servers learn it.
    fn answer(&mut self, request: usize) {
        let state = std::mem::replace(&mut self.requests[request].state, State::Ended);
        self.withdraw(request);
        if state == State::Open {
            let client = &self.clients[self.requests[request].client];
            self.answered[client.class] += 1;
            self.times.push(self.now - client.began);
        }
    }

    /// Has every server that works for the request leave it.
    fn withdraw(&mut self, request: usize) {
        let target = self.clients[self.requests[request].client].target;
        for place in self.requests[request].copies.clone() {
            self.forget(request, place);
            let server = &mut self.servers[place];
            let Some(requests) = server.requests.get_mut(&target) else {
                continue;
            };
            requests.retain(|&other| other != request);
            if !requests.is_empty() {
                continue;
            }
            server.requests.remove(&target);
            if let Some(slot) = server.running.iter().position(|&other| other == target) {
                server.running.swap_remove(slot);
                let lost = self.setting.lost;
                if lost > 0.0 {
                    server.lost_until = self.now + lost;
                    self.set(lost, Timer::Back);
                }
            } else {
                server.waiting.retain(|&other| other != target);
            }
            self.servers[place].promote(self.setting.order);
        }
        self.drain_queues();
    }

    /// Gives servers that have room what waits in the proxies.
    fn drain_queues(&mut self) {
        for proxy in 0..self.queues.len() {
            while let Some(&request) = self.queues[proxy].front() {
                if self.requests[request].state == State::Ended {
                    self.queues[proxy].pop_front();
                    continue;
                }
                let Some(server) = self.choose(request) else {
                    break;
                };
                self.queues[proxy].pop_front();
                self.send(request, server);
            }
        }
    }

    fn hedge(&mut self, request: usize) {
        if self.requests[request].state == State::Open
            && let Some(server) = self.choose(request)
        {
            self.send(request, server);
        }
    }

    /// The client waits no longer.
    fn give_up(&mut self, request: usize) {
        if self.requests[request].state != State::Open {
            return;
        }
        let patience = self.setting.patience.as_ref();
        // A server that is told how long its clients wait needs no further word.
        let is_seen = self.setting.order == Order::Refusal
            || patience.is_some_and(|patience| patience.is_seen);
        if is_seen {
            self.requests[request].state = State::Ended;
            self.withdraw(request);
        } else {
            self.requests[request].state = State::Abandoned;
        }
        self.pause(request);
    }

    /// The client asks again in a while.
    fn pause(&mut self, request: usize) {
        let client = self.requests[request].client;
        let search = self.setting.patience.as_ref().map_or(1.0, |all| all.search);
        let doubled = PAUSE * 2_f64.powi(self.clients[client].attempts - 1);
        self.set(
            doubled.min(LONGEST_PAUSE) / search,
            Timer::AsksAgain(client),
        );
    }
}

/// The place of a server in the order of a target.
fn hash(target: usize, server: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (target, server).hash(&mut hasher);
    hasher.finish()
}
