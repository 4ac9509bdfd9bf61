//! The search on a graphics card, or on software that acts as one, in three parts:
//!
//!     cargo bench --bench cards -- forms      every form of the shader, beside Blake2b as most WGSL has it
//!     cargo bench --bench cards -- busy       how much of the card's time goes into answers, with four clients
//!     cargo bench --bench cards -- batches    easy work for 64 clients, with batches and without
//!
//! Without a name all three run, on the first adapter of the list.

mod plain;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atto_work_server::device::gpu::{self, Adapter};
use atto_work_server::device::{
    Capacity, Device, DeviceError, Engine, OpenDevices, Searched, Slice, StopFlag, rate,
};
use atto_work_server::scheduler::{Limits, Scheduler};
use atto_work_server::telemetry::Metrics;
use atto_work_server::work::{Network, Target, Threshold, Timestamp, WorkRequest};
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
}

/// The median of some figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Hashes a second of every form and of the plain shader, in turns.
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

/// Four clients ask for DEV work for a minute, and nonces are counted that were tested for requests which were
/// answered; beside how many the engine alone tests in that time.
fn busy(adapter: &Adapter) {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 6;
    const TURN: Duration = Duration::from_secs(10);
    let mut alone = gpu::open(adapter, None).expect("the adapter works");
    let counts = Arc::new(Counts::default());
    let scheduler = scheduler(adapter, &counts, |capacity| capacity, CLIENTS);
    let mut shares = Vec::new();
    let mut totals = (0.0, 0.0);
    for _ in 0..ROUNDS {
        let mut raw = || {
            let measured = rate::measure(&mut *alone.engines[0], TURN / 5);
            measured.expect("it works").rate()
        };
        let before = raw();
        counts.reset();
        let (works, elapsed) = solve(&scheduler, Network::Dev, CLIENTS, TURN);
        let useful = counts.useful.load(Ordering::Relaxed) as f64;
        let possible = (before + raw()) / 2.0 * elapsed;
        println!(
            "{works} works in {elapsed:.1} s, {:.1} % of {:.0} million nonces went into answers",
            100.0 * useful / possible,
            possible / 1e6
        );
        shares.push(useful / possible);
        totals = (totals.0 + useful, totals.1 + possible);
    }
    println!(
        "median {:.1} %, in all {:.1} %",
        100.0 * median(shares),
        100.0 * totals.0 / totals.1
    );
}

/// 64 clients ask for LOCAL work, with batches as they are and with one search to a dispatch.
fn batches(adapter: &Adapter) {
    const CLIENTS: usize = 64;
    const ROUNDS: usize = 9;
    const TURN: Duration = Duration::from_secs(2);
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
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let [with, without] = schedulers.each_ref().map(|(scheduler, counts)| {
            counts.reset();
            let (works, elapsed) = solve(scheduler, Network::Local, CLIENTS, TURN);
            let dispatches = counts.batches.load(Ordering::Relaxed);
            (works as f64 / elapsed, works as f64 / dispatches as f64)
        });
        println!(
            "with batches {:6.0} works/s, {:5.1} to a dispatch; without {:6.0} works/s, {:5.2} to a dispatch",
            with.0, with.1, without.0, without.1
        );
        ratios.push(with.0 / without.0);
    }
    println!("batches are {:.2} times as fast (median)", median(ratios));
}

/// A scheduler with the adapter's engine, which counts.
fn scheduler(
    adapter: &Adapter,
    counts: &Arc<Counts>,
    capacity: fn(Capacity) -> Capacity,
    clients: usize,
) -> Scheduler {
    let limits = Limits::new(NonZeroUsize::new(4).expect("not zero"), clients);
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

/// How many works the clients had, each asking for one after the other, and how many seconds it took until all had
/// their last.
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

/// Work for another target each time.
fn request(network: Network) -> WorkRequest {
    let mut target = [0; 32];
    fastrand::fill(&mut target);
    // The schedule is that of 2026, whenever this runs.
    let time = Timestamp::from_millis(1_795_329_945_748).expect("a time of 2026");
    WorkRequest::new(network, time, Target::new(target), time).expect("no time is ahead of itself")
}

/// What went through an engine.
#[derive(Debug, Default)]
struct Counts {
    batches: AtomicU64,
    /// Nonces that were tested for searches which were answered.
    useful: AtomicU64,
}

impl Counts {
    fn reset(&self) {
        self.batches.store(0, Ordering::Relaxed);
        self.useful.store(0, Ordering::Relaxed);
    }
}

/// An engine that counts, and may take on less than it could.
struct Counting {
    engine: Box<dyn Engine>,
    capacity: fn(Capacity) -> Capacity,
    counts: Arc<Counts>,
    /// The searches that are not answered, and how many nonces were tested for each.
    searches: Vec<(StopFlag, u64)>,
    in_flight: std::collections::VecDeque<Vec<StopFlag>>,
}

impl Engine for Counting {
    fn capacity(&self) -> Capacity {
        (self.capacity)(self.engine.capacity())
    }

    fn lengths(&self, thresholds: &[Threshold]) -> Vec<u64> {
        self.engine.lengths(thresholds)
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
            if searched.found.is_some() {
                let (_, tried) = self.searches.swap_remove(index);
                self.counts.useful.fetch_add(tried, Ordering::Relaxed);
            }
        }
        Ok(searched)
    }
}
