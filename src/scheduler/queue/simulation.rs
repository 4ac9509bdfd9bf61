//! The policy of the queue under load, in virtual time, compared with first come, first served: the real [`Queue`],
//! engines that only count, and searches whose length is drawn from a seeded generator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Assigned, Batch, Demand, Queue};
use crate::scheduler::client::ClientId;
use crate::scheduler::job::Job;
use crate::work::{Difficulty, Network, Rule, Target, Timestamp, WorkRequest};

/// Hashes a second of a core, as measured with AVX-512.
const SPEED: f64 = 50e6;
/// Nonces in a slice of a core: 5 ms.
const SLICE: u64 = 250_000;
const CORES: usize = 2;

/// What a work is for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Atto(Network),
    Nano(Difficulty),
}

impl From<Network> for Kind {
    fn from(network: Network) -> Self {
        Self::Atto(network)
    }
}

impl From<Difficulty> for Kind {
    fn from(difficulty: Difficulty) -> Self {
        Self::Nano(difficulty)
    }
}

#[derive(Clone)]
struct Search {
    kind: Kind,
    client: ClientId,
    arrived: f64,
    /// The hashes that it takes until work is found.
    need: f64,
    /// Those that it was given.
    given: f64,
    began: Option<f64>,
    ended: Option<f64>,
}

/// Searches of all kinds at random times that keep two cores busy for seven tenths of the time: of a thousand, some 890
/// are LOCAL, 100 DEV, 9 BETA and one LIVE, each kind but the first with a third of the hashes.
fn mixed_load(random: &mut fastrand::Rng, count: usize) -> Vec<Search> {
    let mut now = 0.0;
    let mut searches: Vec<Search> = (0..count)
        .map(|_| {
            let network = match random.u32(0..1000) {
                0 => Network::Live,
                1..10 => Network::Beta,
                10..110 => Network::Dev,
                _ => Network::Local,
            };
            let search = search(random, network, 0.0);
            now += exponential(random);
            Search {
                arrived: now,
                ..search
            }
        })
        .collect();
    let work: f64 = searches.iter().map(|search| search.need).sum();
    let scale = work / (SPEED * CORES as f64) / 0.7 / now;
    searches
        .iter_mut()
        .for_each(|search| search.arrived *= scale);
    searches
}

