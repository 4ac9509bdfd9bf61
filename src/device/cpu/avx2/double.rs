//! Eight nonces at a time in AVX2: two streams of four, which take turns round by round.
//!
//! While one stream waits for its own results, out-of-order execution works on the other. The sixteen registers hold
//! one stream, so a round begins with loads and ends with stores; these use ports that the arithmetic does not need.
//! Turns of half a round and of two rounds measured slower. A compiler reorders the operations and spills registers, so
//! the rounds are assembly: `rounds.rs` has their text, this file the operations.
//!
//! State word `v` is in `ymm`v, except `v11`: it lives in memory, and its register is scratch for the masks of the byte
//! shuffles and for the rotation by 63. The register holds `v11` only between an addition to it and the exclusive or
//! with it, which is always the next operation.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::offset_of;

use super::super::search::{Midstate, first_valid};
use super::{LANES, Masks, SIGN, at_most, message, splat};
use crate::device::last_step::LastStep;

/// Tests `count` nonces from `start` on, wrapping at 2^64. Returns the first valid one.
///
/// The caller must have detected AVX2.
#[target_feature(enable = "avx2")]
pub(in super::super) fn search(midstate: &Midstate, start: u64, count: u64) -> Option<u64> {
    let LastStep { h0, limit } = midstate.last_step;
    let masks = Masks::new();
    let begin = midstate.state.map(|word| splat(word));
    let (flipped_h0, flipped_limit) = (splat(h0 ^ SIGN), splat(limit ^ SIGN));
    let both = splat(2 * LANES as u64);
    let mut streams = [start, start.wrapping_add(LANES as u64)].map(|start| Stream {
        message: message(midstate, start),
        state: begin,
    });
    for step in (0..count).step_by(2 * LANES) {
        // `black_box` hides the number of streams. Knowing it, the optimiser unrolls the loop over them, and the code
        // outgrows the micro-op caches of most processors without being faster.
        compress(&masks, &begin, std::hint::black_box(&mut streams[..]));
        let [low, high] = [&streams[0], &streams[1]]
            .map(|stream| at_most(stream.last_step(flipped_h0), flipped_limit));
        let valid = low | high << LANES;
        if valid != 0 {
            return first_valid(valid, step, start, count);
        }
        for stream in &mut streams {
            stream.message[0] = _mm256_add_epi64(stream.message[0], both);
            stream.state[11] = begin[11];
        }
    }
    None
}

/// Four hashes, between rounds.
struct Stream {
    /// `m0` to `m4`; `m0` holds the nonces.
    message: [__m256i; 5],
    state: [__m256i; 16],
}

impl Stream {
    /// The last step, `h0 ^ v0 ^ v8`. All rounds must be done.
    #[target_feature(enable = "avx2")]
    fn last_step(&self, h0: __m256i) -> __m256i {
        _mm256_xor_si256(_mm256_xor_si256(self.state[0], self.state[8]), h0)
    }
}

/// The memory operand of state word `v`.
macro_rules! place {
    ($v:tt) => {
        concat!("ymmword ptr [{stream} + {state} + 32*", $v, "]")
    };
}

/// Loads each `v` from the state `from`.
macro_rules! load {
    ($($v:tt)*) => { concat!($("vmovdqa ymm", $v, ", ymmword ptr [{from} + 32*", $v, "]\n",)*) };
}

/// Stores each `v` to the stream's state.
macro_rules! store {
    ($($v:tt)*) => { concat!($("vmovdqa ", place!($v), ", ymm", $v, "\n",)*) };
}

/// `v += m`.
#[rustfmt::skip]
macro_rules! add_message {
    (all $v:tt $m:tt) => { concat!(
        "vpaddq ymm", $v, ", ymm", $v, ", ymmword ptr [{stream} + {message} + 32*", $m, "]\n",
    ) };
}

