//! The search, generic over the width of a vector register.
//!
//! Compilers turn it into good code where there are enough registers. On x86-64 there are not, and `rounds.rs` has the
//! same rounds in assembly.
//!
//! ```text
//! for each nonce of the range, one in each lane:
//!     finish round 1 from the midstate
//!     rounds 2 to 11
//!     the part of round 12 that v0 and v8 depend on
//!     if h0 ^ v0 ^ v8 <= limit: return the nonce
//! ```
//!
//! This is Blake2b (RFC 7693) over one block of 40 bytes with an 8-byte digest, without the operations that are the same
//! for every nonce or that the digest does not depend on:
//!
//! - Only the message words `m0` (the nonce) and `m1` to `m4` (the target) are not zero. Zero words are not added.
//! - In round 1 the nonce reaches only the first column and the diagonals. The other columns and parts of two diagonals
//!   are computed once per target, by [`Midstate::new`].
//! - Of round 12 only the two diagonals that end in `v0` and `v8` are computed. The optimiser removes the operations
//!   before them that lead to other words.
//!
//! `h0` and `limit` are those of the search's rule, see [`LastStep`].

use super::lanes::Lanes;
use crate::device::last_step::{H0, LastStep};
use crate::device::sigma::SIGMA;
use crate::work::{Rule, Target};

/// The initialisation vector of Blake2b (RFC 7693, 2.6).
const IV: [u64; 8] = [
    0x6A09_E667_F3BC_C908,
    0xBB67_AE85_84CA_A73B,
    0x3C6E_F372_FE94_F82B,
    0xA54F_F53A_5F1D_36F1,
    0x510E_527F_ADE6_82D1,
    0x9B05_688C_2B3E_6C1F,
    0x1F83_D9AB_FB41_BD6B,
    0x5BE0_CD19_137E_2179,
];

/// Bytes hashed: eight of nonce, 32 of target.
const INPUT_LENGTH: u64 = 40;

/// Message words from this index on are zero.
const FIRST_ZERO_WORD: usize = 5;

/// The message and the part of the state that are the same for every nonce of a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Midstate {
    /// `m0` to `m4`. `m0`, the nonce, is zero here.
    pub(super) message: [u64; FIRST_ZERO_WORD],
    /// The state after the operations of round 1 that do not depend on the nonce: columns 1, 2 and 3, `v0 + v4` of
    /// column 0, and of the diagonals `v1 + v6`, `v2 + v7` and `(v13 ^ v2) >>> 32`.
    pub(super) state: [u64; 16],
    /// The last step of a hash, and which results are valid.
    pub(super) last_step: LastStep,
}

impl Midstate {
    /// The midstate of a search for this target under this rule.
    pub(super) fn new(target: &Target, rule: Rule) -> Self {
        let [m1, m2, m3, m4] = target.words();
        let message = [0, m1, m2, m3, m4];
        let mut v = [
            H0,
            IV[1],
            IV[2],
            IV[3],
            IV[4],
            IV[5],
            IV[6],
            IV[7],
            IV[0],
            IV[1],
            IV[2],
            IV[3],
            IV[4] ^ INPUT_LENGTH,
            IV[5],
            !IV[6],
            IV[7],
        ];
        mix::<u64, { SIGMA[0][2] }, { SIGMA[0][3] }>(&mut v, &message, 1, 5, 9, 13);
        mix::<u64, { SIGMA[0][4] }, { SIGMA[0][5] }>(&mut v, &message, 2, 6, 10, 14);
        mix::<u64, { SIGMA[0][6] }, { SIGMA[0][7] }>(&mut v, &message, 3, 7, 11, 15);
        v[0] = v[0].add(v[4]);
        v[1] = v[1].add(v[6]);
        v[2] = v[2].add(v[7]);
        v[13] = v[13].xor_rotr::<32>(v[2]);
        Self {
            message,
            state: v,
            last_step: rule.into(),
        }
    }
}

/// Tests `count` nonces from `start` on, wrapping at 2^64. Returns the first valid one.
#[inline(always)]
pub(super) fn search<V: Lanes>(midstate: &Midstate, start: u64, count: u64) -> Option<u64> {
    let message = midstate.message.map(V::splat);
    let mut nonces = V::counting(start);
    for step in (0..count).step_by(V::COUNT) {
        let valid = last_step(midstate, &message, nonces).at_most(midstate.last_step.limit);
        if valid != 0 {
            return first_valid(valid, step, start, count);
        }
        nonces = nonces.next();
    }
    None
}

/// The nonce of the lowest bit in `valid`, where bit `i` stands for the nonce `start + step + i`. `None` if it is past the
/// end of the range.
#[inline(always)]
pub(super) fn first_valid(valid: u32, step: u64, start: u64, count: u64) -> Option<u64> {
    let offset = step + u64::from(valid.trailing_zeros());
    // Only the lanes of the last step may be past the end, so no valid nonce of the range can follow.
    (offset < count).then(|| start.wrapping_add(offset))
}

/// The digests of `nonces`, or their complements, as the rule compares them.
#[inline(always)]
fn last_step<V: Lanes>(midstate: &Midstate, message: &[V; FIRST_ZERO_WORD], nonces: V) -> V {
    let mut m = *message;
    m[0] = nonces;
    macro_rules! rounds {
        (first [$($first:tt)*] middle $([$($middle:tt)*])* last [$($last:tt)*]) => {{
            let mut v = first_round::<V, $($first),*>(midstate, &m);
            $(round::<V, $($middle),*>(&mut v, &m);)*
            last_round::<V, $($last),*>(&mut v, &m);
            v
        }};
    }
    let v = rows_of_rounds!(rounds);
    v[0].xor(v[8]).xor(V::splat(midstate.last_step.h0))
}