fn exponential(random: &mut fastrand::Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

fn search(random: &mut fastrand::Rng, kind: impl Into<Kind>, arrived: f64) -> Search {
    let kind = kind.into();
    let expected = request(kind, 0).rule().expected_hashes();
    Search {
        kind,
        client: ClientId::Any,
        arrived,
        need: expected * exponential(random),
        given: 0.0,
        began: None,
        ended: None,
    }
}

fn request(kind: impl Into<Kind>, number: usize) -> WorkRequest {
    let time = Timestamp::from_millis(1_795_329_945_748).expect("2026");
    let mut target = [0; 32];
    target[..8].copy_from_slice(&(number as u64).to_le_bytes());
    let target = Target::new(target);
    match kind.into() {
        Kind::Atto(network) => {
            WorkRequest::new(network, time, target, time).expect("now is not ahead")
        }
        Kind::Nano(difficulty) => WorkRequest::nano(target, difficulty),
    }
}

/// Cores at work, driven by the queue.
struct World {
    queue: Queue,
    searches: Vec<Search>,
    /// How many of them have arrived.
    arrived: usize,
    /// The number of each search that is there, with its job.
    jobs: Vec<(usize, Arc<Job>)>,
    /// Each core's batch, the number of its search, and when it ends.
    busy: Vec<Option<(Batch, usize, f64)>>,
    now: f64,
    epoch: Instant,
}

impl World {
    fn new(searches: Vec<Search>) -> Self {
        let running = std::num::NonZeroUsize::new(4).expect("not zero");
        let mut queue = Queue::new(running, usize::MAX);
        queue.set_batch(SLICE);
        Self {
            queue,
            searches,
            arrived: 0,
            jobs: Vec::new(),
            busy: (0..CORES).map(|_| None).collect(),
            now: 0.0,
            epoch: Instant::now(),
        }
    }

    /// Adds a search that arrives at its time, which is not over.
    fn add(&mut self, search: Search) {
        let later = &self.searches[self.arrived..];
        let place = later.partition_point(|other| other.arrived <= search.arrived);
        self.searches.insert(self.arrived + place, search);
    }

    /// Goes on until the next search ends, and says which; `None` when all have.
    fn next_end(&mut self) -> Option<usize> {
        loop {
            self.occupy();
            let core = (0..CORES)
                .filter(|&core| self.busy[core].is_some())
                .min_by(|&one, &other| self.until(one).total_cmp(&self.until(other)));
            let comes = self.searches.get(self.arrived).map(|search| search.arrived);
            let back = core.map(|core| self.until(core));
            match (comes, back) {
                (None, None) => return None,
                (Some(comes), back) if back.is_none_or(|back| comes <= back) => {
                    self.now = comes;
                    self.admit();
                }
                _ => {
                    let core = core?;
                    if let Some(number) = self.come_back(core) {
                        return Some(number);
                    }
                }
            }
        }
    }

    fn until(&self, core: usize) -> f64 {
        self.busy[core]
            .as_ref()
            .map_or(f64::INFINITY, |(.., until)| *until)
    }

    fn admit(&mut self) {
        let number = self.arrived;
        let search = &self.searches[number];
        let job = Job::new(request(search.kind, number), search.client.clone()).0;
        let job = Arc::new(job);
        self.queue.push(Arc::clone(&job)).expect("there is room");
        self.jobs.push((number, job));
        self.arrived += 1;
    }

    /// Gives every idle core a slice.
    fn occupy(&mut self) {
        for core in 0..CORES {
            if self.busy[core].is_some() {
                continue;
            }
            let demand = Demand {
                engine: core,
                searches: 1,
                stops_at_once: true,
                engines: 1,
            };
            let Some(job) = self.queue.pick(&demand).pop() else {
                continue;
            };
            let is_meant = |(_, other): &&(usize, Arc<Job>)| Arc::ptr_eq(other, &job);
            let number = self.jobs.iter().find(is_meant).expect("it is there").0;
            let search = &mut self.searches[number];
            search.began.get_or_insert(self.now);
            let length = search.need.min(SLICE as f64);
            search.need -= length;
            search.given += length;
            let slice = Assigned {
                nonces: job.claim(SLICE),
                job,
            };
            let now = self.epoch + Duration::from_secs_f64(self.now);
            let batch = self.queue.assign(core, vec![slice], now);
            self.busy[core] = Some((batch, number, self.now + length / SPEED));
        }
    }

    /// A core comes back. Returns which search has ended by that, if one has.
    fn come_back(&mut self, core: usize) -> Option<usize> {
        let (batch, number, until) = self.busy[core].take()?;
        self.now = until;
        self.queue.complete(core);
        let search = &mut self.searches[number];
        if search.need > 0.0 || search.ended.is_some() {
            return None;
        }
        search.ended = Some(self.now);
        self.queue.remove(&batch.slices[0].job);
        self.jobs.retain(|(other, _)| *other != number);
        // The other cores leave it at once.
        for (_, other, until) in self.busy.iter_mut().flatten() {
            if *other == number {
                *until = self.now;
            }
        }
        Some(number)
    }

    fn run(mut self) -> Vec<Search> {
        while self.next_end().is_some() {}
        self.searches
    }
}

/// When each search would end if all cores worked on one after the other, in the order of arrival.
fn first_come_first_served(searches: &[Search]) -> Vec<f64> {
    let mut free = 0.0_f64;
    let ends = searches.iter().map(|search| {
        free = free.max(search.arrived) + search.need / (SPEED * CORES as f64);
        free
    });
    ends.collect()
}

struct Summary {
    mean: f64,
    percentile_99: f64,
}

/// A summary of the times from arrival to end, in seconds.
fn summary(name: &str, times: impl Iterator<Item = f64>) -> Summary {
    let mut times: Vec<_> = times.collect();
    times.sort_by(f64::total_cmp);
    let summary = Summary {
        mean: times.iter().sum::<f64>() / times.len() as f64,
        percentile_99: times[times.len() * 99 / 100],
    };
    let (count, longest) = (times.len(), times[times.len() - 1]);
    let Summary {
        mean,
        percentile_99,
    } = summary;
    println!("{name:<28} {count:>6} {mean:>9.4} {percentile_99:>9.3} {longest:>9.3}");
    summary
}

#[test]
fn a_mixed_load_is_served_better_than_in_the_order_of_arrival() {
    println!(
        "{:<28} {:>6} {:>9} {:>9} {:>9}",
        "s", "", "mean", "p99", "max"
    );
    for seed in 1..=5 {
        let searches = mixed_load(&mut fastrand::Rng::with_seed(seed), 20_000);
        let plain = first_come_first_served(&searches);
        let ours = World::new(searches).run();
        let ended = |search: &Search| search.ended.expect("it has") - search.arrived;
        let mut by_kind = Vec::new();
        for network in [Network::Local, Network::Dev, Network::Beta, Network::Live] {
            let of_kind = |search: &&Search| search.kind == network.into();
            let mine = summary(
                &format!("{seed} {network}"),
                ours.iter().filter(of_kind).map(ended),
            );
            let both = ours
                .iter()
                .zip(&plain)
                .filter(|(search, _)| of_kind(search));
            let theirs = summary(
                &format!("{seed} {network}, plain"),
                both.map(|(search, end)| end - search.arrived),
            );
            by_kind.push((mine, theirs));
        }
        let mine = summary(&format!("{seed} all"), ours.iter().map(ended));
        let theirs = summary(
            &format!("{seed} all, plain"),
            ours.iter()
                .zip(&plain)
                .map(|(search, end)| end - search.arrived),
        );
        assert!(mine.mean < theirs.mean / 2.0);
        assert!(mine.percentile_99 < theirs.percentile_99);
        // An easy search waits for a slice, and for those easy ones that came just before.
        let waited = |search: &Search| search.began.expect("it has") - search.arrived;
        let easy = |search: &&Search| search.kind == Network::Local.into();
        let longest = ours.iter().filter(easy).map(waited).fold(0.0, f64::max);
        assert!(longest < 0.02, "{longest}");
        // The hard ones pay for it, within bounds; and none waits longer until it runs than it would for its answer.
        let (live, plainly) = &by_kind[3];
        assert!(live.mean < 2.0 * plainly.mean);
        let longest = ours.iter().map(waited).fold(0.0, f64::max);
        let ends = ours
            .iter()
            .zip(&plain)
            .map(|(search, end)| end - search.arrived);
        let plainly = ends.fold(0.0, f64::max);
        println!("{seed} longest wait to run {longest:.1}, plainly for an answer {plainly:.1}");
        assert!(longest < plainly, "{longest}, {plainly}");
    }
}

/// The part of the hashes that one endless hard search has beside this many clients, each of which asks for LOCAL work
/// again as soon as it has some.
fn part_of_a_hard_search(clients: usize) -> f64 {
    let mut random = fastrand::Rng::with_seed(7);
    let mut searches = vec![search(&mut random, Network::Live, 0.0)];
    searches[0].need = 1e18;
    searches.extend((0..clients).map(|_| search(&mut random, Network::Local, 0.0)));
    let mut world = World::new(searches);
    while world.now < 20.0 {
        world.next_end().expect("clients ask without end");
        let now = world.now;
        world
            .searches
            .push(search(&mut random, Network::Local, now));
    }
    (1e18 - world.searches[0].need) / (world.now * SPEED * CORES as f64)
}

#[test]
fn a_hard_search_has_its_part_beside_any_number_of_easy_ones() {
    let parts = [1, 8, 64, 1000].map(|clients| (clients, part_of_a_hard_search(clients)));
    println!("{parts:?}");
    for (clients, part) in parts {
        // 1e18 is a multiple of 128 in this arithmetic, and a slice is not: a part is right within a thousandth.
        assert!((0.24..1.0).contains(&part), "{clients} clients: {part}");
    }
    // One client leaves it half of the cores, and more while it is between two requests.
    assert!(parts[0].1 > 0.4, "{parts:?}");
}

#[test]
fn an_easy_search_waits_for_one_slice_of_hard_ones_that_never_end() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut searches: Vec<_> = (0..100)
        .map(|_| search(&mut random, Network::Live, 0.0))
        .collect();
    searches.iter_mut().for_each(|search| search.need = 1e15);
    let locals =
        (1..=2000).map(|number| search(&mut random, Network::Local, f64::from(number) * 0.0173));
    searches.extend(locals);
    let mut world = World::new(searches);
    for _ in 0..2000 {
        world.next_end().expect("there are more");
    }
    let easy = world
        .searches
        .iter()
        .filter(|search| search.kind == Network::Local.into());
    let waits = easy.map(|search| search.began.expect("it has ended") - search.arrived);
    let longest = waits.fold(0.0, f64::max);
    assert!(longest <= SLICE as f64 / SPEED + 1e-9, "{longest}");
}

