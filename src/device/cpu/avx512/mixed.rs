//! Nine nonces at a time: eight in AVX-512, and one in the general registers.
//!
//! AMD's cores have execution units of their own for the general registers, which would have nothing to do. Stream `a` does
//! rounds 1 to 6 in `zmm0` to `zmm15` while stream `b` does rounds 7 to 12, in `zmm16` to `zmm31`, of the nonces that `a`
//! began a turn before. So a turn is as long as one hash, and leaves room in the micro-op cache for the text of stream `s`,
//! which is one scalar hash.
//!
//! The two vector streams alternate instruction by instruction; the scalar text may stand between them in pieces of half a
//! round (measured on Zen 4, 2026-11-27: 12 to 141 pieces all take 69.8 to 70.0 cycles a hash, half rounds of `a` and `b` in
//! turns 2.5 % more).

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::offset_of;

use super::super::search::{Midstate, first_valid};
use super::{LANES, nonces, splat};
use crate::device::last_step::LastStep;

/// Nonces in a group: those of a register, and the scalar one after them.
const GROUP: u64 = LANES as u64 + 1;

/// The data of the text. Displacements of less than 128 take one byte for the scalar stream, so its words come first.
#[repr(C, align(64))]
struct Frame {
    /// `v8` to `v11` of the scalar hash. It has twelve registers for its sixteen state words, and these are used least.
    scalar_state: [u64; 4],
    /// `m0` to `m4`; `m0` is the nonce of the scalar hash.
    message: [u64; 5],
    /// The state of the midstate.
    state: [u64; 16],
    /// Of the streams `a` and `b`.
    nonces: [__m512i; 2],
}

/// The state of stream `a` after round 6.
type Begun = [__m512i; 16];

/// Tests `count` nonces from `start` on, wrapping at 2^64. Returns the first valid one.
///
/// The caller must have detected AVX-512F.
#[target_feature(enable = "avx512f")]
pub(in super::super) fn search(midstate: &Midstate, start: u64, count: u64) -> Option<u64> {
    let LastStep { h0, limit } = midstate.last_step;
    let (h0s, limits) = (splat(h0), splat(limit));
    let group = splat(GROUP);
    let [_, m1, m2, m3, m4] = midstate.message;
    let mut frame = Frame {
        scalar_state: [0; 4],
        // The scalar hash of the group before the first one.
        message: [start.wrapping_sub(1), m1, m2, m3, m4],
        state: midstate.state,
        nonces: [nonces(start); 2],
    };
    let mut begun = [_mm512_setzero_si512(); 16];
    // A turn ends the group that the turn before has begun. The first turn ends a group that was never begun.
    for begun_before in 0..=count.div_ceil(GROUP) {
        let (vector, scalar) = turn(&mut frame, &mut begun);
        let vector = _mm512_cmple_epu64_mask(_mm512_xor_si512(vector, h0s), limits);
        let valid = u32::from(vector) | u32::from(scalar ^ h0 <= limit) << LANES;
        if valid != 0
            && let Some(ended) = begun_before.checked_sub(1)
        {
            return first_valid(valid, ended * GROUP, start, count);
        }
        frame.nonces = [_mm512_add_epi64(frame.nonces[0], group), frame.nonces[0]];
        frame.message[0] = frame.message[0].wrapping_add(GROUP);
    }
    None
}

/// Where word `v` of a stream is.
#[rustfmt::skip]
macro_rules! word {
    (a $v:tt) => { concat!("zmm", $v) };
    (b  0) => { "zmm16" }; (b  1) => { "zmm17" }; (b  2) => { "zmm18" }; (b  3) => { "zmm19" };
    (b  4) => { "zmm20" }; (b  5) => { "zmm21" }; (b  6) => { "zmm22" }; (b  7) => { "zmm23" };
    (b  8) => { "zmm24" }; (b  9) => { "zmm25" }; (b 10) => { "zmm26" }; (b 11) => { "zmm27" };
    (b 12) => { "zmm28" }; (b 13) => { "zmm29" }; (b 14) => { "zmm30" }; (b 15) => { "zmm31" };
    (s  0) => { "rax" }; (s  1) => { "rcx" }; (s  2) => { "rdx" }; (s  3) => { "rsi" };
    (s  4) => { "r8"  }; (s  5) => { "r9"  }; (s  6) => { "r10" }; (s  7) => { "r11" };
    (s 12) => { "r12" }; (s 13) => { "r13" }; (s 14) => { "r14" }; (s 15) => { "r15" };
    (s $v:tt) => { concat!("qword ptr [rdi + {scalar_state} + 8*", $v, " - 8*8]") };
}

