//! The search over lanes of any width, which compilers turn into good code where there are registers enough.
//! Where they do not, on x86-64, `rounds.rs` has the same rounds in assembly.
//!
//! ```text
//! for each nonce of the range, as many at once as there are lanes:
//!     finish round 1 from the job's constants
//!     rounds 2 to 11
//!     the half of round 12 that reaches v0 and v8
//!     if IV0 ^ 0x01010008 ^ v0 ^ v8 <= threshold: return the nonce
//! ```
//!
//! It is Blake2b (RFC 7693) over one block of 40 bytes with an 8-byte digest, less what no nonce can
//! change. Of the message words only `m0` (the nonce) and `m1..m4` (the target) are not zero, and a zero
//! word is not added. In round 1 the nonce has reached only the first column, so the other three and parts
//! of the diagonals are computed once per job, by [`Job::new`]. Of round 12 only the two diagonals that end
//! in `v0` and `v8` are written out, and the optimiser drops what they leave unused.

use super::lanes::Lanes;
use crate::work::Target;

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

/// `IV0` with the parameter block folded in: no key, a digest of eight bytes.
pub(super) const H0: u64 = IV[0] ^ 0x0101_0000 ^ 8;

/// Bytes hashed: eight of nonce, 32 of target.
const INPUT_LENGTH: u64 = 40;

/// A message word's index from here on is a word of zeros.
const FIRST_ZERO_WORD: usize = 5;

/// All that a target contributes to its hashes, computed once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// `m0..m4`; `m0`, the nonce's place, is zero here.
    pub(super) message: [u64; FIRST_ZERO_WORD],
    /// The state with all of round 1 done that no nonce changes: columns 1, 2 and 3 are complete, `v4` is
    /// added to `v0`, and of the diagonals `v1 + v6`, `v2 + v7` and `(v13 ^ v2) >>> 32` are done.
    pub(super) state: [u64; 16],
}

impl Job {
    /// The constants of this target.
    pub(super) fn new(target: &Target) -> Self {
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
        mix::<u64, 2, 3>(&mut v, &message, 1, 5, 9, 13);
        mix::<u64, 4, 5>(&mut v, &message, 2, 6, 10, 14);
        mix::<u64, 6, 7>(&mut v, &message, 3, 7, 11, 15);
        v[0] = v[0].add(v[4]);
        v[1] = v[1].add(v[6]);
        v[2] = v[2].add(v[7]);
        v[13] = v[13].xor_rotr::<32>(v[2]);
        Self { message, state: v }
    }
}

/// Tests `count` nonces from `start` on, wrapping; the first that is valid, or none.
#[inline(always)]
pub(super) fn search<V: Lanes>(job: &Job, threshold: u64, start: u64, count: u64) -> Option<u64> {
    let message = job.message.map(V::splat);
    let mut nonces = V::counting(start);
    for step in (0..count).step_by(V::COUNT) {
        let valid = digest(job, &message, nonces).at_most(threshold);
        if valid != 0 {
            return first_valid(valid, step, start, count);
        }
        nonces = nonces.next();
    }
    None
}

/// The nonce of the lowest bit in `valid`, of which bit 0 stands for the nonce `step` after `start`.
#[inline(always)]
pub(super) fn first_valid(valid: u32, step: u64, start: u64, count: u64) -> Option<u64> {
    let offset = step + u64::from(valid.trailing_zeros());
    // The last registers may reach beyond the end. They are the last, so there is nothing after them.
    (offset < count).then(|| start.wrapping_add(offset))
}

/// The digests of `nonces`.
#[inline(always)]
fn digest<V: Lanes>(job: &Job, target: &[V; FIRST_ZERO_WORD], nonces: V) -> V {
    let mut m = *target;
    m[0] = nonces;
    let mut v = first_round(job, &m);
    round::<V, 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3>(&mut v, &m);
    round::<V, 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4>(&mut v, &m);
    round::<V, 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8>(&mut v, &m);
    round::<V, 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13>(&mut v, &m);
    round::<V, 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9>(&mut v, &m);
    round::<V, 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11>(&mut v, &m);
    round::<V, 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10>(&mut v, &m);
    round::<V, 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5>(&mut v, &m);
    round::<V, 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0>(&mut v, &m);
    round::<V, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>(&mut v, &m);
    columns::<V, 14, 10, 4, 8, 9, 15, 13, 6>(&mut v, &m);
    mix::<V, 1, 12>(&mut v, &m, 0, 5, 10, 15);
    mix::<V, 11, 7>(&mut v, &m, 2, 7, 8, 13);
    v[0].xor(v[8]).xor(V::splat(H0))
}

/// Round 1, from the first use of the nonce on.
#[inline(always)]
fn first_round<V: Lanes>(job: &Job, m: &[V; FIRST_ZERO_WORD]) -> [V; 16] {
    let mut v = job.state.map(V::splat);
    // Column 0.
    v[0] = v[0].add(m[0]);
    v[12] = v[12].xor_rotr::<32>(v[0]);
    v[8] = v[8].add(v[12]);
    v[4] = v[4].xor_rotr::<24>(v[8]);
    half::<V, 1, 16, 63>(&mut v, m, 0, 4, 8, 12);
    // Diagonals, of which the second and the third are begun.
    mix::<V, 8, 9>(&mut v, m, 0, 5, 10, 15);
    v[12] = v[12].xor_rotr::<32>(v[1]);
    v[11] = v[11].add(v[12]);
    v[6] = v[6].xor_rotr::<24>(v[11]);
    half::<V, 11, 16, 63>(&mut v, m, 1, 6, 11, 12);
    v[8] = v[8].add(v[13]);
    v[7] = v[7].xor_rotr::<24>(v[8]);
    half::<V, 13, 16, 63>(&mut v, m, 2, 7, 8, 13);
    mix::<V, 14, 15>(&mut v, m, 3, 4, 9, 14);
    v
}

/// One round of eight mixes, each with two message words: `SIGMA` of RFC 7693 (2.7), in literals.
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

/// Half of `G`: message word `M`, rotations by `R1` and `R2`.
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
        // `b` arrives last, so the word is added to `a` while it is on its way.
        v[a] = v[a].add(m[M]);
    }
    v[a] = v[a].add(v[b]);
    v[d] = v[d].xor_rotr::<R1>(v[a]);
    v[c] = v[c].add(v[d]);
    v[b] = v[b].xor_rotr::<R2>(v[c]);
}
