//! What the tests of the scheduler's plain data share.

use std::sync::Arc;

use super::fleet::{DeviceRecord, Role};
use crate::device::{Backend, Capacity, DeviceError, DeviceInfo, Engine, Opener, Searched, Slice};
use crate::telemetry::Metrics;
use crate::work::{Network, Rule, Target, Timestamp, WorkRequest};

/// An engine that is only asked how much it takes on.
pub(super) struct Fake(Capacity);

impl Engine for Fake {
    fn capacity(&self) -> Capacity {
        self.0
    }

    fn lengths(&self, rules: &[Rule]) -> Vec<u64> {
        vec![1000; rules.len()]
    }

    fn submit(&mut self, _: Vec<Slice>) -> Result<(), DeviceError> {
        unreachable!("plain data never searches")
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        unreachable!("plain data never searches")
    }
}

/// One slice at a time.
pub(super) const CORE: Fake = Fake(Capacity::ONE);
/// Two batches in flight, of up to 64 searches.
pub(super) const CARD: Fake = Fake(Capacity {
    batches: 2,
    searches: 64,
});

/// A device of this name.
pub(super) fn record(name: &str, reopen: Option<Opener>, role: Role) -> Arc<DeviceRecord> {
    let info = DeviceInfo {
        name: name.to_owned(),
        backend: Backend::Gpu,
        kernel: "fake".to_owned(),
        threads: 1,
        trials: Vec::new(),
    };
    Arc::new(DeviceRecord::new(info, reopen, role, &Metrics::new()))
}

/// A request for LIVE work, with another target for each number.
pub(super) fn request(number: u8) -> WorkRequest {
    let time = Timestamp::from_millis(1_795_329_945_748).unwrap();
    WorkRequest::new(Network::Live, time, Target::new([number; 32]), time).unwrap()
}
