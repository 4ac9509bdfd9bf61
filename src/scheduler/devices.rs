//! The status of devices and their recent incidents, as the status page and metrics show them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::device::DeviceInfo;

/// How many incidents are kept.
const INCIDENTS: usize = 64;

/// The state of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// It serves, or waits for something to do.
    Up,
    /// It would serve if no other device did.
    Standby,
    /// It has not come back from its batches. It serves again once it comes back and passes the self-test, or once it
    /// is reopened.
    Unresponsive,
    /// It has failed or could not be opened, and serves again when it can be reopened.
    Down,
}

impl DeviceState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Up, Self::Standby, Self::Unresponsive, Self::Down];

    /// The value of the metrics' label `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Standby => "standby",
            Self::Unresponsive => "unresponsive",
            Self::Down => "down",
        }
    }
}

/// A device as it is now. A reopened device is the same device.
#[derive(Clone, Debug)]
pub struct DeviceStatus {
    /// What it is.
    pub info: Arc<DeviceInfo>,
    /// Whether it serves.
    pub state: DeviceState,
    /// How many of its engines are in service.
    pub engines: usize,
    /// Hashes per second of those engines while they search, as measured; zero if nothing is known.
    pub hash_rate: f64,
    /// Nonces tested since the service began.
    pub hashes: u64,
    /// Errors, wrong answers and hangs since then.
    pub faults: u64,
    /// Since when none of its engines is in service, and why; `None` while one is.
    pub outage: Option<Outage>,
    /// Why an engine of it last went out of service, or why it could not be opened at the start.
    pub last_error: Option<Arc<str>>,
}

/// A time in which no engine of a device is in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the last engine went out of service, by the wall clock.
    pub since: SystemTime,
    /// Why it did, or why the device could not be opened at the start.
    pub error: Arc<str>,
}

/// Something that happened to a device.
#[derive(Clone, Debug)]
pub struct Incident {
    /// When, by the wall clock; the last time if it happened repeatedly.
    pub at: SystemTime,
    /// The device's name.
    pub device: String,
    /// What.
    pub event: Event,
    /// How often in a row. More than one only for [`Event::NotOpened`], with the text of the last time.
    pub times: u32,
}

/// What can happen to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One of its engines went out of service, for this reason.
    Fault(Arc<str>),
    /// It could not be opened, for this reason.
    NotOpened(Arc<str>),
    /// It serves again.
    Back,
    /// It serves, since no other does.
    FallenBackTo,
}

/// The last [`INCIDENTS`] incidents.
#[derive(Debug, Default)]
pub(super) struct Incidents(VecDeque<Incident>);

impl Incidents {
    /// Records what has happened now. A failed attempt to open a device replaces the failed attempt before it: in a long
    /// outage they would push out everything else.
    pub(super) fn push(&mut self, device: &DeviceInfo, event: Event) {
        let mut times = 1;
        if matches!(event, Event::NotOpened(_)) {
            let latest = self
                .0
                .iter()
                .rposition(|incident| incident.device == device.name);
            let repeated =
                latest.filter(|&place| matches!(self.0[place].event, Event::NotOpened(_)));
            if let Some(before) = repeated.and_then(|place| self.0.remove(place)) {
                times = before.times.saturating_add(1);
            }
        }
        if self.0.len() >= INCIDENTS {
            self.0.pop_front();
        }
        self.0.push_back(Incident {
            at: SystemTime::now(),
            device: device.name.clone(),
            event,
            times,
        });
    }

    /// All of them, the latest last.
    pub(super) fn all(&self) -> Vec<Incident> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Backend;

    fn info(name: &str) -> DeviceInfo {
        DeviceInfo {
            name: name.to_owned(),
            backend: Backend::Gpu,
            kernel: "u64".to_owned(),
            threads: 1,
            trials: Vec::new(),
        }
    }

    #[test]
    fn failed_attempts_push_out_no_other_incident() {
        let (one, other) = (info("one"), info("other"));
        let mut incidents = Incidents::default();
        incidents.push(&one, Event::Fault("lost".into()));
        incidents.push(&other, Event::Fault("lost".into()));
        for attempt in 1..=200 {
            for card in [&one, &other] {
                incidents.push(card, Event::NotOpened(format!("attempt {attempt}").into()));
            }
        }
        let all = incidents.all();
        assert_eq!(all.len(), 4);
        assert_eq!(all[0].event, Event::Fault("lost".into()));
        assert_eq!(all[3].event, Event::NotOpened("attempt 200".into()));
        assert_eq!(
            [0, 1, 2, 3].map(|place: usize| all[place].times),
            [1, 1, 200, 200]
        );
        // Each outage has its own count.
        incidents.push(&one, Event::Back);
        incidents.push(&one, Event::NotOpened("again".into()));
        assert_eq!(incidents.all().last().unwrap().times, 1);
    }

    #[test]
    fn only_the_latest_incidents_are_kept() {
        let info = info("card");
        let mut incidents = Incidents::default();
        incidents.push(&info, Event::Fault("first".into()));
        (0..INCIDENTS).for_each(|_| incidents.push(&info, Event::Back));
        let all = incidents.all();
        assert_eq!(all.len(), INCIDENTS);
        assert!(all.iter().all(|incident| incident.event == Event::Back));
    }
}
