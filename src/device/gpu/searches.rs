//! The searches in flight on a card, and their slots in the shader's table `found`.

use super::layout::{Findings, SLOTS};
use crate::device::error::DeviceError;
use crate::device::slice::{NonceRange, Searched, StopFlag};
use crate::work::Nonce;

/// Generations of a slot count from 1 to this, and start again. The 32-bit number of a search is its generation times
/// [`SLOTS`] plus its slot.
const LAST_GENERATION: u32 = u32::MAX / SLOTS;

/// Which search has which slot. A search keeps its slot, and so its number, while it has a slice in flight.
#[derive(Debug)]
pub(super) struct Searches {
    slots: [Slot; SLOTS as usize],
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// Changes with each search in the slot.
    generation: u32,
    /// The search in the slot, while it has slices in flight.
    search: StopFlag,
    in_flight: usize,
    /// Whether the search's answer was returned.
    is_answered: bool,
    /// The card's last count of tested nonces.
    tried: u32,
}

impl Default for Searches {
    fn default() -> Self {
        Self {
            slots: std::array::from_fn(|_| Slot::default()),
        }
    }
}

impl Searches {
    /// Counts one more slice of this search in flight. Returns the search's number.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Driver`] if there are more searches in flight than slots.
    pub(super) fn enter(&mut self, search: &StopFlag) -> Result<u32, DeviceError> {
        let has_it = |slot: &Slot| slot.in_flight > 0 && slot.search == *search;
        let index = match self.slots.iter().position(has_it) {
            Some(index) => index,
            None => self.claim_slot(search)?,
        };
        let slot = &mut self.slots[index];
        slot.in_flight += 1;
        let index = u32::try_from(index).expect("there are few slots");
        Ok(slot.generation * SLOTS + index)
    }

    fn claim_slot(&mut self, search: &StopFlag) -> Result<usize, DeviceError> {
        let free = self.slots.iter().position(|slot| slot.in_flight == 0);
        let index = free.ok_or_else(|| {
            DeviceError::Driver(format!("more than {SLOTS} searches are in flight"))
        })?;
        let slot = &mut self.slots[index];
        slot.search = search.clone();
        slot.is_answered = false;
        slot.generation = slot.generation % LAST_GENERATION + 1;
        Ok(index)
    }

    /// The result of a slice with these nonces, of the search with this number. `found` is the card's table after the
    /// slice's dispatch.
    ///
    /// # Errors
    ///
    /// [`DeviceError::WrongAnswer`] if the card counted more nonces than the slice has, or fewer without an answer to its
    /// search: then the driver has left out some of the dispatch. Or if it found a nonce outside the slice.
    pub(super) fn leave(
        &mut self,
        number: u32,
        nonces: NonceRange,
        found: &Findings,
    ) -> Result<Searched, DeviceError> {
        let index = (number % SLOTS) as usize;
        let (slot, found) = (&mut self.slots[index], &found[index]);
        slot.in_flight -= 1;
        let tried = u64::from(found.tried.wrapping_sub(slot.tried));
        slot.tried = found.tried;
        if tried > nonces.count {
            return Err(DeviceError::WrongAnswer(format!(
                "{tried} nonces tested of {nonces:?}"
            )));
        }
        let is_answered = found.answered == number;
        if !is_answered && tried < nonces.count {
            return Err(DeviceError::WrongAnswer(format!(
                "only {tried} nonces tested of {nonces:?}, and no answer"
            )));
        }
        if !is_answered || slot.is_answered {
            return Ok(Searched { tried, found: None });
        }
        slot.is_answered = true;
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
mod tests;
