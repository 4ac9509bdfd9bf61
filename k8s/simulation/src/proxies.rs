//! The tables of [`farm`](crate::farm): which proxy brings which waiting times, and what clients that give up get.

use crate::farm::Farm;
use crate::fleet::{Fleet, Routing};
use crate::load::Load;
use crate::setting::{Choice, Order, Outcome, Patience, Proxy, Setting};
use crate::times::Times;
use crate::{AGE, CORES, L4};

/// Requests of a simulation.
const REQUESTS: f64 = 200_000.0;
/// The same through a Service, over all draws, as in `reports`.
const THROUGH_A_SERVICE: f64 = 400_000.0;
/// How often the spread of connections over servers is drawn.
const DRAWS: u64 = 40;
/// The part of an L4's search that a cancelled copy costs: the rest of a dispatch of 20 ms.
const LOST: f64 = 0.02 / L4;

/// Servers and busy parts of the tables.
const SIZES: [usize; 3] = [4, 16, 64];
const BUSY: [f64; 3] = [0.5, 0.7, 0.85];

/// The component `gateway-envoy` of `k8s`: two proxies, and a second and a third copy after half a mean search each.
const ENVOY: Proxy = Proxy::hedged(Choice::FewerOfTwo, 0.5, 3).twice();
/// `deploy/haproxy`: one proxy, and one request at a server.
const HAPROXY: Proxy = Proxy::queue(1);
/// The component `queue-haproxy` of `k8s`: two of them.
const TWO_HAPROXIES: Proxy = HAPROXY.twice();

fn setting(servers: usize, load: f64, proxy: Proxy) -> Setting {
    Setting {
        servers,
        load,
        proxy,
        order: Order::Arrival,
        patience: None,
        repeated: 0.0,
        lost: LOST,
    }
}

fn run(setting: Setting) -> Outcome {
    let duration = REQUESTS / (setting.load * setting.servers as f64);
    Farm::new(setting).run(duration)
}

/// p50 and p99, in means of one search.
fn two(times: &Times) -> String {
    format!(
        "{:.2} / {:.1}",
        times.percentile(0.5),
        times.percentile(0.99)
    )
}

/// The 50th and 99th percentile behind each proxy.
pub(crate) fn policies() {
    println!("p50 / p99 in means of one search, Poisson, {REQUESTS} requests a cell.");
    header("");
    let two_choices = Choice::FewerOfTwo;
    let fewest = Choice::Fewest;
    let rows = [
        ("random, each request", Proxy::plain(Choice::Random)),
        ("two choices", Proxy::plain(two_choices)),
        (
            "two choices, 2 blind proxies",
            Proxy::plain(two_choices).twice(),
        ),
        ("fewest", Proxy::plain(fewest)),
        ("fewest, 2 blind proxies", Proxy::plain(fewest).twice()),
        ("at most 4 a server", Proxy::queue(4)),
        ("at most 2 a server", Proxy::queue(2)),
        ("at most 1 a server", HAPROXY),
        ("at most 2, 2 blind proxies", Proxy::queue(2).twice()),
        ("at most 1, 2 blind proxies", TWO_HAPROXIES),
        (
            "two choices, 2nd copy after 1",
            Proxy::hedged(two_choices, 1.0, 2),
        ),
        ("fewest, 2nd copy after 1", Proxy::hedged(fewest, 1.0, 2)),
        ("fewest, 3 copies, 1 apart", Proxy::hedged(fewest, 1.0, 3)),
        ("fewest, 3 copies, .1 apart", Proxy::hedged(fewest, 0.1, 3)),
        ("two choices, 3 copies, 2 proxies", ENVOY),
        (
            "fewest, 3 copies, 2 proxies",
            Proxy::hedged(fewest, 1.0, 3).twice(),
        ),
    ];
    for (name, proxy) in rows {
        print!("{name:<34}");
        for servers in SIZES {
            for busy in BUSY {
                print!("{:>14}", two(&run(setting(servers, busy, proxy)).times));
            }
        }
        println!();
    }
    println!();
}

fn header(first: &str) {
    print!("{first:<34}");
    for servers in SIZES {
        for busy in BUSY {
            print!("{:>14}", format!("{servers}, {:.0} %", 100.0 * busy));
        }
    }
    println!();
}

