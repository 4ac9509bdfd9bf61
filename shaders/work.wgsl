// Tests ranges of nonces, one for each slice of a dispatch, until a digest, Blake2b-64(nonce || target), is valid under the
// slice's rule: at most a threshold, or at least a difficulty. A digest is at least the difficulty if its complement is at
// most the complement of the difficulty, so both rules are one comparison after a last step with another word.
//
// The host puts one of the preludes word_*.wgsl before this text. A prelude defines the 64-bit Word for one kind of
// device: the type, word, add, at_most and the four rotations. Kernels differ in nothing else.

struct Slice {
    // The target, as the message words m1 to m4. m0 is the nonce, and all others are zero.
    m1: Word,
    m2: Word,
    m3: Word,
    m4: Word,
    // The most that is valid after the last step: the threshold, or the complement of the difficulty.
    limit: Word,
    // The nonces to test: start, start + 1, ... start + count - 1, wrapping at 2^64.
    start: Word,
    count: u32,
    // The workgroups of this slice in each round: the first, and how many.
    first_workgroup: u32,
    workgroups: u32,
    // The number of the slice's search. Never 0.
    search: u32,
    // The word of the last step: the first word of the initial state, 0x6a09e667f2bdc900, or its complement. It stands here
    // because RADV needs more instructions for two kernels if it stands beside `limit` (counted with Mesa 25.0.7).
    h0: Word,
    // The elements of an array of uniforms begin at multiples of 16 bytes.
    padding: vec2<u32>,
}

// Constants that a compiler must not know, or it turns products back into shifts: see word_dot24.wgsl.
struct Factors {
    // 2^8, 2^16 and 2^24.
    byte: u32,
    half: u32,
    top: u32,
    // 255 * 2^24 + 2^16.
    upper: u32,
}

// The grid is divided into rounds, and each round covers a part of every slice. Once a search is answered, its
// workgroups in later rounds return at once.
struct Dispatch {
    // How many slices there are, at least one.
    slices: u32,
    // How many workgroups a round has, at least one.
    workgroups: u32,
    nonces_per_invocation: u32,
    // Always 1. A compiler that knows this makes some rotations slower: see word_bitcast.wgsl.
    one: u32,
    factors: Factors,
    slice: array<Slice, MAX_SLICES>,
}

// The state of a search. It is kept between dispatches, so that dispatches queued for an answered search end at once.
struct Found {
    // The number of the last search in this slot that was answered.
    answered: atomic<u32>,
    // How many nonces were ever tested for the searches in this slot, modulo 2^32.
    tried: atomic<u32>,
    // The answer. Only meaningful once the search is answered.
    nonce: Word,
}

const MAX_SLICES = 64;
const SLOTS = 128u;

@group(0) @binding(0) var<uniform> dispatch: Dispatch;
// The slot of a search is its number modulo SLOTS. No two searches in flight have the same slot.
@group(0) @binding(1) var<storage, read_write> found: array<Found, SLOTS>;

override WORKGROUP_SIZE: u32 = 64u; // The host sets it.

// How many nonces this workgroup has tested.
var<workgroup> tested: atomic<u32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn search(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let round = workgroup.x / dispatch.workgroups;
    let place_in_round = workgroup.x % dispatch.workgroups;
    let slice = dispatch.slice[slice_of(place_in_round)];
    let slot = slice.search % SLOTS;
    // An invocation takes about a millisecond, so one check is enough. A check in the loop would cost time for every
    // nonce.
    if atomicLoad(&found[slot].answered) != slice.search {
        let part = round * slice.workgroups + place_in_round - slice.first_workgroup;
        let first = min((part * WORKGROUP_SIZE + lane) * dispatch.nonces_per_invocation, slice.count);
        let end = min(first + dispatch.nonces_per_invocation, slice.count);
        atomicAdd(&tested, test(first, end, slice, slot));
    }
    // The counter of the slot is one for the whole card, so each workgroup adds to it once.
    workgroupBarrier();
    if lane == 0u {
        atomicAdd(&found[slot].tried, atomicLoad(&tested));
    }
}

