//! Known answers that an engine must reproduce before it serves, and again when its answers are in doubt.

use super::engine::{Engine, search};
use super::error::DeviceError;
use super::slice::{NonceRange, Slice, StopFlag};
use crate::work::{Nonce, Threshold};

/// A search with its answer: `nonce` is the first nonce from `start` on that meets `threshold`.
struct KnownAnswer {
    target: &'static str,
    threshold: u64,
    start: u64,
    nonce: u64,
}

/// Two of the conformance vectors (`tests/vectors.json`, "searches"). One crosses 2^32, where the low word of a card
/// carries. The other crosses 2^64, where the counter wraps.
const KNOWN_ANSWERS: [KnownAnswer; 2] = [
    KnownAnswer {
        target: "3666C8F9A066E607EEDDC4455A769DD7A6C97FA5E4593A9773EAA80B7E90D249",
        threshold: 429_496_729_550_000,
        start: 0x0000_0000_ffff_b1e0,
        nonce: 0x0000_0001_0000_23df,
    },
    KnownAnswer {
        target: "D6B101BBB0EFCC9B4AB7DCAB436BBB2F0EA1102C50407619D52C1F16D6439BD0",
        threshold: 429_496_729_550_000,
        start: 0xffff_ffff_ffff_ec78,
        nonce: 0x0000_0000_0000_17ff,
    },
];

/// Runs the known searches on `engine`, which must have nothing in flight.
///
/// # Errors
///
/// The engine's error, or [`DeviceError::WrongAnswer`] with the answer that is wrong.
pub fn run(engine: &mut dyn Engine) -> Result<(), DeviceError> {
    for known in &KNOWN_ANSWERS {
        let distance = known.nonce.wrapping_sub(known.start);
        // The answer is the last nonce of this slice.
        expect(engine, known, distance + 1, Some(Nonce::new(known.nonce)))?;
        // It is one past the end of this slice, which has no answer.
        expect(engine, known, distance, None)?;
    }
    Ok(())
}

fn expect(
    engine: &mut dyn Engine,
    known: &KnownAnswer,
    count: u64,
    expected: Option<Nonce>,
) -> Result<(), DeviceError> {
    let nonces = NonceRange {
        start: known.start,
        count,
    };
    let slice = Slice {
        target: known.target.parse().expect("64 hex digits"),
        threshold: Threshold::new(known.threshold),
        nonces,
        stop: StopFlag::default(),
    };
    let found = search(engine, slice)?.found;
    if found == expected {
        return Ok(());
    }
    Err(DeviceError::WrongAnswer(format!(
        "self-test over {nonces:?} found {found:?}, not {expected:?}"
    )))
}