/// The three ways of `docs/sizing.md`.
pub(crate) fn three_ways() {
    println!("The three ways, p50 / p99 in means of one search.");
    header("");
    print!("{:<34}", "Service, connections kept 30 s");
    for servers in SIZES {
        for busy in BUSY {
            print!("{:>14}", two(&through_a_service(servers, busy)));
        }
    }
    println!();
    for (name, proxy) in [
        ("Envoy, two", ENVOY),
        ("HAProxy, two", TWO_HAPROXIES),
        ("HAProxy, one", HAPROXY),
    ] {
        print!("{name:<34}");
        for servers in SIZES {
            for busy in BUSY {
                print!("{:>14}", two(&run(setting(servers, busy, proxy)).times));
            }
        }
        println!();
    }
    println!("Searches that Envoy starts for each request, and the busy part of the servers:");
    for servers in SIZES {
        for busy in BUSY {
            let outcome = run(setting(servers, busy, ENVOY));
            println!(
                "{servers:>4} servers, {:.0} %: {:.2} copies, busy {:.1} %",
                100.0 * busy,
                outcome.copies,
                100.0 * outcome.busy
            );
        }
    }
    println!();
}

/// Kept connections through a plain Service.
fn through_a_service(servers: usize, busy: f64) -> Times {
    let rate = busy * servers as f64 / L4;
    let draws = (0..DRAWS).flat_map(|draw| {
        let mut fleet = Fleet::fixed(servers).routed(Routing::Kept(Some(AGE)));
        fleet.random.seed(draw);
        let seconds = THROUGH_A_SERVICE / DRAWS as f64 / rate;
        fleet.run(&Load::Steady(rate), seconds).0
    });
    Times::of(draws.map(|seconds| seconds / L4).collect())
}

/// Whether the same target should meet the same server.
pub(crate) fn targets() {
    println!(
        "16 servers, 70 %: a part of the requests is for the target of one of the last 100. p50 / p99, busy part, answers from a cache."
    );
    let proxies = [
        ("fewest", Proxy::plain(Choice::Fewest)),
        ("hashed, bound 1.25", Proxy::plain(Choice::Hashed(1.25))),
        ("hashed, bound 1.5", Proxy::plain(Choice::Hashed(1.5))),
        ("hashed, bound 2", Proxy::plain(Choice::Hashed(2.0))),
        (
            "hashed, no bound",
            Proxy::plain(Choice::Hashed(f64::INFINITY)),
        ),
        ("Envoy: two choices, 3 copies, 2 proxies", ENVOY),
        (
            "hashed, bound 1.25, 3 copies, 2 proxies",
            Proxy::hedged(Choice::Hashed(1.25), 1.0, 3).twice(),
        ),
        ("HAProxy: at most 1", HAPROXY),
    ];
    for (name, proxy) in proxies {
        print!("{name:<40}");
        for repeated in [0.0, 0.1, 0.3, 0.5] {
            let outcome = run(Setting {
                repeated,
                ..setting(16, 0.7, proxy)
            });
            print!(
                "{:>30}",
                format!(
                    "{:.0} %: {}, {:.0} %, {:.0} %",
                    100.0 * repeated,
                    two(&outcome.times),
                    100.0 * outcome.busy,
                    100.0 * outcome.cached
                )
            );
        }
        println!();
    }
    println!();
}

/// What a cancelled copy may cost until copies cost more than they bring.
pub(crate) fn lost_dispatches() {
    println!("16 servers, 70 %, Envoy: p50 / p99 if a cancelled copy costs a part of a search.");
    for lost in [0.0, LOST, 0.05, 0.1, 0.2] {
        let outcome = run(Setting {
            lost,
            ..setting(16, 0.7, ENVOY)
        });
        println!(
            "{lost:>8.3} {:>14}, busy {:.1} %",
            two(&outcome.times),
            100.0 * outcome.busy
        );
    }
    println!();
}

/// What becomes of a request whose client has gone.
#[derive(Clone, Copy)]
enum HangUps {
    /// The server learns of it at once.
    Seen,
    /// Nobody tells the server: a proxy without `abortonclose`, or a client that vanished.
    Unseen,
}

/// Clients that give up after 10, 30, 60 or 300 s and ask again.
pub(crate) fn impatience() {
    println!(
        "Clients that give up after 10, 30, 60 or 300 s, a quarter each, and ask again after 1, 2, 4 ... 30 s; for an hour. The server with the fewest requests is chosen, if nothing else is said."
    );
    println!(
        "{:>8} {:>8} {:>6} {:<40} {:>9} {:>24} {:>24}",
        "search",
        "servers",
        "load",
        "server",
        "goodput",
        "answered, by patience",
        "s: p50   p95   p99"
    );
    let fewest = Proxy::plain(Choice::Fewest);
    let hashed = Proxy::plain(Choice::Hashed(1.25));
    let newest = Order::NewestBeyond(8);
    let rows = [
        (
            "first come, first served",
            Order::Arrival,
            HangUps::Seen,
            fewest,
        ),
        ("newest first beyond 8", newest, HangUps::Seen, fewest),
        (
            "told: refuses and ends",
            Order::Refusal,
            HangUps::Seen,
            fewest,
        ),
        ("hang-ups unseen", Order::Arrival, HangUps::Unseen, fewest),
        (
            "hang-ups unseen, newest first",
            newest,
            HangUps::Unseen,
            fewest,
        ),
        (
            "hang-ups unseen, hashed, bound 1.25",
            Order::Arrival,
            HangUps::Unseen,
            hashed,
        ),
        (
            "hang-ups unseen, told",
            Order::Refusal,
            HangUps::Unseen,
            fewest,
        ),
    ];
    for search in [L4, CORES] {
        for servers in [1, 16] {
            for load in [0.7, 1.0, 1.5] {
                for (name, order, hang_ups, proxy) in rows {
                    let setting = impatient(search, servers, load, order, hang_ups);
                    let outcome = an_hour(&Setting { proxy, ..setting }, search);
                    let answered = outcome.answered.iter();
                    let answered: Vec<_> = answered
                        .map(|part| format!("{:.0}", 100.0 * part))
                        .collect();
                    println!(
                        "{search:>6} s {servers:>8} {load:>6.1} {name:<40} {:>8.1}% {:>24} {:>24}",
                        100.0 * outcome.goodput,
                        answered.join(" / "),
                        outcome.times.percentiles()
                    );
                }
            }
        }
    }
    println!();
}

