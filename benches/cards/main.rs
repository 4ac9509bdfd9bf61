//! The search on a graphics card, or on software that acts as one, in parts:
//!
//!     cargo bench --bench cards -- forms      every kernel, beside Blake2b as most WGSL has it
//!     cargo bench --bench cards -- busy       how much of the card's time goes into answers, with four clients
//!     cargo bench --bench cards -- batches    easy work for 64 clients, with batches and without
//!     cargo bench --bench cards -- together   easy work, with one to eight searches in a dispatch
//!     cargo bench --bench cards -- live       hard work for eight clients, beside one
//!
//! Without a name all of them run, on the first adapter of the list. The last four take two minutes.

mod plain;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atto_work_server::device::gpu::{self, Adapter};
use atto_work_server::device::{
    Capacity, Device, DeviceError, Engine, NonceRange, OpenDevices, Searched, Slice, StopFlag, rate,
};
use atto_work_server::scheduler::{Limits, Scheduler};
use atto_work_server::telemetry::Metrics;
use atto_work_server::work::{Network, Rule, Target, Timestamp, WorkRequest};
use futures_util::future::join_all;

fn main() {
    let adapters = gpu::adapters().expect("the adapters can be listed");
    let adapter = adapters
        .first()
        .expect("no Vulkan adapter here: install Mesa's lavapipe (mesa-vulkan-drivers)");
    println!("{}, {}", adapter.info().label, adapter.info().driver);
    // Cargo adds flags of its own.
    let names: Vec<_> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    if wanted("forms") {
        forms(adapter);
    }
    if wanted("busy") {
        busy(adapter);
    }
    if wanted("batches") {
        batches(adapter);
    }
    if wanted("together") {
        together(adapter);
    }
    if wanted("live") {
        live(adapter);
    }
}

/// The median of some figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Hashes a second of every kernel and of the plain shader, in turns.
fn forms(adapter: &Adapter) {
    const ROUNDS: usize = 9;
    const TURN: Duration = Duration::from_millis(500);
    let mut plain = plain::Plain::open(&adapter.info().name);
    let mut engines: Vec<_> = adapter
        .info()
        .kernels
        .iter()
        .map(|&kernel| {
            let mut device = gpu::open_with(adapter, kernel).expect("the kernel works");
            (kernel, device.engines.remove(0))
        })
        .collect();
    let mut rates = vec![Vec::new(); engines.len() + 1];
    for _ in 0..ROUNDS {
        rates[0].push(plain.rate(TURN));
        for ((_, engine), rates) in engines.iter_mut().zip(&mut rates[1..]) {
            rates.push(rate::measure(&mut **engine, TURN).expect("it works").rate());
        }
    }
    let medians: Vec<_> = rates.into_iter().map(median).collect();
    println!("{:<10} {:>10} {:>8}", "form", "MH/s", "x plain");
    let names = std::iter::once("plain".to_owned())
        .chain(engines.iter().map(|(kernel, _)| kernel.to_string()));
    for (name, rate) in names.zip(&medians) {
        println!("{name:<10} {:>10.1} {:>8.2}", rate / 1e6, rate / medians[0]);
    }
}

/// Four clients ask for DEV work, and nonces are counted that were tested for requests which were answered; beside how
/// many the engine alone tests in that time.
fn busy(adapter: &Adapter) {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 4;
    const TURN: Duration = Duration::from_secs(6);
    let mut alone = engine(adapter);
    let counts = Arc::new(Counts::default());
    let scheduler = scheduler(adapter, &counts, |capacity| capacity, CLIENTS);
    let mut shares = Vec::new();
    let mut totals = (0.0, 0.0);
    for _ in 0..ROUNDS {
        let before = raw_rate(&mut *alone);
        counts.reset();
        let (works, elapsed) = solve(&scheduler, Network::Dev, CLIENTS, TURN);
        let useful = counts.useful.load(Ordering::Relaxed) as f64;
        let possible = (before + raw_rate(&mut *alone)) / 2.0 * elapsed;
        println!(
            "DEV: {works} works in {elapsed:.1} s, {:.1} % of {:.0} million nonces went into answers",
            100.0 * useful / possible,
            possible / 1e6
        );
        shares.push(useful / possible);
        totals = (totals.0 + useful, totals.1 + possible);
    }
    println!(
        "DEV: median {:.1} %, in all {:.1} %",
        100.0 * median(shares),
        100.0 * totals.0 / totals.1
    );
}

