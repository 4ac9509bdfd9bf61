//! Puts devices to work: at the start, and when a card is found later.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{recovery, worker};
use crate::device::{Lookout, OpenDevices, Unopened};
use crate::scheduler::fleet::{DeviceRecord, Recovery, Reopen, Role};
use crate::scheduler::limits::Backoff;
use crate::scheduler::shared::Shared;

/// When missing cards are looked for: 5, 10, 20, 40 s after each other and then every minute. A driver that is still
/// starting is found soon, and one that stays broken costs a process a minute.
const LOOK_AGAIN: Backoff = Backoff {
    first: Duration::from_secs(5),
    longest: Duration::from_secs(60),
    reset_after: Duration::MAX,
};

/// Puts devices to work, beside those that serve already.
///
/// # Errors
///
/// If a thread cannot be started; engines that had one by then serve.
pub(in crate::scheduler) fn put_to_work(
    shared: &Arc<Shared>,
    opened: OpenDevices,
) -> io::Result<()> {
    let OpenDevices {
        devices,
        unopened,
        fallback,
        missing_cards,
        lookout,
    } = opened;
    shared.apply(|state| state.fleet.equip(fallback, missing_cards));
    devices
        .into_iter()
        .try_for_each(|device| worker::start(shared, device, Role::Initial))?;
    if let Some(fallback) = shared.apply(|state| state.fall_back_if_alone()) {
        recovery::fall_back(shared, fallback);
    }
    for unopened in unopened {
        reopen_unopened(shared, unopened);
    }
    if let Some(lookout) = lookout {
        look_out(Arc::clone(shared), lookout)?;
    }
    Ok(())
}

/// Has a device opened that could not be opened when it was found.
fn reopen_unopened(shared: &Arc<Shared>, unopened: Unopened) {
    // That attempt was the first.
    let attempts = 1;
    let role = Role::Reopened { attempts };
    let device = DeviceRecord::new(unopened.info, None, role, &shared.metrics);
    let device = Arc::new(device);
    let error = unopened.error.to_string().into();
    shared.apply(|state| {
        state.fleet.register_unopened(&device, error);
        state.request(Recovery::Reopen(Reopen {
            device: Arc::clone(&device),
            opener: unopened.opener,
            attempts,
            pending: None,
        }));
    });
}

/// Looks for missing cards, on a thread of its own, until none is expected any more or the scheduler stops.
///
/// Nothing waits for the thread at the end: it may be in the middle of a look that does not end.
fn look_out(shared: Arc<Shared>, mut lookout: Lookout) -> io::Result<()> {
    let is_expected = |shared: &Shared| {
        let missing = shared.read(|state| state.fleet.missing_cards().cloned());
        missing.is_some_and(|missing| missing.is_expected)
    };
    let look = move || {
        let mut looks = 0;
        while is_expected(&shared) {
            looks += 1;
            if !shared.pause(LOOK_AGAIN.delay_with_jitter(looks)) {
                return;
            }
            let Some(found) = lookout.look() else {
                continue;
            };
            for device in &found.devices {
                tracing::info!(device = device.info.name, "a card has appeared");
            }
            if let Err(error) = put_to_work(&shared, found) {
                tracing::error!(%error, "a card that has appeared cannot be put to work");
            }
        }
    };
    thread::Builder::new()
        .name("lookout".to_owned())
        .spawn(look)?;
    Ok(())
}
