//! What is done about an engine that goes out of service: its searches go on elsewhere at once, the fallback takes
//! over if nothing else is left, and a device whose engines have all gone is opened anew.
//!
//! The first attempt to open it is made at once, and each that follows after twice the delay of the one before; see
//! [`Backoff`]. The count of attempts begins anew only when the device has served for a while, so that one that
//! fails again and again does not keep the host busy. Searches that no device is left for wait while the fallback
//! or a first attempt is under way, as long as that takes no longer than an engine may take for a batch.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::SolveError;
use super::devices::Event;
use super::search::Setback;
use super::shared::{DeviceRecord, EngineState, Role, Shared, State};
use crate::device::{DeviceError, Opener, Unopened};
use crate::telemetry::Rebuild as Outcome;

/// When attempts to open a failed device anew are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// How long after the first attempt the second is made. The third comes after twice that, and so on.
    pub first: Duration,
    /// The longest delay. Up to a tenth is added to every delay, so that cards which failed together do not come
    /// back together.
    pub longest: Duration,
    /// How long a device must have served for its next fault to be a first one again.
    pub reset_after: Duration,
}

impl Backoff {
    /// 1, 2, 4 … 60 seconds, anew after a minute of service. A choice: a driver that resets a card takes some
    /// seconds, and whoever replaces one some minutes.
    pub const DEFAULT: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(60),
        reset_after: Duration::from_secs(60),
    };

    /// How long to wait before the next attempt when there were `attempts`, before anything is added.
    fn delay(&self, attempts: u32) -> Duration {
        let Some(doublings) = attempts.checked_sub(1) else {
            return Duration::ZERO;
        };
        let delay = self.first.saturating_mul(2_u32.saturating_pow(doublings));
        delay.min(self.longest)
    }

    /// The same with a random part.
    fn delay_with_jitter(&self, attempts: u32) -> Duration {
        self.delay(attempts).mul_f64(1.0 + 0.1 * fastrand::f64())
    }
}

/// Devices that are being opened, for which searches wait if nothing else is left.
#[derive(Debug, Default)]
pub(super) struct Hopes {
    /// Each with the turns of the watchdog that it has lasted.
    hopes: Vec<(Hope, u32)>,
    /// How many there ever were.
    count: u64,
}

/// One of the [`Hopes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hope(u64);

impl Hopes {
    pub(super) const fn is_empty(&self) -> bool {
        self.hopes.is_empty()
    }

    fn begin(&mut self) -> Hope {
        self.count += 1;
        let hope = Hope(self.count);
        self.hopes.push((hope, 0));
        hope
    }

    fn end(&mut self, hope: Hope) {
        self.hopes.retain(|&(other, _)| other != hope);
    }
}

/// An engine that has gone out of service, and what is to be done about it.
#[must_use]
pub(super) struct Loss {
    number: usize,
    device: Arc<DeviceRecord>,
    engines_left: usize,
    fallback: Option<(Opener, Hope)>,
    rebuild: Option<Rebuild>,
}

/// A device that is to be opened anew.
#[must_use]
pub(super) struct Rebuild {
    device: Arc<DeviceRecord>,
    opener: Opener,
    /// How many attempts there were since it last served for long.
    attempts: u32,
    /// For those who wait for the first attempt.
    hope: Option<Hope>,
}

