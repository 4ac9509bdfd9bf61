//! How the nonces of a dispatch are spread over invocations and rounds.

use bytemuck::Zeroable;

use super::kernel::INVOCATIONS_PER_WORKGROUP;
use super::layout::{Dispatch, Factors, GpuSlice, MAX_NONCES};
use crate::work::Threshold;

/// What an invocation costs beside the nonces that it tests, in nonces: finding its slice, the midstate, the check for an
/// answer, the count. Measured on lavapipe, whose vectors fetch a slice's words lane by lane; cards should need less.
const COST: f64 = 2.0;
/// The most nonces that an invocation tests, if the card's grid is large enough. It then costs 1.6 % of their time, and
/// with more would notice later that the search is answered.
const MOST_PER_INVOCATION: f64 = 128.0;
/// How many times over the device is filled with invocations, if there are enough nonces: the last ones run beside idle
/// units.
const FILLS: u64 = 4;
/// Invocations have a nonce each until there are 16 workgroups of them. A processor that acts as a card runs few
/// invocations side by side, but needs workgroups for all of its cores.
const LEAST_FILL: u64 = 1024;
/// More rounds gain nothing: the slice of an easy search has eight times the nonces that it needs on average.
const MOST_ROUNDS: u64 = 64;

/// The grid of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// The most workgroups of a dispatch. At least [`MAX_SLICES`](super::layout::MAX_SLICES); every Vulkan device has
    /// 65 535.
    pub(super) most_workgroups: u32,
    /// How many invocations run side by side. At least 1.
    pub(super) width: u32,
}

impl Grid {
    /// How many nonces each invocation should test, without regard to how many workgroups a dispatch may have.
    ///
    /// With few nonces each, invocations cost more than their nonces. With many, more are tested in vain: when a search
    /// is answered, the invocations that have begun test the rest of theirs. The result makes the sum of both least, on
    /// average.
    fn nonces_per_invocation(&self, slices: &[GpuSlice]) -> u32 {
        let total: u64 = slices.iter().map(|slice| u64::from(slice.count)).sum();
        // How many nonces are tested until answers are found, and how many invocations then test in vain: for each
        // search its part of the invocations that run side by side. Each tests half of its nonces in vain.
        let (mut useful, mut in_vain) = (0.0, 0.0);
        for slice in slices {
            let count = f64::from(slice.count);
            let mean = Threshold::new(slice.limit).expected_hashes();
            let chance = -(-count / mean).exp_m1();
            useful += mean * chance;
            in_vain += chance * f64::from(self.width) * count / total as f64 / 2.0;
        }
        let full = total / (FILLS * u64::from(self.width)).max(LEAST_FILL);
        let most = (full as f64).clamp(1.0, MOST_PER_INVOCATION);
        let best = if in_vain > 0.0 {
            (COST * useful / in_vain).sqrt()
        } else {
            // Without nonces, or without an answer to come.
            most
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 1 and MOST_PER_INVOCATION"
        )]
        let rounded = best.round().clamp(1.0, most) as u32;
        rounded
    }

    /// How many rounds a dispatch of this many slices should have, if its invocations fill this many workgroups.
    ///
    /// A round should not be smaller than what runs side by side, or the next round begins before the answers of this
    /// one are known. It should also have a workgroup for each slice.
    fn rounds(&self, slices: usize, workgroups: u64) -> u32 {
        if slices <= 1 {
            return 1;
        }
        let invocations = workgroups * u64::from(INVOCATIONS_PER_WORKGROUP);
        let rounds = (invocations / u64::from(self.width))
            .min(workgroups / slices as u64)
            .clamp(1, MOST_ROUNDS);
        u32::try_from(rounds).expect("few")
    }
}

impl Dispatch {
    /// Spreads 1 to [`MAX_SLICES`](super::layout::MAX_SLICES) slices over a grid. Also returns how many workgroups to dispatch.
    ///
    /// # Panics
    ///
    /// If there are too many slices, or they have more than [`MAX_NONCES`] together.
    pub(super) fn new(slices: &[GpuSlice], grid: &Grid) -> (Self, u32) {
        let total: u64 = slices.iter().map(|slice| u64::from(slice.count)).sum();
        assert!(total <= MAX_NONCES, "{total} nonces are too many");
        let mut dispatch = Self {
            nonces_per_invocation: grid.nonces_per_invocation(slices),
            one: 1,
            factors: Factors::VALUES,
            ..Self::zeroed()
        };
        loop {
            let in_one_round = dispatch.lay_out(slices, 1);
            let rounds = grid.rounds(slices.len(), u64::from(in_one_round));
            let workgroups = dispatch.lay_out(slices, rounds).saturating_mul(rounds);
            if workgroups <= grid.most_workgroups {
                return (dispatch, workgroups);
            }
            dispatch.nonces_per_invocation *= 2;
        }
    }

    /// Gives each slice its workgroups in each of this many rounds. Returns how many workgroups a round has.
    fn lay_out(&mut self, slices: &[GpuSlice], rounds: u32) -> u32 {
        self.slices = 0;
        self.workgroups = 0;
        for slice in slices {
            let workgroups = slice
                .count
                .div_ceil(self.nonces_per_invocation)
                .div_ceil(rounds * INVOCATIONS_PER_WORKGROUP);
            self.slice[self.slices as usize] = GpuSlice {
                first_workgroup: self.workgroups,
                workgroups,
                ..*slice
            };
            self.slices += 1;
            self.workgroups += workgroups;
        }
        self.workgroups = self.workgroups.max(1);
        self.workgroups
    }
}

#[cfg(test)]
mod tests;
