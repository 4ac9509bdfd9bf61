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
            ("limit", offset_of!(GpuSlice, limit)),
            ("start", offset_of!(GpuSlice, start)),
            ("count", offset_of!(GpuSlice, count)),
            ("first_workgroup", offset_of!(GpuSlice, first_workgroup)),
            ("workgroups", offset_of!(GpuSlice, workgroups)),
            ("search", offset_of!(GpuSlice, search)),
            ("h0", offset_of!(GpuSlice, h0)),
            ("padding", offset_of!(GpuSlice, padding)),
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
