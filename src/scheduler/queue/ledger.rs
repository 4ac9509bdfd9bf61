//! The record of the batches that each engine has in flight.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::device::NonceRange;
use crate::scheduler::job::Job;

/// Slices that an engine was given together, each of another search. A clone is the same batch.
#[derive(Clone, Debug)]
pub(in crate::scheduler) struct Batch {
    pub(in crate::scheduler) slices: Arc<[Assigned]>,
    /// When the engine was given it.
    pub(in crate::scheduler) since: Instant,
}

/// A slice of a search.
#[derive(Debug)]
pub(in crate::scheduler) struct Assigned {
    pub(in crate::scheduler) job: Arc<Job>,
    pub(in crate::scheduler) nonces: NonceRange,
}

/// What every engine has in flight, by the engine's number.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    engines: Vec<Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The batches, oldest first.
    batches: VecDeque<Batch>,
    /// How many of the oldest batches are written off, since the engine has not come back in time.
    written_off: usize,
    /// How many slices the other batches have.
    slices: usize,
}

impl Ledger {
    /// Enters a batch that `engine` was given.
    pub(super) fn enter(&mut self, engine: usize, batch: Batch) {
        if self.engines.len() <= engine {
            self.engines.resize_with(engine + 1, Entry::default);
        }
        let entry = &mut self.engines[engine];
        entry.slices += batch.slices.len();
        entry.batches.push_back(batch);
    }

    /// Strikes out the batch that `engine` was given first. Returns it if it was still counted on.
    pub(super) fn complete(&mut self, engine: usize) -> Option<Batch> {
        let entry = self.engines.get_mut(engine)?;
        let batch = entry.batches.pop_front()?;
        if entry.written_off > 0 {
            entry.written_off -= 1;
            return None;
        }
        entry.slices -= batch.slices.len();
        Some(batch)
    }

    /// Writes off what `engine` has in flight. Returns the batches that were counted on until now. They stay entered,
    /// since the engine may come back with answers.
    pub(super) fn write_off(&mut self, engine: usize) -> Vec<Batch> {
        let Some(entry) = self.engines.get_mut(engine) else {
            return Vec::new();
        };
        let counted = entry.batches.range(entry.written_off..).cloned().collect();
        entry.written_off = entry.batches.len();
        entry.slices = 0;
        counted
    }

    /// Strikes out all that `engine` has in flight. Returns the batches that were counted on until now.
    pub(super) fn clear(&mut self, engine: usize) -> Vec<Batch> {
        let counted = self.write_off(engine);
        if let Some(entry) = self.engines.get_mut(engine) {
            *entry = Entry::default();
        }
        counted
    }

    /// The batch that `engine` was given first.
    pub(super) fn first(&self, engine: usize) -> Option<&Batch> {
        self.engines.get(engine)?.batches.front()
    }

    /// How many batches `engine` has in flight.
    pub(super) fn batches(&self, engine: usize) -> usize {
        self.engines
            .get(engine)
            .map_or(0, |entry| entry.batches.len())
    }

    /// How many slices `engine` has in flight, without those written off.
    pub(super) fn slices(&self, engine: usize) -> usize {
        self.engines.get(engine).map_or(0, |entry| entry.slices)
    }
}