// Tests the nonces of a slice from one offset to another, until one is an answer. Returns how many it has tested.
fn test(first: u32, end: u32, slice: Slice, slot: u32) -> u32 {
    let midstate = midstate_of(slice);
    var offset = first;
    while offset < end {
        let nonce = add(slice.start, word(0u, offset));
        offset++;
        if at_most(last_step(nonce, slice, midstate), slice.limit) {
            // Only the first invocation may write: the two halves of a nonce must come from the same one.
            if atomicExchange(&found[slot].answered, slice.search) != slice.search {
                found[slot].nonce = nonce;
            }
            break;
        }
    }
    return offset - first;
}

// The index of the slice that this workgroup of a round belongs to: the last slice that begins at or before it.
fn slice_of(workgroup: u32) -> u32 {
    var index = 0u;
    var end = dispatch.slices;
    while end - index > 1u {
        let middle = (index + end) / 2u;
        if dispatch.slice[middle].first_workgroup <= workgroup {
            index = middle;
        } else {
            end = middle;
        }
    }
    return index;
}

// Blake2b (RFC 7693) mixes the block's message words m0 ... m15 into the state v0 ... v15 in twelve rounds of
// eight steps G. A round mixes the four columns of the state, then its four diagonals:
//
//      v0  v1  v2  v3        v0  .   .   .         G(a, b, c, d, x, y):
//      v4  v5  v6  v7        .   v5  .   .             a += b + x    d = (d ^ a) >>> 32
//      v8  v9  v10 v11       .   .   v10 .             c += d        b = (b ^ c) >>> 24
//      v12 v13 v14 v15       .   .   .   v15           a += b + y    d = (d ^ a) >>> 16
//                                                      c += d        b = (b ^ c) >>> 63
//
// The words of each step are a table of the standard (SIGMA). All but m0 ... m4 are zero here and left out. A step is
// called g, gx, gy or gxy by the words that remain.

// A pointer to a word of the state.
alias State = ptr<function, Word>;

// The two halves of G, without their message words.
fn half_1(a: State, b: State, c: State, d: State) {
    *a = add(*a, *b);
    *d = rotate_32(*d ^ *a);
    *c = add(*c, *d);
    *b = rotate_24(*b ^ *c);
}

fn half_2(a: State, b: State, c: State, d: State) {
    *a = add(*a, *b);
    *d = rotate_16(*d ^ *a);
    *c = add(*c, *d);
    *b = rotate_63(*b ^ *c);
}

fn g(a: State, b: State, c: State, d: State) {
    half_1(a, b, c, d);
    half_2(a, b, c, d);
}

fn gx(a: State, b: State, c: State, d: State, x: Word) {
    *a = add(*a, x);
    half_1(a, b, c, d);
    half_2(a, b, c, d);
}

fn gy(a: State, b: State, c: State, d: State, y: Word) {
    half_1(a, b, c, d);
    *a = add(*a, y);
    half_2(a, b, c, d);
}

fn gxy(a: State, b: State, c: State, d: State, x: Word, y: Word) {
    *a = add(*a, x);
    half_1(a, b, c, d);
    *a = add(*a, y);
    half_2(a, b, c, d);
}

// The state after the operations of round 1 that do not depend on the nonce. v0, v4, v8 and v12 do.
struct Midstate {
    // Columns 1 to 3.
    v3: Word,
    v5: Word,
    v6: Word,
    v7: Word,
    v9: Word,
    v10: Word,
    v11: Word,
    v14: Word,
    v15: Word,
    // With the first addition of the second diagonal: v1 + v6.
    v1: Word,
    // With the first two operations of the third diagonal: v2 + v7, and v13 mixed with this sum.
    v2: Word,
    v13: Word,
}

