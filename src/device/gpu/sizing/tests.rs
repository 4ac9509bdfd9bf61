use super::*;
use crate::work::{Difficulty, Threshold};

const HARD: Rule = Rule::AtMost(Threshold::new(1));

/// The sizing after this many dispatches on a device with this hash rate and an overhead for each dispatch.
fn sizing_of(rate: u64, dispatches: usize) -> Sizing {
    let mut sizing = Sizing::default();
    for _ in 0..dispatches {
        let count = sizing.longest();
        let elapsed = Duration::from_micros(100)
            + Duration::from_nanos(
                u64::try_from(u128::from(count) * 1_000_000_000 / u128::from(rate)).unwrap(),
            );
        assert!(
            elapsed < 10 * DISPATCH + Duration::from_millis(1),
            "{elapsed:?}"
        );
        sizing.observe(count, elapsed);
    }
    sizing
}

#[test]
fn a_dispatch_grows_to_its_time_in_a_few_steps() {
    for rate in [50_000_000, 1_000_000_000, 10_000_000_000, 80_000_000_000] {
        let [nonces] = sizing_of(rate, 5).lengths(&[HARD])[..] else {
            panic!("one search, one length")
        };
        let expected = rate * 20 / 1000;
        assert!(
            (expected * 95 / 100..=expected).contains(&nonces),
            "{nonces} at {rate}/s"
        );
    }
}

#[test]
fn a_dispatch_has_no_more_nonces_than_the_shader_can_count() {
    assert_eq!(sizing_of(1 << 40, 20).longest(), MAX_NONCES);
}

#[test]
fn a_slow_device_gets_at_most_a_quarter_of_a_second() {
    // 100 000 nonces a second.
    let mut sizing = Sizing::default();
    sizing.observe(FLOOR, Duration::from_micros(655_360));
    assert_eq!(sizing.longest(), 24_000);
    // 1 000 000 nonces a second.
    sizing.observe(20_000, Duration::from_millis(20));
    assert_eq!(sizing.longest(), FLOOR);
}

#[test]
fn a_short_dispatch_never_makes_a_device_look_slower() {
    let mut sizing = sizing_of(1_000_000_000, 5);
    let before = sizing.longest();
    sizing.observe(1000, Duration::from_millis(1));
    assert_eq!(sizing.longest(), before);
    sizing.observe(before, Duration::from_millis(40));
    assert!((before * 49 / 100..before * 51 / 100).contains(&sizing.longest()));
}

/// LOCAL in 2026: 42 950 hashes on average.
const EASY: Rule = Rule::AtMost(Threshold::new(429_496_729_550_000));
const ENOUGH_FOR_EASY: u64 = 8 * 42_949;

#[test]
fn short_dispatches_that_were_timed_wrongly_do_not_add_up() {
    let mut sizing = Sizing::default();
    for _ in 0..100 {
        sizing.observe(40_000, Duration::from_micros(1));
    }
    assert_eq!(sizing.longest(), 16 * 40_000);
    let mut sizing = sizing_of(1_000_000_000, 5);
    let before = sizing.longest();
    for _ in 0..100 {
        sizing.observe(40_000, Duration::from_micros(1));
    }
    assert_eq!(sizing.longest(), before);
}

#[test]
fn an_easy_search_gets_a_short_slice() {
    let sizing = sizing_of(10_000_000_000, 5);
    for (rule, length) in [
        (Threshold::new(u64::MAX).into(), FLOOR),
        (Difficulty::new(0).into(), FLOOR),
        (EASY, ENOUGH_FOR_EASY),
        (Difficulty::NANO_RECEIVE.into(), 8 << 23),
        (Rule::HARDEST, sizing.longest()),
        (Difficulty::new(u64::MAX).into(), sizing.longest()),
    ] {
        assert_eq!(sizing.lengths(&[rule]), [length], "{rule}");
    }
}

#[test]
fn equal_searches_have_equal_parts_of_a_dispatch() {
    let sizing = sizing_of(10_000_000_000, 5);
    let part = sizing.longest() / 4;
    assert_eq!(sizing.lengths(&[HARD; 4]), [part; 4]);
    assert_eq!(sizing.lengths(&[EASY; 64]), [ENOUGH_FOR_EASY; 64]);
    assert!(sizing.lengths(&[]).is_empty());
    // So slow that 64 easy searches count as hard: 20 MH/s.
    let sizing = sizing_of(20_000_000, 5);
    assert_eq!(sizing.lengths(&[EASY; 64]), [sizing.longest() / 64; 64]);
}

#[test]
fn easy_searches_have_what_they_need_and_hard_ones_do_not_make_them_wait() {
    let sizing = sizing_of(10_000_000_000, 5);
    let quarter = sizing.longest() / 4;
    assert_eq!(
        sizing.lengths(&[HARD, EASY, HARD]),
        [quarter / 2, ENOUGH_FOR_EASY, quarter / 2]
    );
    // The easy ones need more than a quarter: 200 times 343 592 of 200 million.
    let sizing = sizing_of(10_000_000_000, 5);
    let mut searches = vec![EASY; 200];
    searches.push(HARD);
    let lengths = sizing.lengths(&searches);
    assert_eq!(lengths[..200], [ENOUGH_FOR_EASY; 200]);
    assert_eq!(lengths[200], 200 * ENOUGH_FOR_EASY);
}

#[test]
fn the_slices_of_a_dispatch_never_exceed_its_longest() {
    for rate in [1_000_000, 80_000_000, 10_000_000_000] {
        let sizing = sizing_of(rate, 5);
        for searches in [&[HARD; 64][..], &[EASY, HARD, HARD], &[EASY; 64], &[HARD]] {
            let lengths = sizing.lengths(searches);
            let total: u64 = lengths.iter().sum();
            assert!(
                total <= sizing.longest(),
                "{rate}/s, {searches:?}: {lengths:?}"
            );
            assert!(lengths.iter().all(|&length| length > 0));
        }
    }
}
