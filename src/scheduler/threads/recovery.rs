//! Opens devices: the fallback when nothing else serves, and failed devices again until they serve.
//!
//! Opening takes its time and may never end, so each device that is being opened has a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::worker;
use crate::device::DeviceError;
use crate::scheduler::fleet::{Fallback, Recovery, Reopen, Role};
use crate::scheduler::shared::Shared;
use crate::telemetry::Rebuild as Outcome;

/// How long to wait if there is no thread for a recovery.
const NO_THREAD: Duration = Duration::from_secs(2);

/// Starts the thread that starts a thread for each recovery, until the scheduler stops.
pub(in crate::scheduler) fn spawn(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("recovery".to_owned())
        .spawn(move || {
            while let Some(recovery) = shared.next_recovery() {
                start(&shared, recovery);
            }
        })
}

fn start(shared: &Arc<Shared>, recovery: Recovery) {
    let opening = Arc::clone(shared);
    // Through a channel, so that it is not lost if there is no thread for it.
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("opening".to_owned())
        .spawn(move || match receiver.recv() {
            Ok(Recovery::FallBack(fallback)) => fall_back(&opening, fallback),
            Ok(Recovery::Reopen(device)) => reopen(&opening, device),
            Err(_) => (),
        });
    match thread {
        Ok(thread) => {
            // The thread waits for it.
            let _ = sender.send(recovery);
            shared.keep(thread);
        }
        Err(error) => {
            // Searches wait for it as long as for an attempt that does not end.
            tracing::error!(%error, again_in = ?NO_THREAD, "cannot start a thread to open a device; trying again later");
            if shared.pause(NO_THREAD) {
                shared.apply(|state| state.request(recovery));
            }
        }
    }
}

/// Opens the fallback and puts it to work.
pub(in crate::scheduler) fn fall_back(shared: &Arc<Shared>, fallback: Fallback) {
    tracing::warn!("no device is in service: opening the fallback");
    let Fallback { opener, pending } = fallback;
    let started = opener.open().map_err(|error| error.to_string());
    let started = started.and_then(|device| {
        worker::start(shared, device, Role::Fallback).map_err(|error| error.to_string())
    });
    shared.apply(|state| {
        if started.is_err() {
            state.fleet.keep_fallback(opener);
        }
        state.end_pending(pending);
    });
    if let Err(error) = started {
        tracing::error!(
            error,
            "the fallback cannot be opened, or not all of its threads can be started"
        );
    }
}

/// Tries to open a device until it serves again or the scheduler stops.
fn reopen(shared: &Arc<Shared>, reopen: Reopen) {
    let Reopen {
        device: failed,
        opener,
        mut attempts,
        mut pending,
    } = reopen;
    let name = &failed.info.name;
    let backoff = &shared.limits.backoff;
    let mut delay = backoff.delay_with_jitter(attempts);
    if !delay.is_zero() {
        tracing::warn!(device = name, next_attempt_in = ?delay, "the device failed to open, or failed soon after it was reopened; trying again later");
    }
    while shared.pause(delay) {
        attempts = attempts.saturating_add(1);
        let opened = opener.open();
        let outcome = match opened {
            Ok(_) => Outcome::Ok,
            Err(_) => Outcome::Failed,
        };
        // Before the device serves, so that a client with its answer finds the attempt counted.
        shared.metrics.rebuild_ended(&failed.info, outcome);
        let started = opened.and_then(|mut device| {
            // In metrics it is the same device, whatever the driver calls it now.
            device.info.name.clone_from(name);
            device.reopen = Some(opener.clone());
            worker::start(shared, device, Role::Reopened { attempts }).map_err(|error| {
                DeviceError::Driver(format!("cannot start a thread for it: {error}"))
            })
        });
        if let Some(pending) = pending.take() {
            shared.apply(|state| state.end_pending(pending));
        }
        let Err(error) = started else { return };
        delay = backoff.delay_with_jitter(attempts);
        tracing::warn!(device = name, %error, next_attempt_in = ?delay, "device cannot be reopened; trying again later");
        let fallback = shared.apply(|state| {
            state.fleet.not_opened(&failed, error.to_string().into());
            // If the fallback failed, too, this is its next chance.
            state.fall_back_if_alone()
        });
        if let Some(fallback) = fallback {
            fall_back(shared, fallback);
        }
    }
    if let Some(pending) = pending {
        shared.apply(|state| state.end_pending(pending));
    }
}
