//! Every kernel that this processor can run, against the vectors and the reference hash.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use atto_work_server::device::cpu::{self, Kernel};
use atto_work_server::device::{self, DeviceInfo, Engine, NonceRange, Slice, StopFlag};
use atto_work_server::work::{Nonce, Rule, Target, digest};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::conformance;

/// Runs `check` on an engine of every kernel, and says which they were.
fn on_every_kernel(check: impl Fn(&mut dyn Engine)) {
    let kernels = Kernel::available();
    assert!(kernels.contains(&Kernel::named("portable").unwrap()));
    for kernel in kernels {
        println!("kernel {kernel}");
        let mut device = cpu::open(Some(kernel), NonZeroUsize::MIN).unwrap();
        check(&mut *device.engines[0]);
    }
}

#[test]
fn every_kernel_agrees_with_the_vectors() {
    on_every_kernel(conformance::agrees_with_the_vectors);
}

#[test]
fn every_kernel_finds_in_every_lane() {
    // More than three times what the widest kernel tests at once, and no multiple of any kernel's 1, 2, 4, 5, 8 or 16
    // nonces, except 1.
    on_every_kernel(|engine| conformance::finds_in_every_position(engine, 51));
}

#[test]
fn every_kernel_knows_the_extremes() {
    on_every_kernel(conformance::knows_the_extremes);
}

#[test]
fn every_kernel_agrees_with_the_oracle() {
    on_every_kernel(|engine| conformance::agrees_with_the_oracle(engine, 200));
}

#[test]
fn the_first_valid_nonce_is_the_one_that_is_found() {
    on_every_kernel(|engine| {
        let mut random = fastrand::Rng::with_seed(7);
        for (index, place) in [0, 1 << 32, 1 << 63, random.u64(..)]
            .into_iter()
            .cycle()
            .take(400)
            .enumerate()
        {
            let target = Target::new(std::array::from_fn(|_| random.u8(..)));
            let start = random.u64(..100).wrapping_neg().wrapping_add(place);
            // From every nonce to one in 128, so that registers with several valid ones are among them.
            let (threshold, count) = (u64::MAX >> (index % 8), random.u64(..200));
            for rule in conformance::rules(threshold) {
                let mut nonces = (0..count).map(|offset| Nonce::new(start.wrapping_add(offset)));
                let first = nonces.find(|&nonce| rule.admits(digest(nonce, &target)));
                let found = conformance::search(engine, &target, rule, start, count);
                assert_eq!(found, first, "{rule}");
            }
        }
    });
}

/// Up to 52 nonces from `start` on, and a rule that the digest of one of them only just meets, or misses by one.
fn group() -> impl Strategy<Value = (Target, u64, u64, Rule)> {
    let near = |place: u64| (0..60_u64).prop_map(move |distance| place.wrapping_sub(distance));
    let start = prop_oneof![any::<u64>(), near(0), near(1 << 32), near(1 << 63)];
    (
        any::<[u8; 32]>(),
        start,
        1..=52_u64,
        any::<prop::sample::Index>(),
        0..2_u64,
        0..2_usize,
    )
        .prop_map(|(target, start, count, index, misses, which)| {
            let target = Target::new(target);
            let nonce = start.wrapping_add(index.index(52) as u64 % count);
            // A digest meets the difficulty that is the complement of a threshold if its own complement meets the threshold.
            let met = digest(Nonce::new(nonce), &target).get() ^ [0, u64::MAX][which];
            let rule = conformance::rules(met.saturating_sub(misses))[which];
            (target, start, count, rule)
        })
}

#[test]
fn the_first_of_several_valid_nonces_in_a_group_is_found() {
    on_every_kernel(|engine| {
        let engine = std::cell::RefCell::new(engine);
        let mut runner = TestRunner::new(Config {
            cases: 2000,
            failure_persistence: None,
            ..Config::default()
        });
        let agreed = runner.run(&group(), |(target, start, count, rule)| {
            let mut nonces = (0..count).map(|offset| Nonce::new(start.wrapping_add(offset)));
            let first = nonces.find(|&nonce| rule.admits(digest(nonce, &target)));
            let mut engine = engine.borrow_mut();
            let found = conformance::search(&mut **engine, &target, rule, start, count);
            prop_assert_eq!(found, first);
            Ok(())
        });
        agreed.unwrap();
    });
}

