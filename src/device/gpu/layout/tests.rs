use std::mem::{offset_of, size_of};

use super::super::kernel::Kernel;
use super::*;

/// The size and the members' offsets of a struct of the shader, after naga.
fn layout_in_shader(kernel: Kernel, name: &str) -> (usize, Vec<(String, usize)>) {
    let module = naga::front::wgsl::parse_str(&kernel.wgsl()).unwrap();
    let (members, span) = module
        .types
        .iter()
        .find_map(|(_, ty)| match &ty.inner {
            naga::TypeInner::Struct { members, span } if ty.name.as_deref() == Some(name) => {
                Some((members, *span))
            }
            _ => None,
        })
        .unwrap();
    let offsets = members
        .iter()
        .map(|member| (member.name.clone().unwrap(), member.offset as usize))
        .collect();
    (span as usize, offsets)
}

fn check_layout(name: &str, size: usize, offsets: &[(&str, usize)]) {
    let offsets: Vec<_> = offsets
        .iter()
        .map(|&(name, offset)| (name.to_owned(), offset))
        .collect();
    for kernel in Kernel::ALL {
        let in_shader = layout_in_shader(kernel, name);
        assert_eq!(in_shader, (size, offsets.clone()), "{name} as {kernel}");
    }
}

#[test]
fn a_slice_has_the_layout_of_the_shader() {
    check_layout(
        "Slice",
        size_of::<GpuSlice>(),
        &[
            ("m1", offset_of!(GpuSlice, m1)),
            ("m2", offset_of!(GpuSlice, m2)),
            ("m3", offset_of!(GpuSlice, m3)),
            ("m4", offset_of!(GpuSlice, m4)),
            ("threshold", offset_of!(GpuSlice, threshold)),
            ("start", offset_of!(GpuSlice, start)),
            ("count", offset_of!(GpuSlice, count)),
            ("first_workgroup", offset_of!(GpuSlice, first_workgroup)),
            ("workgroups", offset_of!(GpuSlice, workgroups)),
            ("search", offset_of!(GpuSlice, search)),
        ],
    );
}

#[test]
fn a_dispatch_has_the_layout_of_the_shader() {
    // The size shows that the arrays are equally long.
    check_layout(
        "Dispatch",
        size_of::<Dispatch>(),
        &[
            ("slices", offset_of!(Dispatch, slices)),
            ("workgroups", offset_of!(Dispatch, workgroups)),
            (
                "nonces_per_invocation",
                offset_of!(Dispatch, nonces_per_invocation),
            ),
            ("one", offset_of!(Dispatch, one)),
            ("factors", offset_of!(Dispatch, factors)),
            ("slice", offset_of!(Dispatch, slice)),
        ],
    );
}

#[test]
fn the_factors_have_the_layout_of_the_shader() {
    check_layout(
        "Factors",
        size_of::<Factors>(),
        &[
            ("byte", offset_of!(Factors, byte)),
            ("half", offset_of!(Factors, half)),
            ("top", offset_of!(Factors, top)),
            ("upper", offset_of!(Factors, upper)),
        ],
    );
}

#[test]
fn there_are_as_many_slots_as_in_the_shader() {
    let module = naga::front::wgsl::parse_str(&Kernel::Pair.wgsl()).unwrap();
    let slots = module.types.iter().find_map(|(_, ty)| match ty.inner {
        naga::TypeInner::Array {
            size: naga::ArraySize::Constant(size),
            stride,
            ..
        } if stride as usize == size_of::<Found>() => Some(size.get()),
        _ => None,
    });
    assert_eq!(slots, Some(SLOTS));
}

#[test]
fn a_found_nonce_has_the_layout_of_the_shader() {
    check_layout(
        "Found",
        size_of::<Found>(),
        &[
            ("answered", offset_of!(Found, answered)),
            ("tried", offset_of!(Found, tried)),
            ("nonce", offset_of!(Found, nonce)),
        ],
    );
}

fn slices(counts: &[u32]) -> Vec<GpuSlice> {
    let slice = |&count| GpuSlice {
        count,
        search: 1,
        ..GpuSlice::default()
    };
    counts.iter().map(slice).collect()
}