impl State {
    /// Takes an engine out of service, and its searches away from it. `None` if that had been done for good before.
    pub(super) fn lose(
        &mut self,
        number: usize,
        to: EngineState,
        error: &DeviceError,
        backoff: &Backoff,
    ) -> Option<Loss> {
        let entry = &mut self.engines[number];
        if entry.state == EngineState::Replaced {
            entry.set(EngineState::Retired);
            return None;
        }
        let device = Arc::clone(&entry.device);
        device.faults.inc();
        entry.set(to);
        let in_flight = std::mem::take(&mut entry.in_flight);
        let setback = Setback {
            at: Instant::now(),
            device: Arc::clone(&device.info),
            error: error.to_string().into(),
        };
        for batch in in_flight {
            // What has its answer, or is no longer wanted, nobody goes on with.
            for assigned in batch
                .iter()
                .filter(|assigned| !assigned.job.ended().is_set())
            {
                assigned.job.set_back(setback.clone());
            }
            self.queue.put_back(number, &batch);
        }
        self.note_error(&device, &setback.error);
        self.incidents
            .push(&device.info, Event::Fault(setback.error));
        let (mut rebuild, mut fallback) = (None, None);
        // A service that ends needs no other device.
        if !self.closed && !self.stopped {
            if let Some(opener) = device.reopen.clone().filter(|_| !self.has_up(&device)) {
                self.replace(&device);
                let is_first = device.since.elapsed() >= backoff.reset_after;
                let attempts = if is_first { 0 } else { device.attempts };
                rebuild = Some(Rebuild {
                    device: Arc::clone(&device),
                    opener,
                    attempts,
                    hope: (attempts == 0).then(|| self.hopes.begin()),
                });
            }
            if self.engines_up() == 0 {
                fallback = self
                    .fallback
                    .take()
                    .map(|opener| (opener, self.hopes.begin()));
            }
        }
        self.give_up_without_hope();
        Some(Loss {
            number,
            device,
            engines_left: self.engines_up(),
            fallback,
            rebuild,
        })
    }

    /// Nobody waits any more for the engines of `device` that have not come back.
    fn replace(&mut self, device: &Arc<DeviceRecord>) {
        for engine in &mut self.engines {
            if Arc::ptr_eq(&engine.device, device) && engine.state == EngineState::Unresponsive {
                engine.set(EngineState::Replaced);
            }
        }
    }

    /// Refuses every search if no engine is left and none is on its way.
    fn give_up_without_hope(&mut self) {
        if !self.can_serve() {
            self.give_up(SolveError::NoDevice);
        }
    }

    fn end_hope(&mut self, hope: Option<Hope>) {
        if let Some(hope) = hope {
            self.hopes.end(hope);
            self.give_up_without_hope();
        }
    }

    /// Counts another turn of the watchdog for each hope, and gives up those that have lasted for `turns`.
    pub(super) fn grow_impatient(&mut self, turns: u32) {
        if self.hopes.is_empty() {
            return;
        }
        self.hopes.hopes.retain_mut(|(_, lasted)| {
            *lasted += 1;
            *lasted < turns
        });
        self.give_up_without_hope();
    }
}

impl Shared {
    /// Tells of an engine that went out of service, lets the others have what it has left, and opens the fallback
    /// if that is needed. What is returned is to be passed to [`Shared::rebuild`], on a thread that has the time.
    pub(super) fn recover(self: &Arc<Self>, loss: Loss, error: &DeviceError) -> Option<Rebuild> {
        self.tell_engines();
        let device = &loss.device.info.name;
        // Never under the lock: whoever reads the log may be slow.
        tracing::error!(device, engine = loss.number, %error, engines_left = loss.engines_left, "engine out of service");
        if let Some((opener, hope)) = loss.fallback {
            self.fall_back(opener, hope);
        }
        loss.rebuild
    }

    /// Opens the fallback, if there is one and no engine serves.
    pub(super) fn fall_back_if_alone(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.engines_up() > 0 || state.closed || state.stopped {
            return;
        }
        let Some(fallback) = state.fallback.take() else {
            return;
        };
        let hope = state.hopes.begin();
        drop(state);
        self.fall_back(fallback, hope);
    }

