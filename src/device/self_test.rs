//! Known answers that an engine must reproduce before it serves, and again when its answers are in doubt.

use std::collections::VecDeque;

use super::engine::Engine;
use super::error::DeviceError;
use super::slice::{NonceRange, Searched, Slice, StopFlag};
use crate::work::{Difficulty, Nonce, Rule, Threshold};

/// A search with its answer: `nonce` is the first nonce from `start` on that is valid under `rule`.
struct KnownAnswer {
    target: &'static str,
    rule: Rule,
    start: u64,
    nonce: u64,
}

/// Two of the conformance vectors for each rule (`tests/vectors.json`, "searches" and "nano"). One crosses 2^32, where the
/// low word of a card carries. The other crosses 2^64, where the counter wraps.
const KNOWN_ANSWERS: [KnownAnswer; 4] = [
    KnownAnswer {
        target: "3666C8F9A066E607EEDDC4455A769DD7A6C97FA5E4593A9773EAA80B7E90D249",
        rule: Rule::AtMost(Threshold::new(429_496_729_550_000)),
        start: 0x0000_0000_ffff_b1e0,
        nonce: 0x0000_0001_0000_23df,
    },
    KnownAnswer {
        target: "D6B101BBB0EFCC9B4AB7DCAB436BBB2F0EA1102C50407619D52C1F16D6439BD0",
        rule: Rule::AtMost(Threshold::new(429_496_729_550_000)),
        start: 0xffff_ffff_ffff_ec78,
        nonce: 0x0000_0000_0000_17ff,
    },
    KnownAnswer {
        target: "73CA6E387B5594C54C8123BAF1DFEA6709A3B38922F18D588129ED978EB9BD92",
        rule: Rule::AtLeast(Difficulty::new(0xffff_0000_0000_0000)),
        start: 0x0000_0000_ffff_a90c,
        nonce: 0x0000_0001_0000_01d8,
    },
    KnownAnswer {
        target: "1586AB4553DD55D336DF0245B905959983496FB5F8C89D4D370A468D2083651D",
        rule: Rule::AtLeast(Difficulty::new(0xffff_0000_0000_0000)),
        start: 0xffff_ffff_ffff_c876,
        nonce: 0x0000_0000_0000_0ee8,
    },
];

/// A nonce with a better digest, by its rule, than every other nonce within `alone` of it. The rule's bound is that
/// digest, so the nonce is the only answer of a slice that contains it and stays within that distance.
struct Lonely {
    target: &'static str,
    rule: Rule,
    nonce: u64,
    alone: u64,
}

/// For a slice that fills a whole dispatch.
const FAR_ALONE: Lonely = Lonely {
    target: "3C62D4B1BAD21716B0B5E18F016427C1A3E497D1BFC045C8139D9A6AE01B5871",
    rule: Rule::AtMost(Threshold::new(0x0000_0000_c2c9_8fb9)),
    nonce: 0x0ba8_9d55_783f_b5cf,
    alone: 1 << 28,
};

/// For slices that share a dispatch. The rules alternate.
const ALONE: [Lonely; 8] = [
    Lonely {
        target: "1B08AD850A523757E2F2FBB6AE38EC6B00AF42810943F8AD10422C355797DA81",
        rule: Rule::AtMost(Threshold::new(0x0000_0114_20bd_8029)),
        nonce: 0x967c_52ae_dcee_ee24,
        alone: 1 << 23,
    },
    Lonely {
        target: "3F93C5CD2E314FA16702189041E68E68C07B27961BF37F0B7705145BEFBA3AA3",
        rule: Rule::AtLeast(Difficulty::new(0xffff_ffff_2877_41bf)),
        nonce: 0x2054_5223_7a9b_01f4,
        alone: 1 << 23,
    },
    Lonely {
        target: "3C62D4B1BAD21716B0B5E18F016427C1A3E497D1BFC045C8139D9A6AE01B5871",
        rule: Rule::AtMost(Threshold::new(0x0000_0000_c2c9_8fb9)),
        nonce: 0x0ba8_9d55_783f_b5cf,
        alone: 1 << 23,
    },
    Lonely {
        target: "2514452A978F08D1CF76BB40B6AD064183CF275D3CC5D3E0515DC96E2112AD4E",
        rule: Rule::AtLeast(Difficulty::new(0xffff_fffc_c195_40e9)),
        nonce: 0xfa05_5f79_fa56_abcf,
        alone: 1 << 23,
    },
    Lonely {
        target: "4AFFE210A5A425B99E5CF3B39716E96BEFE3B138A6C6C1751DF5155895D5993A",
        rule: Rule::AtMost(Threshold::new(0x0000_004d_f6d6_82ec)),
        nonce: 0xb81c_c822_0794_d0d7,
        alone: 1 << 23,
    },
    Lonely {
        target: "718CC2121C3E641059BC1C2CFC45666C99E8AE922F7A807B7D07B62C995D79E2",
        rule: Rule::AtLeast(Difficulty::new(0xffff_fff9_3c41_ec94)),
        nonce: 0x2b3d_689b_bcb2_1dca,
        alone: 1 << 23,
    },
    Lonely {
        target: "BF32911AEAC13ED01B13BFBC275E703FFF1A86F9B1D7B49AFF83BD15A1844DD5",
        rule: Rule::AtMost(Threshold::new(0x0000_021c_3b33_e5fc)),
        nonce: 0x1e3a_f062_e941_df38,
        alone: 1 << 23,
    },
    Lonely {
        target: "E89208DD038FBB269987689621D52292AE9C35941A7484756ECCED92A65093BA",
        rule: Rule::AtLeast(Difficulty::new(0xffff_fff4_000d_3dac)),
        nonce: 0x62f0_5417_dd3f_b691,
        alone: 1 << 23,
    },
];

