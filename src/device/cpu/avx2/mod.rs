//! The kernels in AVX2. No one of them is the fastest everywhere.
//!
//! - [`double`] has two streams of four hashes, whose states take turns in the registers. It is the fastest on Intel.
//! - [`single`] has one stream, all of it in registers. It needs the fewest instructions, and suffers least when another
//!   program uses the other hyperthread of the core.
//! - [`mixed`] is `single` with a scalar hash beside it. It is the fastest where the vector units have ports of their own,
//!   as on AMD, and the core has no other hyperthread at work.

pub(super) mod double;

// The macros of the operations come before the kernels that use them.
#[macro_use]
mod operations;
pub(super) mod mixed;
pub(super) mod single;

use std::arch::x86_64::*;

use super::search::Midstate;

/// Nonces in one register.
const LANES: usize = 4;

/// The sign bit of a 64-bit lane. AVX2 only compares signed integers. With both sign bits flipped, the order is the
/// unsigned one.
const SIGN: u64 = 1 << 63;

/// Every lane holds `value`.
#[target_feature(enable = "avx2")]
fn splat(value: u64) -> __m256i {
    _mm256_set1_epi64x(value.cast_signed())
}

/// The message words of the nonces from `start` on, wrapping at 2^64.
#[target_feature(enable = "avx2")]
fn message(midstate: &Midstate, start: u64) -> [__m256i; 5] {
    let [_, m1, m2, m3, m4] = midstate.message.map(|word| splat(word));
    let nonces = _mm256_add_epi64(splat(start), _mm256_setr_epi64x(0, 1, 2, 3));
    [nonces, m1, m2, m3, m4]
}

/// Which digests are at most the limit: bit `i` for lane `i`. The sign bits of both are flipped.
#[target_feature(enable = "avx2")]
fn at_most(digests: __m256i, limit: __m256i) -> u32 {
    let above = _mm256_cmpgt_epi64(digests, limit);
    !_mm256_movemask_pd(_mm256_castsi256_pd(above)).cast_unsigned() & 0b1111
}

/// Masks of byte shuffles that rotate each lane right by 16 and by 24 bits.
struct Masks {
    rotate_16: __m256i,
    rotate_24: __m256i,
}

impl Masks {
    #[target_feature(enable = "avx2")]
    fn new() -> Self {
        // The shuffle counts bytes within each half of 16.
        let rotate_16 = _mm_setr_epi8(2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9);
        let rotate_24 = _mm_setr_epi8(3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10);
        Self {
            rotate_16: _mm256_broadcastsi128_si256(rotate_16),
            rotate_24: _mm256_broadcastsi128_si256(rotate_24),
        }
    }
}
