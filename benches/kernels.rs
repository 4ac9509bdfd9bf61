//! Every kernel of the processor against the bound of its ports and the best libraries, on one core, in one run.
//!
//!     cargo bench --bench kernels
//!
//! Rates are hashes per CPU second, so a busy machine does not distort them much. The clock is measured before and after
//! each run by a chain of operations of one cycle each, and turns them into cycles a hash. Every figure is the median.

use std::hint::black_box;
use std::num::NonZeroUsize;

use atto_work_server::device::cpu::clock::{core_frequency, thread_cpu_time};
use atto_work_server::device::cpu::{self, Kernel};
use atto_work_server::device::{self, Engine, NonceRange, Slice, StopFlag};
use atto_work_server::work::{Nonce, Target, Threshold, digest};
use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};

/// How many times everything is measured. Odd, so that there is a median.
const ROUNDS: usize = 21;

/// Something that tests this many nonces from the given one on.
struct Candidate {
    name: String,
    /// The fewest cycles a hash that the processor's ports allow, if known.
    bound: Option<f64>,
    hashes: u64,
    run: Box<dyn FnMut(u64, u64)>,
    /// One entry a round.
    rates: Vec<f64>,
    cycles: Vec<f64>,
}

impl Candidate {
    fn new(
        name: &str,
        bound: Option<f64>,
        hashes: u64,
        run: impl FnMut(u64, u64) + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            bound,
            hashes,
            run: Box::new(run),
            rates: Vec::new(),
            cycles: Vec::new(),
        }
    }

    fn measure(&mut self) {
        let clock_before = core_frequency();
        let started = thread_cpu_time();
        (self.run)(fastrand::u64(..), self.hashes);
        let seconds = (thread_cpu_time() - started).as_secs_f64();
        let clock = (clock_before + core_frequency()) / 2.0;
        self.rates.push(self.hashes as f64 / seconds);
        self.cycles.push(clock * seconds / self.hashes as f64);
    }
}

fn main() {
    let mut candidates: Vec<_> = Kernel::available().into_iter().map(kernel).collect();
    candidates.push(Candidate::new(
        "blake2, a call a nonce",
        None,
        100_000,
        |start, count| {
            let target = black_box(Target::new([7; 32]));
            for offset in 0..count {
                black_box(digest(Nonce::new(start.wrapping_add(offset)), &target));
            }
        },
    ));
    candidates.push(Candidate::new(
        "blake2b_simd, a call a nonce",
        None,
        200_000,
        one_by_one,
    ));
    candidates.push(Candidate::new("blake2b_simd::many", None, 200_000, many));
    for _ in 0..ROUNDS {
        candidates.iter_mut().for_each(Candidate::measure);
    }

    let best_library = candidates
        .iter()
        .filter(|candidate| candidate.name.contains("blake2b_simd"));
    let best_library = best_library
        .map(|candidate| median(&candidate.rates))
        .fold(0.0, f64::max);
    println!("medians of {ROUNDS} rounds, one core");
    println!(
        "{:<30} {:>9} {:>13} {:>11} {:>16}",
        "", "MH/CPU s", "cycles a hash", "% of bound", "x best library"
    );
    for Candidate {
        name,
        bound,
        rates,
        cycles,
        ..
    } in &candidates
    {
        let (rate, cycles) = (median(rates), median(cycles));
        let of_bound = bound.map_or("-".to_owned(), |bound| {
            format!("{:.1}", 100.0 * bound / cycles)
        });
        println!(
            "{name:<30} {:>9.2} {cycles:>13.1} {of_bound:>11} {:>16.2}",
            rate / 1e6,
            rate / best_library
        );
    }
}

fn kernel(kernel: Kernel) -> Candidate {
    let mut device = cpu::open(Some(kernel), NonZeroUsize::MIN).expect("the processor computes");
    Candidate::new(
        kernel.name(),
        kernel.bound(),
        1 << 21,
        move |start, count| {
            let slice = Slice {
                target: Target::new([7; 32]),
                threshold: Threshold::new(0),
                nonces: NonceRange { start, count },
                stop: StopFlag::default(),
            };
            let engine: &mut dyn Engine = &mut *device.engines[0];
            black_box(device::search(engine, slice).expect("the processor computes"));
        },
    )
}

/// The library as one would use it first.
fn one_by_one(start: u64, count: u64) {
    let mut params = Params::new();
    params.hash_length(8);
    let mut input = [7; 40];
    for offset in 0..count {
        input[..8].copy_from_slice(&start.wrapping_add(offset).to_le_bytes());
        black_box(params.hash(&input));
    }
}

/// The library's interface for many inputs at once.
fn many(start: u64, count: u64) {
    const AT_ONCE: usize = 16;
    let mut params = Params::new();
    params.hash_length(8);
    let mut inputs = [[7; 40]; AT_ONCE];
    for group in (0..count).step_by(AT_ONCE) {
        for (offset, input) in (group..).zip(&mut inputs) {
            input[..8].copy_from_slice(&start.wrapping_add(offset).to_le_bytes());
        }
        let mut jobs = inputs
            .each_ref()
            .map(|input| HashManyJob::new(&params, input));
        hash_many(jobs.iter_mut());
        black_box(jobs.each_ref().map(HashManyJob::to_hash));
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
