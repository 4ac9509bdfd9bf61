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
    /// It has not come back from its batches. It may serve again if it does.
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
}

/// Something that happened to a device.
#[derive(Clone, Debug)]
pub struct Incident {
    /// When, by the wall clock.
    pub at: SystemTime,
    /// The device's name.
    pub device: String,
    /// What.
    pub event: Event,
}

/// What can happen to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One of its engines went out of service, for this reason.
    Fault(Arc<str>),
    /// It could not be opened anew, for this reason.
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
    pub(super) fn push(&mut self, device: &DeviceInfo, event: Event) {
        if self.0.len() >= INCIDENTS {
            self.0.pop_front();
        }
        self.0.push_back(Incident {
            at: SystemTime::now(),
            device: device.name.clone(),
            event,
        });
    }

    /// All of them, the latest last.
    pub(super) fn all(&self) -> Vec<Incident> {
        self.0.iter().cloned().collect()
    }
}

impl State {
    /// Enters a device, in the place of the one that had its name.
    pub(super) fn know(&mut self, device: &Arc<DeviceRecord>) {
        let mut known = self.devices.iter_mut();
        match known.find(|known| known.info.name == device.info.name) {
            Some(known) => *known = Arc::clone(device),
            None => self.devices.push(Arc::clone(device)),
        }
    }

    /// Every device that serves, has served or should, in the order in which they came.
    pub(super) fn device_statuses(&self) -> Vec<DeviceStatus> {
        self.devices
            .iter()
            .map(|device| self.device_status(device))
            .collect()
    }

    fn device_status(&self, device: &Arc<DeviceRecord>) -> DeviceStatus {
        let mut status = DeviceStatus {
            info: Arc::clone(&device.info),
            state: DeviceState::Down,
            engines: 0,
            hash_rate: 0.0,
            hashes: device.hashes.get(),
            faults: device.faults.get(),
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
                EngineState::Unresponsive if status.engines == 0 => {
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

    #[test]
    fn only_the_latest_incidents_are_kept() {
        let info = DeviceInfo {
            name: "card".to_owned(),
            backend: Backend::Gpu,
            kernel: "u64".to_owned(),
            threads: 1,
            trials: Vec::new(),
        };
        let mut incidents = Incidents::default();
        incidents.push(&info, Event::Fault("first".into()));
        (0..INCIDENTS).for_each(|_| incidents.push(&info, Event::Back));
        let all = incidents.all();
        assert_eq!(all.len(), INCIDENTS);
        assert!(all.iter().all(|incident| incident.event == Event::Back));
    }
}
