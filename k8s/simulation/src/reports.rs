//! The tables that are printed.

use crate::autoscaler::{SERVERS, Signal};
use crate::fleet::{Fleet, Routing};
use crate::load::Load;
use crate::times::Times;
use crate::{CONNECTIONS, CORES, L4};

/// The signal of the manifests in `k8s`. At a steady load the busy share decides, which is calm: 0.6 are one and a half
/// searches to a server. When the servers are too few, that share can be 1 and no more, which asks for two thirds more
/// servers at a time; the searches that pile up say how many are needed.
const DEFAULT: Signal = Signal::Either {
    searches: 2.0,
    busy: 0.6,
};

/// Seconds until a new server is ready: on a node that has the image and a free card, and where a node must be made
/// first.
const START: [f64; 2] = [20.0, 240.0];

/// Requests of a simulation of a steady load, over all draws.
const REQUESTS: u64 = 400_000;
/// How often the spread of connections over servers is drawn.
const DRAWS: u64 = 40;
/// Seconds of a simulation of an autoscaler.
const DURATION: f64 = 12.0 * 3600.0;

/// How long requests take at a steady load, by the busy share of the servers.
pub(crate) fn steady() {
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

/// The same where clients keep their connections.
pub(crate) fn kept() {
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

/// Cards needed for this rate of works, with 99 % of them in time.
pub(crate) fn cards() {
    // At nominal clocks and 94 % of the bound of the instructions; the first two at their power limits.
    let cards = [
        ("T4", 1.7),
        ("L4", 3.2),
        ("A100", 5.8),
        ("H100", 9.9),
        ("RTX 4090", 12.3),
    ];
    let limits = [5.0, 10.0, 30.0];
    println!(
        "Cards for this many LIVE works of 2026 a second, 99 % within 5, 10 and 30 s (Poisson; estimated hash rates)."
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

/// The fewest servers whose 99th percentile is at most `limit` seconds, at `works` requests a second; `None` above 10 000.
/// Each server's requests are a Poisson process of their own, so one server stands for all.
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

/// A wave and bursts, for devices that take `search` seconds for a search.
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

/// Several signals and targets, at loads that change.
pub(crate) fn autoscaled() {
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
                    fleet.changes() as f64 / DURATION * 3600.0,
                    100.0 * times.0.len() as f64 * L4 / fleet.server_seconds,
                );
            }
        }
    }
    println!();
}

/// The manifests' signal at loads that change, where clients keep their connections, on cards and on processors.
pub(crate) fn autoscaled_kept() {
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
                    fleet.changes() as f64 / DURATION * 3600.0,
                );
            }
        }
    }
}
