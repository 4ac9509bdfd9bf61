//! Which kernels are likely to be fast on a device, from what its vendor's compiler makes of them.
//!
//! A likely kernel is compiled first and leads the race; see [`prepare`](super::prepare) and [`race`](super::race). A wrong
//! order costs time at the start and nothing else, since measurements choose the kernel that serves. The table of
//! counts in `docs/performance.md` says where the orders come from.

use super::kernel::Kernel;
use super::kernel::Kernel::{Bitcast, Dot24, Dot24And16, Insert, Pair, Pair64, U64};

/// How many of its kernels race on software, which compiles on the cores that it runs on, about a second for each. The
/// others are three times slower there.
const RACED_ON_SOFTWARE: usize = 3;

/// Vendors, by PCI id, and their kernels, the likeliest first.
const ORDERS: [(u32, [Kernel; Kernel::ALL.len()]); 3] = [
    // NVIDIA. Its compiler sees a rotation in shifts of halves, but not in shifts of u64. The multiplier is a unit of
    // its own, so dot products relieve the unit for all other operations; on chips before 2020 they do not. The other
    // kernels are in the order of the clocks that were counted.
    (
        0x10de,
        [Dot24And16, Dot24, Pair64, Bitcast, Pair, U64, Insert],
    ),
    // AMD. Additions of 64 bits take two instructions, rotated halves one each; a comparison for the carry costs four, and
    // shifts of u64 run at a fraction of the rate. Joining halves by shifts takes three times as many instructions.
    (
        0x1002,
        [Bitcast, Pair, U64, Insert, Pair64, Dot24, Dot24And16],
    ),
    // Intel. It shifts and inserts in one instruction. On its newest cards a u64 goes to and fro between registers: Pair64
    // and the dot products take three times as many instructions as Insert.
    (
        0x8086,
        [Insert, Pair, U64, Bitcast, Pair64, Dot24, Dot24And16],
    ),
];

/// For vendors without a count, such as Apple, Arm and Qualcomm: first the kernels nowhere much slower than the best.
const UNKNOWN: [Kernel; Kernel::ALL.len()] =
    [Bitcast, Pair, Insert, U64, Pair64, Dot24, Dot24And16];

/// Mesa's lavapipe, by measurement. LLVM makes vectors of 64-bit integers of `U64`, and takes dot products apart.
const SOFTWARE: [Kernel; Kernel::ALL.len()] =
    [U64, Pair, Insert, Bitcast, Pair64, Dot24, Dot24And16];

/// Every kernel, the likeliest first, for a device of this vendor or for software.
pub(super) fn of(is_software: bool, vendor_id: u32) -> [Kernel; Kernel::ALL.len()] {
    if is_software {
        return SOFTWARE;
    }
    let known = ORDERS.iter().find(|(vendor, _)| *vendor == vendor_id);
    known.map_or(UNKNOWN, |(_, order)| *order)
}

/// The kernels of a device that race. `kernels` must be in the order of [`of`].
pub(super) fn raced(is_software: bool, kernels: &[Kernel]) -> &[Kernel] {
    if is_software {
        &kernels[..kernels.len().min(RACED_ON_SOFTWARE)]
    } else {
        kernels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_every_kernel_once() {
        let orders = ORDERS.iter().map(|(_, order)| order);
        for order in orders.chain([&UNKNOWN, &SOFTWARE]) {
            for kernel in Kernel::ALL {
                assert!(order.contains(&kernel), "{kernel} in {order:?}");
            }
        }
    }

    #[test]
    fn a_vendor_has_its_order_and_software_an_order_of_its_own() {
        let likeliest = [0x10de, 0x1002, 0x8086].map(|vendor| of(false, vendor)[0]);
        assert_eq!(likeliest, [Dot24And16, Bitcast, Insert]);
        assert_eq!(of(false, 1), UNKNOWN);
        assert_eq!(of(true, 0x10de), SOFTWARE);
    }

    #[test]
    fn all_kernels_race_on_a_card_and_some_on_software() {
        assert_eq!(raced(false, &UNKNOWN), UNKNOWN);
        assert_eq!(raced(true, &SOFTWARE), &SOFTWARE[..3]);
        assert_eq!(raced(true, &[Pair]), [Pair]);
    }
}