fn midstate_of(slice: Slice) -> Midstate {
    // The initial state: the IV twice, with the parameters (a digest of eight bytes, no key) in v0, the number of message
    // bytes (40) in v12, and v14 inverted to mark the last block.
    var v1 = word(0xbb67ae85u, 0x84caa73bu);
    var v2 = word(0x3c6ef372u, 0xfe94f82bu);
    var v3 = word(0xa54ff53au, 0x5f1d36f1u);
    var v5 = word(0x9b05688cu, 0x2b3e6c1fu);
    var v6 = word(0x1f83d9abu, 0xfb41bd6bu);
    var v7 = word(0x5be0cd19u, 0x137e2179u);
    var v9 = word(0xbb67ae85u, 0x84caa73bu);
    var v10 = word(0x3c6ef372u, 0xfe94f82bu);
    var v11 = word(0xa54ff53au, 0x5f1d36f1u);
    var v13 = word(0x9b05688cu, 0x2b3e6c1fu);
    var v14 = word(0xe07c2654u, 0x04be4294u);
    var v15 = word(0x5be0cd19u, 0x137e2179u);

    gxy(&v1, &v5, &v9, &v13, slice.m2, slice.m3);
    gx(&v2, &v6, &v10, &v14, slice.m4);
    g(&v3, &v7, &v11, &v15);
    v1 = add(v1, v6);
    v2 = add(v2, v7);
    v13 = rotate_32(v13 ^ v2);
    return Midstate(v3, v5, v6, v7, v9, v10, v11, v14, v15, v1, v2, v13);
}

