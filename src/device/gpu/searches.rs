//! The searches that have slices in flight on a card, and their places in the shader's table `found`.

use super::layout::{Findings, PLACES};
use crate::device::{DeviceError, NonceRange, Searched, StopFlag};
use crate::work::Nonce;

/// Generations of a place go from 1 to this, and begin again: a search's number is its generation times
/// [`PLACES`] plus its place, and has 32 bits.
const LAST_GENERATION: u32 = u32::MAX / PLACES;

/// Which search has which place. A search keeps its place, and its number, as long as it has a slice in flight.
#[derive(Debug)]
pub(super) struct Searches {
    places: [Place; PLACES as usize],
}

#[derive(Clone, Debug, Default)]
struct Place {
    /// How many searches had the place before, give or take a few times [`LAST_GENERATION`].
    generation: u32,
    /// The search that has it, while it has slices in flight.
    search: StopFlag,
    slices: usize,
    /// Whether its answer has been told.
    is_answered: bool,
    /// What the card last counted here.
    tried: u32,
}

impl Default for Searches {
    fn default() -> Self {
        Self {
            places: std::array::from_fn(|_| Place::default()),
        }
    }
}

impl Searches {
    /// The number of this search, which will have one more slice in flight.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Driver`] if there are more searches in flight than places.
    pub(super) fn enter(&mut self, search: &StopFlag) -> Result<u32, DeviceError> {
        let has_it = |place: &Place| place.slices > 0 && place.search == *search;
        let index = match self.places.iter().position(has_it) {
            Some(index) => index,
            None => self.take_place(search)?,
        };
        let place = &mut self.places[index];
        place.slices += 1;
        let index = u32::try_from(index).expect("there are few places");
        Ok(place.generation * PLACES + index)
    }

    fn take_place(&mut self, search: &StopFlag) -> Result<usize, DeviceError> {
        let free = self.places.iter().position(|place| place.slices == 0);
        let index = free.ok_or_else(|| {
            DeviceError::Driver(format!("more than {PLACES} searches are in flight"))
        })?;
        let place = &mut self.places[index];
        place.search = search.clone();
        place.is_answered = false;
        place.generation = place.generation % LAST_GENERATION + 1;
        Ok(index)
    }

    /// What the slice `nonces` of the search with this number came to, after what the card knew when it was done
    /// with it.
    ///
    /// # Errors
    ///
    /// [`DeviceError::WrongAnswer`] if the card has counted more nonces than there are, or found one elsewhere.
    pub(super) fn leave(
        &mut self,
        number: u32,
        nonces: NonceRange,
        found: &Findings,
    ) -> Result<Searched, DeviceError> {
        let index = (number % PLACES) as usize;
        let (place, found) = (&mut self.places[index], &found[index]);
        place.slices -= 1;
        let tried = u64::from(found.tried.wrapping_sub(place.tried));
        place.tried = found.tried;
        if tried > nonces.count {
            return Err(DeviceError::WrongAnswer(format!(
                "{tried} nonces tested of {nonces:?}"
            )));
        }
        let is_new = found.answered == number && !place.is_answered;
        if !is_new {
            return Ok(Searched { tried, found: None });
        }
        place.is_answered = true;
        let nonce = Nonce::new(found.nonce);
        if !nonces.contains(nonce) {
            return Err(DeviceError::WrongAnswer(format!(
                "{nonce:?} is outside {nonces:?}"
            )));
        }
        Ok(Searched {
            tried,
            found: Some(nonce),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Found;
    use super::*;

    const NONCES: NonceRange = NonceRange {
        start: 1000,
        count: 100,
    };

    fn nothing() -> Findings {
        [Found::default(); PLACES as usize]
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
        searches.leave(number, NONCES, &found).unwrap();
        assert_eq!(searches.enter(&first).unwrap(), number);
        for _ in 0..2 {
            searches.leave(number, NONCES, &found).unwrap();
        }
        // It has none left, so it is as if it came for the first time.
        assert_ne!(searches.enter(&first).unwrap(), number);
    }

    #[test]
    fn no_two_searches_have_the_same_number() {
        let mut searches = Searches::default();
        let mut numbers = std::collections::HashSet::new();
        for _ in 0..PLACES {
            let search = StopFlag::default();
            assert!(numbers.insert(searches.enter(&search).unwrap()));
        }
        let error = searches.enter(&StopFlag::default()).unwrap_err();
        assert!(error.to_string().contains("128 searches"), "{error}");
        let found = nothing();
        for number in numbers.clone() {
            searches.leave(number, NONCES, &found).unwrap();
            assert!(numbers.insert(searches.enter(&StopFlag::default()).unwrap()));
        }
    }

    #[test]
    fn the_last_generation_is_followed_by_the_first() {
        let mut searches = Searches::default();
        searches.places[0].generation = LAST_GENERATION - 1;
        let mut number = || {
            let number = searches.enter(&StopFlag::default()).unwrap();
            searches.leave(number, NONCES, &nothing()).unwrap();
            number
        };
        assert_eq!([number(), number()], [u32::MAX - 127, 128]);
    }

    #[test]
    fn an_answer_is_told_once_and_a_former_one_never() {
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
        let told = Searched {
            tried: 60,
            found: Some(Nonce::new(1050)),
        };
        assert_eq!(searches.leave(number, NONCES, &found), Ok(told));
        let nothing = Searched {
            tried: 0,
            found: None,
        };
        assert_eq!(searches.leave(number, NONCES, &found), Ok(nothing));
        let number = searches.enter(&StopFlag::default()).unwrap();
        assert_eq!(searches.leave(number, NONCES, &found), Ok(nothing));
    }

    #[test]
    fn nonces_are_counted_across_the_end_of_32_bits() {
        let mut searches = Searches::default();
        searches.places[0].tried = u32::MAX - 9;
        let number = searches.enter(&StopFlag::default()).unwrap();
        let mut found = nothing();
        found[0].tried = 20;
        assert_eq!(searches.leave(number, NONCES, &found).unwrap().tried, 30);
    }

    #[test]
    fn what_cannot_be_is_a_wrong_answer() {
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
}
