//! The twins of the shader's structs, and how the nonces of a dispatch are spread over its invocations.

use bytemuck::{Pod, Zeroable};

use super::kernel::INVOCATIONS_PER_WORKGROUP;
use crate::device::slice::Slice;

/// The most slices of a dispatch: the shader's `MAX_SLICES`.
pub(super) const MAX_SLICES: usize = 64;
/// The most searches in flight: the shader's `SLOTS`.
pub(super) const SLOTS: u32 = 128;
/// The shader's `found`: the state of the search in each slot.
pub(super) type Findings = [Found; SLOTS as usize];

/// The most nonces of one dispatch. The shader counts the nonces of a slice in 32 bits, and its last invocations count
/// past the end, by less than this number again.
pub(super) const MAX_NONCES: u64 = 1 << 31;

/// The shader's `Slice`. Its words are in the host's byte order, which must be little-endian like that of every card.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct GpuSlice {
    pub(super) m1: u64,
    pub(super) m2: u64,
    pub(super) m3: u64,
    pub(super) m4: u64,
    pub(super) threshold: u64,
    pub(super) start: u64,
    /// At most [`MAX_NONCES`].
    pub(super) count: u32,
    pub(super) first_workgroup: u32,
    pub(super) workgroups: u32,
    /// Never 0.
    pub(super) search: u32,
}

impl GpuSlice {
    /// The slice of the search with this number, of at most [`MAX_NONCES`]. [`Dispatch::new`] sets its workgroups.
    pub(super) fn new(slice: &Slice, search: u32) -> Self {
        let [m1, m2, m3, m4] = slice.target.words();
        Self {
            m1,
            m2,
            m3,
            m4,
            threshold: slice.threshold.get(),
            start: slice.nonces.start,
            count: u32::try_from(slice.nonces.count).expect("at most MAX_NONCES"),
            search,
            ..Self::default()
        }
    }
}

/// The shader's `Factors`, which always have the same values.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Factors {
    byte: u32,
    half: u32,
    top: u32,
    upper: u32,
}

impl Factors {
    pub(super) const VALUES: Self = Self {
        byte: 1 << 8,
        half: 1 << 16,
        top: 1 << 24,
        upper: (255 << 24) + (1 << 16),
    };
}

/// The shader's `Dispatch`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Dispatch {
    pub(super) slices: u32,
    pub(super) workgroups: u32,
    pub(super) nonces_per_invocation: u32,
    /// Always 1; see `shaders/word_bitcast.wgsl`.
    one: u32,
    factors: Factors,
    pub(super) slice: [GpuSlice; MAX_SLICES],
}

/// About how many invocations a card runs side by side. With fewer nonces, each has an invocation of its own.
const SIDE_BY_SIDE: u64 = 1 << 16;
/// How many nonces an invocation tests in a large dispatch, if the card's grid is large enough. Enough to make the
/// midstate cheap, few enough that invocations often check for an answer.
const MOST_PER_INVOCATION: u64 = 64;
/// How many rounds a dispatch of several slices has. The slice of an easy search has eight times the nonces that it needs
/// on average, so a round has half of what it needs. A round should not be smaller than what runs side by side, or the
/// next one begins before the answers of this one are known.
const ROUNDS: u32 = 16;

impl Dispatch {
    /// Spreads 1 to [`MAX_SLICES`] slices over a grid of at most `most` workgroups. `most` must be at least 16 for each
    /// slice; every Vulkan device has 65 535. Also returns how many workgroups to dispatch.
    ///
    /// # Panics
    ///
    /// If there are too many slices, or they have more than [`MAX_NONCES`] together.
    pub(super) fn new(slices: &[GpuSlice], most: u32) -> (Self, u32) {
        let total: u64 = slices.iter().map(|slice| u64::from(slice.count)).sum();
        assert!(total <= MAX_NONCES, "{total} nonces are too many");
        let rounds = if slices.len() == 1 { 1 } else { ROUNDS };
        let per_invocation = total / (SIDE_BY_SIDE * u64::from(rounds));
        let mut per_invocation =
            u32::try_from(per_invocation.clamp(1, MOST_PER_INVOCATION)).expect("small");
        let mut dispatch = Self {
            one: 1,
            factors: Factors::VALUES,
            ..Self::zeroed()
        };
        loop {
            dispatch.slices = 0;
            dispatch.workgroups = 0;
            dispatch.nonces_per_invocation = per_invocation;
            for slice in slices {
                let workgroups = slice
                    .count
                    .div_ceil(per_invocation)
                    .div_ceil(rounds * INVOCATIONS_PER_WORKGROUP);
                dispatch.slice[dispatch.slices as usize] = GpuSlice {
                    first_workgroup: dispatch.workgroups,
                    workgroups,
                    ..*slice
                };
                dispatch.slices += 1;
                dispatch.workgroups += workgroups;
            }
            dispatch.workgroups = dispatch.workgroups.max(1);
            let workgroups = dispatch.workgroups.saturating_mul(rounds);
            if workgroups <= most {
                return (dispatch, workgroups);
            }
            per_invocation = per_invocation.saturating_mul(2);
        }
    }
}

/// The shader's `Found`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Found {
    pub(super) answered: u32,
    pub(super) tried: u32,
    pub(super) nonce: u64,
}

#[cfg(test)]
mod tests;
