//! Every kernel of the processor against the bound of its cores and the best libraries, in one run: on one thread, and on all
//! threads at once.
//!
//!     cargo bench --bench kernels
//!
//! Figures are CPU time in cycles a hash, so other programs and a changing clock do not distort them. A program on the other
//! hyperthread of the core does. So each run takes about a millisecond and stands between two probes, which tell whether
//! the core was shared. Candidates take turns.

use std::fs;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;

use atto_work_server::device::cpu::clock::cpu_seconds;
use atto_work_server::device::cpu::probe::{Figures, Probe, Quantiles, Runs};
use atto_work_server::device::cpu::{self, Bound, Kernel};
use atto_work_server::device::{self, Engine, NonceRange, Slice, StopFlag};
use atto_work_server::work::{Nonce, Rule, Target, digest};
use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};

/// How many times everything is measured.
const ROUNDS: usize = 301;

/// Tests this many nonces from the given one on.
type Search = Box<dyn FnMut(u64, u64) + Send>;

/// What is measured.
struct Candidate {
    name: String,
    bound: Option<Bound>,
    /// Hashes of one run.
    hashes: u64,
    /// One for each thread.
    searches: Vec<Search>,
    one_thread: Runs,
    all_threads: Runs,
}

impl Candidate {
    fn new(name: &str, bound: Option<Bound>, hashes: u64, searches: Vec<Search>) -> Self {
        Self {
            name: name.to_owned(),
            bound,
            hashes,
            searches,
            one_thread: Runs::default(),
            all_threads: Runs::default(),
        }
    }

    fn library(name: &str, search: fn(u64, u64)) -> Self {
        Self::new(name, None, 4096, vec![Box::new(search)])
    }

    fn kernel(kernel: Kernel, threads: NonZeroUsize) -> Self {
        let device = cpu::open(Some(kernel), threads).expect("the processor computes");
        let search = |mut engine: Box<dyn Engine>| -> Search {
            Box::new(move |start, count| {
                let slice = Slice {
                    target: Target::new([7; 32]),
                    rule: Rule::HARDEST,
                    nonces: NonceRange { start, count },
                    stop: StopFlag::default(),
                };
                black_box(device::search(&mut *engine, slice).expect("the processor computes"));
            })
        };
        let searches = device.engines.into_iter().map(search).collect();
        Self::new(kernel.name(), kernel.bound(), 16_384, searches)
    }

    /// Measures the first search alone. Returns the slots of both probes.
    fn measure_one(&mut self) -> [Option<f64>; 2] {
        run(&mut self.searches[0], self.hashes, &mut self.one_thread)
    }

    /// Measures all searches at once, each on its own thread.
    fn measure_all(&mut self) -> Vec<[Option<f64>; 2]> {
        let (hashes, barrier) = (self.hashes, Barrier::new(self.searches.len()));
        let measured: Vec<_> = thread::scope(|scope| {
            let start = |search| {
                scope.spawn(|| {
                    let search: &mut Search = search;
                    let mut runs = Runs::default();
                    barrier.wait();
                    // The first only lets every thread come to its core.
                    run(search, hashes, &mut Runs::default());
                    (run(search, hashes, &mut runs), runs)
                })
            };
            let threads: Vec<_> = self.searches.iter_mut().map(start).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
            threads.into_iter().map(join).collect()
        });
        let mut all_slots = Vec::new();
        for (slots, runs) in measured {
            self.all_threads.append(runs);
            all_slots.push(slots);
        }
        all_slots
    }
}

fn run(search: &mut Search, hashes: u64, runs: &mut Runs) -> [Option<f64>; 2] {
    let before = Probe::take();
    let seconds = cpu_seconds(|| search(fastrand::u64(..), hashes));
    let after = Probe::take();
    runs.add(hashes, seconds, before, after);
    [before.slot, after.slot]
}

