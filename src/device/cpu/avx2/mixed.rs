//! Five nonces at a time: four in AVX2, and one in the general registers.
//!
//! One stream leaves a third of the instructions that a core can dispatch unused. On AMD's cores the general registers have
//! execution units of their own, so the fifth hash costs nothing there while the core has no other hyperthread at work.
//!
//! Nothing on the chains of dependent operations goes through memory, except what the text stores to and loads from the
//! stack by `rsp`: Zen renames such memory like a register, while any other load of a word just stored takes seven
//! cycles. So the whole loop is assembly, with its frame at the stack pointer.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::offset_of;

use super::super::search::{Midstate, first_valid};
use super::{LANES, Masks, SIGN, message, splat};
use crate::device::last_step::LastStep;

/// Nonces in a group: those of a register, and the scalar one after them.
const GROUP: u64 = LANES as u64 + 1;

/// The data of the text. Displacements of less than 128 take one byte, others four, so what is used most comes first.
#[repr(C, align(64))]
struct Frame {
    masks: Masks,
    /// `v15` of the vectors during rotations by 63.
    v15: __m256i,
    /// `v8` or `v11` of the scalar hash: the one that is not in the register that they share.
    v8: u64,
    v11: u64,
    /// How many groups are left, with the one in progress.
    groups: u64,
    /// The stack pointer to return to.
    stack: u64,
    /// `m0` to `m4` of the scalar hash; `m0` is its nonce.
    scalar_message: [u64; 5],
    last_step: LastStep,
    /// `m0` to `m4` of the vectors; `m0` holds the nonces.
    message: [__m256i; 5],
    /// The state of the midstate.
    state: [u64; 16],
    /// The words of the last step with their sign bits flipped.
    flipped_limit: __m256i,
    flipped_h0: __m256i,
    /// [`GROUP`] in every lane.
    step: __m256i,
}

/// Tests `count` nonces from `start` on, wrapping at 2^64. Returns the first valid one.
///
/// The caller must have detected AVX2.
#[target_feature(enable = "avx2")]
pub(in super::super) fn search(midstate: &Midstate, start: u64, count: u64) -> Option<u64> {
    let LastStep { h0, limit } = midstate.last_step;
    let groups = count.div_ceil(GROUP);
    // The text tests at least one group.
    if groups == 0 {
        return None;
    }
    let [_, m1, m2, m3, m4] = midstate.message;
    let end = search_groups(&Frame {
        masks: Masks::new(),
        v15: _mm256_setzero_si256(),
        v8: 0,
        v11: 0,
        groups,
        stack: 0,
        scalar_message: [start.wrapping_add(LANES as u64), m1, m2, m3, m4],
        last_step: midstate.last_step,
        message: message(midstate, start),
        state: midstate.state,
        flipped_limit: splat(limit ^ SIGN),
        flipped_h0: splat(h0 ^ SIGN),
        step: splat(GROUP),
    });
    let valid = !end.above & 0b1111 | u32::from(end.scalar <= limit) << LANES;
    if valid == 0 {
        return None;
    }
    first_valid(valid, (groups - end.groups) * GROUP, start, count)
}

/// How a search ended.
struct End {
    /// Which vector hashes of the last group are above the limit after the last step: bit `i` for lane `i`.
    above: u32,
    /// The scalar hash of that group after the last step.
    scalar: u64,
    /// How many groups were left when it began; 0 if none is valid.
    groups: u64,
}

macro_rules! frame {
    () => {
        "rsp"
    };
}

/// The register of word `v` of the scalar hash.
#[rustfmt::skip]
macro_rules! scalar {
    ( 0) => { "rax" }; ( 1) => { "rcx" }; ( 2) => { "rdx" }; ( 3) => { "rsi" };
    ( 4) => { "rdi" }; ( 5) => { "r9"  }; ( 6) => { "r10" }; ( 7) => { "r11" };
    ( 8) => { "r8"  }; ( 9) => { "rbx" }; (10) => { "rbp" }; (11) => { "r8"  };
    (12) => { "r12" }; (13) => { "r13" }; (14) => { "r14" }; (15) => { "r15" };
}

