//! Engines and devices, as plain data: which serve, what went wrong with them, and what is being opened.
//!
//! A transition changes the tables and returns what is to be done. It opens nothing, waits for nothing and logs nothing:
//! that is the threads' part (`threads`).
//!
//! **When an engine is lost**, [`Fleet::lose`] takes it out of service. If its device has no other engine in service, the
//! device is to be reopened. If no engine of any device is in service, the fallback is to be opened. Searches wait while
//! the fallback or a first attempt to reopen is pending ([`PendingOpens`]); when none is, they are refused.

mod entries;
mod tasks;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::devices::{DeviceState, DeviceStatus, Event, Incidents, Outage};
use super::limits::Backoff;
use crate::device::{Capacity, MissingCards, Opener};
use entries::{DeviceEntry, EngineEntry, PendingOpens};
pub(super) use entries::{DeviceRecord, EngineState, PendingOpen, Role};
pub(super) use tasks::{Fallback, Loss, Recovery, Reopen};

/// The engines and devices of the scheduler.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// An engine's number is its index. Only the number of a retired one is given to another.
    engines: Vec<EngineEntry>,
    /// The latest device of each name, in the order in which the names came.
    devices: Vec<DeviceEntry>,
    incidents: Incidents,
    /// What opens the fallback; `None` while it serves or is being opened.
    fallback: Option<Opener>,
    pending: PendingOpens,
    /// Why cards that Vulkan does not list are not used.
    missing_cards: Option<MissingCards>,
}

impl Fleet {
    /// Sets the opener of the fallback, if there is one, and why cards that Vulkan does not list are not used.
    pub(super) fn equip(&mut self, fallback: Option<Opener>, missing_cards: Option<MissingCards>) {
        self.fallback = fallback.or(self.fallback.take());
        self.missing_cards = missing_cards;
    }

    /// Enters a device that is about to serve in `role`. It replaces the device of the same name.
    pub(super) fn register(&mut self, device: &Arc<DeviceRecord>, role: Role) {
        self.enter_device(device).outage = None;
        match role {
            Role::Initial => {}
            Role::Fallback => self.incidents.push(&device.info, Event::FallenBackTo),
            Role::Reopened { .. } => self.incidents.push(&device.info, Event::Back),
        }
    }

    /// Enters a device that could not be opened at the start for this reason.
    pub(super) fn register_unopened(&mut self, device: &Arc<DeviceRecord>, error: Arc<str>) {
        self.enter_device(device);
        self.note_error(device, &error);
        self.incidents.push(&device.info, Event::NotOpened(error));
    }

    /// Records an attempt to open this device that failed for this reason.
    pub(super) fn not_opened(&mut self, device: &DeviceRecord, error: Arc<str>) {
        self.incidents.push(&device.info, Event::NotOpened(error));
    }

    fn enter_device(&mut self, device: &Arc<DeviceRecord>) -> &mut DeviceEntry {
        let has_name = |entry: &DeviceEntry| entry.record.info.name == device.info.name;
        let index = self.devices.iter().position(has_name);
        let index = index.unwrap_or_else(|| {
            self.devices.push(DeviceEntry {
                record: Arc::clone(device),
                outage: None,
                last_error: None,
            });
            self.devices.len() - 1
        });
        let entry = &mut self.devices[index];
        entry.record = Arc::clone(device);
        entry
    }

    /// Puts an engine of `device` into service. Returns its number.
    pub(super) fn enter(&mut self, device: &Arc<DeviceRecord>) -> usize {
        let mut entry = EngineEntry::new(Arc::clone(device));
        device.engines.inc();
        let is_free = |engine: &EngineEntry| engine.state == EngineState::Retired;
        let Some(number) = self.engines.iter().position(is_free) else {
            self.engines.push(entry);
            return self.engines.len() - 1;
        };
        // The watchdog must not take the new engine for the old one.
        entry.beats = self.engines[number].beats + 1;
        self.engines[number] = entry;
        number
    }