/// 64 clients ask for LOCAL work, with batches as they are and with one search to a dispatch; beside what the rate of the
/// engine alone allows.
fn batches(adapter: &Adapter) {
    const CLIENTS: usize = 64;
    const ROUNDS: usize = 7;
    const TURN: Duration = Duration::from_secs(2);
    let mut alone = engine(adapter);
    let [with, without] = [Arc::<Counts>::default(), Arc::<Counts>::default()];
    let one_search = |capacity| Capacity {
        searches: 1,
        ..capacity
    };
    let schedulers = [
        (
            scheduler(adapter, &with, |capacity| capacity, CLIENTS),
            with,
        ),
        (scheduler(adapter, &without, one_search, CLIENTS), without),
    ];
    let (mut ratios, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = raw_rate(&mut *alone);
        let [with, without] = schedulers.each_ref().map(|(scheduler, counts)| {
            counts.reset();
            let (works, elapsed) = solve(scheduler, Network::Local, CLIENTS, TURN);
            let dispatches = counts.batches.load(Ordering::Relaxed);
            (works as f64 / elapsed, works as f64 / dispatches as f64)
        });
        let possible = (before + raw_rate(&mut *alone)) / 2.0 / expected_of_local();
        println!(
            "LOCAL: with batches {:6.0} works/s, {:5.1} to a dispatch, {:3.0} % of what the rate allows; \
             without {:6.0} works/s, {:5.2} to a dispatch",
            with.0,
            with.1,
            100.0 * with.0 / possible,
            without.0,
            without.1
        );
        ratios.push(with.0 / without.0);
        shares.push(with.0 / possible);
    }
    println!(
        "LOCAL: with batches {:.2} times as many as without, {:.0} % of what the rate allows (medians)",
        median(ratios),
        100.0 * median(shares)
    );
}

/// How fast an engine works on one to eight LOCAL searches in each dispatch: searches that are answered, and as many
/// nonces in vain.
fn together(adapter: &Adapter) {
    const MOST: usize = 8;
    const ROUNDS: usize = 5;
    const TURN: Duration = Duration::from_millis(250);
    let mut engine = engine(adapter);
    let mut figures = vec![[Vec::new(), Vec::new()]; MOST];
    let mut raw = Vec::new();
    for _ in 0..ROUNDS {
        raw.push(raw_rate(&mut *engine));
        for (index, [works, nonces]) in figures.iter_mut().enumerate() {
            let mut keep = |rule| keep_busy(&mut *engine, index + 1, rule, TURN);
            works.push(keep(local().rule()).0 * expected_of_local());
            nonces.push(keep(Rule::HARDEST).1);
        }
    }
    let raw = median(raw);
    let figures: Vec<_> = figures
        .into_iter()
        .map(|figures| figures.map(median))
        .collect();
    let best = |index: usize| figures.iter().map(|it| it[index]).fold(0.0, f64::max);
    println!(
        "LOCAL searches in a dispatch: works and nonces of what the rate allows, and of the best"
    );
    for (index, [works, nonces]) in figures.iter().enumerate() {
        println!(
            "{}: {:4.0} % {:4.0} %   {:4.0} % {:4.0} %",
            index + 1,
            100.0 * works / raw,
            100.0 * nonces / raw,
            100.0 * works / best(0),
            100.0 * nonces / best(1),
        );
    }
}