/// Round 1, from where the midstate leaves it.
#[rustfmt::skip]
#[inline(always)]
fn first_round<
    V: Lanes,
    const S0: usize, const S1: usize, const S2: usize, const S3: usize,
    const S4: usize, const S5: usize, const S6: usize, const S7: usize,
    const S8: usize, const S9: usize, const S10: usize, const S11: usize,
    const S12: usize, const S13: usize, const S14: usize, const S15: usize,
>(midstate: &Midstate, m: &[V; FIRST_ZERO_WORD]) -> [V; 16] {
    let mut v = midstate.state.map(V::splat);
    // Column 0.
    v[0] = v[0].add(m[S0]);
    v[12] = v[12].xor_rotr::<32>(v[0]);
    v[8] = v[8].add(v[12]);
    v[4] = v[4].xor_rotr::<24>(v[8]);
    half::<V, S1, 16, 63>(&mut v, m, 0, 4, 8, 12);
    // The diagonals. The midstate has the beginnings of the second and the third.
    mix::<V, S8, S9>(&mut v, m, 0, 5, 10, 15);
    v[12] = v[12].xor_rotr::<32>(v[1]);
    v[11] = v[11].add(v[12]);
    v[6] = v[6].xor_rotr::<24>(v[11]);
    half::<V, S11, 16, 63>(&mut v, m, 1, 6, 11, 12);
    v[8] = v[8].add(v[13]);
    v[7] = v[7].xor_rotr::<24>(v[8]);
    half::<V, S13, 16, 63>(&mut v, m, 2, 7, 8, 13);
    mix::<V, S14, S15>(&mut v, m, 3, 4, 9, 14);
    v
}

/// The part of round 12 that `v0` and `v8` depend on.
#[rustfmt::skip]
#[inline(always)]
fn last_round<
    V: Lanes,
    const S0: usize, const S1: usize, const S2: usize, const S3: usize,
    const S4: usize, const S5: usize, const S6: usize, const S7: usize,
    const S8: usize, const S9: usize, const S10: usize, const S11: usize,
    const S12: usize, const S13: usize, const S14: usize, const S15: usize,
>(v: &mut [V; 16], m: &[V; FIRST_ZERO_WORD]) {
    columns::<V, S0, S1, S2, S3, S4, S5, S6, S7>(v, m);
    mix::<V, S8, S9>(v, m, 0, 5, 10, 15);
    mix::<V, S12, S13>(v, m, 2, 7, 8, 13);
}

/// One round, with its row of `SIGMA`.
#[rustfmt::skip]
#[inline(always)]
fn round<
    V: Lanes,
    const S0: usize, const S1: usize, const S2: usize, const S3: usize,
    const S4: usize, const S5: usize, const S6: usize, const S7: usize,
    const S8: usize, const S9: usize, const S10: usize, const S11: usize,
    const S12: usize, const S13: usize, const S14: usize, const S15: usize,
>(v: &mut [V; 16], m: &[V; FIRST_ZERO_WORD]) {
    columns::<V, S0, S1, S2, S3, S4, S5, S6, S7>(v, m);
    mix::<V, S8, S9>(v, m, 0, 5, 10, 15);
    mix::<V, S10, S11>(v, m, 1, 6, 11, 12);
    mix::<V, S12, S13>(v, m, 2, 7, 8, 13);
    mix::<V, S14, S15>(v, m, 3, 4, 9, 14);
}

/// The first half of a round: the four columns.
#[rustfmt::skip]
#[inline(always)]
fn columns<
    V: Lanes,
    const S0: usize, const S1: usize, const S2: usize, const S3: usize,
    const S4: usize, const S5: usize, const S6: usize, const S7: usize,
>(v: &mut [V; 16], m: &[V; FIRST_ZERO_WORD]) {
    mix::<V, S0, S1>(v, m, 0, 4, 8, 12);
    mix::<V, S2, S3>(v, m, 1, 5, 9, 13);
    mix::<V, S4, S5>(v, m, 2, 6, 10, 14);
    mix::<V, S6, S7>(v, m, 3, 7, 11, 15);
}

/// The mixing function `G` with message words `X` and `Y`.
#[inline(always)]
fn mix<V: Lanes, const X: usize, const Y: usize>(
    v: &mut [V; 16],
    m: &[V; FIRST_ZERO_WORD],
    a: usize,
    b: usize,
    c: usize,
    d: usize,
) {
    half::<V, X, 32, 24>(v, m, a, b, c, d);
    half::<V, Y, 16, 63>(v, m, a, b, c, d);
}

/// Half of `G`, with message word `M` and rotations by `R1` and `R2`.
#[inline(always)]
fn half<V: Lanes, const M: usize, const R1: u32, const R2: u32>(
    v: &mut [V; 16],
    m: &[V; FIRST_ZERO_WORD],
    a: usize,
    b: usize,
    c: usize,
    d: usize,
) {
    if M < FIRST_ZERO_WORD {
        // First, because `b` is the last operand to be ready.
        v[a] = v[a].add(m[M]);
    }
    v[a] = v[a].add(v[b]);
    v[d] = v[d].xor_rotr::<R1>(v[a]);
    v[c] = v[c].add(v[d]);
    v[b] = v[b].xor_rotr::<R2>(v[c]);
}
