// The 64-bit word of Blake2b as the device's own 64-bit integer.
//
// A prelude to work.wgsl, for devices with u64 (SHADER_INT64) whose compilers see a rotation in 64-bit shifts.

alias Word = u64;

// The word high * 2^32 + low.
fn word(high: u32, low: u32) -> Word {
    // Not bitcast<u64>(vec2(low, high)): naga 30 accepts that and compiles it wrongly.
    return (u64(high) << 32u) | u64(low);
}

// a + b, modulo 2^64.
fn add(a: Word, b: Word) -> Word {
    return a + b;
}

fn at_most(a: Word, b: Word) -> bool {
    return a <= b;
}

// The rotations of Blake2b, to the right.
fn rotate_32(a: Word) -> Word {
    return (a >> 32u) | (a << 32u);
}

fn rotate_24(a: Word) -> Word {
    return (a >> 24u) | (a << 40u);
}

fn rotate_16(a: Word) -> Word {
    return (a >> 16u) | (a << 48u);
}

fn rotate_63(a: Word) -> Word {
    return (a >> 63u) | (a << 1u);
}