/// How many nonces are tested for eight clients that want LIVE work, beside one.
fn live(adapter: &Adapter) {
    const ROUNDS: usize = 7;
    const TURN: Duration = Duration::from_secs(2);
    let counts = Arc::new(Counts::default());
    let scheduler = scheduler(adapter, &counts, |capacity| capacity, 8);
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be had");
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let [one, eight] = [1, 8].map(|clients| {
            let ask = || async {
                loop {
                    let solved = scheduler.solve(request(Network::Live)).await;
                    solved.expect("there is room");
                }
            };
            let asking = join_all((0..clients).map(|_| ask()));
            counts.reset();
            let started = Instant::now();
            let _: Result<Vec<()>, _> =
                clock.block_on(async { tokio::time::timeout(TURN, asking).await });
            let rate =
                counts.tried.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
            // What is in flight ends.
            std::thread::sleep(Duration::from_millis(300));
            rate
        });
        println!(
            "LIVE: one client {:.1} MH/s, eight {:.1} MH/s",
            one / 1e6,
            eight / 1e6
        );
        ratios.push(eight / one);
    }
    println!(
        "LIVE: eight clients have {:.1} % of what one has (median)",
        100.0 * median(ratios)
    );
}

/// The adapter's engine.
fn engine(adapter: &Adapter) -> Box<dyn Engine> {
    let mut device = gpu::open(adapter, None).expect("the adapter works");
    device.engines.remove(0)
}

/// How many nonces the engine tests a second if it does nothing else.
fn raw_rate(engine: &mut dyn Engine) -> f64 {
    let measured = rate::measure(engine, Duration::from_millis(750));
    measured.expect("it works").rate()
}

/// Keeps dispatches of this many LOCAL searches in flight, whose slices are under this rule. Returns how many of them were
/// answered and how many nonces were tested, both a second.
fn keep_busy(
    engine: &mut dyn Engine,
    searches: usize,
    rule: Rule,
    duration: Duration,
) -> (f64, f64) {
    let new = || Slice {
        target: *local().target(),
        rule,
        nonces: NonceRange { start: 0, count: 0 },
        stop: StopFlag::default(),
    };
    let mut groups: VecDeque<Vec<Slice>> = (0..engine.capacity().batches)
        .map(|_| (0..searches).map(|_| new()).collect())
        .collect();
    let started = Instant::now();
    let mut in_flight = VecDeque::new();
    let (mut works, mut nonces) = (0, 0);
    loop {
        while started.elapsed() < duration
            && let Some(mut group) = groups.pop_front()
        {
            let lengths = engine.lengths(&vec![local().rule(); searches]);
            for (slice, count) in group.iter_mut().zip(lengths) {
                slice.nonces = NonceRange {
                    start: slice.nonces.start.wrapping_add(slice.nonces.count),
                    count,
                };
            }
            engine.submit(group.clone()).expect("it works");
            in_flight.push_back(group);
        }
        let Some(mut group) = in_flight.pop_front() else {
            break;
        };
        let searched = engine.complete().expect("it works");
        for (slice, searched) in group.iter_mut().zip(searched) {
            nonces += searched.tried;
            if searched.found.is_some() {
                works += 1;
                *slice = new();
            }
        }
        groups.push_back(group);
    }
    let elapsed = started.elapsed().as_secs_f64();
    (f64::from(works) / elapsed, nonces as f64 / elapsed)
}

/// A request for LOCAL work, for another target each time.
fn local() -> WorkRequest {
    request(Network::Local)
}

/// How many nonces a LOCAL work takes on average.
fn expected_of_local() -> f64 {
    local().rule().expected_hashes()
}

