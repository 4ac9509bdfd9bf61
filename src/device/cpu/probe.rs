//! Whether a thread has a core to itself, and figures that tell both cases apart.
//!
//! A virtual processor is often one of two hyperthreads of a core, and another tenant may have the other one. The clock does
//! not show that: a chain of dependent operations takes as long as before. The number of instructions that the core
//! dispatches for the thread shows it.

use serde::Serialize;

use super::clock::core_frequency;
#[cfg(target_arch = "x86_64")]
use super::clock::cpu_seconds;
use super::make::Make;

/// A core at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Cycles per second.
    pub hertz: f64,
    /// Cycles per operation while the core dispatches as many as it can. `None` on processors without AVX2, where it is not
    /// measured.
    pub slot: Option<f64>,
}

impl Probe {
    /// Measures the core that the calling thread runs on, in some 60 µs of CPU time.
    pub fn take() -> Self {
        let hertz = core_frequency();
        let slot = seconds_per_slot().map(|seconds| seconds * hertz);
        Self { hertz, slot }
    }
}

/// The CPU time per operation, of equally many vector and scalar additions that do not depend on each other. The
/// execution units of one kind alone are too few to take all operations that a core can dispatch.
fn seconds_per_slot() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        const TURNS: u64 = 2500;
        const OPERATIONS: u64 = 8 * 16;
        // SAFETY: AVX2 was detected.
        #[expect(unsafe_code, reason = "instructions that were detected")]
        let seconds = cpu_seconds(|| unsafe { fill_slots(TURNS) });
        return Some(seconds / (TURNS * OPERATIONS) as f64);
    }
    None
}

/// Does 64 vector and 64 scalar additions, this many times; at least once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[expect(unsafe_code, reason = "assembly")]
#[rustfmt::skip]
fn fill_slots(turns: u64) {
    // SAFETY: the text writes only registers, and each is declared. It uses only AVX2 instructions.
    unsafe {
        std::arch::asm!(
            "2:",
            ".rept 8",
            "vpaddq ymm0, ymm0, ymm0", "add rax, 1", "vpaddq ymm1, ymm1, ymm1", "add rcx, 1",
            "vpaddq ymm2, ymm2, ymm2", "add rdx, 1", "vpaddq ymm3, ymm3, ymm3", "add rsi, 1",
            "vpaddq ymm4, ymm4, ymm4", "add rdi, 1", "vpaddq ymm5, ymm5, ymm5", "add r8, 1",
            "vpaddq ymm6, ymm6, ymm6", "add r9, 1", "vpaddq ymm7, ymm7, ymm7", "add r10, 1",
            ".endr",
            "dec r11",
            "jnz 2b",
            inout("r11") turns => _,
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _,
            out("r9") _, out("r10") _, out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
            out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
            options(nomem, nostack),
        );
    }
}

/// A thread counts as alone up to this multiple of the cycles of a slot on a core of its own.
const ALONE: f64 = 1.04;

/// From this multiple on, it counts as beside a busy hyperthread. In between, it had one for a part of the time.
const SHARED: f64 = 1.35;

/// By how much the clock may change during a run that counts.
const STEADY: f64 = 0.01;

/// Runs of a search, each between two probes.
#[derive(Clone, Debug, Default)]
pub struct Runs(Vec<Run>);

#[derive(Clone, Copy, Debug)]
struct Run {
    cycles_per_hash: f64,
    /// The more expensive slot of both probes.
    slot: Option<f64>,
}

impl Runs {
    /// Adds a run: how many hashes in how many seconds of CPU time, unless the clock has changed meanwhile.
    pub fn add(&mut self, hashes: u64, cpu_seconds: f64, before: Probe, after: Probe) {
        if (before.hertz / after.hertz - 1.0).abs() <= STEADY {
            let hertz = f64::midpoint(before.hertz, after.hertz);
            self.0.push(Run {
                cycles_per_hash: cpu_seconds * hertz / hashes as f64,
                slot: before.slot.zip(after.slot).map(|(a, b)| a.max(b)),
            });
        }
    }

