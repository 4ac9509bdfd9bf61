//! What has become of each device, and what has happened to devices lately.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::shared::{DeviceRecord, EngineState, State};
use crate::device::DeviceInfo;

/// How many incidents are kept.
const INCIDENTS: usize = 64;

/// What a device is to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// It serves, or waits for something to do.
    Up,
    /// It would serve if no other device did.
    Standby,
    /// It has not come back from its batches. It serves again if it does and still knows the answers, or when it can be
    /// opened anew.
    Unresponsive,
    /// It has failed or could not be opened, and serves again when it can be opened anew.
    Down,
}

impl DeviceState {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Up, Self::Standby, Self::Unresponsive, Self::Down];

    /// Its name, as metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Standby => "standby",
            Self::Unresponsive => "unresponsive",
            Self::Down => "down",
        }
    }
}

/// A device as it is now. One that is opened anew is the same one.
#[derive(Clone, Debug)]
pub struct DeviceStatus {
    /// What it is.
    pub info: Arc<DeviceInfo>,
    /// Whether it serves.
    pub state: DeviceState,
    /// How many of its engines may serve.
    pub engines: usize,
    /// Hashes a second of those engines while they search, as measured; zero if nothing is known.
    pub hash_rate: f64,
    /// Nonces tested since the service began.
    pub hashes: u64,
    /// Errors, wrong answers and hangs since then.
    pub faults: u64,
    /// Since when none of its engines may serve, and why; `None` while one may.
    pub outage: Option<Outage>,
    /// What was wrong last when one of its engines went out of service, or when it could not be opened at the start.
    pub last_error: Option<Arc<str>>,
}

/// A time in which no engine of a device may serve, from its beginning on.
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

/// The incidents of late, the first ones forgotten.
#[derive(Debug, Default)]
pub(super) struct Incidents(VecDeque<Incident>);

impl Incidents {
    /// Enters what has happened now. An attempt to open a device takes the place of the one before it, if that failed,
    /// too: in a long outage they would push out everything else.
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

/// A device as it was opened last, and what is remembered of those of its name before.
#[derive(Debug)]
pub(super) struct Known {
    record: Arc<DeviceRecord>,
    outage: Option<Outage>,
    last_error: Option<Arc<str>>,
}

impl State {
    /// Enters a device that is in service, in the place of the one that had its name.
    pub(super) fn know(&mut self, device: &Arc<DeviceRecord>) {
        let mut known = self.devices.iter_mut();
        match known.find(|known| known.record.info.name == device.info.name) {
            Some(known) => {
                known.record = Arc::clone(device);
                known.outage = None;
            }
            None => self.devices.push(Known {
                record: Arc::clone(device),
                outage: None,
                last_error: None,
            }),
        }
    }

    /// Remembers what went wrong with a device, and since when it is out of service if no engine of it is left.
    pub(super) fn note_error(&mut self, device: &Arc<DeviceRecord>, error: &Arc<str>) {
        let is_out = !self.has_up(device);
        let Some(known) = self.known(device) else {
            return;
        };
        known.last_error = Some(Arc::clone(error));
        if is_out {
            // An outage is dated from its first error.
            known.outage.get_or_insert_with(|| Outage {
                since: SystemTime::now(),
                error: Arc::clone(error),
            });
        }
    }

    /// An engine of a device may serve again. Tells of it if the device was out of service.
    pub(super) fn note_return(&mut self, device: &Arc<DeviceRecord>) {
        let outage = self.known(device).and_then(|known| known.outage.take());
        if outage.is_some() {
            self.incidents.push(&device.info, Event::Back);
        }
    }

    fn known(&mut self, device: &Arc<DeviceRecord>) -> Option<&mut Known> {
        let mut known = self.devices.iter_mut();
        known.find(|known| Arc::ptr_eq(&known.record, device))
    }

    /// Every device that serves, has served or should, in the order in which they came.
    pub(super) fn device_statuses(&self) -> Vec<DeviceStatus> {
        self.devices
            .iter()
            .map(|device| self.device_status(device))
            .collect()
    }

    fn device_status(&self, known: &Known) -> DeviceStatus {
        let device = &known.record;
        let mut status = DeviceStatus {
            info: Arc::clone(&device.info),
            state: DeviceState::Down,
            engines: 0,
            hash_rate: 0.0,
            hashes: device.hashes.get(),
            faults: device.faults.get(),
            outage: known.outage.clone(),
            last_error: known.last_error.clone(),
        };
        for (number, engine) in self.engines.iter().enumerate() {
            if !Arc::ptr_eq(&engine.device, device) {
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
                // Also where the device is opened anew meanwhile: what has not come back may keep it from that.
                EngineState::Unresponsive | EngineState::Replaced if status.engines == 0 => {
                    status.state = DeviceState::Unresponsive;
                }
                EngineState::Unresponsive | EngineState::Replaced | EngineState::Retired => {}
            }
        }
        status
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
    fn a_long_outage_pushes_nothing_out() {
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
        // Those of another outage are counted anew.
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