#[test]
fn searches_of_one_kind_begin_in_the_order_of_arrival() {
    for network in Network::ALL {
        let mut random = fastrand::Rng::with_seed(11);
        let expected = request(network, 0).rule().expected_hashes();
        // Twice as much as the cores can do at first, so that a line forms, and half as much then.
        let gap = expected / (SPEED * CORES as f64);
        let mut now = 0.0;
        let searches: Vec<_> = (0..400)
            .map(|number| {
                now += gap * if number < 200 { 0.5 } else { 2.0 } * exponential(&mut random);
                search(&mut random, network, now)
            })
            .collect();
        let ended = World::new(searches).run();
        let began = |search: &Search| search.began.expect("it has");
        let in_order = ended
            .windows(2)
            .all(|pair| began(&pair[0]) <= began(&pair[1]));
        assert!(in_order, "{network}");
        assert!(ended.iter().all(|search| search.ended.is_some()));
    }
}

/// The p99 of ten modest clients, each of which asks for one work at a time, and for all of which the cores are needed half of
/// the time; beside a client that always has `greedy` searches.
fn modest_p99(network: Network, greedy: usize, seed: u64) -> f64 {
    const MODEST: u8 = 10;
    const COUNT: usize = 1500;

    let mut random = fastrand::Rng::with_seed(seed);
    let alone = request(network, 0).rule().expected_hashes() / (SPEED * CORES as f64);
    let pause = f64::from(MODEST) * alone / 0.5;
    let modest = |client: u8| ClientId::at([192, 0, 2, client].into());
    let of = |random: &mut fastrand::Rng, client, arrived| Search {
        client,
        ..search(random, network, arrived)
    };
    let mut world = World::new(Vec::new());
    for _ in 0..greedy {
        world.add(of(&mut random, modest(255), 0.0));
    }
    for client in 0..MODEST {
        let arrived = pause * exponential(&mut random);
        world.add(of(&mut random, modest(client), arrived));
    }
    let mut times = Vec::new();
    while times.len() < COUNT {
        let ended = world.next_end().expect("clients ask without end");
        let Search {
            client, arrived, ..
        } = world.searches[ended].clone();
        let mut again = world.now;
        if client != modest(255) {
            times.push(world.now - arrived);
            again += pause * exponential(&mut random);
        }
        world.add(of(&mut random, client, again));
    }
    summary(&format!("{network} beside {greedy}"), times.into_iter()).percentile_99
}

