use super::*;

const VULKAN_LEAST: u32 = 65_535;

fn grid(width: u32, most_workgroups: u32) -> Grid {
    Grid {
        most_workgroups,
        width,
    }
}

/// As many nonces of one search in a dispatch of 20 ms, invocations side by side: lavapipe, an integrated card, cards.
const DEVICES: [(u32, u32); 5] = [
    (1_300_000, 16),
    (2_000_000, 10_000),
    (48_000_000, 40_000),
    (200_000_000, 135_000),
    (200_000_000, 270_000),
];

/// LOCAL in 2026: 42 950 hashes on average.
const LOCAL: u64 = 429_496_729_550_000;
const ENOUGH_FOR_LOCAL: u32 = 8 * 42_949;
const LIVE: u64 = LOCAL / 100_000;

fn slices_of(counts: &[u32], limit: u64) -> Vec<GpuSlice> {
    let slice = |&count| GpuSlice {
        limit,
        count,
        search: 1,
        ..GpuSlice::default()
    };
    counts.iter().map(slice).collect()
}

fn slices(counts: &[u32]) -> Vec<GpuSlice> {
    slices_of(counts, 0)
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
        for (most, width) in [(1024, 16), (1024, 1 << 20), (2000, 1000), (65_535, 16)] {
            let (dispatch, workgroups) = Dispatch::new(&slices(counts), &grid(width, most));
            assert!(workgroups <= most, "{counts:?} of {most}, {width}");
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
fn few_nonces_get_an_invocation_each_and_many_share_invocations() {
    for (counts, width, per_invocation) in [
        (&[1][..], 40_000, 1),
        (&[65], 40_000, 1),
        // Four times as many invocations as run side by side, until each has as many nonces as it should have.
        (&[160_000], 40_000, 1),
        (&[480_000], 40_000, 3),
        (&[1 << 24], 40_000, 104),
        (&[1 << 28], 40_000, 128),
        (&[1 << 26; 4], 40_000, 128),
        // A device that runs few has 16 workgroups at least.
        (&[1 << 16], 16, 64),
        (&[20_000; 64], 16, 128),
    ] {
        let found = grid(width, u32::MAX).nonces_per_invocation(&slices(counts));
        assert_eq!(found, per_invocation, "{counts:?} on {width}");
    }
}

#[test]
fn a_grid_that_is_too_small_gives_invocations_more_nonces() {
    let slices = slices(&[1 << 31]);
    let of = |most| Dispatch::new(&slices, &grid(40_000, most));
    let (dispatch, workgroups) = of(u32::MAX);
    assert_eq!((dispatch.nonces_per_invocation, workgroups), (128, 1 << 18));
    let (dispatch, workgroups) = of(VULKAN_LEAST);
    assert_eq!(
        (dispatch.nonces_per_invocation, workgroups),
        (1024, 1 << 15)
    );
}

#[test]
fn the_invocations_of_hard_searches_cost_a_few_percent_at_most_on_every_device() {
    for (nonces, width) in DEVICES {
        for searches in [1, 2, 8, 64] {
            let counts = vec![nonces / searches; searches as usize];
            let slices = slices_of(&counts, LIVE);
            let per_invocation = grid(width, VULKAN_LEAST).nonces_per_invocation(&slices);
            let cost = COST / f64::from(per_invocation);
            assert!(cost < 0.045, "{searches} searches on {width}: {cost}");
        }
    }
}

#[test]
fn on_software_nonces_of_easy_searches_share_invocations_too() {
    for searches in 1..=64 {
        // 20 ms hold three and a half easy searches.
        let count = ENOUGH_FOR_LOCAL.min(1_300_000 / searches);
        let slices = slices_of(&vec![count; searches as usize], LOCAL);
        let per_invocation = grid(16, VULKAN_LEAST).nonces_per_invocation(&slices);
        assert!(per_invocation >= 100, "{searches}: {per_invocation}");
    }
}

/// The loss, as a part of the nonces that are needed: nonces tested in vain, and what the invocations cost. `searches`
/// share a dispatch, and each is answered.
fn loss(searches: f64, width: u32, per_invocation: f64) -> f64 {
    let needed = searches * 42_949.67;
    COST / per_invocation + f64::from(width) * per_invocation / 2.0 / needed
}

#[test]
fn no_other_number_of_nonces_loses_less_on_easy_searches() {
    for (nonces, width) in DEVICES {
        for searches in [1_u32, 2, 8, 64] {
            let count = ENOUGH_FOR_LOCAL.min(nonces / searches);
            if count < ENOUGH_FOR_LOCAL {
                continue;
            }
            let slices = slices_of(&vec![count; searches as usize], LOCAL);
            let per_invocation =
                f64::from(grid(width, VULKAN_LEAST).nonces_per_invocation(&slices));
            let [fewer, chosen, more] = [-1.0, 0.0, 1.0].map(|change| {
                let number = (per_invocation + change).max(1.0);
                loss(f64::from(searches), width, number)
            });
            let case = format!("{searches} searches on {width}, {per_invocation} each");
            // The best whole number is seldom the best number, but next to it.
            assert!(chosen <= 1.01 * fewer, "{case}");
            // With more, too few invocations would fill the device.
            let full = f64::from(searches * count) / (FILLS as f64 * f64::from(width));
            let is_most = per_invocation + 1.0 > full.min(MOST_PER_INVOCATION);
            assert!(is_most || chosen <= 1.01 * more, "{case}");
        }
    }
}

#[test]
fn rounds_are_no_smaller_than_what_runs_side_by_side() {
    for (slices, workgroups, width, rounds) in [
        (1, 10_000, 16, 1),
        // Two invocations for each that runs side by side, and 27 times as many.
        (64, 8192, 262_144, 2),
        (64, 68_000, 160_000, 27),
        (64, 68_000, 16, 64),
        // Never less than a workgroup for each slice.
        (64, 200, 16, 3),
        (64, 64, 16, 1),
        (2, 1, 16, 1),
        (2, 0, 16, 1),
    ] {
        let found = grid(width, VULKAN_LEAST).rounds(slices, workgroups);
        assert_eq!(found, rounds, "{slices} slices, {workgroups} on {width}");
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
        for (most, width) in [
            (64, 16),
            (1024, 1),
            (65_535, 16),
            (u32::MAX, 1),
            (u32::MAX, 1 << 20),
        ] {
            let (dispatch, workgroups) = Dispatch::new(&slices(counts), &grid(width, most));
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
