//! Every kernel that this processor can run, against the vectors and the reference hash.

use std::num::NonZeroUsize;

use atto_work_server::device::cpu::{self, Kernel};
use atto_work_server::device::{self, Engine, NonceRange, Slice, StopFlag};
use atto_work_server::work::{Nonce, Target, Threshold, digest};

use crate::conformance;

/// Runs `check` on an engine of every kernel, and says which they were.
fn on_every_kernel(check: impl Fn(&mut dyn Engine)) {
    let kernels = Kernel::available();
    assert!(kernels.contains(&Kernel::named("portable").unwrap()));
    for kernel in kernels {
        println!("kernel {kernel}");
        let mut device = cpu::open(kernel, NonZeroUsize::MIN).unwrap();
        check(&mut *device.engines[0]);
    }
}

#[test]
fn every_kernel_agrees_with_the_vectors() {
    on_every_kernel(conformance::agrees_with_the_vectors);
}

#[test]
fn every_kernel_finds_in_every_lane() {
    // Three times what the widest kernel tests at once and a bit, so that whole turns and a broken one are
    // among them.
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
            let mut nonces = (0..count).map(|offset| Nonce::new(start.wrapping_add(offset)));
            let first = nonces.find(|&nonce| digest(nonce, &target).get() <= threshold);
            assert_eq!(
                conformance::search(engine, &target, threshold, start, count),
                first
            );
        }
    });
}

#[test]
fn a_search_that_nobody_waits_for_stops() {
    on_every_kernel(|engine| {
        let nonces = NonceRange {
            start: 0,
            count: u64::MAX,
        };
        let stop = StopFlag::default();
        stop.set();
        let slice = Slice {
            target: Target::new([0; 32]),
            threshold: Threshold::new(0),
            nonces,
            stop,
        };
        assert_eq!(device::search(engine, slice).unwrap().tried, 0);
    });
}

#[test]
fn a_device_has_an_engine_for_each_thread() {
    let device = cpu::open(Kernel::fastest(), NonZeroUsize::new(3).unwrap()).unwrap();
    assert_eq!((device.info.threads, device.engines.len()), (3, 3));
}

#[test]
fn what_the_processor_lacks_is_refused_by_name() {
    let error = Kernel::named("avx1024").unwrap_err().to_string();
    assert!(
        error.contains("\"avx1024\"") && error.contains("portable"),
        "{error}"
    );
}