    /// Adds the runs of another thread.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The figures of all runs together, of those alone on a core, and of those beside another hyperthread.
    pub fn figures(&self) -> Figures {
        let alone = self.slot_alone();
        let of = |is_one: &dyn Fn(f64) -> bool| {
            let cost = |run: &&Run| {
                run.slot
                    .zip(alone)
                    .is_some_and(|(slot, one)| is_one(slot / one))
            };
            Quantiles::of(self.0.iter().filter(cost))
        };
        Figures {
            all: Quantiles::of(self.0.iter()),
            alone: of(&|cost| cost <= ALONE),
            shared: of(&|cost| cost >= SHARED),
        }
    }

    /// The cycles of a slot on a core that nobody shares: as measured for this make, else nearly the lowest of these runs.
    fn slot_alone(&self) -> Option<f64> {
        if Make::here() == Some(Make::Zen) {
            // Six can be dispatched in a cycle; 5.85 were.
            return Some(0.171);
        }
        let mut slots: Vec<_> = self.0.iter().filter_map(|run| run.slot).collect();
        slots.sort_by(f64::total_cmp);
        slots.get(slots.len() / 50).copied()
    }
}

/// Cycles a hash, by the state of the core.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Of all runs, those between the two cases too.
    pub all: Option<Quantiles>,
    /// Of runs with a core to themselves. `None` if there was no such run, or if it is not known.
    pub alone: Option<Quantiles>,
    /// Of runs beside another busy hyperthread of the core, a stranger's or one of this process.
    pub shared: Option<Quantiles>,
}

impl Figures {
    /// The part of the runs that were beside another busy hyperthread.
    pub fn part_shared(&self) -> f64 {
        let runs =
            |quantiles: Option<Quantiles>| quantiles.map_or(0, |quantiles| quantiles.runs) as f64;
        runs(self.shared) / runs(self.all).max(1.0)
    }
}

/// Cycles a hash of some runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many runs there were; at least one.
    pub runs: usize,
    /// The tenth percentile, which repeats best on a busy machine.
    pub p10: f64,
    /// The median.
    pub median: f64,
}

impl Quantiles {
    fn of<'a>(runs: impl Iterator<Item = &'a Run>) -> Option<Self> {
        let mut cycles: Vec<_> = runs.map(|run| run.cycles_per_hash).collect();
        cycles.sort_by(f64::total_cmp);
        let runs = cycles.len();
        Some(Self {
            runs,
            p10: *cycles.get(runs / 10)?,
            median: *cycles.get(runs / 2)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_knows_the_clock_and_the_slots() {
        let Probe { hertz, slot } = Probe::take();
        assert!((1e8..1e11).contains(&hertz), "{hertz}");
        assert!(
            slot.is_none_or(|slot| (0.05..5.0).contains(&slot)),
            "{slot:?}"
        );
    }

    #[test]
    fn runs_alone_and_beside_others_are_told_apart() {
        let probe = |slot| Probe {
            hertz: 1e9,
            slot: Some(slot),
        };
        let mut runs = Runs::default();
        for _ in 0..10 {
            runs.add(1000, 100e-6, probe(0.171), probe(0.170));
            runs.add(1000, 170e-6, probe(0.171), probe(0.33));
            runs.add(1000, 130e-6, probe(0.19), probe(0.171));
        }
        let other_clock = Probe {
            hertz: 1.1e9,
            slot: Some(0.171),
        };
        runs.add(1000, 50e-6, probe(0.171), other_clock);
        let figures = runs.figures();
        let medians = [figures.all, figures.alone, figures.shared]
            .map(|quantiles| quantiles.map(|quantiles| (quantiles.runs, quantiles.median.round())));
        assert_eq!(
            medians,
            [Some((30, 130.0)), Some((10, 100.0)), Some((10, 170.0))]
        );
        assert!((figures.part_shared() - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_told_apart_without_a_measured_slot() {
        let probe = Probe {
            hertz: 1e9,
            slot: None,
        };
        let mut runs = Runs::default();
        runs.add(1000, 1e-4, probe, probe);
        let figures = runs.figures();
        assert_eq!(figures.all.map(|quantiles| quantiles.runs), Some(1));
        assert!(figures.alone.is_none() && figures.shared.is_none());
        assert_eq!(Runs::default().figures().part_shared(), 0.0);
    }
}
