use std::num::NonZeroUsize;

use super::*;
use crate::device::cpu;
use crate::device::engine::{Capacity, search};
use crate::work::{Target, digest};

/// Changes the results of a batch of these slices.
type Spoil = fn(&mut [Searched], &[Slice]);

/// An engine that knows the answers, and then spoils them.
struct Fake {
    spoil: Spoil,
    in_flight: VecDeque<Vec<Slice>>,
    /// How long its batches are.
    length: u64,
}

impl Engine for Fake {
    fn capacity(&self) -> Capacity {
        Capacity {
            batches: 2,
            searches: 64,
        }
    }

    fn lengths(&self, rules: &[Rule]) -> Vec<u64> {
        vec![self.length / rules.len() as u64; rules.len()]
    }

    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError> {
        self.in_flight.push_back(batch);
        assert!(self.in_flight.len() <= self.capacity().batches);
        Ok(())
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        let batch = self.in_flight.pop_front().unwrap();
        let mut searched: Vec<_> = batch.iter().map(answer).collect();
        (self.spoil)(&mut searched, &batch);
        Ok(searched)
    }
}

/// What a perfect engine answers.
fn answer(slice: &Slice) -> Searched {
    let known = KNOWN_ANSWERS.iter().map(|it| (it.target, it.nonce));
    let lonely = ALONE.iter().chain([&FAR_ALONE]);
    let mut all = known.chain(lonely.map(|it| (it.target, it.nonce)));
    let found = all.find_map(|(target, nonce)| {
        let nonce = Nonce::new(nonce);
        let is_its_own = target.parse::<Target>() == Ok(slice.target);
        (is_its_own && slice.nonces.contains(nonce)).then_some(nonce)
    });
    Searched {
        tried: slice.nonces.count,
        found,
    }
}

fn result(length: u64, spoil: Spoil) -> Result<(), DeviceError> {
    run(&mut Fake {
        spoil,
        in_flight: VecDeque::new(),
        length,
    })
}

#[test]
fn an_engine_that_knows_the_answers_passes_with_dispatches_of_any_length() {
    for length in [64, 1 << 16, 1 << 20, 1 << 28, 1 << 31] {
        assert_eq!(result(length, |_, _| {}), Ok(()), "{length}");
    }
}

#[test]
fn an_engine_that_only_fails_in_batches_as_it_serves_with_fails() {
    let faults: [Spoil; 6] = [
        // The end of a long slice was left out.
        |searched, slices| {
            for (searched, slice) in searched.iter_mut().zip(slices) {
                let of = |nonce: Nonce| nonce.get().wrapping_sub(slice.nonces.start);
                searched.found = searched.found.filter(|&nonce| of(nonce) < 1 << 15);
            }
        },
        // So was a workgroup of a slice without an answer.
        |searched, slices| {
            let last = slices.len() - 1;
            if last > 0 {
                searched[last].tried -= 1;
            }
        },
        // Only the first search of a batch is answered.
        |searched, _| {
            for searched in &mut searched[1..] {
                searched.found = None;
            }
        },
        // Two searches have each other's answers.
        |searched, _| {
            if searched.len() > 1 {
                searched.swap(1, 2);
            }
        },
        // The answer is off by one.
        |searched, _| {
            if searched.len() > 1 {
                let found = searched
                    .iter_mut()
                    .find_map(|it| it.found.as_mut())
                    .unwrap();
                *found = Nonce::new(found.get() + 1);
            }
        },
        // An answer before the slice is found.
        |searched, slices| {
            if slices.len() > 1 {
                searched[0].found = Some(Nonce::new(ALONE[0].nonce));
            }
        },
    ];
    for (number, spoil) in faults.into_iter().enumerate() {
        let result = result(1 << 24, spoil);
        assert!(
            matches!(result, Err(DeviceError::WrongAnswer(_))),
            "{number}"
        );
    }
}

#[test]
fn every_place_of_an_answer_comes_up_in_a_batch_of_64() {
    let places = Place::ALL.len();
    assert!(places * ALONE.len() <= 64);
    // Together they meet in every combination.
    assert!(!places.is_multiple_of(ALONE.len()) && !ALONE.len().is_multiple_of(places));
}

#[test]
fn lonely_nonces_are_alone() {
    for known in ALONE.iter().chain([&FAR_ALONE]) {
        let target = known.target.parse().unwrap();
        let digest = digest(Nonce::new(known.nonce), &target);
        assert_eq!(known.rule.met_by(digest), known.rule);
    }
    // All of it takes too long for a test.
    const DISTANCE: u64 = 1 << 19;
    let mut device = cpu::open(None, NonZeroUsize::MIN).unwrap();
    for known in ALONE.iter().chain([&FAR_ALONE]) {
        assert!(DISTANCE < known.alone);
        for start in [known.nonce.wrapping_sub(DISTANCE), known.nonce + 1] {
            let slice = Slice {
                target: known.target.parse().unwrap(),
                rule: known.rule,
                nonces: NonceRange {
                    start,
                    count: DISTANCE,
                },
                stop: StopFlag::default(),
            };
            let searched = search(&mut *device.engines[0], slice).unwrap();
            assert_eq!(searched.found, None, "{start}");
        }
    }
}
