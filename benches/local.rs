//! Easy searches through the library, without the network: works a second on LOCAL, one search at a time and many at
//! once, as a ratio to what the raw hash rate allows, in one run.
//!
//!     cargo bench --bench local

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use atto_work_server::device::cpu::{self, Kernel};
use atto_work_server::device::{OpenDevices, rate};
use atto_work_server::scheduler::{Limits, Scheduler};
use atto_work_server::telemetry::Metrics;
use atto_work_server::work::{Network, Target, Timestamp, WorkRequest};
use futures_util::future::join_all;

/// The time of one measurement. The time of a search is spread exponentially, so a measurement of some 4400 searches is
/// off by 1.5 % by chance.
const DURATION: Duration = Duration::from_secs(2);
/// Rounds of measurements.
const ROUNDS: usize = 15;
/// Searches at once.
const MANY: usize = 64;

fn main() {
    let threads = cpu::available_threads();
    let device = cpu::open(None, threads).expect("the processor computes");
    let kernel = Kernel::named(&device.info.kernel).expect("the processor has it");
    println!("kernel {kernel}, {threads} threads, {ROUNDS} rounds of {DURATION:?}");
    let limits = Limits::new(NonZeroUsize::new(4).expect("not zero"), MANY);
    let scheduler = Scheduler::start(limits, Metrics::new()).expect("threads can be started");
    scheduler
        .put_to_work(OpenDevices {
            devices: vec![device],
            ..OpenDevices::default()
        })
        .expect("threads can be started");

    let mut ratios = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        // The machine's speed changes, so the raw rate is measured right before and right after.
        let before = raw_rate(kernel, threads);
        let measured = [1, MANY].map(|at_once| works_per_second(&scheduler, at_once));
        let raw = (before + raw_rate(kernel, threads)) / 2.0 / request().rule().expected_hashes();
        println!(
            "raw {raw:7.0} works/s, one after another {:7.0}, {MANY} at once {:7.0}",
            measured[0], measured[1]
        );
        for (ratios, measured) in ratios.iter_mut().zip(measured) {
            ratios.push(measured / raw);
        }
    }
    for (name, mut ratios) in ["one after another", "many at once"]
        .into_iter()
        .zip(ratios)
    {
        ratios.sort_by(f64::total_cmp);
        let mean = ratios.iter().sum::<f64>() / ROUNDS as f64;
        let median = ratios[ROUNDS / 2];
        println!(
            "{name}: median {:.1} %, mean {:.1} % of what the raw hash rate allows",
            100.0 * median,
            100.0 * mean
        );
    }
}

/// Hashes a second of all cores, without a queue.
fn raw_rate(kernel: Kernel, threads: NonZeroUsize) -> f64 {
    let mut device = cpu::open(Some(kernel), threads).expect("the processor computes");
    std::thread::scope(|scope| {
        let threads: Vec<_> = device
            .engines
            .iter_mut()
            .map(|engine| scope.spawn(move || rate::measure(&mut **engine, DURATION)))
            .collect();
        let rates = threads.into_iter().map(|thread| {
            let measured = thread.join().expect("no panic");
            measured.expect("the processor computes").rate()
        });
        rates.sum()
    })
}

/// Works a second with this many searches at any time.
fn works_per_second(scheduler: &Scheduler, at_once: usize) -> f64 {
    let started = Instant::now();
    let ask = || async {
        let mut works = 0;
        while started.elapsed() < DURATION {
            scheduler.solve(request()).await.expect("there is room");
            works += 1;
        }
        works
    };
    let works: usize = pollster::block_on(join_all((0..at_once).map(|_| ask())))
        .into_iter()
        .sum();
    works as f64 / started.elapsed().as_secs_f64()
}

/// LOCAL work for another target each time.
fn request() -> WorkRequest {
    let mut target = [0; 32];
    fastrand::fill(&mut target);
    // A fixed time, so that the threshold does not depend on the date of the run.
    let time = Timestamp::from_millis(1_795_329_945_748).expect("a time of 2026");
    WorkRequest::new(Network::Local, time, Target::new(target), time)
        .expect("no time is ahead of itself")
}
