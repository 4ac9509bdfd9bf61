//! Four nonces at a time in AVX2: one stream, all of it in registers.
//!
//! Four chains of dependent operations do not fill the vector units, so two streams are faster on some processors. But one
//! stream takes a quarter fewer instructions and next to no memory operands. Where the other hyperthread of the core is at
//! work, which takes half of the dispatched instructions and of the micro-op cache, that counts for more.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::offset_of;

use super::super::search::{Midstate, first_valid};
use super::{LANES, Masks, SIGN, at_most, message, splat};
use crate::device::last_step::LastStep;

/// What the text needs.
#[repr(C, align(64))]
struct Frame {
    masks: Masks,
    /// `v15` during rotations by 63.
    v15: __m256i,
    /// `m0` to `m4`; `m0` holds the nonces.
    message: [__m256i; 5],
    /// The state of the midstate.
    state: [u64; 16],
}

/// Where the text's register points in [`Frame`]. Almost every displacement from here takes one byte: the shorter the text,
/// the better it fits half of a micro-op cache.
const BASE: isize = 128;

/// Tests `count` nonces from `start` on, wrapping at 2^64. Returns the first valid one.
///
/// The caller must have detected AVX2.
#[target_feature(enable = "avx2")]
pub(in super::super) fn search(midstate: &Midstate, start: u64, count: u64) -> Option<u64> {
    let LastStep { h0, limit } = midstate.last_step;
    let mut frame = Frame {
        masks: Masks::new(),
        v15: _mm256_setzero_si256(),
        message: message(midstate, start),
        state: midstate.state,
    };
    let (flipped_h0, flipped_limit) = (splat(h0 ^ SIGN), splat(limit ^ SIGN));
    for step in (0..count).step_by(LANES) {
        let flipped = _mm256_xor_si256(compress(&mut frame), flipped_h0);
        let valid = at_most(flipped, flipped_limit);
        if valid != 0 {
            return first_valid(valid, step, start, count);
        }
        frame.message[0] = _mm256_add_epi64(frame.message[0], splat(LANES as u64));
    }
    None
}

/// `rdi` makes instructions shorter than the registers with numbers do.
macro_rules! frame {
    () => {
        "rdi"
    };
}

/// There is no scalar hash.
macro_rules! beside {
    ($($operation:tt)*) => {
        ""
    };
}

/// The hashes of the frame's nonces before the last step: `v0 ^ v8`.
#[inline]
#[target_feature(enable = "avx2")]
#[expect(unsafe_code, reason = "assembly")]
fn compress(frame: &mut Frame) -> __m256i {
    let (v0, v8): (__m256i, __m256i);
    // SAFETY: the text uses only AVX2 instructions. It reads and writes `frame`, within its bounds and aligned as its fields
    // are. The pointer into its middle is derived from the one to all of it. It writes only vector registers, and each is
    // declared.
    unsafe {
        asm!(
            load!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
            rows_of_rounds!(rounds),
            in("rdi") (&raw mut *frame).byte_offset(BASE),
            rotate_16 = const offset_of!(Frame, masks.rotate_16).cast_signed() - BASE,
            rotate_24 = const offset_of!(Frame, masks.rotate_24).cast_signed() - BASE,
            v15 = const offset_of!(Frame, v15).cast_signed() - BASE,
            message = const offset_of!(Frame, message).cast_signed() - BASE,
            state = const offset_of!(Frame, state).cast_signed() - BASE,
            out("ymm0") v0, out("ymm8") v8,
            out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _, out("ymm6") _,
            out("ymm7") _, out("ymm9") _, out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _,
            out("ymm14") _, out("ymm15") _,
            options(nostack, preserves_flags),
        );
    }
    _mm256_xor_si256(v0, v8)
}
