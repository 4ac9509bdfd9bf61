//! What every engine must do, whatever it runs on: the vectors, and agreement with the reference hash.

#![allow(clippy::unwrap_used, reason = "benches include this too")]

use atto_work_server::device::{self, Engine, NonceRange, Slice, StopFlag};
use atto_work_server::work::{Difficulty, NanoWork, Nonce, Rule, Target, Threshold, digest};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde::Deserialize;

/// `tests/vectors.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Vectors {
    pub(crate) thresholds: Vec<ThresholdVector>,
    pub(crate) hashes: Vec<HashVector>,
    pub(crate) searches: Vec<SearchVector>,
    pub(crate) published: Vec<PublishedVector>,
    pub(crate) nano: Vec<NanoVector>,
}

/// The threshold of a network at a time.
#[derive(Debug, Deserialize)]
pub(crate) struct ThresholdVector {
    pub(crate) network: String,
    pub(crate) timestamp: i64,
    pub(crate) threshold: String,
}

/// The digest of a nonce and a target.
#[derive(Debug, Deserialize)]
pub(crate) struct HashVector {
    pub(crate) target: String,
    pub(crate) nonce: String,
    pub(crate) work: String,
    pub(crate) digest: String,
}

/// The first nonce from a start on that meets a threshold.
#[derive(Debug, Deserialize)]
pub(crate) struct SearchVector {
    pub(crate) target: String,
    pub(crate) threshold: String,
    pub(crate) start: String,
    pub(crate) nonce: String,
    pub(crate) work: String,
    pub(crate) digest: String,
}

/// A work of the reference implementation's own tests.
#[derive(Debug, Deserialize)]
pub(crate) struct PublishedVector {
    pub(crate) network: String,
    pub(crate) timestamp: i64,
    pub(crate) target: String,
    pub(crate) work: String,
    pub(crate) valid: bool,
}

/// The first work from a start on that meets a difficulty of Nano, and its digest. All numbers are big-endian hex, as on
/// Nano's wire.
#[derive(Debug, Deserialize)]
pub(crate) struct NanoVector {
    pub(crate) root: String,
    pub(crate) difficulty: String,
    pub(crate) start: String,
    pub(crate) work: String,
    pub(crate) value: String,
}

/// Both rules with as many valid digests: those at most the threshold, and those at least its complement.
pub(crate) fn rules(threshold: u64) -> [Rule; 2] {
    let difficulty = Difficulty::new(!threshold);
    [Threshold::new(threshold).into(), difficulty.into()]
}

/// The vectors.
pub(crate) fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors.json")).expect("the vectors are well formed")
}

/// A decimal number of the vectors.
pub(crate) fn number(text: &str) -> u64 {
    text.parse().expect("a decimal number")
}

/// What `engine` finds in `count` nonces from `start` on. Whatever it is lies there and is valid.
pub(crate) fn search(
    engine: &mut dyn Engine,
    target: &Target,
    rule: Rule,
    start: u64,
    count: u64,
) -> Option<Nonce> {
    let nonces = NonceRange { start, count };
    let slice = Slice {
        target: *target,
        rule,
        nonces,
        stop: StopFlag::default(),
    };
    let searched = device::search(engine, slice).expect("the engine works");
    let Some(nonce) = searched.found else {
        assert_eq!(searched.tried, count);
        return None;
    };
    assert!((1..=count).contains(&searched.tried));
    assert!(nonces.contains(nonce), "{nonce:?} is outside {nonces:?}");
    let digest = digest(nonce, target);
    assert!(
        rule.admits(digest),
        "{nonce:?} has the digest {digest:?}, under {rule}"
    );
    Some(nonce)
}

/// Every vector of hashes and searches.
pub(crate) fn agrees_with_the_vectors(engine: &mut dyn Engine) {
    let vectors = vectors();
    for vector in &vectors.hashes {
        let (target, nonce, digest) = (
            vector.target.parse().unwrap(),
            number(&vector.nonce),
            number(&vector.digest),
        );
        let at_most = |bound| Threshold::new(bound).into();
        let at_least = |bound| Difficulty::new(bound).into();
        for (met, missed) in [
            (at_most(digest), at_most(digest - 1)),
            (at_least(digest), at_least(digest + 1)),
        ] {
            let found = search(engine, &target, met, nonce, 1);
            assert_eq!(found, Some(Nonce::new(nonce)), "{vector:?}");
            assert_eq!(
                search(engine, &target, missed, nonce, 1),
                None,
                "{vector:?}"
            );
        }
    }
    for vector in &vectors.searches {
        let target = vector.target.parse().unwrap();
        let rule = Threshold::new(number(&vector.threshold)).into();
        let (start, nonce) = (number(&vector.start), number(&vector.nonce));
        has_first(engine, &target, rule, start, nonce);
    }
    for vector in &vectors.nano {
        let target = vector.root.parse().unwrap();
        let difficulty: Difficulty = vector.difficulty.parse().unwrap();
        let [start, nonce] = [&vector.start, &vector.work]
            .map(|text| text.parse::<NanoWork>().unwrap().nonce().get());
        has_first(engine, &target, difficulty.into(), start, nonce);
    }
    let counts = [
        vectors.hashes.len(),
        vectors.searches.len(),
        vectors.nano.len(),
    ];
    assert_eq!(counts, [24, 6, 22]);
}

