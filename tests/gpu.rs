//! The graphics engines, in every form of the shader that the adapter runs, against known answers and the reference hash.
//!
//! They run on the first adapter of the list. A machine without a card needs a software adapter for that,
//! such as Mesa's lavapipe; without any Vulkan adapter these tests fail.

#[path = "support/conformance.rs"]
mod conformance;

use std::sync::atomic::AtomicBool;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use atto_work_server::device::gpu::{
    Adapter, AdapterKind, Form, Selection, SelectionError, SoftwareAdapters, adapters, open,
    open_as,
};
use atto_work_server::device::{Backend, Engine, NonceRange, Slice};
use atto_work_server::work::{Digest, Nonce, Target, Threshold, digest};

type FormEngine = (Form, Mutex<Box<dyn Engine>>);

/// The engines of all forms that the adapter runs. Opening one takes up to a second, so the tests share them.
static ENGINES: LazyLock<Vec<FormEngine>> = LazyLock::new(|| {
    let adapter = first_adapter();
    let open = |&form: &Form| {
        let mut device = open_as(&adapter, form).unwrap();
        (form, Mutex::new(device.engines.remove(0)))
    };
    adapter.info().forms.iter().map(open).collect()
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
    ENGINES
        .iter()
        .map(|(form, engine)| (*form, engine.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Asserts that all forms find exactly this.
fn check(target: &Target, threshold: u64, (start, count): (u64, u64), expected: Option<u64>) {
    for (form, mut engine) in engines() {
        let found = conformance::search(&mut **engine, target, threshold, start, count);
        assert_eq!(
            found,
            expected.map(Nonce::new),
            "{form}: {target} at most {threshold}, {count} from {start}"
        );
    }
}

/// Runs `check` on the engine of every form.
fn on_every_form(check: impl Fn(&mut dyn Engine)) {
    for (form, mut engine) in engines() {
        println!("form {form}");
        check(&mut **engine);
    }
}

#[test]
fn no_form_is_left_out_on_lavapipe() {
    for adapter in all_adapters() {
        let info = adapter.info();
        assert!(info.forms.contains(&Form::Pair), "{info:?}");
        if info.kind == AdapterKind::Software && info.name.starts_with("llvmpipe") {
            assert_eq!(info.forms, Form::ALL);
        }
    }
}

#[test]
fn every_form_agrees_with_the_vectors() {
    on_every_form(conformance::agrees_with_the_vectors);
}

#[test]
fn every_form_knows_the_extremes() {
    on_every_form(conformance::knows_the_extremes);
}

#[test]
fn every_form_agrees_with_the_oracle() {
    on_every_form(|engine| conformance::agrees_with_the_oracle(engine, 200));
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
            conformance::search(&mut **engine, &target, 0, 0, count),
            None,
            "{form}"
        );
        // Valid is the last nonce; whether others are depends on how fast the device is.
        let start = nonce.get().wrapping_sub(count - 1);
        let threshold = least.get();
        let found = conformance::search(&mut **engine, &target, threshold, start, count);
        let found = found.unwrap_or_else(|| panic!("{form} found nothing"));
        assert!(digest(found, &target) <= least);
        assert!(NonceRange { start, count }.contains(found));
    }
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

#[test]
fn a_device_is_named_after_its_adapter() {
    let adapter = first_adapter();
    let device = open(&adapter).unwrap();
    assert_eq!(device.info.name, adapter.info().label);
    assert_eq!(device.info.backend, Backend::Gpu);
    assert_eq!(device.info.kernel, adapter.info().forms[0].to_string());
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
        let chosen = text
            .parse::<Selection>()
            .unwrap()
            .choose(&adapters, software);
        let indices: Vec<_> = chosen
            .adapters
            .iter()
            .map(|adapter| adapter.info().index)
            .collect();
        (indices, chosen.misses)
    };
    let last = adapters.len() - 1;
    let index = last.to_string();
    assert_eq!(
        choose(&index, SoftwareAdapters::Allowed),
        (vec![last], vec![])
    );
    assert!(!choose("all", SoftwareAdapters::Allowed).0.is_empty());

    let refused = choose(&index, SoftwareAdapters::Refused);
    if adapters[last].info().kind == AdapterKind::Software {
        assert!(matches!(refused.1[..], [SelectionError::Software { .. }]));
    } else {
        assert_eq!(refused, (vec![last], vec![]));
    }
    let (_, misses) = choose(&adapters.len().to_string(), SoftwareAdapters::Allowed);
    assert!(matches!(misses[..], [SelectionError::NoMatch { .. }]));
}