fn impatient(search: f64, servers: usize, load: f64, order: Order, hang_ups: HangUps) -> Setting {
    let patience = Patience {
        seconds: vec![10.0, 30.0, 60.0, 300.0],
        search,
        is_seen: matches!(hang_ups, HangUps::Seen),
    };
    Setting {
        order,
        patience: Some(patience),
        lost: 0.02 / search,
        ..setting(servers, load, Proxy::plain(Choice::Fewest))
    }
}

/// An hour, with its times in seconds; of a single server the mean of several, since it ends few searches.
fn an_hour(setting: &Setting, search: f64) -> Outcome {
    let draws = if setting.servers == 1 { 10 } else { 1 };
    let outcomes = (0..draws).map(|seed| {
        let farm = Farm::new(setting.clone()).seeded(seed);
        farm.run(3600.0 / search)
    });
    let outcomes: Vec<_> = outcomes.collect();
    let mean = |part: &dyn Fn(&Outcome) -> f64| {
        outcomes.iter().map(part).sum::<f64>() / outcomes.len() as f64
    };
    let times = outcomes.iter().flat_map(|outcome| &outcome.times.0);
    Outcome {
        times: Times::of(times.map(|time| time * search).collect()),
        goodput: mean(&|outcome| outcome.goodput),
        answered: (0..outcomes[0].answered.len())
            .map(|class| mean(&|outcome| outcome.answered[class]))
            .collect(),
        busy: mean(&|outcome| outcome.busy),
        cached: mean(&|outcome| outcome.cached),
        copies: mean(&|outcome| outcome.copies),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Erlang's C gives the mean of a central queue before 16 servers at 70 %.
    #[test]
    fn a_central_queue_takes_as_long_as_erlang_says() {
        let outcome = run(Setting {
            lost: 0.0,
            ..setting(16, 0.7, Proxy::queue(1))
        });
        // Mean wait C / (servers (1 - busy)) with C = 0.130 (Erlang C of 16 servers, 11.2 offered).
        let theory = 1.0 + erlang_c(16, 11.2) / (16.0 * 0.3);
        let mean = outcome.times.mean();
        assert!((mean / theory - 1.0).abs() < 0.02, "{mean}, {theory}");
    }

    /// The chance that a request waits, with this many servers and offered searches.
    fn erlang_c(servers: u32, offered: f64) -> f64 {
        let mut blocked = 1.0;
        for number in 1..=servers {
            blocked = offered * blocked / (f64::from(number) + offered * blocked);
        }
        let busy = offered / f64::from(servers);
        blocked / (1.0 - busy * (1.0 - blocked))
    }

    #[test]
    fn a_random_choice_is_that_of_the_service() {
        let mean = run(setting(4, 0.7, Proxy::plain(Choice::Random)))
            .times
            .mean();
        assert!((mean * 0.3 - 1.0).abs() < 0.05, "{mean}");
    }

    #[test]
    fn the_recommended_proxies_keep_the_bar() {
        for proxy in [ENVOY, HAPROXY] {
            let p99 = run(setting(16, 0.7, proxy)).times.percentile(0.99);
            assert!(p99 <= 5.0, "{p99}");
        }
    }

    #[test]
    fn a_search_that_nobody_waits_for_costs_goodput_unless_the_server_learns_of_it() {
        let goodput =
            |order, hang_ups| an_hour(&impatient(L4, 4, 1.5, order, hang_ups), L4).goodput;
        let seen = goodput(Order::Arrival, HangUps::Seen);
        let unseen = goodput(Order::Arrival, HangUps::Unseen);
        let told = goodput(Order::Refusal, HangUps::Unseen);
        assert!(
            seen > 0.9 && told > 0.9 && unseen < 0.9,
            "{seen} {told} {unseen}"
        );
    }
}
