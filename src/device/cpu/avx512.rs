//! Eight lanes in AVX-512.

use std::arch::x86_64::*;

use super::lanes::Lanes;
use super::search::{self, Job};

/// Tests `count` nonces from `start` on; see [`search::search`].
///
/// Safe to call where the processor has AVX-512F, which the caller vouches for.
#[target_feature(enable = "avx512f")]
pub(super) fn search(job: &Job, threshold: u64, start: u64, count: u64) -> Option<u64> {
    search::search::<Avx512>(job, threshold, start, count)
}

/// A 512-bit register; used only inside [`search`], which has the processor's leave.
#[derive(Clone, Copy)]
struct Avx512(__m512i);

impl Lanes for Avx512 {
    const COUNT: usize = 8;

    #[inline(always)]
    fn splat(value: u64) -> Self {
        // SAFETY: inlined into `search`, which requires AVX-512F.
        Self(unsafe { _mm512_set1_epi64(value.cast_signed()) })
    }

    #[inline(always)]
    fn counting(first: u64) -> Self {
        // SAFETY: inlined into `search`, which requires AVX-512F.
        Self::splat(first).add(Self(unsafe { _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7) }))
    }

    #[inline(always)]
    fn next(self) -> Self {
        self.add(Self::splat(8))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: inlined into `search`, which requires AVX-512F.
        Self(unsafe { _mm512_add_epi64(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: inlined into `search`, which requires AVX-512F.
        Self(unsafe { _mm512_xor_si512(self.0, other.0) })
    }

    #[inline(always)]
    fn xor_rotr<const N: u32>(self, other: Self) -> Self {
        let x = self.xor(other).0;
        // SAFETY: inlined into `search`, which requires AVX-512F.
        Self(unsafe {
            match N {
                32 => _mm512_ror_epi64::<32>(x),
                24 => _mm512_ror_epi64::<24>(x),
                16 => _mm512_ror_epi64::<16>(x),
                _ => _mm512_ror_epi64::<63>(x),
            }
        })
    }

    #[inline(always)]
    fn at_most(self, limit: u64) -> u32 {
        // SAFETY: inlined into `search`, which requires AVX-512F.
        u32::from(unsafe { _mm512_cmple_epu64_mask(self.0, Self::splat(limit).0) })
    }
}
