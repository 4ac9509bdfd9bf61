//! The real service on a device that takes a known time for a search, for `tests/proxies`.
//!
//!     paced-server ADDRESS MANAGEMENT_ADDRESS MEAN SLOTS CAPACITY
//!
//! A LOCAL search that has the device to itself takes MEAN seconds on average, spread exponentially, and no processor
//! time. Any other search never ends. SIGTERM ends the service as it ends the real server, with a delay of one second.

use std::error::Error;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use atto_work_server::access::AccessRules;
use atto_work_server::connections::ConnectionLimits;
use atto_work_server::device::cpu::{self, Kernel};
use atto_work_server::device::{
    self, Backend, Capacity, Device, DeviceError, DeviceInfo, Engine, NonceRange, OpenDevices,
    Searched, Slice,
};
use atto_work_server::http::nano::Difficulties;
use atto_work_server::scheduler::Limits;
use atto_work_server::service::{self, Listeners, NanoSettings, Settings};
use atto_work_server::work::{
    Difficulty, Multiplier, Network, Rule, Target, Timestamp, WorkRequest,
};
use tokio::signal::unix::{SignalKind, signal};

/// How long a slice takes, as on a core.
const SLICE: Duration = Duration::from_millis(5);

/// Sleeps in the place of hashing, and finds work at random.
struct Paced {
    /// The time of a search.
    mean: Duration,
    /// The rule of the searches that end.
    local: Rule,
    /// Finds the work, in no time that would count.
    honest: Box<dyn Engine>,
    batch: Vec<Slice>,
}

impl Paced {
    fn device(mean: Duration) -> Result<Device, Box<dyn Error>> {
        let now = Timestamp::now();
        let request = WorkRequest::new(Network::Local, now, Target::new([0; 32]), now)?;
        let engine = Self {
            mean,
            local: request.rule(),
            honest: cpu::open(Kernel::available().into_iter().next(), NonZeroUsize::MIN)?
                .engines
                .remove(0),
            batch: Vec::new(),
        };
        Ok(Device {
            info: DeviceInfo {
                name: "paced".to_owned(),
                backend: Backend::Gpu,
                kernel: "paced".to_owned(),
                threads: 1,
                trials: Vec::new(),
            },
            engines: vec![Box::new(engine)],
            reopen: None,
        })
    }

    /// Nonces of a slice, by which a LOCAL search takes its time.
    fn length(&self) -> u64 {
        let slices = self.mean.as_secs_f64() / SLICE.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "some thousand nonces at most"
        )]
        let length = (self.local.expected_hashes() / slices) as u64;
        length.max(1)
    }

    fn search(&mut self, slice: &Slice) -> Result<Searched, DeviceError> {
        let began = Instant::now();
        for _ in 0..5 {
            if slice.stop.is_set() {
                return Ok(Searched {
                    tried: 0,
                    found: None,
                });
            }
            thread::sleep(SLICE / 5);
        }
        // By the time that it took: a busy machine sleeps longer.
        let chance = 1.0 - (-began.elapsed().as_secs_f64() / self.mean.as_secs_f64()).exp();
        let found = if slice.rule == self.local && fastrand::f64() < chance {
            let nonces = NonceRange {
                start: slice.nonces.start,
                count: 1 << 40,
            };
            let whole = Slice {
                nonces,
                ..slice.clone()
            };
            device::search(&mut *self.honest, whole)?.found
        } else {
            None
        };
        Ok(Searched {
            tried: slice.nonces.count,
            found,
        })
    }
}

impl Engine for Paced {
    fn capacity(&self) -> Capacity {
        Capacity::ONE
    }

    fn lengths(&self, rules: &[Rule]) -> Vec<u64> {
        vec![self.length(); rules.len()]
    }

    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError> {
        self.batch = batch;
        Ok(())
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        let batch = std::mem::take(&mut self.batch);
        batch.iter().map(|slice| self.search(slice)).collect()
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [public, management, mean, slots, capacity] = arguments.as_slice() else {
        return Err("usage: paced-server ADDRESS MANAGEMENT_ADDRESS MEAN SLOTS CAPACITY".into());
    };
    let addresses: (SocketAddr, SocketAddr) = (public.parse()?, management.parse()?);
    let device = Paced::device(Duration::try_from_secs_f64(mean.parse()?)?)?;
    let slots: NonZeroUsize = slots.parse()?;
    let settings = Settings {
        limits: Limits::new(slots, capacity.parse()?),
        connections: ConnectionLimits {
            open: NonZeroUsize::new(1000).ok_or("no connections")?,
            header: Duration::from_secs(10),
            body: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            age: Duration::from_secs(30),
        },
        delay: Duration::from_secs(1),
        grace: Duration::from_secs(20),
        nano: NanoSettings {
            difficulties: Difficulties {
                base: Difficulty::NANO_SEND,
                most: Multiplier::new(64.0)?,
            },
            connections: NonZeroUsize::MIN,
        },
    };
    let mut terminated = signal(SignalKind::terminate())?;
    let opened = OpenDevices {
        devices: vec![device],
        ..OpenDevices::default()
    };
    service::run(
        settings,
        AccessRules::default(),
        Vec::new(),
        Listeners::bind(addresses.0, None, addresses.1)?,
        move || Ok(opened),
        async move {
            terminated.recv().await;
        },
    )
    .await?;
    Ok(())
}