/// Where the only answer lies, relative to a slice.
#[derive(Clone, Copy)]
enum Place {
    Before,
    /// At the first nonce, a 64th later, and so on.
    First,
    Early,
    Middle,
    Late,
    Last,
    Behind,
}

impl Place {
    const ALL: [Self; 7] = [
        Self::Before,
        Self::First,
        Self::Early,
        Self::Middle,
        Self::Late,
        Self::Last,
        Self::Behind,
    ];

    /// The distance from the first nonce of a slice of `count` to the answer, modulo 2^64: it may lie before the slice.
    const fn offset(self, count: u64) -> u64 {
        match self {
            Self::Before => u64::MAX,
            Self::First => 0,
            Self::Early => count / 64,
            Self::Middle => count / 2,
            Self::Late => count - 1 - count / 64,
            Self::Last => count - 1,
            Self::Behind => count,
        }
    }
}

/// A slice and its answer.
struct Case {
    slice: Slice,
    answer: Option<Nonce>,
}

impl Case {
    /// A search of its own. Its slice has `count` nonces and begins `offset` before `nonce`.
    fn new(target: &str, rule: Rule, nonce: u64, offset: u64, count: u64) -> Self {
        let nonces = NonceRange {
            start: nonce.wrapping_sub(offset),
            count,
        };
        let nonce = Nonce::new(nonce);
        Self {
            slice: Slice {
                target: target.parse().expect("64 hex digits"),
                rule,
                nonces,
                stop: StopFlag::default(),
            },
            answer: nonces.contains(nonce).then_some(nonce),
        }
    }

    /// A slice of the `length` that the engine wants for such a search.
    fn of_length(known: &Lonely, place: Place, length: u64) -> Self {
        let count = length.min(known.alone);
        let offset = place.offset(count);
        Self::new(known.target, known.rule, known.nonce, offset, count)
    }

    fn check(&self, searched: &Searched) -> Result<(), DeviceError> {
        let nonces = self.slice.nonces;
        let Searched { found, tried } = *searched;
        if found != self.answer {
            let expected = self.answer;
            return Err(DeviceError::WrongAnswer(format!(
                "self-test over {nonces:?} found {found:?}, not {expected:?}"
            )));
        }
        if found.is_none() && tried != nonces.count {
            return Err(DeviceError::WrongAnswer(format!(
                "self-test over {nonces:?} tested {tried} of them"
            )));
        }
        Ok(())
    }
}

/// Runs known searches on `engine`, which must have nothing in flight.
///
/// An engine whose batches hold several searches is also given batches as it will serve them: with one search alone and
/// with as many as a batch holds, with answers everywhere, of the lengths that it wants by now, and as many in flight.
///
/// # Errors
///
/// The engine's error, or [`DeviceError::WrongAnswer`] with the answer that is wrong.
pub fn run(engine: &mut dyn Engine) -> Result<(), DeviceError> {
    for known in &KNOWN_ANSWERS {
        let distance = known.nonce.wrapping_sub(known.start);
        // The answer is the last nonce of this slice, and one past the end of the next, which has no answer.
        for count in [distance + 1, distance] {
            let case = Case::new(known.target, known.rule, known.nonce, distance, count);
            run_batches(engine, vec![vec![case]])?;
        }
    }
    let most = engine.capacity().searches;
    if most == 1 {
        return Ok(());
    }
    let alone = engine.lengths(&[FAR_ALONE.rule]);
    let alone = alone
        .into_iter()
        .map(|length| Case::of_length(&FAR_ALONE, Place::Last, length));
    let known = || ALONE.iter().cycle().take(most);
    let rules: Vec<_> = known().map(|known| known.rule).collect();
    let together = known()
        .zip(Place::ALL.into_iter().cycle())
        .zip(engine.lengths(&rules))
        .map(|((known, place), length)| Case::of_length(known, place, length));
    run_batches(engine, vec![alone.collect(), together.collect()])
}

/// Runs the batches, as many in flight as the engine takes.
fn run_batches(engine: &mut dyn Engine, batches: Vec<Vec<Case>>) -> Result<(), DeviceError> {
    let mut in_flight = VecDeque::new();
    let mut batches = batches.into_iter();
    loop {
        while in_flight.len() < engine.capacity().batches
            && let Some(cases) = batches.next()
        {
            engine.submit(cases.iter().map(|case| case.slice.clone()).collect())?;
            in_flight.push_back(cases);
        }
        let Some(cases) = in_flight.pop_front() else {
            return Ok(());
        };
        let searched = engine.complete()?;
        if searched.len() != cases.len() {
            let (answers, slices) = (searched.len(), cases.len());
            return Err(DeviceError::WrongAnswer(format!(
                "self-test: a batch of {slices} slices came back with {answers} answers"
            )));
        }
        for (case, searched) in cases.iter().zip(&searched) {
            case.check(searched)?;
        }
    }
}

#[cfg(test)]
mod tests;
