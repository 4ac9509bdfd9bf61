//! Tells systemd that a service of `Type=notify` is ready, that it stops, and while its watchdog is on, that it is
//! alive. Without `NOTIFY_SOCKET` it does nothing.

use std::future::pending;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::lifecycle::{Lifecycle, Phase};
use crate::scheduler::Scheduler;

/// Tells systemd of each phase as it comes. Never ends.
pub(super) async fn report(lifecycle: Lifecycle, scheduler: Scheduler) {
    lifecycle.reached(Phase::Serving).await;
    tell(NotifyState::Ready);
    tokio::select! {
        () = keep_alive(&lifecycle, &scheduler) => {}
        () = lifecycle.reached(Phase::Leaving) => {}
    }
    tell(NotifyState::Stopping);
    keep_alive(&lifecycle, &scheduler).await;
}

/// Feeds the watchdog twice in its time while the service is alive, as the liveness probe has it. Never ends.
async fn keep_alive(lifecycle: &Lifecycle, scheduler: &Scheduler) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return pending().await;
    };
    let mut times = interval((limit / 2).max(Duration::from_millis(1)));
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        if lifecycle.phase() == Phase::Draining || scheduler.status().can_serve {
            tell(NotifyState::Watchdog);
        }
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
