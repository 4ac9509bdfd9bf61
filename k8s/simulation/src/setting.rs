//! What is simulated by [`farm`](crate::farm): proxies, orders of servers, clients; and what comes of it.

use crate::times::Times;

/// How a proxy chooses a server.
#[derive(Clone, Copy)]
pub(crate) enum Choice {
    /// Any.
    Random,
    /// Of two at random, the one with fewer of the proxy's own requests.
    FewerOfTwo,
    /// The one with the fewest of the proxy's own requests, of all.
    Fewest,
    /// The first in an order that the target gives, of those with at most this many times their fair share of the proxy's
    /// own requests: consistent hashing with bounded load.
    Hashed(f64),
}

/// A proxy in front of all servers.
#[derive(Clone, Copy)]
pub(crate) struct Proxy {
    pub(crate) choice: Choice,
    /// Proxies beside each other, of which each knows its own requests only.
    pub(crate) replicas: usize,
    /// Requests that a server has of a proxy at once. More wait in the proxy, in order of arrival.
    pub(crate) most: usize,
    /// After this time without an answer a further copy is sent to another server.
    pub(crate) hedge: f64,
    /// Copies of a request at most, the first included.
    pub(crate) copies: usize,
}

impl Proxy {
    /// One proxy that sends each request once, and at once.
    pub(crate) const fn plain(choice: Choice) -> Self {
        Self {
            choice,
            replicas: 1,
            most: usize::MAX,
            hedge: f64::INFINITY,
            copies: 1,
        }
    }

    /// One with at most this many requests at a server.
    pub(crate) const fn queue(most: usize) -> Self {
        Self {
            most,
            ..Self::plain(Choice::Fewest)
        }
    }

    /// One that sends up to `copies`, one after each `hedge`.
    pub(crate) const fn hedged(choice: Choice, hedge: f64, copies: usize) -> Self {
        Self {
            hedge,
            copies,
            ..Self::plain(choice)
        }
    }

    /// The same, two beside each other.
    pub(crate) const fn twice(self) -> Self {
        Self {
            replicas: 2,
            ..self
        }
    }
}

/// What a server does when it cannot serve all.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Order {
    /// First come, first served.
    Arrival,
    /// Last come, first served while more than this many wait.
    NewestBeyond(usize),
    /// First come, first served. A request whose expected wait is longer than its client waits is refused.
    Refusal,
}

/// Clients that give up. All times are in seconds here.
#[derive(Clone)]
pub(crate) struct Patience {
    /// How long a client waits for an answer: one of these, at random.
    pub(crate) seconds: Vec<f64>,
    /// Seconds of one search.
    pub(crate) search: f64,
    /// Whether the server learns that a client has gone.
    pub(crate) is_seen: bool,
}

/// What a simulation is of.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) servers: usize,
    /// Requests for each search that the servers could do.
    pub(crate) load: f64,
    pub(crate) proxy: Proxy,
    pub(crate) order: Order,
    /// `None`: all clients wait until they are answered.
    pub(crate) patience: Option<Patience>,
    /// The part of requests that are for the target of one of the last [`RECENT`](crate::farm::RECENT).
    pub(crate) repeated: f64,
    /// The time that a server loses with a search that is cancelled: the rest of a dispatch.
    pub(crate) lost: f64,
}

/// What came of a simulation.
pub(crate) struct Outcome {
    /// From the first time a client asked to its answer, of all who were answered.
    pub(crate) times: Times,
    /// Works that reached a client that still waited, by the searches that the servers could have done.
    pub(crate) goodput: f64,
    /// The part of the clients that was answered, for each patience.
    pub(crate) answered: Vec<f64>,
    /// The part of the time in which servers searched.
    pub(crate) busy: f64,
    /// The part of the works that came from a cache.
    pub(crate) cached: f64,
    /// Copies that were sent for each work.
    pub(crate) copies: f64,
}
