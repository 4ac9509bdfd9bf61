//! The graphics engines, in every kernel that the adapter runs, against known answers and the reference hash.
//!
//! They run on the first adapter of the list. A machine without a card needs a software adapter for that,
//! such as Mesa's lavapipe; without any Vulkan adapter these tests are left out.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use atto_work_server::device::gpu::{
    Adapter, AdapterKind, Kernel, Selection, SelectionError, SoftwareAdapters, adapters, open,
    open_with,
};
use atto_work_server::device::{self, Backend, Engine, NonceRange, Searched, Slice, StopFlag};
use atto_work_server::work::{Nonce, Rule, Target, Threshold, digest};

use crate::conformance;
use crate::needs::{Need, is_left_out};

type KernelEngine = (Kernel, Mutex<Box<dyn Engine>>);

/// The engines of all kernels that the adapter runs. Opening one takes up to a second, so the tests share them.
static ENGINES: LazyLock<Vec<KernelEngine>> = LazyLock::new(|| {
    let adapter = first_adapter();
    let open = |&kernel: &Kernel| {
        let mut device = open_with(&adapter, kernel).unwrap();
        (kernel, Mutex::new(device.engines.remove(0)))
    };
    adapter.info().kernels.iter().map(open).collect()
});

fn all_adapters() -> Vec<Adapter> {
    adapters().unwrap()
}

fn first_adapter() -> Adapter {
    all_adapters().remove(0)
}

/// Each kernel with its engine; a failed test does not harm its engine.
fn engines() -> impl Iterator<Item = (Kernel, MutexGuard<'static, Box<dyn Engine>>)> {
    ENGINES.iter().map(|(kernel, engine)| {
        (
            *kernel,
            engine.lock().unwrap_or_else(PoisonError::into_inner),
        )
    })
}

/// Asserts that all kernels find exactly this.
fn check(target: &Target, rule: Rule, (start, count): (u64, u64), expected: Option<u64>) {
    for (kernel, mut engine) in engines() {
        let found = conformance::search(&mut **engine, target, rule, start, count);
        assert_eq!(
            found,
            expected.map(Nonce::new),
            "{kernel}: {target} under {rule}, {count} from {start}"
        );
    }
}

/// Runs `check` on the engine of every kernel.
fn on_every_kernel(check: impl Fn(&mut dyn Engine)) {
    for (kernel, mut engine) in engines() {
        println!("kernel {kernel}");
        check(&mut **engine);
    }
}

#[test]
fn no_kernel_is_left_out_on_lavapipe() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    for adapter in all_adapters() {
        let info = adapter.info();
        assert!(info.kernels.contains(&Kernel::Pair), "{info:?}");
        if info.kind == AdapterKind::Software && info.name.starts_with("llvmpipe") {
            assert_eq!(info.kernels[0], Kernel::U64);
            for kernel in Kernel::ALL {
                assert!(info.kernels.contains(&kernel), "{kernel}: {info:?}");
            }
        }
    }
}

#[test]
fn every_kernel_agrees_with_the_vectors() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    on_every_kernel(conformance::agrees_with_the_vectors);
}

#[test]
fn every_kernel_knows_the_extremes() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    on_every_kernel(conformance::knows_the_extremes);
}

#[test]
fn every_kernel_agrees_with_the_oracle() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    on_every_kernel(|engine| conformance::agrees_with_the_oracle(engine, 1000));
}

/// A target, a rule, and the only nonce near 2^32 that is valid: it is alone within [`ALONE`] nonces. One for each rule.
fn lonely() -> [(Target, Rule, Nonce); 2] {
    let [at_most, at_least] = conformance::rules(0);
    let of = |target, rule: Rule, nonce| {
        let (target, nonce) = (Target::new(target), Nonce::new(nonce));
        (target, rule.met_by(digest(nonce, &target)), nonce)
    };
    [
        of([1; 32], at_most, 0x1_0000_0341),
        of([2; 32], at_least, 0x1_0001_1ddf),
    ]
}

const ALONE: u64 = 1 << 18;

#[test]
fn the_lonely_nonce_is_alone() {
    for (target, rule, nonce) in lonely() {
        assert!(rule.admits(digest(nonce, &target)));
        for distance in 1..=ALONE {
            for other in [nonce.get() - distance, nonce.get() + distance] {
                assert!(!rule.admits(digest(Nonce::new(other), &target)), "{other}");
            }
        }
    }
}

