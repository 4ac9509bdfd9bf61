//! Eight nonces at a time in AVX2: two streams of four, one round of each in turn.
//!
//! While one stream waits for its own steps the processor, which looks far ahead, works on the other. Sixteen
//! registers hold one stream, so a round begins with its loads and ends with its stores; those have ports of
//! their own. Turns of half a round and of two rounds measured slower. Compilers reorder and spill, so the
//! rounds are assembly, of which `rounds.rs` has the text and this file the operations.
//!
//! State word `v` is in `ymm`v, except for `v11`. It lives in memory, and its register is scratch: for the
//! masks of the byte shuffles, and for the rotation by 63. Only from an addition to `v11` until the exclusive
//! or with it, which is the next operation on any word, does the register hold it.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::offset_of;

use super::search::{H0, Job, first_valid};

/// Nonces in one register.
const LANES: usize = 4;

/// Tests `count` nonces from `start` on, wrapping; the first that is valid, or none.
///
/// Safe to call where the processor has AVX2, which the caller vouches for.
#[target_feature(enable = "avx2")]
pub(super) fn search(job: &Job, threshold: u64, start: u64, count: u64) -> Option<u64> {
    let masks = Masks::new();
    let begin = job.state.map(|word| splat(word));
    // AVX2 compares signed: flipping the sign bits of both sides makes that unsigned.
    let limit = splat(threshold ^ SIGN);
    let both = splat(2 * LANES as u64);
    let first = _mm256_add_epi64(splat(start), _mm256_setr_epi64x(0, 1, 2, 3));
    let second = _mm256_add_epi64(first, splat(LANES as u64));
    let mut streams = [first, second].map(|nonces| {
        let [_, m1, m2, m3, m4] = job.message.map(|word| splat(word));
        Stream {
            message: [nonces, m1, m2, m3, m4],
            state: begin,
        }
    });
    for step in (0..count).step_by(2 * LANES) {
        // How many there are is kept from the optimiser, which would write out every round twice: at twice the
        // size, not faster, and too large for the micro-op caches of most processors.
        compress(&masks, &begin, std::hint::black_box(&mut streams[..]));
        let [low, high] = [&streams[0], &streams[1]].map(|stream| {
            let above = _mm256_cmpgt_epi64(stream.flipped_digests(), limit);
            !_mm256_movemask_pd(_mm256_castsi256_pd(above)).cast_unsigned() & 0b1111
        });
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

/// The sign bit of a 64-bit lane.
const SIGN: u64 = 1 << 63;

/// Every lane holds `value`.
#[target_feature(enable = "avx2")]
fn splat(value: u64) -> __m256i {
    _mm256_set1_epi64x(value.cast_signed())
}

/// Byte shuffles that rotate each lane right by 16 and by 24 bits.
struct Masks {
    rotate_16: __m256i,
    rotate_24: __m256i,
}

impl Masks {
    #[target_feature(enable = "avx2")]
    fn new() -> Self {
        // Indices count within halves of 16 bytes.
        let rotate_16 = _mm_setr_epi8(2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9);
        let rotate_24 = _mm_setr_epi8(3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10);
        Self {
            rotate_16: _mm256_broadcastsi128_si256(rotate_16),
            rotate_24: _mm256_broadcastsi128_si256(rotate_24),
        }
    }
}

/// Four hashes, between rounds.
struct Stream {
    /// The first message word holds the nonces.
    message: [__m256i; 5],
    state: [__m256i; 16],
}

impl Stream {
    /// The digests, once all rounds are done, with their sign bits flipped.
    #[target_feature(enable = "avx2")]
    fn flipped_digests(&self) -> __m256i {
        let digests = _mm256_xor_si256(self.state[0], self.state[8]);
        _mm256_xor_si256(digests, splat(H0 ^ SIGN))
    }
}

/// Where state word `v` lives between rounds.
macro_rules! place {
    ($v:tt) => {
        concat!("ymmword ptr [{stream} + {state} + 32*", $v, "]")
    };
}

/// Each `v` comes from the state to begin with.
macro_rules! load {
    ($($v:tt)*) => { concat!($("vmovdqa ymm", $v, ", ymmword ptr [{from} + 32*", $v, "]\n",)*) };
}

/// Each `v` goes to its place.
macro_rules! store {
    ($($v:tt)*) => { concat!($("vmovdqa ", place!($v), ", ymm", $v, "\n",)*) };
}

/// `v += m`.
#[rustfmt::skip]
macro_rules! add_message {
    ($v:tt $m:tt) => { concat!(
        "vpaddq ymm", $v, ", ymm", $v, ", ymmword ptr [{stream} + {message} + 32*", $m, "]\n",
    ) };
}

/// `v += w`, for each pair.
macro_rules! add {
    ($([$v:tt $w:tt])*) => { concat!($(add!($v $w),)*) };
    (11 $w:tt) => { concat!("vpaddq ymm11, ymm", $w, ", ", place!(11), "\n") };
    ($v:tt $w:tt) => { concat!("vpaddq ymm", $v, ", ymm", $v, ", ymm", $w, "\n") };
}

/// `v = (v ^ w) >>> n`, for each pair. AVX2 has no rotation: by whole bytes it is a shuffle, by 63 an addition
/// and a shift.
macro_rules! xor_rotr {
    (32, $([$v:tt $w:tt])*) => { concat!(
        $(xor!($v $w),)*
        $("vpshufd ymm", $v, ", ymm", $v, ", 0xB1\n",)*
    ) };
    (24, $([$v:tt $w:tt])*) => { concat!(
        $(xor!($v $w),)*
        "vmovdqa ymm11, ymmword ptr [{masks} + {rotate_24}]\n",
        $("vpshufb ymm", $v, ", ymm", $v, ", ymm11\n",)*
    ) };
    (16, $([$v:tt $w:tt])*) => { concat!(
        $(xor!($v $w),)*
        "vmovdqa ymm11, ymmword ptr [{masks} + {rotate_16}]\n",
        $("vpshufb ymm", $v, ", ymm", $v, ", ymm11\n",)*
    ) };
    (63, $([$v:tt $w:tt])*) => { concat!(
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

/// Takes the state of each stream from `begin` through all rounds. Its `v11` is there already.
#[target_feature(enable = "avx2")]
fn compress(masks: &Masks, begin: &[__m256i; 16], streams: &mut [Stream]) {
    /// Runs the text on one stream after the other.
    macro_rules! on_each_stream {
        ($text:expr) => {
            on_each_stream!(stream, stream.state, $text)
        };
        ($stream:ident, $from:expr, $text:expr) => {
            for $stream in &mut *streams {
                // SAFETY: the text reads `masks` and `$from`, reads and writes `$stream`, within their bounds and
                // aligned as their types are, and writes vector registers, all of which are declared. Its
                // instructions are those of AVX2.
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
    on_each_stream!(stream, *begin, first_round!());
    on_each_stream!(round!(14 10 4 8 9 15 13 6 1 12 0 2 11 7 5 3));
    on_each_stream!(round!(11 8 12 0 5 2 15 13 10 14 3 6 7 1 9 4));
    on_each_stream!(round!(7 9 3 1 13 12 11 14 2 6 5 10 4 0 15 8));
    on_each_stream!(round!(9 0 5 7 2 4 10 15 14 1 11 12 6 8 3 13));
    on_each_stream!(round!(2 12 6 10 0 11 8 3 4 13 7 5 15 14 1 9));
    on_each_stream!(round!(12 5 1 15 14 13 4 10 0 7 6 3 9 2 8 11));
    on_each_stream!(round!(13 11 7 14 12 1 3 9 5 0 15 4 8 6 2 10));
    on_each_stream!(round!(6 15 14 9 11 3 0 8 12 2 13 7 1 4 10 5));
    on_each_stream!(round!(10 2 8 4 7 6 1 5 15 11 9 14 3 12 13 0));
    on_each_stream!(round!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15));
    on_each_stream!(last_round!());
}