/// Each `v` of a stream gets its word at the beginning of a turn: of the midstate, or what stream `a` has left.
#[rustfmt::skip]
macro_rules! begin {
    (a $($v:tt)*) => { concat!($(
        "vpbroadcastq ", word!(a $v), ", qword ptr [rdi + {state} + 8*", $v, "]\n",
    )*) };
    (b $($v:tt)*) => { concat!($("vmovdqa64 ", word!(b $v), ", ", word!(a $v), "\n",)*) };
    // To memory, through a register that is not in use yet.
    (s in memory $($v:tt)*) => { concat!($(
        "mov rax, qword ptr [rdi + {state} + 8*", $v, "]\n",
        "mov ", word!(s $v), ", rax\n",
    )*) };
    (s $($v:tt)*) => { concat!($("mov ", word!(s $v), ", qword ptr [rdi + {state} + 8*", $v, "]\n",)*) };
}

/// `v += m`. Word 0 is the nonces; the others are words of the target, the same in every lane.
#[rustfmt::skip]
macro_rules! add_message {
    (s $v:tt $m:tt) => { concat!("add ", word!(s $v), ", qword ptr [rdi + {message} + 8*", $m, "]\n") };
    (a $v:tt 0) => { concat!("vpaddq ", word!(a $v), ", ", word!(a $v), ", zmmword ptr [rdi + {nonces}]\n") };
    (b $v:tt 0) => { concat!("vpaddq ", word!(b $v), ", ", word!(b $v), ", zmmword ptr [rdi + {nonces} + 64]\n") };
    ($who:tt $v:tt $m:tt) => { concat!(
        "vpaddq ", word!($who $v), ", ", word!($who $v), ", qword ptr [rdi + {message} + 8*", $m, "]{{1to8}}\n",
    ) };
}

/// `v += w`, for each pair.
#[rustfmt::skip]
macro_rules! add {
    (both $([$v:tt $w:tt])*) => { concat!($(add!(a [$v $w]), add!(b [$v $w]),)*) };
    (s $([$v:tt $w:tt])*) => { concat!($("add ", word!(s $v), ", ", word!(s $w), "\n",)*) };
    ($who:tt $([$v:tt $w:tt])*) => { concat!($(
        "vpaddq ", word!($who $v), ", ", word!($who $v), ", ", word!($who $w), "\n",
    )*) };
}

/// `v = (v ^ w) >>> n`, for each pair.
macro_rules! xor_rotr {
    ($who:tt $n:tt, $([$v:tt $w:tt])*) => { concat!($(
        xor!($who $v $w),
        rotr!($who $n $v),
    )*) };
}

/// `v ^= w`.
#[rustfmt::skip]
macro_rules! xor {
    (both $v:tt $w:tt) => { concat!(xor!(a $v $w), xor!(b $v $w)) };
    (s $v:tt $w:tt) => { concat!("xor ", word!(s $v), ", ", word!(s $w), "\n") };
    ($who:tt $v:tt $w:tt) => { concat!(
        "vpxorq ", word!($who $v), ", ", word!($who $v), ", ", word!($who $w), "\n",
    ) };
}

/// `v >>>= n`.
#[rustfmt::skip]
macro_rules! rotr {
    (both $n:tt $v:tt) => { concat!(rotr!(a $n $v), rotr!(b $n $v)) };
    (s $n:tt $v:tt) => { concat!("ror ", word!(s $v), ", ", $n, "\n") };
    ($who:tt $n:tt $v:tt) => { concat!("vprorq ", word!($who $v), ", ", word!($who $v), ", ", $n, "\n") };
}