fn main() {
    let threads = cpu::available_threads();
    let mut kernels: Vec<_> = Kernel::available()
        .into_iter()
        .map(|kernel| Candidate::kernel(kernel, threads))
        .collect();
    let mut libraries = [
        Candidate::library("blake2, a call a nonce", one_by_one),
        Candidate::library("blake2b_simd, a call a nonce", simd_one_by_one),
        Candidate::library("blake2b_simd::many", many),
    ];
    let (mut slots_of_one, mut slots_of_all) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for candidate in kernels.iter_mut().chain(&mut libraries) {
            slots_of_one.extend(candidate.measure_one().into_iter().flatten());
        }
        for kernel in &mut kernels {
            slots_of_all.extend(kernel.measure_all().into_iter().flatten().flatten());
        }
    }

    println!("{}, {threads} threads, {ROUNDS} rounds", processor());
    if let Some(bound) = kernels.iter().find_map(|kernel| kernel.bound) {
        println!("bounds were counted for {}", bound.cores);
    }
    let cycles = |candidate: &Candidate| typical(&candidate.one_thread.figures());
    let best_library = libraries
        .iter()
        .skip(1)
        .map(cycles)
        .fold(f64::MAX, f64::min);
    head("one thread", "% of bound", "x best library");
    for candidate in kernels.iter().chain(&libraries) {
        let figures = candidate.one_thread.figures();
        let percent = figures.alone.zip(candidate.bound);
        let percent = percent.map(|(alone, bound)| 100.0 * bound.cycles / alone.median);
        let gain = best_library / typical(&figures);
        line(&candidate.name, &figures, percent, &format!("{gain:.2}"));
    }

    let shared = what_threads_share(&mut slots_of_one, &mut slots_of_all);
    println!("\n{}", shared.words);
    head("all threads", "% of one", "");
    for kernel in &kernels {
        let (one, all) = (kernel.one_thread.figures(), kernel.all_threads.figures());
        let percent = 100.0 * typical(&all) / typical(&one);
        let loses = percent > 100.0 * shared.most;
        let note = if loses { "more than its share" } else { "" };
        line(&kernel.name, &all, Some(percent), note);
    }
}

/// The median alone on a core, or of all runs where that is not known.
fn typical(figures: &Figures) -> f64 {
    let quantiles = figures.alone.or(figures.all);
    quantiles.map_or(f64::NAN, |quantiles| quantiles.median)
}

fn head(what: &str, percent: &str, last: &str) {
    println!(
        "\n{:<28} {:^22} {:^22}",
        "cycles a hash", "alone on a core", "beside a hyperthread"
    );
    println!(
        "{what:<28} {:>6} {:>7} {:>7} {:>6} {:>7} {:>7} {percent:>11} {last:>15}",
        "p10", "median", "runs", "p10", "median", "runs"
    );
}

fn line(name: &str, figures: &Figures, percent: Option<f64>, last: &str) {
    let columns = |quantiles: Option<Quantiles>| match quantiles {
        Some(Quantiles { runs, p10, median }) => format!("{p10:>6.1} {median:>7.1} {runs:>7}"),
        None => format!("{:>6} {:>7} {:>7}", "-", "-", 0),
    };
    println!(
        "{name:<28} {} {} {:>11} {last:>15}",
        columns(figures.alone),
        columns(figures.shared),
        percent.map_or("-".to_owned(), |percent| format!("{percent:.1}"))
    );
}

/// Whether threads of this machine are hyperthreads of one core.
struct Shared {
    words: String,
    /// How many times the cycles of one thread a kernel may take on all threads at once.
    most: f64,
}

fn what_threads_share(of_one: &mut [f64], of_all: &mut [f64]) -> Shared {
    let p10 = |slots: &mut [f64]| {
        slots.sort_by(f64::total_cmp);
        slots.get(slots.len() / 10).copied()
    };
    let Some((one, all)) = p10(of_one).zip(p10(of_all)) else {
        return Shared {
            words: "whether threads share a core is not known".to_owned(),
            most: 2.0,
        };
    };
    let costs = format!("a slot costs {one:.3} cycles on one thread and {all:.3} on all at once");
    if all < 1.1 * one {
        Shared {
            words: format!("no two threads here are hyperthreads of one core: {costs}"),
            most: 1.1,
        }
    } else {
        Shared {
            words: format!("threads here are hyperthreads of one core: {costs}"),
            most: 2.0,
        }
    }
}

/// The processor's name, family and model, as Linux tells them.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| key.trim() == name)
            .map_or("?", |(_, value)| value.trim())
    };
    let [name, family, model] = ["model name", "cpu family", "model"].map(value);
    format!("{name} (family {family}, model {model})")
}

/// The library of the reference hash, as it verifies.
fn one_by_one(start: u64, count: u64) {
    let target = black_box(Target::new([7; 32]));
    for offset in 0..count {
        black_box(digest(Nonce::new(start.wrapping_add(offset)), &target));
    }
}

/// The library as one would use it first.
fn simd_one_by_one(start: u64, count: u64) {
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
