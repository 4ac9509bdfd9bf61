// The 64-bit word of Blake2b as a pair of 32-bit halves: x is the low one, y the high one. A sum of low halves is
// taken in a u64, whose high half is then the carry.
//
// A prelude to work.wgsl, for devices that offer u64 (SHADER_INT64) and that add in two instructions where they see
// a 64-bit addition, but rotate in few only where they see 32-bit halves. AMD's are such. Its twins are word_u64.wgsl
// and word_pair.wgsl; in memory all words look the same.
//
// The host may replace the body of `add` by a true 64-bit addition, which WGSL has no way to write: see form.rs.

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

// The rotations to the right that Blake2b knows.
fn rotate_32(a: Word) -> Word {
    return a.yx;
}

fn rotate_24(a: Word) -> Word {
    return (a >> vec2(24u)) | (a.yx << vec2(8u));
}

fn rotate_16(a: Word) -> Word {
    return (a >> vec2(16u)) | (a.yx << vec2(16u));
}

// Mesa's RADV makes each half of a rotation one instruction (v_alignbit_b32), as it does above, but makes two of a
// shift to the left by one: an addition comes first to its mind. So it is not to know that batch.one is one.
fn rotate_63(a: Word) -> Word {
    let amount = 32u - batch.one;
    return vec2(shift_pair(a.x, a.y, amount), shift_pair(a.y, a.x, amount));
}

// The low half of high * 2^32 + low, shifted to the right by less than 32 bits. A shift by 32 is not defined, so
// the amount 0 is a case of its own; with it the compiler knows the whole for what it is.
fn shift_pair(high: u32, low: u32, amount: u32) -> u32 {
    return select((low >> amount) | (high << (32u - amount)), low, amount == 0u);
}