// The digest, or its complement, as the rule compares it.
fn last_step(m0: Word, slice: Slice, midstate: Midstate) -> Word {
    let m1 = slice.m1;
    let m2 = slice.m2;
    let m3 = slice.m3;
    let m4 = slice.m4;
    var v1 = midstate.v1;
    var v2 = midstate.v2;
    var v3 = midstate.v3;
    var v5 = midstate.v5;
    var v6 = midstate.v6;
    var v7 = midstate.v7;
    var v9 = midstate.v9;
    var v10 = midstate.v10;
    var v11 = midstate.v11;
    var v13 = midstate.v13;
    var v14 = midstate.v14;
    var v15 = midstate.v15;

    // Round 1: column 0, where v0, v4, v8 and v12 start as constants. The first constant is v0 + v4:
    // 0x6a09e667f2bdc900 + 0x510e527fade682d1.
    var v0 = add(word(0xbb1838e7u, 0xa0a44bd1u), m0);
    var v12 = rotate_32(word(0x510e527fu, 0xade682f9u) ^ v0);
    var v8 = add(word(0x6a09e667u, 0xf3bcc908u), v12);
    var v4 = rotate_24(word(0x510e527fu, 0xade682d1u) ^ v8);
    v0 = add(v0, m1);
    half_2(&v0, &v4, &v8, &v12);
    // The diagonals. The midstate has the beginnings of the second and the third.
    g(&v0, &v5, &v10, &v15);
    v12 = rotate_32(v12 ^ v1);
    v11 = add(v11, v12);
    v6 = rotate_24(v6 ^ v11);
    half_2(&v1, &v6, &v11, &v12);
    v8 = add(v8, v13);
    v7 = rotate_24(v7 ^ v8);
    half_2(&v2, &v7, &v8, &v13);
    g(&v3, &v4, &v9, &v14);

    // Round 2.
    g(&v0, &v4, &v8, &v12);
    gx(&v1, &v5, &v9, &v13, m4);
    g(&v2, &v6, &v10, &v14);
    g(&v3, &v7, &v11, &v15);
    gx(&v0, &v5, &v10, &v15, m1);
    gxy(&v1, &v6, &v11, &v12, m0, m2);
    g(&v2, &v7, &v8, &v13);
    gy(&v3, &v4, &v9, &v14, m3);

    // Round 3.
    g(&v0, &v4, &v8, &v12);
    gy(&v1, &v5, &v9, &v13, m0);
    gy(&v2, &v6, &v10, &v14, m2);
    g(&v3, &v7, &v11, &v15);
    g(&v0, &v5, &v10, &v15);
    gx(&v1, &v6, &v11, &v12, m3);
    gy(&v2, &v7, &v8, &v13, m1);
    gy(&v3, &v4, &v9, &v14, m4);

    // Round 4.
    g(&v0, &v4, &v8, &v12);
    gxy(&v1, &v5, &v9, &v13, m3, m1);
    g(&v2, &v6, &v10, &v14);
    g(&v3, &v7, &v11, &v15);
    gx(&v0, &v5, &v10, &v15, m2);
    g(&v1, &v6, &v11, &v12);
    gxy(&v2, &v7, &v8, &v13, m4, m0);
    g(&v3, &v4, &v9, &v14);

    // Round 5.
    gy(&v0, &v4, &v8, &v12, m0);
    g(&v1, &v5, &v9, &v13);
    gxy(&v2, &v6, &v10, &v14, m2, m4);
    g(&v3, &v7, &v11, &v15);
    gy(&v0, &v5, &v10, &v15, m1);
    g(&v1, &v6, &v11, &v12);
    g(&v2, &v7, &v8, &v13);
    gx(&v3, &v4, &v9, &v14, m3);

    // Round 6.
    gx(&v0, &v4, &v8, &v12, m2);
    g(&v1, &v5, &v9, &v13);
    gx(&v2, &v6, &v10, &v14, m0);
    gy(&v3, &v7, &v11, &v15, m3);
    gx(&v0, &v5, &v10, &v15, m4);
    g(&v1, &v6, &v11, &v12);
    g(&v2, &v7, &v8, &v13);
    gx(&v3, &v4, &v9, &v14, m1);

    // Round 7.
    g(&v0, &v4, &v8, &v12);
    gx(&v1, &v5, &v9, &v13, m1);
    g(&v2, &v6, &v10, &v14);
    gx(&v3, &v7, &v11, &v15, m4);
    gx(&v0, &v5, &v10, &v15, m0);
    gy(&v1, &v6, &v11, &v12, m3);
    gy(&v2, &v7, &v8, &v13, m2);
    g(&v3, &v4, &v9, &v14);

    // Round 8.
    g(&v0, &v4, &v8, &v12);
    g(&v1, &v5, &v9, &v13);
    gy(&v2, &v6, &v10, &v14, m1);
    gx(&v3, &v7, &v11, &v15, m3);
    gy(&v0, &v5, &v10, &v15, m0);
    gy(&v1, &v6, &v11, &v12, m4);
    g(&v2, &v7, &v8, &v13);
    gx(&v3, &v4, &v9, &v14, m2);

    // Round 9.
    g(&v0, &v4, &v8, &v12);
    g(&v1, &v5, &v9, &v13);
    gy(&v2, &v6, &v10, &v14, m3);
    gx(&v3, &v7, &v11, &v15, m0);
    gy(&v0, &v5, &v10, &v15, m2);
    g(&v1, &v6, &v11, &v12);
    gxy(&v2, &v7, &v8, &v13, m1, m4);
    g(&v3, &v4, &v9, &v14);

    // Round 10.
    gy(&v0, &v4, &v8, &v12, m2);
    gy(&v1, &v5, &v9, &v13, m4);
    g(&v2, &v6, &v10, &v14);
    gx(&v3, &v7, &v11, &v15, m1);
    g(&v0, &v5, &v10, &v15);
    g(&v1, &v6, &v11, &v12);
    gx(&v2, &v7, &v8, &v13, m3);
    gy(&v3, &v4, &v9, &v14, m0);

    // Round 11.
    gxy(&v0, &v4, &v8, &v12, m0, m1);
    gxy(&v1, &v5, &v9, &v13, m2, m3);
    gx(&v2, &v6, &v10, &v14, m4);
    g(&v3, &v7, &v11, &v15);
    g(&v0, &v5, &v10, &v15);
    g(&v1, &v6, &v11, &v12);
    g(&v2, &v7, &v8, &v13);
    g(&v3, &v4, &v9, &v14);

    // Round 12: the digest needs only v0 and v8, so two diagonals are left out. The compiler removes the other unused
    // operations.
    g(&v0, &v4, &v8, &v12);
    gx(&v1, &v5, &v9, &v13, m4);
    g(&v2, &v6, &v10, &v14);
    g(&v3, &v7, &v11, &v15);
    gx(&v0, &v5, &v10, &v15, m1);
    g(&v2, &v7, &v8, &v13);

    return slice.h0 ^ v0 ^ v8;
}
