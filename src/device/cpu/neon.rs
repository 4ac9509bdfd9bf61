//! Two lanes in NEON, with and without the rotation of the SHA-3 extension.

use std::arch::aarch64::*;
use std::marker::PhantomData;

use super::lanes::Lanes;
use super::search::{self, Midstate};

/// [`search::search`] in plain NEON.
///
/// The caller must have detected NEON.
#[target_feature(enable = "neon")]
pub(super) fn search(midstate: &Midstate, start: u64, count: u64) -> Option<u64> {
    search::search::<Neon<Shifted>>(midstate, start, count)
}

/// [`search::search`] in NEON with the SHA-3 extension.
///
/// The caller must have detected both.
#[target_feature(enable = "neon,sha3")]
pub(super) fn search_sha3(midstate: &Midstate, start: u64, count: u64) -> Option<u64> {
    search::search::<Neon<Rotated>>(midstate, start, count)
}

/// An instruction sequence for the exclusive or with a rotation.
trait XorRotr: Copy {
    /// Lane by lane, the exclusive or rotated right by `N` bits: one of 32, 24, 16 and 63.
    fn xor_rotr<const N: u32>(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t;
}

/// Plain NEON. Used only inside [`search`].
#[derive(Clone, Copy)]
struct Shifted;

#[expect(unsafe_code, reason = "SIMD intrinsics")]
impl XorRotr for Shifted {
    /// NEON has no rotation. 32 bits swap the halves; the others shift one way and insert the other.
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

/// `xar`, one instruction. Used only inside [`search_sha3`].
#[derive(Clone, Copy)]
struct Rotated;

#[expect(unsafe_code, reason = "SIMD intrinsics")]
impl XorRotr for Rotated {
    #[allow(
        inline_always_mismatching_target_features,
        reason = "it is inlined into `search_sha3`, which has the features"
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

/// A 128-bit register. Used only inside [`search`] and [`search_sha3`].
#[derive(Clone, Copy)]
struct Neon<R>(uint64x2_t, PhantomData<R>);

impl<R: XorRotr> Neon<R> {
    #[inline(always)]
    fn new(lanes: uint64x2_t) -> Self {
        Self(lanes, PhantomData)
    }
}

#[expect(unsafe_code, reason = "SIMD intrinsics")]
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
