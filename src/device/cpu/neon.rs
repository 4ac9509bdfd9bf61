//! Two lanes in NEON, which every 64-bit ARM processor has, and with the rotation of its SHA-3 extension.

use std::arch::aarch64::*;
use std::marker::PhantomData;

use super::lanes::Lanes;
use super::search::{self, Job};

/// Tests `count` nonces from `start` on; see [`search::search`].
///
/// Safe to call where the processor has NEON, which the caller vouches for.
#[target_feature(enable = "neon")]
pub(super) fn search(job: &Job, threshold: u64, start: u64, count: u64) -> Option<u64> {
    search::search::<Neon<Shifted>>(job, threshold, start, count)
}

/// The same where the processor has the SHA-3 extension too, which the caller vouches for.
#[target_feature(enable = "neon,sha3")]
pub(super) fn search_sha3(job: &Job, threshold: u64, start: u64, count: u64) -> Option<u64> {
    search::search::<Neon<Rotated>>(job, threshold, start, count)
}

/// How to rotate an exclusive or.
trait XorRotr: Copy {
    /// Lane by lane, the exclusive or rotated right by `N` bits: one of 32, 24, 16 and 63.
    fn xor_rotr<const N: u32>(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t;
}

/// Plain NEON; used only inside [`search`], which has the processor's leave.
#[derive(Clone, Copy)]
struct Shifted;

impl XorRotr for Shifted {
    /// NEON has no rotation: by 32 it swaps halves, otherwise it shifts one way and inserts the other.
    #[inline(always)]
    fn xor_rotr<const N: u32>(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t {
        // SAFETY: inlined into `search`, which requires NEON.
        unsafe {
            let x = veorq_u64(a, b);
            match N {
                32 => vreinterpretq_u64_u32(vrev64q_u32(vreinterpretq_u32_u64(x))),
                24 => vsriq_n_u64::<24>(vshlq_n_u64::<40>(x), x),
                16 => vsriq_n_u64::<16>(vshlq_n_u64::<48>(x), x),
                _ => vsriq_n_u64::<63>(vaddq_u64(x, x), x),
            }
        }
    }
}

/// `xar`, one instruction; used only inside [`search_sha3`], which has the processor's leave.
#[derive(Clone, Copy)]
struct Rotated;

impl XorRotr for Rotated {
    #[allow(
        inline_always_mismatching_target_features,
        reason = "the features are there once this is part of `search_sha3`"
    )]
    #[inline(always)]
    fn xor_rotr<const N: u32>(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t {
        // SAFETY: inlined into `search_sha3`, which requires the SHA-3 extension.
        unsafe {
            match N {
                32 => vxarq_u64::<32>(a, b),
                24 => vxarq_u64::<24>(a, b),
                16 => vxarq_u64::<16>(a, b),
                _ => vxarq_u64::<63>(a, b),
            }
        }
    }
}

/// A 128-bit register; used only inside [`search`] and [`search_sha3`], which have the processor's leave.
#[derive(Clone, Copy)]
struct Neon<R>(uint64x2_t, PhantomData<R>);

impl<R: XorRotr> Neon<R> {
    #[inline(always)]
    fn new(lanes: uint64x2_t) -> Self {
        Self(lanes, PhantomData)
    }
}

impl<R: XorRotr> Lanes for Neon<R> {
    const COUNT: usize = 2;

    #[inline(always)]
    fn splat(value: u64) -> Self {
        // SAFETY: inlined into a search, which requires NEON.
        Self::new(unsafe { vdupq_n_u64(value) })
    }

    #[inline(always)]
    fn counting(first: u64) -> Self {
        // SAFETY: inlined into a search, which requires NEON.
        Self::splat(first).add(Self::new(unsafe {
            vcombine_u64(vcreate_u64(0), vcreate_u64(1))
        }))
    }

    #[inline(always)]
    fn next(self) -> Self {
        self.add(Self::splat(2))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: inlined into a search, which requires NEON.
        Self::new(unsafe { vaddq_u64(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: inlined into a search, which requires NEON.
        Self::new(unsafe { veorq_u64(self.0, other.0) })
    }

    #[inline(always)]
    fn xor_rotr<const N: u32>(self, other: Self) -> Self {
        Self::new(R::xor_rotr::<N>(self.0, other.0))
    }

    #[inline(always)]
    fn at_most(self, limit: u64) -> u32 {
        // SAFETY: inlined into a search, which requires NEON.
        unsafe {
            let within = vcleq_u64(self.0, vdupq_n_u64(limit));
            let (lane0, lane1) = (
                vgetq_lane_u64::<0>(within) & 1,
                vgetq_lane_u64::<1>(within) & 2,
            );
            #[expect(clippy::cast_possible_truncation, reason = "only two bits can be set")]
            let valid = (lane0 | lane1) as u32;
            valid
        }
    }
}