    /// Takes an engine out of service because of `error`. `None` if it was out of service already, because its device
    /// was reopened.
    ///
    /// If `is_closed`, the service is ending and nothing is opened.
    pub(super) fn lose(
        &mut self,
        number: usize,
        to: EngineState,
        error: &Arc<str>,
        backoff: &Backoff,
        is_closed: bool,
        now: Instant,
    ) -> Option<Loss> {
        let engine = &mut self.engines[number];
        if engine.state == EngineState::Replaced {
            engine.set(EngineState::Retired);
            return None;
        }
        engine.set(to);
        let device = Arc::clone(&engine.device);
        device.faults.inc();
        self.note_error(&device, error);
        self.incidents
            .push(&device.info, Event::Fault(Arc::clone(error)));
        let (mut reopen, mut fallback) = (None, None);
        if !is_closed {
            reopen = self.reopen_if_down(&device, backoff, now);
            fallback = self.fall_back_if_alone();
        }
        Some(Loss {
            engine: number,
            device,
            engines_left: self.engines_up(),
            fallback,
            reopen,
        })
    }

    /// Has `device` reopened if it can be and none of its engines is in service.
    fn reopen_if_down(
        &mut self,
        device: &Arc<DeviceRecord>,
        backoff: &Backoff,
        now: Instant,
    ) -> Option<Reopen> {
        let opener = device.reopen.clone()?;
        if self.has_up(device) {
            return None;
        }
        // Its engines that have not come back are no longer waited for.
        for engine in &mut self.engines {
            if engine.is_of(device) && engine.state == EngineState::Unresponsive {
                engine.set(EngineState::Replaced);
            }
        }
        let has_served_long = now.duration_since(device.since) >= backoff.reset_after;
        let attempts = if has_served_long { 0 } else { device.attempts };
        Some(Reopen {
            device: Arc::clone(device),
            opener,
            attempts,
            pending: (attempts == 0).then(|| self.pending.begin()),
        })
    }

    /// Has the fallback opened if there is one and no engine is in service.
    pub(super) fn fall_back_if_alone(&mut self) -> Option<Fallback> {
        if self.engines_up() > 0 {
            return None;
        }
        let opener = self.fallback.take()?;
        Some(Fallback {
            opener,
            pending: self.pending.begin(),
        })
    }

    /// The fallback could not be opened. Keeps its opener for a later attempt.
    pub(super) fn keep_fallback(&mut self, opener: Opener) {
        self.fallback.get_or_insert(opener);
    }

    /// An attempt to open a device has ended.
    pub(super) fn end_pending(&mut self, pending: PendingOpen) {
        self.pending.end(pending);
    }

    /// Counts a turn of the watchdog for each pending open, and gives up those that have lasted for `turns`. Returns
    /// whether there was any.
    pub(super) fn age_pending(&mut self, turns: u32) -> bool {
        let had_pending = !self.pending.is_empty();
        self.pending.age(turns);
        had_pending
    }

    /// Puts an engine that did not come back in time, but has now, into service again. Returns whether it may serve: its
    /// device may have been reopened meanwhile.
    pub(super) fn restore(&mut self, number: usize) -> bool {
        let engine = &mut self.engines[number];
        if engine.state != EngineState::Unresponsive {
            return false;
        }
        engine.set(EngineState::Up);
        let device = Arc::clone(&engine.device);
        let outage = self.entry(&device).and_then(|entry| entry.outage.take());
        if outage.is_some() {
            self.incidents.push(&device.info, Event::Back);
        }
        true
    }

    /// The thread of an engine ends without an error.
    pub(super) fn leave(&mut self, number: usize) {
        if self.engines[number].state == EngineState::Replaced {
            self.engines[number].set(EngineState::Retired);
        }
    }

    /// The thread of an engine could not be started.
    pub(super) fn retire(&mut self, number: usize) {
        self.engines[number].set(EngineState::Retired);
    }

    /// An engine was given a batch. `alone` is how many nonces it would give a single hard search in a batch.
    pub(super) fn begin_batch(&mut self, number: usize, alone: u64) {
        let engine = &mut self.engines[number];
        engine.beats += 1;
        engine.batch = alone;
    }

    /// An engine has come back from a batch in which it tested `tried` nonces. `took` is the time for those nonces
    /// alone. It is `None` if the batch ended early, which says nothing of the engine's speed.
    pub(super) fn end_batch(&mut self, number: usize, tried: u64, took: Option<Duration>) {
        let engine = &mut self.engines[number];
        engine.beats += 1;
        if let Some(took) = took {
            engine.speed.learn(tried, took);
        }
    }

    /// For each engine how many batches it has begun and completed; `None` if it is not in service.
    pub(super) fn heartbeats(&self) -> impl Iterator<Item = Option<u64>> {
        let engines = self.engines.iter();
        engines.map(|engine| (engine.state == EngineState::Up).then_some(engine.beats))
    }

