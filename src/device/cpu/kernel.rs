//! Which instructions the search may use: decided once, from what the processor has.

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;
use std::fmt;
use std::time::{Duration, Instant};

use super::search::{self, Job};
use crate::work::Target;

/// How often each kernel runs in the race; its best time counts, since a neighbour can only delay it.
const RACES: usize = 5;

/// Over how many nonces: a fraction of a millisecond for most kernels.
const RACE_LENGTH: u64 = 8192;

/// A form of the search that this processor can run. Holding one is the proof that it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Isa);

/// The instruction sets that there are kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "aarch64")]
    NeonSha3,
}

impl Kernel {
    /// Every kernel that this processor can run, the one expected to be fastest first. `portable` is always among them.
    pub fn available() -> Vec<Self> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                kernels.push(Self(Isa::Avx512));
            }
            if is_x86_feature_detected!("avx2") {
                kernels.push(Self(Isa::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if is_aarch64_feature_detected!("neon") {
            if is_aarch64_feature_detected!("sha3") {
                kernels.push(Self(Isa::NeonSha3));
            }
            kernels.push(Self(Isa::Neon));
        }
        kernels.push(Self(Isa::Portable));
        kernels
    }

    /// The fastest kernel here and now: they race for a few milliseconds, and the log says how it ended.
    ///
    /// What a processor has is not always what it does best: some do AVX-512 in two halves, some rotate on
    /// one port only, and some have more scalar units than vector ones.
    pub fn fastest() -> Self {
        let mut race: Vec<_> = Self::available()
            .into_iter()
            .map(|kernel| (kernel.time(), kernel))
            .collect();
        race.sort_by_key(|(time, _)| *time);
        let rate = |(time, kernel): &(Duration, Self)| {
            format!(
                "{kernel} {:.1}",
                RACE_LENGTH as f64 / time.as_secs_f64() / 1e6
            )
        };
        let rates = race.iter().map(rate).collect::<Vec<_>>().join(", ");
        tracing::info!(
            million_hashes_per_second = rates,
            "kernel chosen by measurement"
        );
        race.first()
            .map_or(Self(Isa::Portable), |(_, kernel)| *kernel)
    }

    /// Nonces a second of one core at its best, measured in a millisecond or some.
    pub(super) fn hashes_per_second(self) -> u64 {
        let rate = RACE_LENGTH as f64 / self.time().as_secs_f64().max(1e-9);
        // Truncation is meant, and no core does 10^18.
        #[expect(clippy::cast_possible_truncation, reason = "a float saturates")]
        let rate = rate as u64;
        rate
    }

    /// How long the kernel takes for [`RACE_LENGTH`] nonces at its best.
    fn time(self) -> Duration {
        let job = Job::new(&Target::new([0x55; 32]));
        let once = || {
            let started = Instant::now();
            // No digest is as low as this threshold, so every nonce is tested.
            std::hint::black_box(self.search(&job, 0, 0, RACE_LENGTH));
            started.elapsed()
        };
        (0..RACES).map(|_| once()).min().unwrap_or(Duration::MAX)
    }

    /// The kernel of this name.
    ///
    /// # Errors
    ///
    /// [`NoSuchKernel`] if there is none, or if this processor lacks the instructions.
    pub fn named(name: &str) -> Result<Self, NoSuchKernel> {
        let available = Self::available();
        let named = available
            .iter()
            .copied()
            .find(|kernel| kernel.name() == name);
        named.ok_or_else(|| NoSuchKernel {
            name: name.to_owned(),
            available: available
                .iter()
                .map(|kernel| kernel.name())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// The name in flags, logs and reports.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Isa::NeonSha3 => "neon-sha3",
        }
    }

    /// The fewest cycles that one hash can take on one core of the Intel processors of today (Ice Lake and
    /// later), where the execution ports are the limit: a yardstick on any other. `None` where nobody has
    /// counted.
    ///
    /// A hash needs 1131 operations on 64-bit words. AVX-512 does eight words at once on two ports. AVX2 does
    /// four on three ports, and takes three operations for each of 87 rotations by 63. Portable code does one
    /// on five ports.
    pub fn bound(self) -> Option<f64> {
        match self.0 {
            Isa::Portable => Some(1131.0 / 5.0),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Some((1131.0 + 2.0 * 87.0) / 3.0 / 4.0),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Some(1131.0 / 2.0 / 8.0),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon | Isa::NeonSha3 => None,
        }
    }

    /// Tests `count` nonces from `start` on, wrapping; the first whose digest is at most `threshold`.
    pub(super) fn search(self, job: &Job, threshold: u64, start: u64, count: u64) -> Option<u64> {
        match self.0 {
            Isa::Portable => search::search::<u64>(job, threshold, start, count),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::Avx2` is only made where AVX2 was detected.
            Isa::Avx2 => unsafe { super::avx2::search(job, threshold, start, count) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::Avx512` is only made where AVX-512F was detected.
            Isa::Avx512 => unsafe { super::avx512::search(job, threshold, start, count) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `Isa::Neon` is only made where NEON was detected.
            Isa::Neon => unsafe { super::neon::search(job, threshold, start, count) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `Isa::NeonSha3` is only made where NEON and the SHA-3 extension were detected.
            Isa::NeonSha3 => unsafe { super::neon::search_sha3(job, threshold, start, count) },
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A kernel was asked for that this processor cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this processor has no kernel {name:?}; it has {available}")]
pub struct NoSuchKernel {
    name: String,
    available: String,
}
