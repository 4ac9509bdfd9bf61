use super::super::layout::Found;
use super::*;

const NONCES: NonceRange = NonceRange {
    start: 1000,
    count: 100,
};

/// Of a slice whose search has ended before it began.
const NO_NONCES: NonceRange = NonceRange {
    start: 1000,
    count: 0,
};

fn nothing() -> Findings {
    [Found::default(); SLOTS as usize]
}

#[test]
fn a_search_keeps_its_number_while_it_has_slices_in_flight() {
    let mut searches = Searches::default();
    let (first, second) = (StopFlag::default(), StopFlag::default());
    let number = searches.enter(&first).unwrap();
    assert_ne!(number, 0);
    assert_ne!(searches.enter(&second).unwrap(), number);
    assert_eq!(searches.enter(&first.clone()).unwrap(), number);
    let found = nothing();
    searches.leave(number, NO_NONCES, &found).unwrap();
    assert_eq!(searches.enter(&first).unwrap(), number);
    for _ in 0..2 {
        searches.leave(number, NO_NONCES, &found).unwrap();
    }
    // With none in flight it gets a new number.
    assert_ne!(searches.enter(&first).unwrap(), number);
}

#[test]
fn no_two_searches_have_the_same_number() {
    let mut searches = Searches::default();
    let mut numbers = std::collections::HashSet::new();
    for _ in 0..SLOTS {
        let search = StopFlag::default();
        assert!(numbers.insert(searches.enter(&search).unwrap()));
    }
    let error = searches.enter(&StopFlag::default()).unwrap_err();
    assert!(error.to_string().contains("128 searches"), "{error}");
    let found = nothing();
    for number in numbers.clone() {
        searches.leave(number, NO_NONCES, &found).unwrap();
        assert!(numbers.insert(searches.enter(&StopFlag::default()).unwrap()));
    }
}

#[test]
fn the_last_generation_is_followed_by_the_first() {
    let mut searches = Searches::default();
    searches.slots[0].generation = LAST_GENERATION - 1;
    let mut number = || {
        let number = searches.enter(&StopFlag::default()).unwrap();
        searches.leave(number, NO_NONCES, &nothing()).unwrap();
        number
    };
    assert_eq!([number(), number()], [u32::MAX - 127, 128]);
}

#[test]
fn an_answer_is_returned_once_and_never_for_the_next_search_in_the_slot() {
    let mut searches = Searches::default();
    let mut found = nothing();
    let search = StopFlag::default();
    let number = searches.enter(&search).unwrap();
    searches.enter(&search).unwrap();
    found[0] = Found {
        answered: number,
        tried: 60,
        nonce: 1050,
    };
    let answer = Searched {
        tried: 60,
        found: Some(Nonce::new(1050)),
    };
    assert_eq!(searches.leave(number, NONCES, &found), Ok(answer));
    let nothing = Searched {
        tried: 0,
        found: None,
    };
    assert_eq!(searches.leave(number, NONCES, &found), Ok(nothing));
    let number = searches.enter(&StopFlag::default()).unwrap();
    assert_eq!(searches.leave(number, NO_NONCES, &found), Ok(nothing));
}

#[test]
fn the_count_of_nonces_wraps_at_32_bits() {
    let mut searches = Searches::default();
    searches.slots[0].tried = u32::MAX - 9;
    let number = searches.enter(&StopFlag::default()).unwrap();
    let mut found = nothing();
    found[0].tried = 20;
    let nonces = NonceRange {
        count: 30,
        ..NONCES
    };
    assert_eq!(searches.leave(number, nonces, &found).unwrap().tried, 30);
}

#[test]
fn a_slice_without_an_answer_must_have_been_tested_whole() {
    for (tried, answered, accepted) in [
        (100, 0, true),
        // The driver has left out a nonce, or all of them.
        (99, 0, false),
        (0, 0, false),
        // An earlier search in this slot was answered, not this one.
        (99, 256, false),
        // Answered.
        (1, 128, true),
    ] {
        let mut searches = Searches::default();
        let number = searches.enter(&StopFlag::default()).unwrap();
        assert_eq!(number, 128);
        let mut found = nothing();
        found[0] = Found {
            answered,
            tried,
            nonce: 1000,
        };
        let left = searches.leave(number, NONCES, &found);
        let is_blamed = matches!(left, Err(DeviceError::WrongAnswer(_)));
        assert_eq!((left.is_ok(), is_blamed), (accepted, !accepted), "{left:?}");
    }
}

#[test]
fn slices_behind_an_answer_or_of_a_stopped_search_are_not_blamed() {
    let mut searches = Searches::default();
    let search = StopFlag::default();
    let number = searches.enter(&search).unwrap();
    searches.enter(&search).unwrap();
    let mut found = nothing();
    found[0] = Found {
        answered: number,
        tried: 1,
        nonce: 1000,
    };
    for _ in 0..2 {
        searches.leave(number, NONCES, &found).unwrap();
    }
    // The search is stopped before the card is given its nonces.
    let number = searches.enter(&StopFlag::default()).unwrap();
    searches.leave(number, NO_NONCES, &found).unwrap();
}

#[test]
fn an_impossible_result_is_a_wrong_answer() {
    for wrong in [
        Found {
            tried: 101,
            ..Found::default()
        },
        Found {
            answered: 128,
            tried: 1,
            nonce: 1100,
        },
    ] {
        let mut searches = Searches::default();
        let number = searches.enter(&StopFlag::default()).unwrap();
        assert_eq!(number, 128);
        let mut found = nothing();
        found[0] = wrong;
        let error = searches.leave(number, NONCES, &found).unwrap_err();
        assert!(matches!(error, DeviceError::WrongAnswer(_)), "{error}");
    }
}
