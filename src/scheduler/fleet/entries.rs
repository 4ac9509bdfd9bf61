//! The rows of the fleet's tables.

use std::sync::Arc;
use std::time::Instant;

use prometheus::{Counter, IntCounter, IntGauge};

use crate::device::{DeviceInfo, Opener};
use crate::scheduler::devices::Outage;
use crate::scheduler::estimate::Speed;
use crate::telemetry::Metrics;

/// A device from when it was opened until its last engine has failed: its name and metrics, and how to reopen it.
#[derive(Debug)]
pub(in crate::scheduler) struct DeviceRecord {
    pub(in crate::scheduler) info: Arc<DeviceInfo>,
    /// Whether its engines stand by while another device is in service.
    pub(super) is_fallback: bool,
    pub(super) reopen: Option<Opener>,
    /// When it was opened.
    pub(super) since: Instant,
    /// Attempts to open it since the backoff was reset.
    pub(super) attempts: u32,
    pub(in crate::scheduler) hashes: IntCounter,
    pub(in crate::scheduler) batches: IntCounter,
    /// In seconds.
    pub(in crate::scheduler) busy: Counter,
    /// How many of its engines are in service.
    pub(super) engines: IntGauge,
    pub(super) faults: IntCounter,
}

/// How a device came into service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum Role {
    /// It serves from the start.
    Initial,
    /// It serves while no other device does.
    Fallback,
    /// It serves again, after this many attempts to open it.
    Reopened { attempts: u32 },
}

impl DeviceRecord {
    pub(in crate::scheduler) fn new(
        info: DeviceInfo,
        reopen: Option<Opener>,
        role: Role,
        metrics: &Metrics,
    ) -> Self {
        Self {
            hashes: metrics.hashes(&info),
            batches: metrics.batches(&info),
            busy: metrics.device_busy(&info),
            engines: metrics.engines(&info),
            faults: metrics.faults(&info),
            info: Arc::new(info),
            is_fallback: role == Role::Fallback,
            reopen,
            since: Instant::now(),
            attempts: match role {
                Role::Initial | Role::Fallback => 0,
                Role::Reopened { attempts } => attempts,
            },
        }
    }
}

/// The latest device of a name. Outage and error may be those of earlier devices of that name.
#[derive(Debug)]
pub(super) struct DeviceEntry {
    pub(super) record: Arc<DeviceRecord>,
    /// While none of its engines is in service.
    pub(super) outage: Option<Outage>,
    pub(super) last_error: Option<Arc<str>>,
}

/// The state of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum EngineState {
    /// It is in service.
    Up,
    /// It has not come back from a batch in time. It returns to service when it does and passes the self-test.
    Unresponsive,
    /// It has not come back from a batch, and its device is being reopened: its thread ends when it does.
    Replaced,
    /// It has failed, and its thread has ended or is about to.
    Retired,
}

/// The fleet's entry for an engine. The engine itself belongs to its thread.
#[derive(Debug)]
pub(super) struct EngineEntry {
    pub(super) device: Arc<DeviceRecord>,
    pub(super) state: EngineState,
    /// How many batches it has begun and completed, those of earlier engines of its number included: its heartbeat.
    pub(super) beats: u64,
    /// How many nonces it gives a single hard search in a batch; zero until it has had one.
    pub(super) batch: u64,
    pub(super) speed: Speed,
}

impl EngineEntry {
    /// An engine in service.
    pub(super) fn new(device: Arc<DeviceRecord>) -> Self {
        Self {
            state: EngineState::Up,
            beats: 0,
            batch: 0,
            speed: Speed::of(&device.info),
            device,
        }
    }

    pub(super) fn is_of(&self, device: &Arc<DeviceRecord>) -> bool {
        Arc::ptr_eq(&self.device, device)
    }

    /// Changes the state, and the gauge of engines in service with it.
    pub(super) fn set(&mut self, state: EngineState) {
        let up = |state| i64::from(state == EngineState::Up);
        self.device.engines.add(up(state) - up(self.state));
        self.state = state;
    }
}

/// Devices that are being opened, which searches wait for if no engine is in service.
#[derive(Debug, Default)]
pub(super) struct PendingOpens {
    /// Each with the number of watchdog turns that it has lasted.
    pending: Vec<(PendingOpen, u32)>,
    /// How many there ever were.
    count: u64,
}

/// One of the [`PendingOpens`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) struct PendingOpen(u64);

impl PendingOpens {
    pub(super) const fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn begin(&mut self) -> PendingOpen {
        self.count += 1;
        let open = PendingOpen(self.count);
        self.pending.push((open, 0));
        open
    }

    pub(super) fn end(&mut self, open: PendingOpen) {
        self.pending.retain(|&(other, _)| other != open);
    }

    /// Counts a turn for each, and ends those that have lasted for `turns`.
    pub(super) fn age(&mut self, turns: u32) {
        self.pending.retain_mut(|(_, lasted)| {
            *lasted += 1;
            *lasted < turns
        });
    }
}
