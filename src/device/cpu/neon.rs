//! Two lanes in NEON, which every 64-bit ARM processor has.

use std::arch::aarch64::*;

use super::lanes::Lanes;
use super::search::{self, Job};

/// Tests `count` nonces from `start` on; see [`search::search`].
///
/// Safe to call where the processor has NEON, which the caller vouches for.
#[target_feature(enable = "neon")]
pub(super) fn search(job: &Job, threshold: u64, start: u64, count: u64) -> Option<u64> {
    search::search::<Neon>(job, threshold, start, count)
}

/// A 128-bit register; used only inside [`search`], which has the processor's leave.
#[derive(Clone, Copy)]
struct Neon(uint64x2_t);

impl Lanes for Neon {
    const COUNT: usize = 2;

    #[inline(always)]
    fn splat(value: u64) -> Self {
        // SAFETY: inlined into `search`, which requires NEON.
        Self(unsafe { vdupq_n_u64(value) })
    }

    #[inline(always)]
    fn counting(first: u64) -> Self {
        // SAFETY: inlined into `search`, which requires NEON.
        Self::splat(first).add(Self(unsafe {
            vcombine_u64(vcreate_u64(0), vcreate_u64(1))
        }))
    }

    #[inline(always)]
    fn next(self) -> Self {
        self.add(Self::splat(2))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: inlined into `search`, which requires NEON.
        Self(unsafe { vaddq_u64(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: inlined into `search`, which requires NEON.
        Self(unsafe { veorq_u64(self.0, other.0) })
    }

    /// NEON has no rotation: by 32 it swaps halves, otherwise it shifts one way and inserts the other.
    #[inline(always)]
    fn xor_rotr<const N: u32>(self, other: Self) -> Self {
        let x = self.xor(other).0;
        // SAFETY: inlined into `search`, which requires NEON.
        Self(unsafe {
            match N {
                32 => vreinterpretq_u64_u32(vrev64q_u32(vreinterpretq_u32_u64(x))),
                24 => vsriq_n_u64::<24>(vshlq_n_u64::<40>(x), x),
                16 => vsriq_n_u64::<16>(vshlq_n_u64::<48>(x), x),
                _ => vsriq_n_u64::<63>(vaddq_u64(x, x), x),
            }
        })
    }

    #[inline(always)]
    fn at_most(self, limit: u64) -> u32 {
        // SAFETY: inlined into `search`, which requires NEON.
        unsafe {
            let within = vcleq_u64(self.0, vdupq_n_u64(limit));
            let (lane0, lane1) = (
                vgetq_lane_u64::<0>(within) & 1,
                vgetq_lane_u64::<1>(within) & 2,
            );
            // At most the two lowest bits are set.
            (lane0 | lane1) as u32
        }
    }
}