/// Asserts that `nonce` is found where it is the last of a slice from `start` on, and nothing where it is one past the end.
fn has_first(engine: &mut dyn Engine, target: &Target, rule: Rule, start: u64, nonce: u64) {
    let distance = nonce.wrapping_sub(start);
    for (count, expected) in [(distance + 1, Some(Nonce::new(nonce))), (distance, None)] {
        let found = search(engine, target, rule, start, count);
        assert_eq!(
            found, expected,
            "{target} under {rule}, {count} from {start}"
        );
    }
}

/// In `width` nonces, whichever of them has the best digest under a rule is found, and is the only one: so every lane or
/// invocation is seen to find, and to stay silent.
pub(crate) fn finds_in_every_position(engine: &mut dyn Engine, width: u64) {
    let target = Target::new([0x5A; 32]);
    for start in [
        0,
        u32::MAX as u64 - width / 2,
        u64::MAX - width / 2,
        1 << 63,
    ] {
        // The range is laid so that the nonce of the best digest among its neighbours stands at `position`.
        let neighbours = || (0..width).map(|i| start.wrapping_add(i));
        let value = |nonce: u64| digest(Nonce::new(nonce), &target);
        let lowest = neighbours().min_by_key(|&nonce| value(nonce)).unwrap();
        let highest = neighbours().max_by_key(|&nonce| value(nonce)).unwrap();
        for (best, rule) in [
            (lowest, Rule::from(Threshold::new(value(lowest).get()))),
            (highest, Rule::from(Difficulty::new(value(highest).get()))),
        ] {
            for position in 0..width {
                let from = best.wrapping_sub(position);
                let others = (0..width)
                    .map(|i| from.wrapping_add(i))
                    .filter(|&nonce| nonce != best && rule.admits(value(nonce)))
                    .count();
                let found = search(engine, &target, rule, from, width);
                let place = format!("{rule}, position {position} of {width} from {from}");
                assert!(found.is_some(), "{place}");
                if others == 0 {
                    assert_eq!(found, Some(Nonce::new(best)), "{place}");
                }
            }
        }
    }
}

/// The bounds at both ends, and the empty range.
pub(crate) fn knows_the_extremes(engine: &mut dyn Engine) {
    let target = Target::new([1; 32]);
    for (easiest, hardest) in rules(u64::MAX).into_iter().zip(rules(0)) {
        for start in [0, u64::MAX, 1 << 32] {
            assert!(search(engine, &target, easiest, start, 1).is_some());
            assert!(search(engine, &target, easiest, start, 1000).is_some());
            assert_eq!(search(engine, &target, hardest, start, 5000), None);
            assert_eq!(search(engine, &target, easiest, start, 0), None);
        }
    }
}

/// Random slices, around the places where words carry and wrap, against the reference hash: something is found
/// exactly if there is something to be found.
pub(crate) fn agrees_with_the_oracle(engine: &mut dyn Engine, cases: u32) {
    let near = |place: u64| (0..4096u64).prop_map(move |distance| place.wrapping_sub(distance));
    let start = prop_oneof![
        any::<u64>(),
        near(0),
        near(1 << 32),
        near(1 << 63),
        near(1 << 40)
    ];
    // About one in a thousand digests, give or take a factor of a hundred.
    let threshold = prop_oneof![any::<u64>(), (44..60u32).prop_map(|bits| 1 << bits)];
    let slices = (any::<[u8; 32]>(), threshold, 0..2_usize, start, 0..2000u64);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let engine = std::cell::RefCell::new(engine);
    let agreed = runner.run(&slices, |(target, threshold, which, start, count)| {
        let (target, rule) = (Target::new(target), rules(threshold)[which]);
        let mut nonces = (0..count).map(|offset| Nonce::new(start.wrapping_add(offset)));
        let there_is_one = nonces.any(|nonce| rule.admits(digest(nonce, &target)));
        let found = search(&mut **engine.borrow_mut(), &target, rule, start, count);
        prop_assert_eq!(found.is_some(), there_is_one);
        Ok(())
    });
    agreed.unwrap();
}
