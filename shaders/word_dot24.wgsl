// As word_pair64.wgsl, but rotations by 24 bits are products and dot products.
//
// A prelude to work.wgsl, for devices with u64 (SHADER_INT64) and dot products of bytes whose multipliers are a unit of
// their own. On NVIDIA's cards additions, exclusive ors and shifts share one unit, and the multiplier beside it is idle.

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

fn rotate_16(a: Word) -> Word {
    return (a >> vec2(16u)) | (a.yx << vec2(16u));
}

fn rotate_63(a: Word) -> Word {
    return (a << vec2(1u)) | (a.yx >> vec2(31u));
}