#[test]
fn every_invocation_of_a_dispatch_finds_its_nonce() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    // Three workgroups of 64 and a part of a fourth.
    let count = 200;
    for (target, rule, nonce) in lonely() {
        for place in 0..count {
            let start = nonce.get() - place;
            check(&target, rule, (start, count), Some(nonce.get()));
        }
    }
}

#[test]
fn every_turn_of_an_invocation_finds_its_nonce() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    // Several nonces for each invocation, and fewer for the last one. Less than ALONE.
    let count = 3 * (1 << 16) + 17;
    for (target, rule, nonce) in lonely() {
        let ends = (0..9)
            .chain(count / 2..count / 2 + 9)
            .chain(count - 9..count);
        for place in ends {
            let start = nonce.get() - place;
            check(&target, rule, (start, count), Some(nonce.get()));
        }
        for start in [nonce.get() + 1, nonce.get() - count] {
            check(&target, rule, (start, count), None);
        }
    }
}

/// A slice of a search of its own.
fn slice(target: &Target, rule: Rule, start: u64, count: u64) -> Slice {
    Slice {
        target: *target,
        rule,
        nonces: NonceRange { start, count },
        stop: StopFlag::default(),
    }
}

/// Whether there is something to be found in the slice.
fn has_answer(slice: &Slice) -> bool {
    let NonceRange { start, count } = slice.nonces;
    (0..count).any(|offset| {
        let nonce = Nonce::new(start.wrapping_add(offset));
        slice.rule.admits(digest(nonce, &slice.target))
    })
}

/// Asserts that this is a right answer to the slice.
fn check_answer(slice: &Slice, searched: &Searched) {
    match searched.found {
        Some(nonce) => {
            assert!(slice.nonces.contains(nonce), "{slice:?} {searched:?}");
            assert!(slice.rule.admits(digest(nonce, &slice.target)));
        }
        None => {
            assert!(!has_answer(slice), "{slice:?} {searched:?}");
            assert_eq!(searched.tried, slice.nonces.count, "{slice:?}");
        }
    }
    assert!(
        searched.tried <= slice.nonces.count,
        "{slice:?} {searched:?}"
    );
}

#[test]
fn each_search_of_a_batch_gets_its_own_answer() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    on_every_kernel(|engine| {
        let most = engine.capacity().searches;
        let mut answered = 0;
        for size in [1, 2, 3, 17, most, most] {
            // Of all lengths, some with an answer and some without.
            let batch: Vec<_> = (0..size)
                .map(|number| {
                    let target = Target::new([fastrand::u8(..); 32]);
                    let count = [0, 1, 64, 1000, 5000, 20_000][number % 6];
                    let threshold = u64::MAX / [1, 100, 10_000, 1_000_000][number % 4];
                    // Both rules in one dispatch.
                    let rule = conformance::rules(threshold)[fastrand::usize(..2)];
                    slice(&target, rule, fastrand::u64(..), count)
                })
                .collect();
            engine.submit(batch.clone()).unwrap();
            let searched = engine.complete().unwrap();
            assert_eq!(searched.len(), size);
            for (slice, searched) in batch.iter().zip(&searched) {
                check_answer(slice, searched);
                answered += usize::from(searched.found.is_some());
            }
        }
        assert!(answered > 10, "{answered}");
    });
}

#[test]
fn batches_come_back_in_the_order_in_which_they_went() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    on_every_kernel(|engine| {
        let in_flight = engine.capacity().batches;
        assert!(in_flight >= 2);
        let batches: Vec<Vec<_>> = (0..200)
            .map(|_| {
                let slice = |_| {
                    let target = Target::new([fastrand::u8(..); 32]);
                    let rule = conformance::rules(u64::MAX / 500)[fastrand::usize(..2)];
                    slice(&target, rule, fastrand::u64(..), 1000)
                };
                (0..fastrand::usize(1..5)).map(slice).collect()
            })
            .collect();
        for number in 0..batches.len() + in_flight {
            if let Some(done) = number.checked_sub(in_flight) {
                let searched = engine.complete().unwrap();
                assert_eq!(searched.len(), batches[done].len());
                for (slice, searched) in batches[done].iter().zip(&searched) {
                    check_answer(slice, searched);
                }
            }
            if let Some(batch) = batches.get(number) {
                engine.submit(batch.clone()).unwrap();
            }
        }
    });
}

