// The 64-bit word of Blake2b as a pair of 32-bit halves: x is the low one, y the high one.
//
// A prelude to work.wgsl, for devices with u64 (SHADER_INT64) whose compilers add in two instructions only with 64-bit
// additions, and rotate in few only with 32-bit halves, such as AMD's.
//
// The host replaces the body of `add` by an addition of 64-bit integers without any conversion of the halves, which WGSL
// cannot express: see spirv.rs. The body here is an addition in WGSL, for readers and validators.

alias Word = vec2<u32>;

// The word high * 2^32 + low.
fn word(high: u32, low: u32) -> Word {
    return vec2(low, high);
}

// a + b, modulo 2^64.
fn add(a: Word, b: Word) -> Word {
    let low = u64(a.x) + u64(b.x);
    return vec2(u32(low), a.y + b.y + u32(low >> 32u));
}

fn at_most(a: Word, b: Word) -> bool {
    return a.y < b.y || (a.y == b.y && a.x <= b.x);
}

// The rotations of Blake2b, to the right.
fn rotate_32(a: Word) -> Word {
    return a.yx;
}

fn rotate_24(a: Word) -> Word {
    return (a >> vec2(24u)) | (a.yx << vec2(8u));
}

fn rotate_16(a: Word) -> Word {
    return (a >> vec2(16u)) | (a.yx << vec2(16u));
}

// Mesa's RADV compiles each half of the rotations above to one instruction (v_alignbit_b32), but a shift to the left by
// one bit to two: a shift, and a shift with an or (v_lshl_or_b32). So the amount comes from memory.
fn rotate_63(a: Word) -> Word {
    let amount = 32u - dispatch.one;
    return vec2(shift_pair(a.x, a.y, amount), shift_pair(a.y, a.x, amount));
}

// The low half of high * 2^32 + low, shifted to the right by less than 32 bits. A shift by 32 bits is undefined, so the
// amount 0 is a separate case. It also lets the compiler recognise the pattern.
fn shift_pair(high: u32, low: u32, amount: u32) -> u32 {
    return select((low >> amount) | (high << (32u - amount)), low, amount == 0u);
}