#[test]
fn modest_clients_hardly_wait_for_a_greedy_one() {
    for seed in 1..=3 {
        let [alone, beside] = [0, 64].map(|greedy| modest_p99(Network::Dev, greedy, seed));
        assert!(beside <= 2.0 * alone, "DEV: {alone} s, {beside} s");
        // One core searches for an easy work, and that alone takes this long at the 99th percentile.
        let hashes = request(Network::Local, 0).rule().expected_hashes();
        let alone = hashes / SPEED * 100_f64.ln();
        let beside = modest_p99(Network::Local, 64, seed);
        assert!(beside <= 2.0 * alone, "LOCAL: {alone} s, {beside} s");
    }
}

/// Nano's work that needs as many hashes on average.
fn as_hard_in_nano(network: Network) -> Difficulty {
    let Rule::AtMost(threshold) = request(network, 0).rule() else {
        panic!("Atto's rule")
    };
    Difficulty::new(!threshold.get())
}

#[test]
fn searches_of_nano_are_served_as_those_of_atto_that_are_as_hard() {
    let searches = mixed_load(&mut fastrand::Rng::with_seed(18), 5000);
    let mut mixed = searches.clone();
    for search in mixed.iter_mut().step_by(2) {
        if let Kind::Atto(network) = search.kind {
            search.kind = as_hard_in_nano(network).into();
        }
    }
    let ends = |searches| {
        let searches = World::new(searches).run();
        let times = searches.iter().map(|search| (search.began, search.ended));
        times.collect::<Vec<_>>()
    };
    assert_eq!(ends(mixed), ends(searches));
}

/// The part of the hashes that the first of two clients has, each of which always has eight searches of its kind.
fn part_of_the_first(kinds: [Kind; 2]) -> f64 {
    const SECONDS: f64 = 120.0;

    let mut random = fastrand::Rng::with_seed(18);
    let clients = [1, 2].map(|client| ClientId::at([192, 0, 2, client].into()));
    let mut world = World::new(Vec::new());
    let mut add = |world: &mut World, which: usize| {
        world.add(Search {
            client: clients[which].clone(),
            ..search(&mut random, kinds[which], world.now)
        });
    };
    for which in [0, 1].repeat(8) {
        add(&mut world, which);
    }
    while world.now < SECONDS {
        let ended = world.next_end().expect("clients ask without end");
        let which = usize::from(world.searches[ended].client == clients[1]);
        add(&mut world, which);
    }
    let given = clients.map(|client| {
        let own = world.searches.iter().filter(|it| it.client == client);
        own.map(|search| search.given).sum::<f64>()
    });
    given[0] / (given[0] + given[1])
}

#[test]
fn nano_and_atto_have_equal_parts_of_the_hashes_if_both_want_all() {
    let [send, receive] = [Difficulty::NANO_SEND, Difficulty::NANO_RECEIVE].map(Kind::from);
    for kinds in [
        // 4.3 and 5.4 times 10^8 hashes.
        [Network::Beta.into(), send],
        // Eight times as hard as the other's.
        [Network::Live.into(), send],
        // A fifth, and 512 times.
        [receive, Network::Dev.into()],
        [Network::Live.into(), receive],
        [send, receive],
        // As two networks of Atto.
        [Network::Beta.into(), Network::Dev.into()],
    ] {
        let part = part_of_the_first(kinds);
        println!("{kinds:?}: {part:.3}");
        assert!((0.45..0.55).contains(&part), "{kinds:?}: {part}");
    }
}