/// A round of the vector streams, each with its own row, beside two rounds of the scalar one.
macro_rules! round_beside {
    ($a:tt $b:tt, $s:tt $t:tt) => { concat!(
        both!(columns_1 $a $b), columns!(s $s),
        both!(columns_2 $a $b), diagonals!(s $s),
        both!(diagonals_1 $a $b), columns!(s $t),
        both!(diagonals_2 $a $b), diagonals!(s $t),
    ) };
}

/// The rounds of a turn: 1 to 6 of `a` and 7 to 12 of `b`, beside all of `s`. Where one vector stream has nothing to do, the
/// scalar one stands between.
macro_rules! rounds {
    (first $r1:tt middle $r2:tt $r3:tt $r4:tt $r5:tt $r6:tt $r7:tt $r8:tt $r9:tt $r10:tt $r11:tt last $r12:tt) => {
        concat!(
            first_columns!(a $r1), columns_1!(b $r7), first_columns!(s $r1),
            columns_2!(b $r7), first_diagonals!(s $r1),
            first_diagonals!(a $r1), columns!(s $r2),
            diagonals_1!(b $r7), diagonals_1!(s $r2),
            diagonals_2!(b $r7), diagonals_2!(s $r2),
            round_beside!($r2 $r8, $r3 $r4),
            round_beside!($r3 $r9, $r5 $r6),
            round_beside!($r4 $r10, $r7 $r8),
            round_beside!($r5 $r11, $r9 $r10),
            both!(columns_1 $r6 $r12), columns!(s $r11),
            columns_2!(a $r6), last_columns_2!(b $r12), diagonals!(s $r11),
            diagonals_1!(a $r6), columns_1!(s $r12), last_columns_2!(s $r12),
            diagonals_2!(a $r6), last_diagonals!(b $r12), last_diagonals!(s $r12),
        )
    };
}

/// Takes the next eight nonces through rounds 1 to 6, and those of the turn before through rounds 7 to 12. Returns the
/// hashes of the latter and of the scalar nonce before the last step: `v0 ^ v8`.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "assembly")]
fn turn(frame: &mut Frame, begun: &mut Begun) -> (__m512i, u64) {
    let (b0, b8): (__m512i, __m512i);
    let scalar: u64;
    let [
        a0,
        a1,
        a2,
        a3,
        a4,
        a5,
        a6,
        a7,
        a8,
        a9,
        a10,
        a11,
        a12,
        a13,
        a14,
        a15,
    ] = begun;
    // SAFETY: the text uses only AVX-512F instructions, and those of every x86-64 processor. It reads and writes `frame`,
    // within its bounds and aligned as its fields are. It does not use the stack, and each register that it writes is
    // declared.
    unsafe {
        asm!(
            begin!(b 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
            begin!(a 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
            begin!(s in memory 8 9 10 11),
            begin!(s 0 1 2 3 4 5 6 7 12 13 14 15),
            rows_of_rounds!(rounds),
            xor!(s 0 8),
            in("rdi") &raw mut *frame,
            scalar_state = const offset_of!(Frame, scalar_state),
            message = const offset_of!(Frame, message),
            state = const offset_of!(Frame, state),
            nonces = const offset_of!(Frame, nonces),
            out("rax") scalar, out("rcx") _, out("rdx") _, out("rsi") _, out("r8") _, out("r9") _, out("r10") _,
            out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            inout("zmm0") *a0, inout("zmm1") *a1, inout("zmm2") *a2, inout("zmm3") *a3, inout("zmm4") *a4,
            inout("zmm5") *a5, inout("zmm6") *a6, inout("zmm7") *a7, inout("zmm8") *a8, inout("zmm9") *a9,
            inout("zmm10") *a10, inout("zmm11") *a11, inout("zmm12") *a12, inout("zmm13") *a13,
            inout("zmm14") *a14, inout("zmm15") *a15,
            out("zmm16") b0, out("zmm24") b8,
            out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _,
            out("zmm23") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _,
            out("zmm30") _, out("zmm31") _,
            options(nostack),
        );
    }
    (_mm512_xor_si512(b0, b8), scalar)
}
