//! What a [`Farm`](crate::farm::Farm) is made of.

use std::collections::{HashMap, VecDeque};

use crate::SLOTS;
use crate::setting::Order;

pub(crate) struct Client {
    pub(crate) target: usize,
    pub(crate) began: f64,
    /// Which of the patiences.
    pub(crate) class: usize,
    pub(crate) attempts: i32,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum State {
    /// The client waits.
    Open,
    /// The client has gone, and nobody has told the server.
    Abandoned,
    Ended,
}

pub(crate) struct Request {
    pub(crate) client: usize,
    pub(crate) proxy: usize,
    pub(crate) state: State,
    /// The servers that have a copy.
    pub(crate) copies: Vec<usize>,
    pub(crate) sent: usize,
}

#[derive(Default)]
pub(crate) struct Server {
    /// Targets.
    pub(crate) running: Vec<usize>,
    pub(crate) waiting: VecDeque<usize>,
    /// The requests for each of them.
    pub(crate) requests: HashMap<usize, Vec<usize>>,
    /// Until when an answer is cached.
    pub(crate) answers: HashMap<usize, f64>,
    /// Until when it is lost to a search that was cancelled.
    pub(crate) lost_until: f64,
}

impl Server {
    pub(crate) fn promote(&mut self, order: Order) {
        while self.running.len() < SLOTS {
            let next = match order {
                Order::NewestBeyond(limit) if self.waiting.len() > limit => self.waiting.pop_back(),
                _ => self.waiting.pop_front(),
            };
            let Some(target) = next else { break };
            self.running.push(target);
        }
    }

    /// The mean time until a search that is admitted now would run.
    pub(crate) fn expected_wait(&self) -> f64 {
        if self.running.len() < SLOTS {
            0.0
        } else {
            (self.waiting.len() + 1) as f64
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Hedge(usize),
    GivesUp(usize),
    AsksAgain(usize),
    /// A server is no longer lost to a cancelled search.
    Back,
}

/// What became of a copy at a server.
pub(crate) enum Sent {
    Waits,
    Answered,
    Refused,
}
