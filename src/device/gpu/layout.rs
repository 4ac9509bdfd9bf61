//! The twins of the shader's structs.

use bytemuck::{Pod, Zeroable};

use crate::device::NonceRange;
use crate::work::{Target, Threshold};

/// The shader's `Job`. Its words are in the host's byte order, which is that of every card: little-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Job {
    pub(super) m1: u64,
    pub(super) m2: u64,
    pub(super) m3: u64,
    pub(super) m4: u64,
    pub(super) threshold: u64,
    pub(super) start: u64,
    /// At most [`Job::MAX_COUNT`].
    pub(super) count: u32,
    /// How many of them each invocation tests; set when the size of the dispatch is decided.
    pub(super) share: u32,
    /// Always 1; see `shaders/word_carry.wgsl`.
    one: u32,
    padding: u32,
}

impl Job {
    /// The most nonces of one job. The shader counts them in 32 bits, and its last invocations count past the
    /// end, by less than as many again.
    pub(super) const MAX_COUNT: u64 = 1 << 31;

    /// The job of testing these nonces, of which there must be at most [`Job::MAX_COUNT`].
    pub(super) fn new(target: &Target, threshold: Threshold, nonces: NonceRange) -> Self {
        let [m1, m2, m3, m4] = target.words();
        assert!(nonces.count <= Self::MAX_COUNT, "{nonces:?} is too long");
        Self {
            m1,
            m2,
            m3,
            m4,
            threshold: threshold.get(),
            start: nonces.start,
            count: u32::try_from(nonces.count).expect("MAX_COUNT fits"),
            share: 0,
            one: 1,
            padding: 0,
        }
    }
}

/// The shader's `Found`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(super) struct Found {
    pub(super) claims: u32,
    padding: u32,
    pub(super) nonce: u64,
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::super::Form;
    use super::*;

    /// The size and the members' offsets of a struct of the shader, after naga.
    fn layout_in_shader(form: Form, name: &str) -> (usize, Vec<(String, usize)>) {
        let module = naga::front::wgsl::parse_str(&form.wgsl()).unwrap();
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
        for form in Form::ALL {
            let in_shader = layout_in_shader(form, name);
            assert_eq!(in_shader, (size, offsets.clone()), "{name} as {form}");
        }
    }

    #[test]
    fn the_job_lies_in_memory_as_the_shader_reads_it() {
        check_layout(
            "Job",
            size_of::<Job>(),
            &[
                ("m1", offset_of!(Job, m1)),
                ("m2", offset_of!(Job, m2)),
                ("m3", offset_of!(Job, m3)),
                ("m4", offset_of!(Job, m4)),
                ("threshold", offset_of!(Job, threshold)),
                ("start", offset_of!(Job, start)),
                ("count", offset_of!(Job, count)),
                ("share", offset_of!(Job, share)),
                ("one", offset_of!(Job, one)),
                ("padding", offset_of!(Job, padding)),
            ],
        );
    }

    #[test]
    fn what_was_found_lies_in_memory_as_the_shader_writes_it() {
        check_layout(
            "Found",
            size_of::<Found>(),
            &[
                ("claims", offset_of!(Found, claims)),
                ("nonce", offset_of!(Found, nonce)),
            ],
        );
    }
}
