use std::cell::RefCell;

use super::*;

/// A card whose time is a number. Each of its kernels has a rate, in hashes per second of a warm card.
struct Card {
    /// What part of its full rate the card reaches at a time.
    clock: fn(Duration) -> f64,
    now: Duration,
    /// Which kernel ran, and for how long.
    turns: Vec<(Kernel, Duration)>,
    /// Fails when it runs for the third time.
    broken: Option<Kernel>,
}

fn warm(_: Duration) -> f64 {
    1.0
}

/// As an idle card of NVIDIA: a tenth of its clock for 0.1 s, then more and more until 0.4 s.
fn cold(now: Duration) -> f64 {
    ((now.as_secs_f64() - 0.1) / 0.3).clamp(0.1, 1.0)
}

impl Card {
    fn new(clock: fn(Duration) -> f64) -> Self {
        Self {
            clock,
            now: Duration::ZERO,
            turns: Vec::new(),
            broken: None,
        }
    }

    /// Runs a race of kernels with these rates. Two dispatches are in flight, so a turn takes longer than asked.
    fn race(&mut self, kernels: &[(Kernel, f64)]) -> Option<(Kernel, Vec<Trial>)> {
        let card = RefCell::new(self);
        let runners = kernels
            .iter()
            .map(|&(kernel, rate)| (kernel, (kernel, rate)));
        let winner = race(runners.collect(), |&mut (kernel, rate), duration| {
            let card = &mut *card.borrow_mut();
            let elapsed = duration + Duration::from_millis(20);
            let hashes = rate * (card.clock)(card.now) * elapsed.as_secs_f64();
            card.now += elapsed;
            card.turns.push((kernel, elapsed));
            if card.broken == Some(kernel) && card.time_of(kernel).1 == 3 {
                return Err(DeviceError::OutOfMemory);
            }
            #[expect(clippy::cast_possible_truncation, reason = "small")]
            let hashes = hashes as u64;
            Ok(Measured { hashes, elapsed })
        });
        winner.map(|(kernel, _, trials)| (kernel, trials))
    }

    /// How long a kernel ran, and how many times.
    fn time_of(&self, kernel: Kernel) -> (Duration, usize) {
        let turns = self.turns.iter().filter(|(which, _)| *which == kernel);
        (turns.clone().map(|(_, time)| *time).sum(), turns.count())
    }
}

/// The measured rates, in millions.
fn rates(trials: &[Trial]) -> Vec<u64> {
    let millions = |trial: &Trial| (trial.hashes_per_second + 500_000) / 1_000_000;
    trials.iter().map(millions).collect()
}

const RIVALS: [(Kernel, f64); 3] = [
    (Kernel::Dot24, 9.5e9),
    (Kernel::Pair64, 10e9),
    (Kernel::U64, 3e9),
];

#[test]
fn the_fastest_wins_and_two_laps_are_enough_on_a_warm_card() {
    let mut card = Card::new(warm);
    let (winner, trials) = card.race(&RIVALS).unwrap();
    assert_eq!(
        (winner, rates(&trials)),
        (Kernel::Pair64, vec![9500, 10_000, 3000])
    );
    // Twice before the laps, and two laps. The first one also warms the card up.
    assert_eq!(card.time_of(Kernel::Pair64).1, 4);
    let laps: Vec<_> = card.turns[card.turns.len() - 4..]
        .iter()
        .map(|it| it.0)
        .collect();
    // The order alternates.
    assert_eq!(
        laps,
        [Kernel::Pair64, Kernel::Dot24, Kernel::Dot24, Kernel::Pair64]
    );
}

#[test]
fn a_cold_card_is_warm_before_kernels_are_compared_and_its_rates_are_those_of_a_warm_one() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut card = Card::new(cold);
        let rivals = order.map(|index| RIVALS[index]);
        let (winner, trials) = card.race(&rivals).unwrap();
        assert_eq!(winner, Kernel::Pair64);
        let trial = trials
            .iter()
            .find(|trial| trial.kernel == "pair64")
            .unwrap();
        assert_eq!(trial.hashes_per_second, 10_000_000_000);
    }
}

#[test]
fn a_kernel_that_is_clearly_slower_costs_a_fraction_of_a_lap() {
    let mut card = Card::new(warm);
    card.race(&RIVALS).unwrap();
    assert_eq!(card.time_of(Kernel::U64), (Duration::from_millis(80), 2));
}

#[test]
fn equal_kernels_do_not_race_for_ever() {
    let mut card = Card::new(warm);
    let equal = RIVALS.map(|(kernel, _)| (kernel, 1e9));
    card.race(&equal).unwrap();
    assert!(card.now < Duration::from_millis(1200), "{:?}", card.now);
}

#[test]
fn a_card_that_never_runs_steadily_ends_the_race_by_time() {
    // The rate doubles every 0.3 s.
    let mut card = Card::new(|now| (now.as_secs_f64() / 0.3).exp2());
    let (winner, trials) = card.race(&RIVALS).unwrap();
    assert_ne!(winner, Kernel::U64);
    assert_eq!(trials.len(), 3);
    assert!(card.now >= LONGEST, "{:?}", card.now);
    assert!(card.now < LONGEST + 3 * LAP, "{:?}", card.now);
}

#[test]
fn a_kernel_that_fails_leaves_the_race() {
    let mut card = Card::new(warm);
    card.broken = Some(Kernel::Pair64);
    let (winner, trials) = card.race(&RIVALS).unwrap();
    assert_eq!((winner, rates(&trials)), (Kernel::Dot24, vec![9500, 3000]));
}

#[test]
fn one_kernel_is_measured_and_no_kernel_wins_nothing() {
    let mut card = Card::new(cold);
    let (winner, trials) = card.race(&RIVALS[..1]).unwrap();
    assert_eq!((winner, rates(&trials)), (Kernel::Dot24, vec![9500]));
    assert_eq!(card.race(&[]), None);
    card.broken = Some(Kernel::Dot24);
    card.turns.clear();
    assert_eq!(card.race(&RIVALS[..1]), None);
}
