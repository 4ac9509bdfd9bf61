//! Servers under more load than they can serve, whose clients give up and ask again: the real [`State`] in virtual time,
//! with engines that only count.
//!
//! A search has no memory: each hash is as likely as any to answer a client that still waits. So hashes for a client
//! that has left are not lost to the others. They are lost only if the server does not know that the client has left,
//! since then it searches in vain.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::*;
use crate::device::{Searched, Slice};
use crate::scheduler::fakes::record;
use crate::scheduler::fleet::Role;
use crate::work::{Network, Rule, Target, Timestamp};

/// Hashes per second of a card: a LIVE search takes 1.34 s on average.
const RATE: f64 = 3.2e9;
/// Nonces of a slice: 0.2 s.
const SLICE: u64 = 640_000_000;
/// Seconds for which clients wait. Each value is equally frequent.
const PATIENCE: [f64; 4] = [10.0, 30.0, 60.0, 300.0];
/// Seconds for which clients arrive.
const DURATION: f64 = 900.0;
/// Arrivals for each search that the servers can do.
const LOAD: f64 = 1.5;
const SERVERS: usize = 4;

/// How a server learns that a client has given up.
#[derive(Clone, Copy, PartialEq)]
enum Learns {
    /// The client disconnects.
    ByHangUp,
    /// The client has said how long it waits.
    ByTimeout,
    /// Not at all.
    Never,
}

struct Card;

impl Engine for Card {
    fn capacity(&self) -> Capacity {
        Capacity::ONE
    }

    fn lengths(&self, rules: &[Rule]) -> Vec<u64> {
        vec![SLICE; rules.len()]
    }

    fn submit(&mut self, _: Vec<Slice>) -> Result<(), DeviceError> {
        unreachable!("it only counts")
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        unreachable!("it only counts")
    }
}

struct Server {
    state: State,
    engine: usize,
    /// Whether a batch is in flight.
    is_busy: bool,
    /// How many clients it works for, as a proxy in front counts them.
    open: usize,
}

impl Server {
    fn new(number: usize) -> Self {
        let slots = std::num::NonZeroUsize::new(4).expect("not zero");
        let mut state = State::new(Limits::new(slots, 1000));
        let device = record(&format!("card {number}"), None, Role::Initial);
        state.fleet.register(&device, Role::Initial);
        let engine = state.enter(&device).expect("the scheduler runs");
        Self {
            state,
            engine,
            is_busy: false,
            open: 0,
        }
    }
}

/// A request that its server has not ended.
struct Open {
    server: usize,
    job: Arc<Job>,
    answer: watch::Receiver<Answer>,
    /// Whether its client still waits.
    is_wanted: bool,
}

#[derive(Default)]
struct Client {
    attempts: i32,
    open: Option<Open>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    GivesUp {
        client: usize,
        attempt: i32,
    },
    AsksAgain(usize),
    /// A batch of a server has come back, with a nonce that answers or without.
    ComesBack {
        server: usize,
        answers: bool,
    },
}

struct World {
    learns: Learns,
    servers: Vec<Server>,
    clients: Vec<Client>,
    /// By the bits of their times, which are in the order of the times, since none is negative.
    events: BinaryHeap<Reverse<(u64, Event)>>,
    now: f64,
    epoch: Instant,
    random: fastrand::Rng,
    works: usize,
}

impl World {
    /// Works that reached a client still waiting, divided by the searches that the servers could have done.
    fn goodput(learns: Learns) -> f64 {
        let mut world = Self {
            learns,
            servers: (0..SERVERS).map(Server::new).collect(),
            clients: Vec::new(),
            events: BinaryHeap::new(),
            now: 0.0,
            epoch: Instant::now(),
            random: fastrand::Rng::with_seed(17),
            works: 0,
        };
        world.after(0.0, Event::Arrives);
        while let Some(Reverse((at, event))) = world.events.pop() {
            world.now = f64::from_bits(at);
            if world.now > DURATION {
                break;
            }
            world.on(event);
        }
        world.works as f64 / (DURATION * SERVERS as f64 / mean())
    }