/// A scheduler with the adapter's engine, which counts.
fn scheduler(
    adapter: &Adapter,
    counts: &Arc<Counts>,
    capacity: fn(Capacity) -> Capacity,
    clients: usize,
) -> Scheduler {
    let limits = Limits::new(NonZeroUsize::new(8).expect("not zero"), clients);
    let scheduler = Scheduler::start(limits, Metrics::new()).expect("threads can be started");
    let mut device = gpu::open(adapter, None).expect("the adapter works");
    let engine = Counting {
        engine: device.engines.remove(0),
        capacity,
        counts: Arc::clone(counts),
        searches: Vec::new(),
        in_flight: Default::default(),
    };
    let devices = vec![Device {
        engines: vec![Box::new(engine)],
        ..device
    }];
    let opened = OpenDevices {
        devices,
        ..OpenDevices::default()
    };
    scheduler
        .put_to_work(opened)
        .expect("threads can be started");
    scheduler
}

/// The number of works that the clients got, each asking for one after another, and the seconds until all had their last.
fn solve(
    scheduler: &Scheduler,
    network: Network,
    clients: usize,
    duration: Duration,
) -> (u64, f64) {
    let started = Instant::now();
    let ask = || async {
        let mut works = 0;
        while started.elapsed() < duration {
            let solved = scheduler.solve(request(network)).await;
            solved.expect("there is room");
            works += 1;
        }
        works
    };
    let works = pollster::block_on(join_all((0..clients).map(|_| ask())));
    (works.into_iter().sum(), started.elapsed().as_secs_f64())
}

/// A request with a new target each time.
fn request(network: Network) -> WorkRequest {
    let mut target = [0; 32];
    fastrand::fill(&mut target);
    // A fixed time, so that the threshold does not depend on the date of the run.
    let time = Timestamp::from_millis(1_795_329_945_748).expect("a time of 2026");
    WorkRequest::new(network, time, Target::new(target), time).expect("no time is ahead of itself")
}

/// Counts of an engine.
#[derive(Debug, Default)]
struct Counts {
    batches: AtomicU64,
    tried: AtomicU64,
    /// Nonces that were tested for searches which were answered.
    useful: AtomicU64,
}

impl Counts {
    fn reset(&self) {
        self.batches.store(0, Ordering::Relaxed);
        self.tried.store(0, Ordering::Relaxed);
        self.useful.store(0, Ordering::Relaxed);
    }
}

/// An engine that counts, and may be limited to smaller batches.
struct Counting {
    engine: Box<dyn Engine>,
    capacity: fn(Capacity) -> Capacity,
    counts: Arc<Counts>,
    /// The nonces tested for each search that is not answered.
    searches: Vec<(StopFlag, u64)>,
    in_flight: VecDeque<Vec<StopFlag>>,
}

impl Engine for Counting {
    fn capacity(&self) -> Capacity {
        (self.capacity)(self.engine.capacity())
    }

    fn lengths(&self, rules: &[Rule]) -> Vec<u64> {
        self.engine.lengths(rules)
    }

    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError> {
        self.counts.batches.fetch_add(1, Ordering::Relaxed);
        self.searches.retain(|(search, _)| !search.is_set());
        let searches = batch.iter().map(|slice| slice.stop.clone());
        self.in_flight.push_back(searches.collect());
        self.engine.submit(batch)
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        let searched = self.engine.complete()?;
        let batch = self.in_flight.pop_front().expect("it was submitted");
        for (search, searched) in batch.into_iter().zip(&searched) {
            let known = self.searches.iter().position(|(other, _)| *other == search);
            let index = known.unwrap_or_else(|| {
                self.searches.push((search, 0));
                self.searches.len() - 1
            });
            self.searches[index].1 += searched.tried;
            self.counts
                .tried
                .fetch_add(searched.tried, Ordering::Relaxed);
            if searched.found.is_some() {
                let (_, tried) = self.searches.swap_remove(index);
                self.counts.useful.fetch_add(tried, Ordering::Relaxed);
            }
        }
        Ok(searched)
    }
}
