//! Logs whether the machine's clock can be right.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::work::Timestamp;

/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Logs when the clock is outside of the calendar of thresholds, and when it is right again. Never ends.
pub async fn watch_clock() {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_right = true;
    loop {
        looks.tick().await;
        let is_right = Timestamp::clock().is_ok();
        let clock = jiff::Timestamp::now();
        match (was_right, is_right) {
            (true, false) => tracing::warn!(
                %clock,
                "the clock is wrong: the server is not ready and refuses requests until the clock is set to a time from 2024 on"
            ),
            (false, true) => tracing::info!(%clock, "the clock is right"),
            _ => {}
        }
        was_right = is_right;
    }
}