#[test]
fn every_count_is_tested_to_its_end_and_no_further() {
    on_every_kernel(|engine| {
        let target = Target::new([3; 32]);
        for start in [0, u64::MAX, u64::MAX - 3, u64::MAX - 20, 1 << 32] {
            for count in (0..=52).chain([1023, 1024, 1025, 2047]) {
                let mut search =
                    |rule, count| conformance::search(engine, &target, rule, start, count);
                let first = (count > 0).then(|| Nonce::new(start));
                for (easiest, hardest) in conformance::rules(u64::MAX)
                    .into_iter()
                    .zip(conformance::rules(0))
                {
                    assert_eq!(search(easiest, count), first, "{count} from {start}");
                    assert_eq!(search(hardest, count), None, "{count} from {start}");
                }
                // The nonce after the range is the only one that is valid.
                let last = Nonce::new(start.wrapping_add(count));
                let value = digest(last, &target);
                for rule in conformance::rules(0).map(|rule| rule.met_by(value)) {
                    let mut before = (0..count).map(|i| Nonce::new(start.wrapping_add(i)));
                    if before.all(|nonce| !rule.admits(digest(nonce, &target))) {
                        assert_eq!(search(rule, count), None, "{count} from {start}");
                        let found = search(rule, count + 1);
                        assert_eq!(found, Some(last), "{count} from {start}");
                    }
                }
            }
        }
    });
}

/// How often [`on_signal`] has run.
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

/// Overwrites the stack below what is in use, which is where a kernel with a frame of its own must not have anything.
extern "C" fn on_signal(_: i32) {
    let mut bytes = [0; 8192];
    black_box(&mut bytes).fill(0xA5_u8);
    black_box(&bytes);
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[test]
#[expect(unsafe_code, reason = "a signal handler, and signals to one thread")]
fn a_signal_handler_that_writes_to_the_stack_disturbs_no_kernel() {
    /// On Linux. Nothing else in these tests uses it.
    const SIGUSR1: i32 = 10;
    unsafe extern "C" {
        fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
        fn pthread_kill(thread: std::os::unix::thread::RawPthread, signal: i32) -> i32;
    }
    // SAFETY: the handler writes only to its own stack and to an atomic.
    unsafe { signal(SIGUSR1, on_signal) };
    for kernel in Kernel::available() {
        let before = SIGNALS.load(Ordering::Relaxed);
        let searches = thread::spawn(move || {
            let mut device = cpu::open(Some(kernel), NonZeroUsize::MIN).unwrap();
            let engine = &mut *device.engines[0];
            while SIGNALS.load(Ordering::Relaxed) < before + 500 {
                conformance::agrees_with_the_vectors(engine);
            }
        });
        while !searches.is_finished() {
            // SAFETY: the thread is not joined yet.
            unsafe { pthread_kill(searches.as_pthread_t(), SIGUSR1) };
            thread::sleep(Duration::from_micros(100));
        }
        searches.join().unwrap();
    }
}

#[test]
fn a_cancelled_search_stops() {
    on_every_kernel(|engine| {
        let nonces = NonceRange {
            start: 0,
            count: u64::MAX,
        };
        let stop = StopFlag::default();
        stop.set();
        let slice = Slice {
            target: Target::new([0; 32]),
            rule: Rule::HARDEST,
            nonces,
            stop,
        };
        assert_eq!(device::search(engine, slice).unwrap().tried, 0);
    });
}

#[test]
fn a_device_has_an_engine_for_each_thread() {
    let portable = Kernel::named("portable").unwrap();
    let device = cpu::open(Some(portable), NonZeroUsize::new(3).unwrap()).unwrap();
    assert_eq!((device.info.threads, device.engines.len()), (3, 3));
    assert_eq!(device.info.kernel, "portable");
}

#[test]
fn every_kernel_is_measured_and_the_fastest_serves() {
    let DeviceInfo { kernel, trials, .. } = cpu::open(None, NonZeroUsize::MIN).unwrap().info;
    let measured: Vec<_> = trials.iter().map(|trial| &*trial.kernel).collect();
    let available: Vec<_> = Kernel::available().into_iter().map(Kernel::name).collect();
    // Only a machine that is too busy to run each of them in time leaves some out.
    assert!(available.starts_with(&measured), "{measured:?}");
    let fastest = trials.iter().max_by_key(|trial| trial.hashes_per_second);
    assert_eq!(kernel, fastest.unwrap().kernel);
}

#[test]
fn a_kernel_that_the_processor_lacks_is_refused_by_name() {
    let error = Kernel::named("avx1024").unwrap_err().to_string();
    assert!(
        error.contains("\"avx1024\"") && error.contains("portable"),
        "{error}"
    );
}
