//! The kernels of the processor.

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;
use std::fmt;

use super::make::{Bound, Make};
use super::search::{self, Midstate};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
#[cfg(target_arch = "x86_64")]
use avx512::double::Order;

/// A kernel that this processor can run. A value of this type is the proof that it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Isa);

/// The instruction sets that there are kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx2Single,
    #[cfg(target_arch = "x86_64")]
    Avx2Mixed,
    #[cfg(target_arch = "x86_64")]
    Avx512(Order),
    #[cfg(target_arch = "x86_64")]
    Avx512Mixed,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "aarch64")]
    NeonSha3,
}

impl Kernel {
    /// The kernels that this processor can run, the one expected to be fastest first. Always contains `portable`.
    pub fn available() -> Vec<Self> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                kernels.extend(
                    [
                        Isa::Avx512(Order::Grouped),
                        Isa::Avx512(Order::Paired),
                        Isa::Avx512Mixed,
                    ]
                    .map(Self),
                );
            }
            if is_x86_feature_detected!("avx2") {
                kernels.extend([Isa::Avx2Mixed, Isa::Avx2Single, Isa::Avx2].map(Self));
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

    /// The kernel of this name.
    ///
    /// # Errors
    ///
    /// [`NoSuchKernel`] if there is none, or if this processor does not have its instructions.
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

    /// The name in flags, logs, metrics and reports.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Single => "avx2-single",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Mixed => "avx2-mixed",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(Order::Grouped) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(Order::Paired) => "avx512-paired",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Mixed => "avx512-mixed",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Isa::NeonSha3 => "neon-sha3",
        }
    }

    /// The fewest cycles that a hash can take on a core of this processor, by its execution units. `None` if they were not
    /// counted for this make of cores.
    ///
    /// A hash needs 1131 operations on 64-bit words. Portable code does one at a time on each scalar unit, AVX2 four on each
    /// vector unit, and AVX-512 eight on each of two. AVX2 takes three operations for each of 87 rotations by 63 bits.
    /// `avx512-mixed` gets a ninth hash at no cost where scalar and vector operations have separate units.
    /// `avx2-mixed` takes 2436 operations for five hashes, and is bound by the six that Zen dispatches in a cycle.
    pub fn bound(self) -> Option<Bound> {
        let make = Make::here()?;
        let cycles = match (self.0, make) {
            (Isa::Portable, Make::Zen | Make::IceLake) => 1131.0 / 4.0,
            (Isa::Portable, Make::GoldenCove) => 1131.0 / 5.0,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2 | Isa::Avx2Single, Make::Zen) => (1131.0 + 2.0 * 87.0) / 4.0 / 4.0,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2 | Isa::Avx2Single, Make::IceLake | Make::GoldenCove) => {
                (1131.0 + 2.0 * 87.0) / 3.0 / 4.0
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2Mixed, Make::Zen) => 2436.0 / 6.0 / 5.0,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2Mixed, Make::IceLake | Make::GoldenCove) => return None,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512(_), _) => 1131.0 / 2.0 / 8.0,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Mixed, Make::Zen) => 1131.0 / 2.0 / 9.0,
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Mixed, Make::IceLake | Make::GoldenCove) => return None,
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon | Isa::NeonSha3, _) => return None,
        };
        Some(make.bound(cycles))
    }

    /// Tests `count` nonces from `start` on, wrapping at 2^64. Returns the first valid one.
    #[cfg_attr(
        any(target_arch = "x86_64", target_arch = "aarch64"),
        expect(
            unsafe_code,
            reason = "the kernels need instructions that were detected"
        )
    )]
    pub(super) fn search(self, midstate: &Midstate, start: u64, count: u64) -> Option<u64> {
        match self.0 {
            Isa::Portable => search::search::<u64>(midstate, start, count),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::Avx2` exists only where AVX2 was detected.
            Isa::Avx2 => unsafe { avx2::double::search(midstate, start, count) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::Avx2Single` exists only where AVX2 was detected.
            Isa::Avx2Single => unsafe { avx2::single::search(midstate, start, count) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::Avx2Mixed` exists only where AVX2 was detected.
            Isa::Avx2Mixed => unsafe { avx2::mixed::search(midstate, start, count) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::Avx512` exists only where AVX-512F was detected.
            Isa::Avx512(order) => unsafe { avx512::double::search(order, midstate, start, count) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::Avx512Mixed` exists only where AVX-512F was detected.
            Isa::Avx512Mixed => unsafe { avx512::mixed::search(midstate, start, count) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `Isa::Neon` exists only where NEON was detected.
            Isa::Neon => unsafe { super::neon::search(midstate, start, count) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `Isa::NeonSha3` exists only where NEON and its SHA-3 extension were detected.
            Isa::NeonSha3 => unsafe { super::neon::search_sha3(midstate, start, count) },
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// This processor cannot run the kernel of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this processor has no kernel {name:?}; it has {available}")]
pub struct NoSuchKernel {
    name: String,
    available: String,
}