    /// Opens a device that could not be opened at the start until it serves or the scheduler stops, on a thread of
    /// its own.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(super) fn await_absent(self: &Arc<Self>, absent: Unopened) -> io::Result<()> {
        // The attempt at the start was the first.
        let role = Role::Rebuilt { attempts: 1 };
        let device = Arc::new(self.record(absent.info, None, role));
        let error: Arc<str> = absent.error.to_string().into();
        let mut state = self.lock();
        state.know(&device);
        state.note_error(&device, &error);
        state.incidents.push(&device.info, Event::NotOpened(error));
        drop(state);
        let rebuild = Rebuild {
            device: Arc::clone(&device),
            opener: absent.opener,
            attempts: 1,
            hope: None,
        };
        let shared = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("recovery".to_owned())
            .spawn(move || shared.rebuild(rebuild))?;
        self.lock().threads.push(thread);
        Ok(())
    }

    fn fall_back(self: &Arc<Self>, opener: Opener, hope: Hope) {
        tracing::warn!("no device serves: falling back");
        let opened = opener.open().map_err(|error| error.to_string());
        let added = opened.and_then(|device| {
            self.add(device, Role::Fallback)
                .map_err(|error| error.to_string())
        });
        if added.is_err() {
            // It may be needed, and be there, another time.
            self.lock().fallback = Some(opener);
        }
        self.lock().end_hope(Some(hope));
        if let Err(error) = added {
            tracing::error!(
                error,
                "the fallback cannot be put to work, or not with all its threads"
            );
        }
    }

    /// As [`Shared::recover`] and [`Shared::rebuild`], on a thread of its own.
    pub(super) fn spawn_recovery(self: &Arc<Self>, loss: Loss, error: DeviceError) {
        let shared = Arc::clone(self);
        let fallback = loss.fallback.as_ref().map(|(opener, _)| opener.clone());
        let thread = thread::Builder::new()
            .name("recovery".to_owned())
            .spawn(move || {
                if let Some(rebuild) = shared.recover(loss, &error) {
                    shared.rebuild(rebuild);
                }
            });
        match thread {
            Ok(thread) => self.lock().threads.push(thread),
            Err(error) => {
                // Whoever waits for it waits as long as for an attempt that does not end.
                let mut state = self.lock();
                state.fallback = state.fallback.take().or(fallback);
                drop(state);
                self.tell_engines();
                tracing::error!(%error, "a device stays out of service: there is no thread to open it");
            }
        }
    }

    /// Opens a device until it serves again or the scheduler stops.
    pub(super) fn rebuild(self: &Arc<Self>, rebuild: Rebuild) {
        let Rebuild {
            device: old,
            opener,
            mut attempts,
            hope,
        } = rebuild;
        let name = &old.info.name;
        let backoff = &self.limits.backoff;
        let mut delay = backoff.delay_with_jitter(attempts);
        if !delay.is_zero() {
            tracing::warn!(device = name, next_attempt_in = ?delay, "device cannot be opened or has soon failed again");
        }
        while self.pause(delay) {
            attempts = attempts.saturating_add(1);
            let opened = opener.open();
            // Before it serves, so that whoever has its answer finds it counted.
            self.metrics.rebuild_ended(
                &old.info,
                match opened {
                    Ok(_) => Outcome::Ok,
                    Err(_) => Outcome::Failed,
                },
            );
            let opened = opened.and_then(|mut device| {
                // It is the same device to whoever reads the metrics, whatever the driver calls it now.
                device.info.name.clone_from(name);
                device.reopen = Some(opener.clone());
                let added = self.add(device, Role::Rebuilt { attempts });
                added.map_err(|error| DeviceError::Driver(format!("no thread for it: {error}")))
            });
            self.lock().end_hope(hope);
            delay = backoff.delay_with_jitter(attempts);
            match opened {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(device = name, %error, next_attempt_in = ?delay, "device cannot be opened anew");
                    let event = Event::NotOpened(error.to_string().into());
                    self.lock().incidents.push(&old.info, event);
                    // If the fallback failed, too, this is its next chance.
                    self.fall_back_if_alone();
                }
            }
        }
        self.lock().end_hope(hope);
    }

    /// Waits for this long. Whether the scheduler has not stopped by then.
    fn pause(&self, duration: Duration) -> bool {
        let waited = self
            .service_changed
            .wait_timeout_while(self.lock(), duration, |state| !state.stopped);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_none_to_the_longest() {
        let seconds = |attempts| Backoff::DEFAULT.delay(attempts).as_secs();
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 40, u32::MAX].map(seconds),
            [0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
        );
    }

    #[test]
    fn jitter_adds_a_tenth_at_most() {
        for _ in 0..1000 {
            let delay = Backoff::DEFAULT.delay_with_jitter(4).as_secs_f64();
            assert!((8.0..=8.8).contains(&delay), "{delay}");
        }
        assert!(Backoff::DEFAULT.delay_with_jitter(0).is_zero());
    }

    #[test]
    fn a_hope_lasts_until_it_ends_or_for_so_many_turns() {
        let mut hopes = Hopes::default();
        let (first, second) = (hopes.begin(), hopes.begin());
        hopes.end(first);
        assert!(!hopes.is_empty());
        hopes.end(second);
        assert!(hopes.is_empty());
    }
}
