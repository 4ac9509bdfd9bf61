//! The kernels in AVX-512.
//!
//! - [`double`] has two streams of eight hashes in lock step, in two orders. It is the fastest on Intel, and on AMD where another
//!   hyperthread of the core is busy.
//! - [`mixed`] has two streams of eight, half a hash apart, with a scalar hash beside them. It is the fastest where the vector
//!   units have ports of their own, as on AMD.

pub(super) mod double;
pub(super) mod mixed;

use std::arch::x86_64::*;

/// Nonces in one register.
const LANES: usize = 8;

/// Every lane holds `value`.
#[target_feature(enable = "avx512f")]
fn splat(value: u64) -> __m512i {
    _mm512_set1_epi64(value.cast_signed())
}

/// The nonces from `start` on, wrapping at 2^64.
#[target_feature(enable = "avx512f")]
fn nonces(start: u64) -> __m512i {
    _mm512_add_epi64(splat(start), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7))
}
