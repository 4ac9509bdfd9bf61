// The 64-bit word of Blake2b as a pair of 32-bit halves: x is the low one, y the high one.
//
// A prelude to work.wgsl, for any device. In memory a word is the same in all preludes.

alias Word = vec2<u32>;

// The word high * 2^32 + low.
fn word(high: u32, low: u32) -> Word {
    return vec2(low, high);
}

// a + b, modulo 2^64.
fn add(a: Word, b: Word) -> Word {
    let sum = a + b;
    // The low half has wrapped if the sum is smaller than an operand.
    return vec2(sum.x, sum.y + u32(sum.x < a.x));
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