    fn after(&mut self, seconds: f64, event: Event) {
        let at = (self.now + seconds).to_bits();
        self.events.push(Reverse((at, event)));
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.random.f64()).ln()
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Arrives => {
                let pause = self.exponential() * mean() / (LOAD * SERVERS as f64);
                self.after(pause, Event::Arrives);
                self.clients.push(Client::default());
                self.ask(self.clients.len() - 1);
            }
            Event::GivesUp { client, attempt } => self.give_up(client, attempt),
            Event::AsksAgain(client) => self.ask(client),
            Event::ComesBack { server, answers } => self.come_back(server, answers),
        }
    }

    /// A client asks the server with the fewest requests.
    fn ask(&mut self, client: usize) {
        let patience = PATIENCE[client % PATIENCE.len()];
        let timeout = (self.learns == Learns::ByTimeout).then(|| Duration::from_secs_f64(patience));
        let place = (0..SERVERS).min_by_key(|&place| self.servers[place].open);
        let place = place.expect("there are servers");
        let now = self.time();
        let server = &mut self.servers[place];
        self.clients[client].attempts += 1;
        let attempt = self.clients[client].attempts;
        match server
            .state
            .admit(&request(client), ClientId::Any, timeout, 0, now)
        {
            Ok(Admission::Waits { job, answer, .. }) => {
                server.open += 1;
                self.clients[client].open = Some(Open {
                    server: place,
                    job,
                    answer,
                    is_wanted: true,
                });
                self.after(patience, Event::GivesUp { client, attempt });
                self.occupy(place);
            }
            Err(SolveError::QueueFull { .. }) => self.pause(client),
            other => panic!("{other:?}"),
        }
    }

    fn give_up(&mut self, client: usize, attempt: i32) {
        if self.clients[client].attempts != attempt {
            return;
        }
        if let Some(mut open) = self.clients[client].open.take() {
            if self.learns == Learns::Never {
                // The server's part lives on until it has an answer that nobody reads.
                open.is_wanted = false;
                self.clients[client].open = Some(open);
                let stranger = Client {
                    attempts: self.clients[client].attempts,
                    open: None,
                };
                let zombie = std::mem::replace(&mut self.clients[client], stranger);
                self.clients.push(zombie);
            } else {
                self.servers[open.server].open -= 1;
                let state = &mut self.servers[open.server].state;
                state.leave_search(&open.job, open.answer);
            }
            self.pause(client);
        }
    }

    /// The client asks again after 1, 2, 4 … 30 s.
    fn pause(&mut self, client: usize) {
        let seconds = 2_f64.powi(self.clients[client].attempts - 1).min(30.0);
        self.after(seconds, Event::AsksAgain(client));
    }

    /// Gives a server's engine a batch, if it has none.
    fn occupy(&mut self, place: usize) {
        let (now, found) = (self.time(), self.exponential() * expected());
        let server = &mut self.servers[place];
        if server.is_busy {
            return;
        }
        let next = server.state.next(server.engine, &Card, now);
        let Ok(Ok(Next::Submit(_))) = next else {
            return;
        };
        server.is_busy = true;
        let answers = found < SLICE as f64;
        let seconds = found.min(SLICE as f64) / RATE;
        let server = place;
        self.after(seconds, Event::ComesBack { server, answers });
    }

    fn come_back(&mut self, place: usize, answers: bool) {
        let now = self.time();
        let server = &mut self.servers[place];
        server.is_busy = false;
        let batch = server.state.queue.first_in_flight(server.engine);
        let job = Arc::clone(&batch.expect("it was submitted").slices[0].job);
        let done = Done {
            tried: SLICE,
            took: (!answers).then(|| Duration::from_secs_f64(SLICE as f64 / RATE)),
        };
        server.state.complete(server.engine, 1, done, &[], now);
        if answers && !job.ended().is_set() {
            server.state.queue.remove(&job);
            // All clients that wait for it. A client that asks again joins the search that it left behind.
            for client in &mut self.clients {
                if let Some(open) = client.open.take_if(|open| Arc::ptr_eq(&open.job, &job)) {
                    server.open -= 1;
                    self.works += usize::from(open.is_wanted);
                }
            }
        }
        self.occupy(place);
    }

    fn time(&self) -> Instant {
        self.epoch + Duration::from_secs_f64(self.now)
    }
}

fn request(client: usize) -> WorkRequest {
    let time = Timestamp::from_millis(1_795_329_945_748).expect("2026");
    let mut target = [0; 32];
    target[..8].copy_from_slice(&(client as u64).to_le_bytes());
    WorkRequest::new(Network::Live, time, Target::new(target), time).expect("now is not ahead")
}

/// Hashes of a search.
fn expected() -> f64 {
    request(0).rule().expected_hashes()
}

/// Seconds of a search.
fn mean() -> f64 {
    expected() / RATE
}

#[test]
fn goodput_stays_above_nine_tenths_at_one_and_a_half_times_the_load() {
    let [by_hang_up, by_timeout, never] =
        [Learns::ByHangUp, Learns::ByTimeout, Learns::Never].map(World::goodput);
    println!("by hang-up {by_hang_up:.3}, by timeout {by_timeout:.3}, never {never:.3}");
    assert!(by_hang_up >= 0.9, "{by_hang_up}");
    assert!(by_timeout >= 0.9, "{by_timeout}");
    // Otherwise this would show nothing.
    assert!(never < 0.5, "{never}");
}
