//! Four lanes in AVX2.

use std::arch::x86_64::*;

use super::lanes::Lanes;
use super::search::{self, Job};

/// Tests `count` nonces from `start` on; see [`search::search`].
///
/// Safe to call where the processor has AVX2, which the caller vouches for.
#[target_feature(enable = "avx2")]
pub(super) fn search(job: &Job, threshold: u64, start: u64, count: u64) -> Option<u64> {
    search::search::<Avx2>(job, threshold, start, count)
}

/// A 256-bit register; used only inside [`search`], which has the processor's leave.
#[derive(Clone, Copy)]
struct Avx2(__m256i);

impl Lanes for Avx2 {
    const COUNT: usize = 4;

    #[inline(always)]
    fn splat(value: u64) -> Self {
        // SAFETY: inlined into `search`, which requires AVX2.
        Self(unsafe { _mm256_set1_epi64x(value.cast_signed()) })
    }

    #[inline(always)]
    fn counting(first: u64) -> Self {
        // SAFETY: inlined into `search`, which requires AVX2.
        Self::splat(first).add(Self(unsafe { _mm256_setr_epi64x(0, 1, 2, 3) }))
    }

    #[inline(always)]
    fn next(self) -> Self {
        self.add(Self::splat(4))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: inlined into `search`, which requires AVX2.
        Self(unsafe { _mm256_add_epi64(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: inlined into `search`, which requires AVX2.
        Self(unsafe { _mm256_xor_si256(self.0, other.0) })
    }

    /// AVX2 has no rotation: by whole bytes it is a shuffle, by 63 an addition and a shift.
    #[inline(always)]
    fn xor_rotr<const N: u32>(self, other: Self) -> Self {
        let x = self.xor(other).0;
        // SAFETY: inlined into `search`, which requires AVX2.
        Self(unsafe {
            match N {
                32 => _mm256_shuffle_epi32::<0b10_11_00_01>(x),
                24 => _mm256_shuffle_epi8(x, rotate_bytes::<3>()),
                16 => _mm256_shuffle_epi8(x, rotate_bytes::<2>()),
                _ => _mm256_or_si256(_mm256_srli_epi64::<63>(x), _mm256_add_epi64(x, x)),
            }
        })
    }

    #[inline(always)]
    fn at_most(self, limit: u64) -> u32 {
        // AVX2 compares signed: flipping the sign bits of both sides makes that unsigned.
        let sign = Self::splat(1 << 63);
        let (digest, limit) = (self.xor(sign).0, Self::splat(limit).xor(sign).0);
        // SAFETY: inlined into `search`, which requires AVX2.
        let above =
            unsafe { _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(digest, limit))) };
        !above.cast_unsigned() & 0b1111
    }
}

/// The shuffle that rotates each 64-bit lane right by `BYTES` bytes.
#[inline(always)]
fn rotate_bytes<const BYTES: u8>() -> __m256i {
    const {
        let mut mask = [0; 32];
        let mut i = 0;
        while i < 32 {
            // Indices count within halves of 16 bytes.
            mask[i as usize] = i % 16 / 8 * 8 + (i + BYTES) % 8;
            i += 1;
        }
        // SAFETY: both are 32 bytes without padding or invalid values.
        unsafe { std::mem::transmute::<[u8; 32], __m256i>(mask) }
    }
}