/// The index of the slice of an invocation, and the nonces that it tests, computed as in the shader.
fn invocation(dispatch: &Dispatch, workgroup: u32, lane: u32) -> (usize, std::ops::Range<u32>) {
    let (round, place) = (
        workgroup / dispatch.workgroups,
        workgroup % dispatch.workgroups,
    );
    let (mut index, mut end) = (0, dispatch.slices as usize);
    while end - index > 1 {
        let middle = usize::midpoint(index, end);
        if dispatch.slice[middle].first_workgroup <= place {
            index = middle;
        } else {
            end = middle;
        }
    }
    let slice = &dispatch.slice[index];
    let part = round * slice.workgroups + place - slice.first_workgroup;
    let first = ((part * INVOCATIONS_PER_WORKGROUP + lane) * dispatch.nonces_per_invocation)
        .min(slice.count);
    (
        index,
        first..(first + dispatch.nonces_per_invocation).min(slice.count),
    )
}

#[test]
fn every_nonce_of_every_slice_has_one_invocation() {
    let cases: [&[u32]; 9] = [
        &[0],
        &[1],
        &[65],
        &[300_000],
        &[0, 1, 0, 64, 0],
        &[70_000, 3, 70_000],
        &[1; 64],
        &[5000; 64],
        &[1, 1_000_000],
    ];
    for counts in cases {
        for most in [1024, 2000, 65_535] {
            let (dispatch, workgroups) = Dispatch::new(&slices(counts), most);
            assert!(workgroups <= most, "{counts:?} of {most}");
            let mut next = vec![0; counts.len()];
            for workgroup in 0..workgroups {
                for lane in 0..INVOCATIONS_PER_WORKGROUP {
                    let (index, nonces) = invocation(&dispatch, workgroup, lane);
                    if !nonces.is_empty() {
                        assert_eq!(nonces.start, next[index], "{counts:?} of {most}");
                        next[index] = nonces.end;
                    }
                }
            }
            assert_eq!(next, counts, "of {most}");
        }
    }
}

#[test]
fn a_card_is_filled_before_invocations_test_several_nonces() {
    for (counts, most, workgroups, per_invocation) in [
        (&[1][..], 65_535, 1, 1),
        (&[65], 65_535, 2, 1),
        // Up to 2^17 nonces: an invocation each. Up to 2^22: the same number of invocations, with more nonces each.
        (&[1 << 16], 65_535, 1 << 10, 1),
        (&[3 << 16], 65_535, 1 << 10, 3),
        (&[1 << 22], 65_535, 1 << 10, 64),
        // Then 64 nonces for each invocation, until the grid is full.
        (&[1 << 24], 65_535, 1 << 12, 64),
        (&[1 << 31], 65_535, 1 << 15, 1024),
        (&[1 << 31], u32::MAX, 1 << 19, 64),
        // With several slices this holds for a round.
        (&[1 << 20; 4], 65_535, 1 << 14, 4),
        (&[343_592; 64], 65_535, 17 * 64 * 16, 20),
    ] {
        let (dispatch, dispatched) = Dispatch::new(&slices(counts), most);
        assert_eq!(
            (dispatched, dispatch.nonces_per_invocation),
            (workgroups, per_invocation),
            "{counts:?} of {most}"
        );
    }
}

#[test]
fn no_offset_overflows() {
    for counts in [
        &[1 << 31][..],
        &[1 << 30; 2],
        &[(1 << 25) - 1; 64],
        &[(1 << 31) - 1, 1],
    ] {
        for most in [1024, 65_535, u32::MAX] {
            let (dispatch, workgroups) = Dispatch::new(&slices(counts), most);
            let rounds = workgroups / dispatch.workgroups;
            for slice in &dispatch.slice[..counts.len()] {
                let end = u64::from(rounds * slice.workgroups)
                    * u64::from(INVOCATIONS_PER_WORKGROUP * dispatch.nonces_per_invocation);
                assert!(
                    (u64::from(slice.count)..1 << 32).contains(&end),
                    "{counts:?} of {most}"
                );
            }
        }
    }
}