#[test]
fn a_search_that_is_answered_ends_what_is_queued_for_it_on_the_device() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    on_every_kernel(|engine| {
        for (target, rule, nonce) in lonely() {
            let first = slice(&target, rule, nonce.get() - 1000, ALONE);
            // Nothing is to be found here, so all of it would be tested.
            let queued = Slice {
                nonces: NonceRange {
                    start: nonce.get() + 1,
                    count: ALONE,
                },
                ..first.clone()
            };
            let other = slice(&target, Rule::HARDEST, 0, 5000);
            engine.submit(vec![first]).unwrap();
            engine.submit(vec![queued.clone(), other]).unwrap();
            assert_eq!(engine.complete().unwrap()[0].found, Some(nonce));
            let searched = engine.complete().unwrap();
            let nothing = |tried| Searched { tried, found: None };
            assert_eq!(searched, [nothing(0), nothing(5000)]);
            // A search that comes later in its place is another.
            let later = Slice {
                stop: StopFlag::default(),
                ..queued
            };
            assert_eq!(device::search(engine, later), Ok(nothing(ALONE)));
        }
    });
}

#[test]
fn an_early_answer_skips_most_of_an_easy_search() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    on_every_kernel(|engine| {
        // As many as a search is all but sure to end within, for searches of 40 000 hashes.
        let slice = || {
            let target = Target::new([fastrand::u8(..); 32]);
            let rule = conformance::rules(u64::MAX / 40_000)[fastrand::usize(..2)];
            slice(&target, rule, fastrand::u64(..), 320_000)
        };
        let batches = (0..4).map(|_| (0..32).map(|_| slice()).collect());
        let mut tried = 0;
        for batch in batches {
            engine.submit(batch).unwrap();
            let searched = engine.complete().unwrap();
            tried += searched.iter().map(|searched| searched.tried).sum::<u64>();
        }
        // 40 000 would be perfect, and 320 000 as many as there are. A wide card has begun more when it finds.
        let mean = tried / 128;
        assert!((20_000..100_000).contains(&mean), "{mean}");
    });
}

#[test]
fn a_stopped_search_ends_at_once() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    for (_, mut engine) in engines() {
        let stop = StopFlag::default();
        stop.set();
        let slice = Slice {
            target: Target::new([0; 32]),
            rule: Rule::HARDEST,
            nonces: NonceRange {
                start: 0,
                count: u64::MAX,
            },
            stop,
        };
        assert_eq!(device::search(&mut **engine, slice).unwrap().tried, 0);
    }
}

#[test]
fn slices_are_shorter_for_easy_work() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    for (kernel, engine) in engines() {
        let length = |threshold| engine.lengths(&[Threshold::new(threshold).into()])[0];
        assert!(length(u64::MAX) >= 1, "{kernel}");
        assert!(length(u64::MAX) <= length(429_496_729_550_000), "{kernel}");
        assert!(length(429_496_729_550_000) <= length(0), "{kernel}");
    }
}

#[test]
fn a_device_is_named_after_its_adapter() {
    if is_left_out(Need::Vulkan) {
        return;
    }
    let adapter = first_adapter();
    let device = open(&adapter, None).unwrap();
    assert_eq!(device.info.name, adapter.info().label);
    assert_eq!(device.info.backend, Backend::Gpu);
    // Kernels were measured, the likeliest first; on software not all of them. One of them serves.
    let trials = &device.info.trials;
    let measured: Vec<_> = trials.iter().map(|trial| trial.kernel.as_str()).collect();
    let mut kernels = adapter.info().kernels.iter().map(|kernel| kernel.name());
    assert!(
        measured.iter().all(|name| kernels.any(|it| it == *name)),
        "{trials:?}"
    );
    assert!(measured.contains(&device.info.kernel.as_str()));
    assert_eq!((device.info.threads, device.engines.len()), (1, 1));
}

#[test]
fn a_kernel_that_a_device_lacks_is_refused_with_those_that_it_has() {
    for adapter in all_adapters() {
        for kernel in Kernel::ALL {
            if !adapter.info().kernels.contains(&kernel) {
                let error = open_with(&adapter, kernel).unwrap_err().to_string();
                assert!(error.contains(&format!("no kernel {:?}", kernel.name())));
                assert!(error.ends_with("pair"), "{error}");
            }
        }
    }
}

#[test]
fn adapters_are_listed_best_first_under_their_index() {
    if is_left_out(Need::Vulkan) {
        return;
    }
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
    if is_left_out(Need::Vulkan) {
        return;
    }
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
        (indices, chosen.unmatched)
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
    let (_, unmatched) = choose(&adapters.len().to_string(), SoftwareAdapters::Allowed);
    assert!(matches!(unmatched[..], [SelectionError::NoMatch { .. }]));
}
