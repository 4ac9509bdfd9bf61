// As word_dot24.wgsl, and one half of each rotation by 16 bits is products and dot products, too.

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

// A product by 2^8 is a shift to the left by 8 bits. A dot product with the bytes 0, 0, 0 and 1 is a shift to the right by
// 24 bits.
fn rotate_24(a: Word) -> Word {
    return vec2(
        a.y * dispatch.factors.byte + dot4U8Packed(a.x, dispatch.factors.top),
        a.x * dispatch.factors.byte + dot4U8Packed(a.y, dispatch.factors.top),
    );
}

// The upper half, a.x << 16 | a.y >> 16, is a sum: the factor `upper` has the bytes 0, 0, 1 and 255, so that the dot products
// add 255 + 1 times the uppermost byte, and the one below. Only one half: with both, the multiplier would have more to do
// than the other unit.
fn rotate_16(a: Word) -> Word {
    return vec2(
        (a.x >> 16u) | (a.y << 16u),
        a.x * dispatch.factors.half
            + (dot4U8Packed(a.y, dispatch.factors.top) + dot4U8Packed(a.y, dispatch.factors.upper)),
    );
}

fn rotate_63(a: Word) -> Word {
    return (a << vec2(1u)) | (a.yx >> vec2(31u));
}