/// The scalar operation. `v11` is loaded to its place in memory, through the register that `v8` gets after it.
#[rustfmt::skip]
macro_rules! beside {
    (load 11) => { concat!(
        "mov r8, qword ptr [rsp + {state} + 8*11]\n",
        "mov qword ptr [rsp + {v11}], r8\n",
    ) };
    (load $v:tt) => { concat!("mov ", scalar!($v), ", qword ptr [rsp + {state} + 8*", $v, "]\n") };
    (add_message $v:tt $m:tt) => { concat!(
        "add ", scalar!($v), ", qword ptr [rsp + {scalar_message} + 8*", $m, "]\n",
    ) };
    (add $v:tt $w:tt) => { concat!("add ", scalar!($v), ", ", scalar!($w), "\n") };
    (xor $v:tt $w:tt) => { concat!("xor ", scalar!($v), ", ", scalar!($w), "\n") };
    (rotr $n:tt $v:tt) => { concat!("ror ", scalar!($v), ", ", $n, "\n") };
    (swap 8) => { "mov qword ptr [rsp + {v8}], r8\nmov r8, qword ptr [rsp + {v11}]\n" };
    (swap 11) => { "mov qword ptr [rsp + {v11}], r8\nmov r8, qword ptr [rsp + {v8}]\n" };
}

/// Tests groups until one has a valid nonce or none is left. There must be at least one.
#[target_feature(enable = "avx2")]
#[expect(unsafe_code, reason = "assembly")]
fn search_groups(frame: &Frame) -> End {
    let (above, scalar, groups): (u64, u64, u64);
    // SAFETY: the text uses only AVX2 instructions, and those of every x86-64 processor.
    //
    // Memory: it copies `frame`, whose size is a multiple of eight bytes, to the stack, below everything that is in use
    // there. From then on it reads and writes only the copy, within its bounds and, as the copy begins at a multiple
    // of 64 bytes, aligned as its fields are. The stack pointer is where the copy begins, and nothing is kept below it. So a
    // signal handler, which writes below it and below its red zone, cannot reach the copy, and needs no more of the stack
    // than in any function with a local of this size. The copy is less than a page, so it cannot skip the guard page.
    //
    // Registers: the stack pointer comes back from the copy. `rbx` and `rbp`, which cannot be declared, are pushed and
    // popped. All others that it writes are declared. The direction flag is clear at the start of every `asm!`.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "mov rax, rsp",
            "sub rsp, {size}",
            "and rsp, -{align}",
            "mov rdi, rsp",
            "mov ecx, {size} / 8",
            "rep movsq",
            "mov qword ptr [rsp + {stack}], rax",
            ".p2align 6",
            "2:",
            load!(11 8 9 10 0 1 2 3 4 5 6 7 12 13 14 15),
            rows_of_rounds!(rounds),
            // The last step. Is any result at most the limit?
            "vpxor ymm0, ymm0, ymm8",
            "vpxor ymm0, ymm0, ymmword ptr [rsp + {flipped_h0}]",
            "vpcmpgtq ymm0, ymm0, ymmword ptr [rsp + {flipped_limit}]",
            "xor rax, r8",
            "xor rax, qword ptr [rsp + {h0}]",
            "vmovmskpd ecx, ymm0",
            "cmp rax, qword ptr [rsp + {limit}]",
            "jbe 3f",
            "cmp ecx, 15",
            "jne 3f",
            // The next group.
            "vmovdqa ymm0, ymmword ptr [rsp + {message}]",
            "vpaddq ymm0, ymm0, ymmword ptr [rsp + {step}]",
            "vmovdqa ymmword ptr [rsp + {message}], ymm0",
            "add qword ptr [rsp + {scalar_message}], {group}",
            "dec qword ptr [rsp + {groups}]",
            "jnz 2b",
            "3:",
            "mov rdx, qword ptr [rsp + {groups}]",
            "mov rsp, qword ptr [rsp + {stack}]",
            "pop rbp",
            "pop rbx",
            size = const size_of::<Frame>(),
            align = const align_of::<Frame>(),
            group = const GROUP,
            rotate_16 = const offset_of!(Frame, masks.rotate_16),
            rotate_24 = const offset_of!(Frame, masks.rotate_24),
            v15 = const offset_of!(Frame, v15),
            v8 = const offset_of!(Frame, v8),
            v11 = const offset_of!(Frame, v11),
            groups = const offset_of!(Frame, groups),
            stack = const offset_of!(Frame, stack),
            scalar_message = const offset_of!(Frame, scalar_message),
            limit = const offset_of!(Frame, last_step.limit),
            h0 = const offset_of!(Frame, last_step.h0),
            message = const offset_of!(Frame, message),
            state = const offset_of!(Frame, state),
            flipped_limit = const offset_of!(Frame, flipped_limit),
            flipped_h0 = const offset_of!(Frame, flipped_h0),
            step = const offset_of!(Frame, step),
            inout("rsi") &raw const *frame => _,
            out("rax") scalar, out("rcx") above, out("rdx") groups,
            out("rdi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _,
            out("r13") _, out("r14") _, out("r15") _,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
        );
    }
    #[expect(clippy::cast_possible_truncation, reason = "only four bits can be set")]
    let above = above as u32;
    End {
        above,
        scalar,
        groups,
    }
}
