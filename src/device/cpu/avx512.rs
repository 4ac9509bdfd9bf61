//! Sixteen nonces at a time in AVX-512: two registers of eight, in lock step.
//!
//! One stream of eight leaves the two vector ports idle wherever a step waits for the one before it; with a
//! second in between they always have work. Both states fill the 32 registers to the last. Compilers reorder
//! that and spill, so the rounds are assembly, of which `rounds.rs` has the text and this file the operations.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::offset_of;

use super::search::{H0, Job, first_valid};

/// Nonces in one register.
const LANES: usize = 8;

/// Tests `count` nonces from `start` on, wrapping; the first that is valid, or none.
///
/// Safe to call where the processor has AVX-512F, which the caller vouches for.
#[target_feature(enable = "avx512f")]
pub(super) fn search(job: &Job, threshold: u64, start: u64, count: u64) -> Option<u64> {
    let limit = _mm512_set1_epi64(threshold.cast_signed());
    let both = _mm512_set1_epi64(2 * LANES as i64);
    let first = _mm512_add_epi64(
        _mm512_set1_epi64(start.cast_signed()),
        _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7),
    );
    let second = _mm512_add_epi64(first, _mm512_set1_epi64(LANES as i64));
    let mut nonces = [first, second];
    for step in (0..count).step_by(2 * LANES) {
        let [low, high] =
            digests(job, &nonces).map(|digests| _mm512_cmple_epu64_mask(digests, limit));
        let valid = u32::from(low) | u32::from(high) << LANES;
        if valid != 0 {
            return first_valid(valid, step, start, count);
        }
        nonces = nonces.map(|nonces| _mm512_add_epi64(nonces, both));
    }
    None
}

/// The register with state word `v` of the first eight nonces.
macro_rules! first {
    ($v:tt) => {
        concat!("zmm", $v)
    };
}

/// The register with state word `v` of the second eight nonces.
#[rustfmt::skip]
macro_rules! second {
    ( 0) => { "zmm16" }; ( 1) => { "zmm17" }; ( 2) => { "zmm18" }; ( 3) => { "zmm19" };
    ( 4) => { "zmm20" }; ( 5) => { "zmm21" }; ( 6) => { "zmm22" }; ( 7) => { "zmm23" };
    ( 8) => { "zmm24" }; ( 9) => { "zmm25" }; (10) => { "zmm26" }; (11) => { "zmm27" };
    (12) => { "zmm28" }; (13) => { "zmm29" }; (14) => { "zmm30" }; (15) => { "zmm31" };
}

/// Each `v` becomes the job's state word.
macro_rules! load {
    ($($v:tt)*) => { concat!($(
        "vpbroadcastq ", first!($v), ", qword ptr [{job} + {state} + 8*", $v, "]\n",
        "vpbroadcastq ", second!($v), ", qword ptr [{job} + {state} + 8*", $v, "]\n",
    )*) };
}

/// `v += m`: the nonces, or a word of the target in every lane.
macro_rules! add_message {
    ($v:tt 0) => {
        concat!(
            "vpaddq ",
            first!($v),
            ", ",
            first!($v),
            ", zmmword ptr [{nonces}]\n",
            "vpaddq ",
            second!($v),
            ", ",
            second!($v),
            ", zmmword ptr [{nonces} + 64]\n",
        )
    };
    ($v:tt $m:tt) => {
        concat!(
            "vpaddq ",
            first!($v),
            ", ",
            first!($v),
            ", qword ptr [{job} + {message} + 8*",
            $m,
            "]{{1to8}}\n",
            "vpaddq ",
            second!($v),
            ", ",
            second!($v),
            ", qword ptr [{job} + {message} + 8*",
            $m,
            "]{{1to8}}\n",
        )
    };
}

/// `v += w`, for each pair.
macro_rules! add {
    ($([$v:tt $w:tt])*) => { concat!($(
        "vpaddq ", first!($v), ", ", first!($v), ", ", first!($w), "\n",
        "vpaddq ", second!($v), ", ", second!($v), ", ", second!($w), "\n",
    )*) };
}

/// `v = (v ^ w) >>> n`, for each pair.
macro_rules! xor_rotr {
    ($n:literal, $([$v:tt $w:tt])*) => { concat!(
        $(
            "vpxorq ", first!($v), ", ", first!($v), ", ", first!($w), "\n",
            "vpxorq ", second!($v), ", ", second!($v), ", ", second!($w), "\n",
        )*
        $(
            "vprorq ", first!($v), ", ", first!($v), ", ", $n, "\n",
            "vprorq ", second!($v), ", ", second!($v), ", ", $n, "\n",
        )*
    ) };
}

/// The digests of both registers of nonces.
#[target_feature(enable = "avx512f")]
fn digests(job: &Job, nonces: &[__m512i; 2]) -> [__m512i; 2] {
    let (first_0, first_8, second_0, second_8): (__m512i, __m512i, __m512i, __m512i);
    // SAFETY: the text reads `job` and `nonces` within their bounds, the latter aligned as their type is,
    // writes the vector registers and nothing else, and all of those are declared. Its instructions are
    // those of AVX-512F.
    unsafe {
        asm!(
            load!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
            first_round!(),
            round!(14 10 4 8 9 15 13 6 1 12 0 2 11 7 5 3),
            round!(11 8 12 0 5 2 15 13 10 14 3 6 7 1 9 4),
            round!(7 9 3 1 13 12 11 14 2 6 5 10 4 0 15 8),
            round!(9 0 5 7 2 4 10 15 14 1 11 12 6 8 3 13),
            round!(2 12 6 10 0 11 8 3 4 13 7 5 15 14 1 9),
            round!(12 5 1 15 14 13 4 10 0 7 6 3 9 2 8 11),
            round!(13 11 7 14 12 1 3 9 5 0 15 4 8 6 2 10),
            round!(6 15 14 9 11 3 0 8 12 2 13 7 1 4 10 5),
            round!(10 2 8 4 7 6 1 5 15 11 9 14 3 12 13 0),
            round!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
            last_round!(),
            job = in(reg) job,
            nonces = in(reg) nonces,
            state = const offset_of!(Job, state),
            message = const offset_of!(Job, message),
            out("zmm0") first_0, out("zmm8") first_8,
            out("zmm16") second_0, out("zmm24") second_8,
            out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _,
            out("zmm7") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _,
            out("zmm14") _, out("zmm15") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _,
            out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
            out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    let h0 = _mm512_set1_epi64(H0.cast_signed());
    [[first_0, first_8], [second_0, second_8]]
        .map(|[v0, v8]| _mm512_xor_si512(_mm512_xor_si512(v0, v8), h0))
}