/// `v += w`, for each pair.
macro_rules! add {
    (all $([$v:tt $w:tt])*) => { concat!($(add!($v $w),)*) };
    (11 $w:tt) => { concat!("vpaddq ymm11, ymm", $w, ", ", place!(11), "\n") };
    ($v:tt $w:tt) => { concat!("vpaddq ymm", $v, ", ymm", $v, ", ymm", $w, "\n") };
}

/// `v = (v ^ w) >>> n`, for each pair. AVX2 has no rotation: whole bytes take a shuffle; 63 bits take an addition, a
/// shift and an or.
macro_rules! xor_rotr {
    (all 32, $([$v:tt $w:tt])*) => { concat!(
        $(xor!($v $w),)*
        $("vpshufd ymm", $v, ", ymm", $v, ", 0xB1\n",)*
    ) };
    (all 24, $([$v:tt $w:tt])*) => { concat!(
        $(xor!($v $w),)*
        "vmovdqa ymm11, ymmword ptr [{masks} + {rotate_24}]\n",
        $("vpshufb ymm", $v, ", ymm", $v, ", ymm11\n",)*
    ) };
    (all 16, $([$v:tt $w:tt])*) => { concat!(
        $(xor!($v $w),)*
        "vmovdqa ymm11, ymmword ptr [{masks} + {rotate_16}]\n",
        $("vpshufb ymm", $v, ", ymm", $v, ", ymm11\n",)*
    ) };
    (all 63, $([$v:tt $w:tt])*) => { concat!(
        $(xor!($v $w),)*
        $(
            "vpaddq ymm11, ymm", $v, ", ymm", $v, "\n",
            "vpsrlq ymm", $v, ", ymm", $v, ", 63\n",
            "vpor ymm", $v, ", ymm", $v, ", ymm11\n",
        )*
    ) };
}

/// `v ^= w`.
macro_rules! xor {
    ($v:tt 11) => {
        concat!("vpxor ymm", $v, ", ymm", $v, ", ymm11\n", store!(11))
    };
    ($v:tt $w:tt) => {
        concat!("vpxor ymm", $v, ", ymm", $v, ", ymm", $w, "\n")
    };
}

/// Runs all rounds on each stream, from the state `begin`. The stream's own `v11` must hold that of `begin` already.
#[target_feature(enable = "avx2")]
#[expect(unsafe_code, reason = "assembly")]
fn compress(masks: &Masks, begin: &[__m256i; 16], streams: &mut [Stream]) {
    /// Runs the text on each stream in turn.
    macro_rules! on_each_stream {
        ($text:expr) => {
            on_each_stream!(stream, stream.state, $text)
        };
        ($stream:ident, $from:expr, $text:expr) => {
            for $stream in &mut *streams {
                // SAFETY: the text uses only AVX2 instructions. It reads `masks` and `$from` and reads and writes
                // `$stream`, all within their bounds and aligned as their types are. It writes only vector registers,
                // and each is declared.
                unsafe {
                    asm!(
                        load!(0 1 2 3 4 5 6 7 8 9 10 12 13 14 15),
                        $text,
                        store!(0 1 2 3 4 5 6 7 8 9 10 12 13 14 15),
                        masks = in(reg) masks,
                        rotate_16 = const offset_of!(Masks, rotate_16),
                        rotate_24 = const offset_of!(Masks, rotate_24),
                        from = in(reg) &raw const $from,
                        stream = in(reg) &raw mut *$stream,
                        message = const offset_of!(Stream, message),
                        state = const offset_of!(Stream, state),
                        out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _,
                        out("ymm5") _, out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _,
                        out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _, out("ymm14") _,
                        out("ymm15") _,
                        options(nostack, preserves_flags),
                    );
                }
            }
        };
    }
    macro_rules! rounds {
        (first $first:tt middle $([$($middle:tt)*])* last $last:tt) => {
            on_each_stream!(stream, *begin, first_round!(all $first));
            $(on_each_stream!(round!(all [$($middle)*]));)*
            on_each_stream!(last_round!(all $last));
        };
    }
    rows_of_rounds!(rounds);
}