    /// The state of an engine.
    pub(super) fn state_of(&self, number: usize) -> EngineState {
        self.engines[number].state
    }

    fn up(&self) -> impl Iterator<Item = &EngineEntry> {
        let engines = self.engines.iter();
        engines.filter(|engine| engine.state == EngineState::Up)
    }

    fn engines_up(&self) -> usize {
        self.up().count()
    }

    fn has_up(&self, device: &Arc<DeviceRecord>) -> bool {
        self.up().any(|engine| engine.is_of(device))
    }

    /// The engines that serve: those in service, without the fallback's while another device is in service.
    fn serving(&self) -> impl Iterator<Item = &EngineEntry> {
        let has_first_choice = self.up().any(|engine| !engine.device.is_fallback);
        self.up()
            .filter(move |engine| !(has_first_choice && engine.device.is_fallback))
    }

    /// How many engines share the searches. Always 1 for an engine that takes one search: it does not need the number.
    pub(super) fn serving_beside(&self, capacity: Capacity) -> usize {
        if capacity.searches == 1 {
            1
        } else {
            self.serving().count()
        }
    }

    /// The most nonces that any serving engine gives a single hard search in a batch. `None` if none serves.
    pub(super) fn longest_batch(&self) -> Option<u64> {
        self.serving().map(|engine| engine.batch).max()
    }

    /// Hashes per second of the engines that serve; zero if nothing is known of any.
    pub(super) fn hash_rate(&self) -> f64 {
        self.serving().map(|engine| engine.speed.rate()).sum()
    }

    /// Whether an engine, which is in service, waits until no other device is.
    pub(super) fn stands_by(&self, number: usize) -> bool {
        self.engines[number].device.is_fallback
            && self.up().any(|engine| !engine.device.is_fallback)
    }

    /// Whether an engine is in service, or one is being opened that searches may wait for.
    pub(super) fn can_serve(&self) -> bool {
        self.engines_up() > 0 || !self.pending.is_empty()
    }

    /// Why cards that Vulkan does not list are not used.
    pub(super) const fn missing_cards(&self) -> Option<&MissingCards> {
        self.missing_cards.as_ref()
    }

    /// The recent incidents.
    pub(super) const fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// Every device that serves, has served or should, in the order in which they came.
    pub(super) fn statuses(&self) -> Vec<DeviceStatus> {
        let devices = self.devices.iter();
        devices.map(|entry| self.status(entry)).collect()
    }

    fn status(&self, entry: &DeviceEntry) -> DeviceStatus {
        let device = &entry.record;
        let mut status = DeviceStatus {
            info: Arc::clone(&device.info),
            state: DeviceState::Down,
            engines: 0,
            hash_rate: 0.0,
            hashes: device.hashes.get(),
            faults: device.faults.get(),
            outage: entry.outage.clone(),
            last_error: entry.last_error.clone(),
        };
        for (number, engine) in self.engines.iter().enumerate() {
            if !engine.is_of(device) {
                continue;
            }
            match engine.state {
                EngineState::Up => {
                    status.engines += 1;
                    status.hash_rate += engine.speed.rate();
                    status.state = if self.stands_by(number) {
                        DeviceState::Standby
                    } else {
                        DeviceState::Up
                    };
                }
                // Even while the device is reopened: an engine that has not come back may prevent that.
                EngineState::Unresponsive | EngineState::Replaced if status.engines == 0 => {
                    status.state = DeviceState::Unresponsive;
                }
                EngineState::Unresponsive | EngineState::Replaced | EngineState::Retired => {}
            }
        }
        status
    }

    /// Records what went wrong with a device, and the beginning of its outage if no engine of it is in service.
    fn note_error(&mut self, device: &Arc<DeviceRecord>, error: &Arc<str>) {
        let is_down = !self.has_up(device);
        let Some(entry) = self.entry(device) else {
            return;
        };
        entry.last_error = Some(Arc::clone(error));
        if is_down {
            // An outage is dated from its first error.
            entry.outage.get_or_insert_with(|| Outage {
                since: SystemTime::now(),
                error: Arc::clone(error),
            });
        }
    }

    fn entry(&mut self, device: &Arc<DeviceRecord>) -> Option<&mut DeviceEntry> {
        let mut entries = self.devices.iter_mut();
        entries.find(|entry| Arc::ptr_eq(&entry.record, device))
    }
}
