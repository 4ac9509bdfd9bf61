//! The host's versions of the shader's structs.

use bytemuck::{Pod, Zeroable};

use crate::device::last_step::LastStep;
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
    pub(super) limit: u64,
    pub(super) start: u64,
    /// At most [`MAX_NONCES`].
    pub(super) count: u32,
    pub(super) first_workgroup: u32,
    pub(super) workgroups: u32,
    /// Never 0.
    pub(super) search: u32,
    pub(super) h0: u64,
    /// The elements of an array of uniforms begin at multiples of 16 bytes.
    pub(super) padding: [u32; 2],
}

impl GpuSlice {
    /// The slice of the search with this number, of at most [`MAX_NONCES`]. `Dispatch::new` sets its workgroups.
    pub(super) fn new(slice: &Slice, search: u32) -> Self {
        let [m1, m2, m3, m4] = slice.target.words();
        let LastStep { h0, limit } = slice.rule.into();
        Self {
            m1,
            m2,
            m3,
            m4,
            limit,
            start: slice.nonces.start,
            count: u32::try_from(slice.nonces.count).expect("at most MAX_NONCES"),
            search,
            h0,
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
    pub(super) one: u32,
    pub(super) factors: Factors,
    pub(super) slice: [GpuSlice; MAX_SLICES],
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
