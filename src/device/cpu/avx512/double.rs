//! Sixteen nonces at a time in AVX-512: two registers of eight, in lock step.
//!
//! One stream of eight leaves the two vector ports idle whenever an instruction waits for the one before it. A second
//! stream fills these gaps. The two states take all 32 registers. A compiler reorders the operations and spills
//! registers, so the rounds are assembly: `rounds.rs` has their text, this file the operations.
//!
//! The text exists in two orders, which only differ in where rotations stand. See [`Order`].

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::offset_of;

use super::super::search::{Midstate, first_valid};
use super::{LANES, nonces, splat};
use crate::device::last_step::LastStep;

/// Where the rotations stand among the exclusive ors of a half round's four mixes. The medians are of a core to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Order {
    /// All rotations after all exclusive ors: 72.6 cycles a hash on Sapphire Rapids, 82.3 on Zen 4.
    Grouped,
    /// Each rotation beside its exclusive or: 78.7 on Zen 4; not measured on Intel.
    Paired,
}

/// Tests `count` nonces from `start` on, wrapping at 2^64. Returns the first valid one.
///
/// The caller must have detected AVX-512F.
#[target_feature(enable = "avx512f")]
pub(in super::super) fn search(
    order: Order,
    midstate: &Midstate,
    start: u64,
    count: u64,
) -> Option<u64> {
    let LastStep { h0, limit } = midstate.last_step;
    let (h0, limit) = (splat(h0), splat(limit));
    let both = splat(2 * LANES as u64);
    let mut nonces = [start, start.wrapping_add(LANES as u64)].map(|start| nonces(start));
    for step in (0..count).step_by(2 * LANES) {
        let rest = match order {
            Order::Grouped => compress_grouped(midstate, &nonces),
            Order::Paired => compress_paired(midstate, &nonces),
        };
        let [low, high] =
            rest.map(|rest| _mm512_cmple_epu64_mask(_mm512_xor_si512(rest, h0), limit));
        let valid = u32::from(low) | u32::from(high) << LANES;
        if valid != 0 {
            return first_valid(valid, step, start, count);
        }
        nonces = nonces.map(|nonces| _mm512_add_epi64(nonces, both));
    }
    None
}

/// The register of state word `v` for the first eight nonces.
macro_rules! first {
    ($v:tt) => {
        concat!("zmm", $v)
    };
}

/// The register of state word `v` for the second eight nonces.
#[rustfmt::skip]
macro_rules! second {
    ( 0) => { "zmm16" }; ( 1) => { "zmm17" }; ( 2) => { "zmm18" }; ( 3) => { "zmm19" };
    ( 4) => { "zmm20" }; ( 5) => { "zmm21" }; ( 6) => { "zmm22" }; ( 7) => { "zmm23" };
    ( 8) => { "zmm24" }; ( 9) => { "zmm25" }; (10) => { "zmm26" }; (11) => { "zmm27" };
    (12) => { "zmm28" }; (13) => { "zmm29" }; (14) => { "zmm30" }; (15) => { "zmm31" };
}

/// Loads each `v` from the midstate.
macro_rules! load {
    ($($v:tt)*) => { concat!($(
        "vpbroadcastq ", first!($v), ", qword ptr [{midstate} + {state} + 8*", $v, "]\n",
        "vpbroadcastq ", second!($v), ", qword ptr [{midstate} + {state} + 8*", $v, "]\n",
    )*) };
}

/// `v += m`. Word 0 is the nonces; the others are words of the target, the same in every lane.
#[rustfmt::skip]
macro_rules! add_message {
    ($order:tt $v:tt 0) => { concat!(
        "vpaddq ", first!($v), ", ", first!($v), ", zmmword ptr [{nonces}]\n",
        "vpaddq ", second!($v), ", ", second!($v), ", zmmword ptr [{nonces} + 64]\n",
    ) };
    ($order:tt $v:tt $m:tt) => { concat!(
        "vpaddq ", first!($v), ", ", first!($v), ", qword ptr [{midstate} + {message} + 8*", $m, "]{{1to8}}\n",
        "vpaddq ", second!($v), ", ", second!($v), ", qword ptr [{midstate} + {message} + 8*", $m, "]{{1to8}}\n",
    ) };
}

/// `v += w`, for each pair.
macro_rules! add {
    ($order:tt $([$v:tt $w:tt])*) => { concat!($(
        "vpaddq ", first!($v), ", ", first!($v), ", ", first!($w), "\n",
        "vpaddq ", second!($v), ", ", second!($v), ", ", second!($w), "\n",
    )*) };
}

/// `v = (v ^ w) >>> n`, for each pair.
macro_rules! xor_rotr {
    (grouped $n:literal, $([$v:tt $w:tt])*) => { concat!(
        $(xor!($v $w),)*
        $(rotr!($n $v),)*
    ) };
    (paired $n:literal, $([$v:tt $w:tt])*) => { concat!($(
        xor!($v $w),
        rotr!($n $v),
    )*) };
}

/// `v ^= w`.
#[rustfmt::skip]
macro_rules! xor {
    ($v:tt $w:tt) => { concat!(
        "vpxorq ", first!($v), ", ", first!($v), ", ", first!($w), "\n",
        "vpxorq ", second!($v), ", ", second!($v), ", ", second!($w), "\n",
    ) };
}

/// `v >>>= n`.
#[rustfmt::skip]
macro_rules! rotr {
    ($n:tt $v:tt) => { concat!(
        "vprorq ", first!($v), ", ", first!($v), ", ", $n, "\n",
        "vprorq ", second!($v), ", ", second!($v), ", ", $n, "\n",
    ) };
}

/// The rounds with [`Order::Grouped`].
macro_rules! grouped {
    ($($rows:tt)*) => { rounds_of!(grouped $($rows)*) };
}

/// The rounds with [`Order::Paired`].
macro_rules! paired {
    ($($rows:tt)*) => { rounds_of!(paired $($rows)*) };
}

/// Makes a function of the text that `$rounds` gives: the hashes of both registers of nonces before the last step, `v0 ^ v8`.
macro_rules! compress {
    ($name:ident, $rounds:ident) => {
        #[target_feature(enable = "avx512f")]
        #[expect(unsafe_code, reason = "assembly")]
        fn $name(midstate: &Midstate, nonces: &[__m512i; 2]) -> [__m512i; 2] {
            let (first_0, first_8, second_0, second_8): (__m512i, __m512i, __m512i, __m512i);
            // SAFETY: the text uses only AVX-512F instructions. It reads `midstate` and `nonces`, both within their bounds
            // and `nonces` aligned as its type is. It writes only vector registers, and each is declared.
            unsafe {
                asm!(
                    load!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
                    rows_of_rounds!($rounds),
                    midstate = in(reg) midstate,
                    nonces = in(reg) nonces,
                    state = const offset_of!(Midstate, state),
                    message = const offset_of!(Midstate, message),
                    out("zmm0") first_0, out("zmm8") first_8,
                    out("zmm16") second_0, out("zmm24") second_8,
                    out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _,
                    out("zmm7") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _,
                    out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm17") _, out("zmm18") _,
                    out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                    out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _,
                    out("zmm30") _, out("zmm31") _,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            [[first_0, first_8], [second_0, second_8]].map(|[v0, v8]| _mm512_xor_si512(v0, v8))
        }
    };
}

compress!(compress_grouped, grouped);
compress!(compress_paired, paired);
