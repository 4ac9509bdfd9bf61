//! The twins of the shader's structs, and how the nonces of a dispatch are spread.

use bytemuck::{Pod, Zeroable};

use super::form::INVOCATIONS_PER_WORKGROUP;
use crate::device::Slice;

/// How many jobs a batch may have: the shader's `MAX_JOBS`.
pub(super) const MAX_JOBS: usize = 64;
/// How many searches the shader keeps apart: its `PLACES`.
pub(super) const PLACES: u32 = 128;
/// What is known of the searches, by their places.
pub(super) type Findings = [Found; PLACES as usize];

/// The shader's `Job`. Its words are in the host's byte order, which is that of every card: little-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Job {
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

/// The most nonces of one dispatch. The shader counts those of a job in 32 bits, and its last invocations count
/// past the end, by less than as many again.
pub(super) const MAX_NONCES: u64 = 1 << 31;

impl Job {
    /// The job of testing a slice's nonces, at most [`MAX_NONCES`], for the search of this number. Its workgroups
    /// are for [`Batch::new`] to say.
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

/// The shader's `Batch`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Batch {
    pub(super) jobs: u32,
    pub(super) workgroups: u32,
    pub(super) share: u32,
    /// Always 1; see `shaders/word_carry.wgsl`.
    one: u32,
    pub(super) job: [Job; MAX_JOBS],
}

/// A card runs this many invocations side by side, give or take a half. Fewer nonces than that get an
/// invocation each.
const SIDE_BY_SIDE: u64 = 1 << 16;
/// How many nonces an invocation tests in a large dispatch, if the card's grid is large enough. Enough to
/// make what it prepares once cheap, few enough that it looks often whether another has found.
const LARGEST_SHARE: u64 = 64;
/// In how many rounds a dispatch tests several jobs. One of a search that is all but sure to end has eight times the
/// nonces that it needs on average, so a round has half of what it needs. A round should be no less than what runs
/// side by side, or the next begins before this one's answers are known, and more is tested in vain.
const ROUNDS: u32 = 16;

impl Batch {
    /// Spreads jobs, at least one and at most [`MAX_JOBS`], over a grid of at most `most` workgroups, of which there
    /// must be 16 for each job; every Vulkan device has 65 535. Also says how many workgroups to dispatch.
    ///
    /// # Panics
    ///
    /// If there are too many jobs, or together they have more than [`MAX_NONCES`].
    pub(super) fn new(jobs: &[Job], most: u32) -> (Self, u32) {
        let total: u64 = jobs.iter().map(|job| u64::from(job.count)).sum();
        assert!(total <= MAX_NONCES, "{total} nonces are too many");
        let rounds = if jobs.len() == 1 { 1 } else { ROUNDS };
        let share = total / (SIDE_BY_SIDE * u64::from(rounds));
        let mut share = u32::try_from(share.clamp(1, LARGEST_SHARE)).expect("small");
        let mut batch = Self {
            one: 1,
            ..Self::zeroed()
        };
        loop {
            batch.jobs = 0;
            batch.workgroups = 0;
            batch.share = share;
            for job in jobs {
                let workgroups = job
                    .count
                    .div_ceil(share)
                    .div_ceil(rounds * INVOCATIONS_PER_WORKGROUP);
                batch.job[batch.jobs as usize] = Job {
                    first_workgroup: batch.workgroups,
                    workgroups,
                    ..*job
                };
                batch.jobs += 1;
                batch.workgroups += workgroups;
            }
            batch.workgroups = batch.workgroups.max(1);
            let workgroups = batch.workgroups.saturating_mul(rounds);
            if workgroups <= most {
                return (batch, workgroups);
            }
            share = share.saturating_mul(2);
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
    fn a_job_lies_in_memory_as_the_shader_reads_it() {
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
                ("first_workgroup", offset_of!(Job, first_workgroup)),
                ("workgroups", offset_of!(Job, workgroups)),
                ("search", offset_of!(Job, search)),
            ],
        );
    }

