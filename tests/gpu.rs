//! The graphics engines, in both forms of the shader, against known answers and the reference hash.
//!
//! They run on the first adapter of the list. A machine without a card needs a software adapter for that,
//! such as Mesa's lavapipe; without any Vulkan adapter these tests fail.

use std::sync::atomic::AtomicBool;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use atto_work_server::device::gpu::{
    Adapter, AdapterKind, Form, Selection, SelectionError, SoftwareAdapters, adapters, open,
    open_as,
};
use atto_work_server::device::{Backend, Engine, NonceRange, Slice};
use atto_work_server::work::{Digest, Nonce, Target, Threshold, digest};
use proptest::prelude::*;
use serde::Deserialize;

/// Both forms' engines. Opening one takes up to a second, so the tests share them.
static ENGINES: LazyLock<[Mutex<Box<dyn Engine>>; 2]> = LazyLock::new(|| {
    Form::ALL.map(|form| {
        let mut device = open_as(&first_adapter(), form).unwrap();
        Mutex::new(device.engines.remove(0))
    })
});

fn all_adapters() -> Vec<Adapter> {
    let adapters = adapters().unwrap();
    assert!(
        !adapters.is_empty(),
        "no Vulkan adapter here: install Mesa's lavapipe, which Debian has in mesa-vulkan-drivers"
    );
    adapters
}

fn first_adapter() -> Adapter {
    all_adapters().remove(0)
}

/// Each form with its engine; a test that failed before this one has done the engine no harm.
fn engines() -> impl Iterator<Item = (Form, MutexGuard<'static, Box<dyn Engine>>)> {
    Form::ALL.into_iter().zip(
        ENGINES
            .iter()
            .map(|engine| engine.lock().unwrap_or_else(PoisonError::into_inner)),
    )
}

/// What `engine` finds.
fn search(
    engine: &mut dyn Engine,
    target: &Target,
    threshold: u64,
    start: u64,
    count: u64,
) -> Option<Nonce> {
    let searched = engine
        .search(&Slice {
            target,
            threshold: Threshold::new(threshold),
            nonces: NonceRange { start, count },
            stop: &AtomicBool::new(false),
        })
        .unwrap();
    match searched.found {
        None => assert_eq!(searched.tried, count),
        Some(_) => assert!((1..=count).contains(&searched.tried)),
    }
    searched.found
}

/// Asserts that both forms find exactly this.
fn check(target: &Target, threshold: u64, (start, count): (u64, u64), expected: Option<u64>) {
    for (form, mut engine) in engines() {
        let found = search(engine.as_mut(), target, threshold, start, count);
        assert_eq!(
            found,
            expected.map(Nonce::new),
            "{form}: {target} at most {threshold}, {count} from {start}"
        );
    }
}

#[derive(Deserialize)]
struct Vectors {
    hashes: Vec<Hash>,
    searches: Vec<Search>,
}

#[derive(Deserialize)]
struct Hash {
    target: String,
    nonce: String,
    digest: String,
}

#[derive(Deserialize)]
struct Search {
    target: String,
    threshold: String,
    start: String,
    nonce: String,
}

static VECTORS: LazyLock<Vectors> =
    LazyLock::new(|| serde_json::from_str(include_str!("vectors.json")).unwrap());

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

#[test]
fn every_known_search_ends_where_it_should() {
    for known in &VECTORS.searches {
        let target = known.target.parse().unwrap();
        let (threshold, start) = (number(&known.threshold), number(&known.start));
        let nonce = number(&known.nonce);
        let distance = nonce.wrapping_sub(start);
        check(&target, threshold, (start, distance + 1), Some(nonce));
        check(&target, threshold, (start, distance), None);
    }
    assert_eq!(VECTORS.searches.len(), 6);
}

#[test]
fn every_known_hash_is_computed_to_the_last_bit() {
    for known in &VECTORS.hashes {
        let target = known.target.parse().unwrap();
        let (nonce, digest) = (number(&known.nonce), number(&known.digest));
        check(&target, digest, (nonce, 1), Some(nonce));
        check(&target, digest - 1, (nonce, 1), None);
    }
    assert_eq!(VECTORS.hashes.len(), 24);
}

/// A target, a nonce near 2^32, and that nonce's digest, which is the least of all within [`ALONE`] nonces.
fn lonely() -> (Target, Digest, Nonce) {
    let target = Target::new([1; 32]);
    let nonce = Nonce::new(0x1_0000_0341);
    (target, digest(nonce, &target), nonce)
}

const ALONE: u64 = 1 << 18;

#[test]
fn the_lonely_nonce_is_alone() {
    let (target, least, nonce) = lonely();
    for distance in 1..=ALONE {
        for other in [nonce.get() - distance, nonce.get() + distance] {
            assert!(digest(Nonce::new(other), &target) > least, "{other}");
        }
    }
}

#[test]
fn every_invocation_of_a_dispatch_finds_its_nonce() {
    let (target, least, nonce) = lonely();
    // Three workgroups of 64 and a part of a fourth.
    let count = 200;
    for place in 0..count {
        let start = nonce.get() - place;
        check(&target, least.get(), (start, count), Some(nonce.get()));
    }
}

#[test]
fn every_turn_of_an_invocation_finds_its_nonce() {
    let (target, least, nonce) = lonely();
    // More than 3 nonces for each of 2^16 invocations, so they get 4, and the last of them 1. Less than ALONE.
    let count = 3 * (1 << 16) + 17;
    let ends = (0..9)
        .chain(count / 2..count / 2 + 9)
        .chain(count - 9..count);
    for place in ends {
        let start = nonce.get() - place;
        check(&target, least.get(), (start, count), Some(nonce.get()));
    }
    for start in [nonce.get() + 1, nonce.get() - count] {
        check(&target, least.get(), (start, count), None);
    }
}

