//! How many servers a load needs, and which metric an autoscaler should follow: a simulation of servers behind a
//! Kubernetes Service, in virtual time. Nothing is measured, so the result is the same on every machine.
//!
//! **A server** has one device. A search that has it to itself takes [`L4`] or [`CORES`] seconds on average. That time is
//! spread exponentially and has no memory: while a server has anything to do, it ends a search at the inverse rate, any
//! of those in its [`SLOTS`] with the same chance, and the next in line takes the slot. No request is given up; a real
//! server would refuse what takes longer than 300 s.
//!
//! **Requests** are a Poisson process, whose rate a [`Load`] may change with time.
//!
//! **The Service** chooses a ready server at random for each connection. If clients open a connection for each request,
//! it does so for each request ([`Routing::Requests`]), which is the rule here where nothing else is said. If they keep
//! their connections ([`Routing::Kept`]), there are [`CONNECTIONS`] and each request takes any of them. A connection
//! stays with its server until the server goes, or closes it (`ATTO_WORK_MAX_CONNECTION_AGE`) after a time that is taken
//! as spread exponentially about [`AGE`]. A connection carries any number of requests at once. A client with HTTP/1.1
//! would open another for each, so this is the worst case.
//!
//! **The autoscaler** is described in its own module.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of servers and requests are small"
)]

mod autoscaler;
mod farm;
mod fleet;
mod load;
mod parts;
mod proxies;
mod reports;
mod setting;
mod times;

#[cfg(doc)]
use {fleet::Routing, load::Load};

/// Mean seconds of a LIVE search of 2026 (2^32 hashes) on an NVIDIA L4 at its power limit, 3.2 GH/s. An estimate, from
/// the instructions of a hash and the card's clock.
const L4: f64 = 1.34;
/// The same on the four processor cores of a pod of the overlay `cpu`: 0.2 GH/s.
const CORES: f64 = 20.0;
/// Connections that clients keep.
const CONNECTIONS: usize = 40;
/// Seconds after which a server closes a connection, on average.
const AGE: f64 = 30.0;
/// Searches that share a server: the default of `ATTO_WORK_QUEUE_SIZE`.
const SLOTS: usize = 4;

/// The tables, by the names that the program takes.
const TABLES: [(&str, fn()); 10] = [
    ("steady", reports::steady),
    ("kept", reports::kept),
    ("cards", reports::cards),
    ("autoscaled", reports::autoscaled),
    ("autoscaled-kept", reports::autoscaled_kept),
    ("ways", proxies::three_ways),
    ("policies", proxies::policies),
    ("targets", proxies::targets),
    ("lost", proxies::lost_dispatches),
    ("impatience", proxies::impatience),
];

/// Prints the tables that the arguments name, or all.
fn main() {
    println!("A search alone takes {L4} s on average; {SLOTS} take turns on a server.\n");
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    for (name, table) in TABLES {
        if chosen.is_empty() || chosen.iter().any(|other| other == name) {
            table();
        }
    }
}