    #[test]
    fn a_batch_lies_in_memory_as_the_shader_reads_it() {
        // The size says that there are as many jobs.
        check_layout(
            "Batch",
            size_of::<Batch>(),
            &[
                ("jobs", offset_of!(Batch, jobs)),
                ("workgroups", offset_of!(Batch, workgroups)),
                ("share", offset_of!(Batch, share)),
                ("one", offset_of!(Batch, one)),
                ("job", offset_of!(Batch, job)),
            ],
        );
    }

    #[test]
    fn there_are_as_many_places_as_the_shader_has() {
        let module = naga::front::wgsl::parse_str(&Form::Pair.wgsl()).unwrap();
        let places = module.types.iter().find_map(|(_, ty)| match ty.inner {
            naga::TypeInner::Array {
                size: naga::ArraySize::Constant(size),
                stride,
                ..
            } if stride as usize == size_of::<Found>() => Some(size.get()),
            _ => None,
        });
        assert_eq!(places, Some(PLACES));
    }

    #[test]
    fn what_was_found_lies_in_memory_as_the_shader_writes_it() {
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

    fn jobs(counts: &[u32]) -> Vec<Job> {
        let job = |&count| Job {
            count,
            search: 1,
            ..Job::default()
        };
        counts.iter().map(job).collect()
    }

    /// Which nonces of which job an invocation tests, as the shader reckons it.
    fn invocation(batch: &Batch, workgroup: u32, lane: u32) -> (usize, std::ops::Range<u32>) {
        let (round, place) = (workgroup / batch.workgroups, workgroup % batch.workgroups);
        let (mut index, mut end) = (0, batch.jobs as usize);
        while end - index > 1 {
            let middle = usize::midpoint(index, end);
            if batch.job[middle].first_workgroup <= place {
                index = middle;
            } else {
                end = middle;
            }
        }
        let job = &batch.job[index];
        let part = round * job.workgroups + place - job.first_workgroup;
        let first = ((part * INVOCATIONS_PER_WORKGROUP + lane) * batch.share).min(job.count);
        (index, first..(first + batch.share).min(job.count))
    }

    #[test]
    fn every_nonce_of_every_job_has_one_invocation() {
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
                let (batch, workgroups) = Batch::new(&jobs(counts), most);
                assert!(workgroups <= most, "{counts:?} of {most}");
                let mut next = vec![0; counts.len()];
                for workgroup in 0..workgroups {
                    for lane in 0..INVOCATIONS_PER_WORKGROUP {
                        let (index, nonces) = invocation(&batch, workgroup, lane);
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
    fn invocations_fill_a_card_before_they_have_much_to_do_and_no_more_than_needed() {
        for (counts, most, workgroups, share) in [
            (&[1][..], 65_535, 1, 1),
            (&[65], 65_535, 2, 1),
            // Up to 2^17 nonces have an invocation each; up to 2^22 as many invocations have more nonces each.
            (&[1 << 16], 65_535, 1 << 10, 1),
            (&[3 << 16], 65_535, 1 << 10, 3),
            (&[1 << 22], 65_535, 1 << 10, 64),
            // Then an invocation has 64 nonces, until the grid ends.
            (&[1 << 24], 65_535, 1 << 12, 64),
            (&[1 << 31], 65_535, 1 << 15, 1024),
            (&[1 << 31], u32::MAX, 1 << 19, 64),
            // Of several jobs a round does so.
            (&[1 << 20; 4], 65_535, 1 << 14, 4),
            (&[343_592; 64], 65_535, 17 * 64 * 16, 20),
        ] {
            let (batch, dispatched) = Batch::new(&jobs(counts), most);
            assert_eq!(
                (dispatched, batch.share),
                (workgroups, share),
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
                let (batch, workgroups) = Batch::new(&jobs(counts), most);
                let rounds = workgroups / batch.workgroups;
                for job in &batch.job[..counts.len()] {
                    let end = u64::from(rounds * job.workgroups)
                        * u64::from(INVOCATIONS_PER_WORKGROUP * batch.share);
                    assert!(
                        (u64::from(job.count)..1 << 32).contains(&end),
                        "{counts:?} of {most}"
                    );
                }
            }
        }
    }
}