#[test]
fn a_slice_of_many_dispatches_leaves_nothing_out() {
    let (target, least, nonce) = lonely();
    for (form, mut engine) in engines() {
        let count = 3 * engine.slice_length(Threshold::new(0)) + 1;
        assert_eq!(
            search(engine.as_mut(), &target, 0, 0, count),
            None,
            "{form}"
        );
        // Valid is the last nonce; whether others are depends on how fast the device is.
        let start = nonce.get().wrapping_sub(count - 1);
        let threshold = least.get();
        let found = search(engine.as_mut(), &target, threshold, start, count);
        let found = found.unwrap_or_else(|| panic!("{form} found nothing"));
        assert!(digest(found, &target) <= least);
        assert!(NonceRange { start, count }.contains(found));
    }
}

#[test]
fn a_threshold_of_all_ones_admits_every_nonce_and_zero_none_of_these() {
    let (target, ..) = lonely();
    for (form, mut engine) in engines() {
        for count in [1, 63, 64, 65, 100_000] {
            let start = u64::MAX - 1;
            let found = search(engine.as_mut(), &target, u64::MAX, start, count);
            let nonces = NonceRange { start, count };
            assert!(
                found.is_some_and(|nonce| nonces.contains(nonce)),
                "{form}: {count}"
            );
            assert_eq!(search(engine.as_mut(), &target, 0, start, count), None);
        }
    }
}

#[test]
fn an_empty_slice_holds_nothing() {
    check(&Target::new([0; 32]), u64::MAX, (5, 0), None);
}

#[test]
fn a_stopped_search_ends_at_once() {
    for (_, mut engine) in engines() {
        let searched = engine.search(&Slice {
            target: &Target::new([0; 32]),
            threshold: Threshold::new(0),
            nonces: NonceRange {
                start: 0,
                count: u64::MAX,
            },
            stop: &AtomicBool::new(true),
        });
        assert_eq!(searched.unwrap().tried, 0);
    }
}

#[test]
fn slices_are_shorter_for_easy_work() {
    for (form, engine) in engines() {
        let length = |threshold| engine.slice_length(Threshold::new(threshold));
        assert!(length(u64::MAX) >= 1, "{form}");
        assert!(length(u64::MAX) <= length(429_496_729_550_000), "{form}");
        assert!(length(429_496_729_550_000) <= length(0), "{form}");
    }
}

/// Starts anywhere, and often where the counter carries or wraps.
fn starts() -> impl Strategy<Value = u64> {
    let near =
        |middle: u64| (0..4000u64).prop_map(move |d| middle.wrapping_sub(2000).wrapping_add(d));
    prop_oneof![any::<u64>(), near(0), near(1 << 32), near(1 << 63)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_engine_finds_what_the_reference_finds(
        bytes: [u8; 32],
        threshold: u64,
        // From certain to rare within as many nonces.
        shift in 0..24u32,
        start in starts(),
        count in 1..4000u64,
    ) {
        let (target, threshold) = (Target::new(bytes), threshold >> shift);
        let meets = |nonce| digest(nonce, &target).meets(Threshold::new(threshold));
        let any = (0..count).any(|offset| meets(Nonce::new(start.wrapping_add(offset))));
        for (form, mut engine) in engines() {
            match search(engine.as_mut(), &target, threshold, start, count) {
                None => prop_assert!(!any, "{} missed a nonce", form),
                Some(nonce) => {
                    prop_assert!(meets(nonce), "{}: {:?} is not valid", form, nonce);
                    let nonces = NonceRange { start, count };
                    prop_assert!(nonces.contains(nonce), "{}: {:?} is outside", form, nonce);
                }
            }
        }
    }
}

#[test]
fn a_device_is_named_after_its_adapter() {
    let adapter = first_adapter();
    let device = open(&adapter).unwrap();
    assert_eq!(device.info.name, adapter.info().label);
    assert_eq!(device.info.backend, Backend::Gpu);
    assert_eq!(device.info.kernel, adapter.info().form.to_string());
    assert_eq!((device.info.threads, device.engines.len()), (1, 1));
}

#[test]
fn adapters_are_listed_best_first_under_their_index() {
    let adapters = all_adapters();
    let infos: Vec<_> = adapters.iter().map(Adapter::info).collect();
    assert!(infos.is_sorted_by_key(|info| info.kind));
    for (index, info) in infos.iter().enumerate() {
        assert_eq!(info.index, index);
        let json = serde_json::to_value(info).unwrap();
        assert_eq!(json["label"], info.label);
    }
}

#[test]
fn software_is_selected_only_where_it_is_allowed() {
    let adapters = all_adapters();
    let choose = |text: &str, software| {
        let selection: Selection = text.parse().unwrap();
        let chosen = selection.choose(&adapters, software)?;
        Ok(chosen
            .iter()
            .map(|adapter| adapter.info().index)
            .collect::<Vec<_>>())
    };
    let last = adapters.len() - 1;
    let index = last.to_string();
    assert_eq!(choose(&index, SoftwareAdapters::Allowed), Ok(vec![last]));
    assert!(!choose("all", SoftwareAdapters::Allowed).unwrap().is_empty());

    let refused = choose(&index, SoftwareAdapters::Refused);
    if adapters[last].info().kind == AdapterKind::Software {
        assert!(matches!(refused, Err(SelectionError::Software { .. })));
    } else {
        assert_eq!(refused, Ok(vec![last]));
    }
    let nothing = choose(&adapters.len().to_string(), SoftwareAdapters::Allowed);
    assert!(matches!(nothing, Err(SelectionError::NoMatch { .. })));
}
