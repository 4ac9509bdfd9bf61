// The 64-bit word of Blake2b as a pair of 32-bit halves, which are joined to a 64-bit integer for each addition.
//
// A prelude to work.wgsl, for devices with u64 (SHADER_INT64) whose compilers see a rotation in 32-bit shifts and not
// in 64-bit ones, and join halves at no cost. NVIDIA's does: it makes one funnel shift of each rotated half.

alias Word = vec2<u32>;

// The word high * 2^32 + low.
fn word(high: u32, low: u32) -> Word {
    return vec2(low, high);
}

// a + b, modulo 2^64.
fn add(a: Word, b: Word) -> Word {
    let sum = joined(a) + joined(b);
    return vec2(u32(sum), u32(sum >> 32u));
}

// Not bitcast<u64>(a): naga 30 accepts that and compiles it wrongly.
fn joined(a: Word) -> u64 {
    return u64(a.x) | (u64(a.y) << 32u);
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

fn rotate_63(a: Word) -> Word {
    return (a << vec2(1u)) | (a.yx >> vec2(31u));
}
