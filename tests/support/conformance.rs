//! What every engine must do, whatever it runs on: the vectors, and agreement with the reference hash.

#![allow(clippy::unwrap_used, reason = "benches include this too")]

use atto_work_server::device::{self, Engine, NonceRange, Slice, StopFlag};
use atto_work_server::work::{Nonce, Target, Threshold, digest};
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
    threshold: u64,
    start: u64,
    count: u64,
) -> Option<Nonce> {
    let nonces = NonceRange { start, count };
    let slice = Slice {
        target: *target,
        threshold: Threshold::new(threshold),
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
    let digest = digest(nonce, target).get();
    assert!(
        digest <= threshold,
        "{nonce:?} has the digest {digest}, above {threshold}"
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
        let found = search(engine, &target, digest, nonce, 1);
        assert_eq!(found, Some(Nonce::new(nonce)), "{vector:?}");
        assert_eq!(
            search(engine, &target, digest - 1, nonce, 1),
            None,
            "{vector:?}"
        );
    }
    for vector in &vectors.searches {
        let (target, threshold) = (vector.target.parse().unwrap(), number(&vector.threshold));
        let (start, nonce) = (number(&vector.start), number(&vector.nonce));
        let distance = nonce.wrapping_sub(start);
        let found = search(engine, &target, threshold, start, distance + 1);
        assert_eq!(found, Some(Nonce::new(nonce)), "{vector:?}");
        assert_eq!(
            search(engine, &target, threshold, start, distance),
            None,
            "{vector:?}"
        );
    }
    assert_eq!((vectors.hashes.len(), vectors.searches.len()), (24, 6));
}

/// In `width` nonces, whichever of them has the lowest digest is found, and is the only one: so every lane or
/// invocation is seen to find, and to stay silent.
pub(crate) fn finds_in_every_position(engine: &mut dyn Engine, width: u64) {
    let target = Target::new([0x5A; 32]);
    for start in [
        0,
        u32::MAX as u64 - width / 2,
        u64::MAX - width / 2,
        1 << 63,
    ] {
        for position in 0..width {
            // The range is laid so that the nonce of the lowest digest among its neighbours stands at `position`.
            let best = (0..width)
                .map(|i| start.wrapping_add(i))
                .min_by_key(|&n| digest(Nonce::new(n), &target))
                .unwrap();
            let from = best.wrapping_sub(position);
            let digests = (0..width)
                .map(|i| from.wrapping_add(i))
                .filter(|&nonce| nonce != best);
            let threshold = digest(Nonce::new(best), &target).get();
            let others = digests
                .filter(|&nonce| digest(Nonce::new(nonce), &target).get() <= threshold)
                .count();
            let found = search(engine, &target, threshold, from, width);
            assert!(
                found.is_some(),
                "position {position} of {width} from {from}"
            );
            if others == 0 {
                assert_eq!(
                    found,
                    Some(Nonce::new(best)),
                    "position {position} of {width} from {from}"
                );
            }
        }
    }
}

/// The thresholds at both ends, and the empty range.
pub(crate) fn knows_the_extremes(engine: &mut dyn Engine) {
    let target = Target::new([1; 32]);
    for start in [0, u64::MAX, 1 << 32] {
        assert!(search(engine, &target, u64::MAX, start, 1).is_some());
        assert!(search(engine, &target, u64::MAX, start, 1000).is_some());
        assert_eq!(search(engine, &target, 0, start, 5000), None);
        assert_eq!(search(engine, &target, u64::MAX, start, 0), None);
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
    let slices = (any::<[u8; 32]>(), threshold, start, 0..2000u64);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let engine = std::cell::RefCell::new(engine);
    let agreed = runner.run(&slices, |(target, threshold, start, count)| {
        let target = Target::new(target);
        let mut nonces = (0..count).map(|offset| Nonce::new(start.wrapping_add(offset)));
        let there_is_one = nonces.any(|nonce| digest(nonce, &target).get() <= threshold);
        let found = search(&mut **engine.borrow_mut(), &target, threshold, start, count);
        prop_assert_eq!(found.is_some(), there_is_one);
        Ok(())
    });
    agreed.unwrap();
}
