//! Devices that behave as a test wants, and the service in this process on top of them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use atto_work_server::access::AccessRules;
use atto_work_server::connections::ConnectionLimits;
use atto_work_server::device;
use atto_work_server::device::cpu::{self, Kernel};
use atto_work_server::device::{
    Backend, Capacity, Device, DeviceError, DeviceInfo, Engine, OpenDevices, Opener, Searched,
    Slice, Trial,
};
use atto_work_server::http::nano::Difficulties;
use atto_work_server::scheduler::{AnswerCache, Backoff, Limits};
use atto_work_server::service::{self, Listeners, NanoSettings, Settings};
use atto_work_server::work::{Difficulty, Multiplier, Nonce, Rule, Threshold};
use tokio::sync::oneshot;

/// How long an engine may take for a slice before it is passed over, in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// When a device that has failed is reopened, in these tests.
pub(crate) const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(10),
    longest: Duration::from_millis(80),
    reset_after: Duration::from_secs(3600),
};

/// An engine that does what its closure does with a batch.
struct Fake<F> {
    capacity: Capacity,
    length: u64,
    complete: F,
    in_flight: VecDeque<Vec<Slice>>,
}

impl<F> Engine for Fake<F>
where
    F: FnMut(&[Slice]) -> Result<Vec<Searched>, DeviceError> + Send,
{
    fn capacity(&self) -> Capacity {
        self.capacity
    }

    fn lengths(&self, rules: &[Rule]) -> Vec<u64> {
        vec![self.length; rules.len()]
    }

    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError> {
        assert!((1..=self.capacity.searches).contains(&batch.len()));
        self.in_flight.push_back(batch);
        assert!(self.in_flight.len() <= self.capacity.batches);
        Ok(())
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        let batch = self.in_flight.pop_front().expect("a batch is in flight");
        (self.complete)(&batch)
    }
}

fn device(
    name: &str,
    capacity: Capacity,
    length: u64,
    complete: impl FnMut(&[Slice]) -> Result<Vec<Searched>, DeviceError> + Send + 'static,
) -> Device {
    let info = DeviceInfo {
        name: name.to_owned(),
        backend: Backend::Gpu,
        kernel: "fake".to_owned(),
        threads: 1,
        trials: vec![Trial {
            kernel: "fake".to_owned(),
            hashes_per_second: 12_345,
        }],
    };
    Device {
        info,
        engines: vec![Box::new(Fake {
            capacity,
            length,
            complete,
            in_flight: VecDeque::new(),
        })],
        reopen: None,
    }
}

/// A device with one engine that does what `search` does, a slice at a time. A slice is long enough for LOCAL to be
/// easy.
pub(crate) fn fake(
    name: &str,
    mut search: impl FnMut(&Slice) -> Result<Searched, DeviceError> + Send + 'static,
) -> Device {
    device(name, Capacity::ONE, 1 << 20, move |batch| {
        batch.iter().map(&mut search).collect()
    })
}

/// A device with one engine that has two batches in flight, of up to 64 searches with `length` nonces each, and does
/// with each what `complete` does.
pub(crate) fn card(
    name: &str,
    length: u64,
    complete: impl FnMut(&[Slice]) -> Result<Vec<Searched>, DeviceError> + Send + 'static,
) -> Device {
    let capacity = Capacity {
        batches: 2,
        searches: 64,
    };
    device(name, capacity, length, complete)
}

/// `device`, which is reopened by `open` when it has failed.
pub(crate) fn reopened_by(
    device: Device,
    open: impl Fn() -> Result<Device, DeviceError> + Send + Sync + 'static,
) -> Device {
    Device {
        reopen: Some(Opener::new(open)),
        ..device
    }
}

/// The time of several cards, in ticks: each card completes a batch a tick, all of them together.
#[derive(Default)]
pub(crate) struct Clock {
    state: Mutex<ClockState>,
    changed: Condvar,
}

#[derive(Default)]
struct ClockState {
    cards: usize,
    arrived: usize,
    ticks: u64,
    stopped: bool,
}

impl Clock {
    pub(crate) fn new(cards: usize) -> Arc<Self> {
        let clock = Self::default();
        clock.state.lock().unwrap().cards = cards;
        Arc::new(clock)
    }

    /// Waits until every card has called this again, and says which tick it is.
    pub(crate) fn tick(&self) -> u64 {
        let mut state = self.state.lock().unwrap();
        let now = state.ticks;
        state.arrived += 1;
        if state.arrived == state.cards {
            state.arrived = 0;
            state.ticks += 1;
            self.changed.notify_all();
        }
        let waiting = |state: &mut ClockState| state.ticks == now && !state.stopped;
        let state = self.changed.wait_while(state, waiting).unwrap();
        state.ticks
    }

    /// Cards wait for each other no longer.
    pub(crate) fn stop(&self) {
        self.state.lock().unwrap().stopped = true;
        self.changed.notify_all();
    }
}

/// The processor, with one thread. Its kernel is not measured against others, which would take time.
pub(crate) fn honest() -> Device {
    let kernel = Kernel::available().into_iter().next();
    cpu::open(kernel, NonZeroUsize::MIN).expect("the processor computes")
}

/// The engine of [`honest`].
pub(crate) fn honest_engine() -> Box<dyn Engine> {
    honest().engines.remove(0)
}

/// Tries slowly and finds nothing.
pub(crate) fn unlucky(slice: &Slice) -> Result<Searched, DeviceError> {
    thread::sleep(Duration::from_millis(1));
    Ok(Searched {
        tried: slice.nonces.count,
        found: None,
    })
}

/// A device for which LOCAL is easy and LIVE endless.
#[allow(dead_code, reason = "only some programs search for LIVE")]
pub(crate) fn never_live() -> Device {
    let mut engine = honest_engine();
    fake("quick", move |slice| {
        if slice.rule.implies(Rule::from(Threshold::new(1 << 40))) {
            unlucky(slice)
        } else {
            device::search(&mut *engine, slice.clone())
        }
    })
}

/// A device that finds nothing until the sender is used or dropped, and then searches honestly: so a search is sure to be
/// running until then.
pub(crate) fn patient() -> (mpsc::Sender<()>, Device) {
    let (release, released) = mpsc::channel();
    let mut engine = honest_engine();
    let mut waiting = true;
    let device = fake("patient", move |slice| {
        waiting = waiting && matches!(released.try_recv(), Err(TryRecvError::Empty));
        if waiting {
            unlucky(slice)
        } else {
            device::search(&mut *engine, slice.clone())
        }
    });
    (release, device)
}

/// The limits of these tests. No answer is cached, so that each request is a search.
pub(crate) fn limits(running: usize, waiting: usize) -> Limits {
    Limits {
        patience: PATIENCE,
        backoff: BACKOFF,
        answers: AnswerCache {
            entries: 0,
            ..AnswerCache::DEFAULT
        },
        ..Limits::new(NonZeroUsize::new(running).expect("not zero"), waiting)
    }
}

/// The service, in a thread of this process. Ends when dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    #[allow(dead_code, reason = "only some programs ask there")]
    pub(crate) nano: SocketAddr,
    pub(crate) management: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Service {
    /// Serves with these devices, and this one when none of them is left.
    pub(crate) fn start(
        devices: Vec<Device>,
        fallback: Option<fn() -> Result<Device, DeviceError>>,
    ) -> Self {
        Self::with_limits(limits(4, 16), devices, fallback)
    }

    /// The same with other limits.
    pub(crate) fn with_limits(
        limits: Limits,
        devices: Vec<Device>,
        fallback: Option<fn() -> Result<Device, DeviceError>>,
    ) -> Self {
        let opened = OpenDevices {
            devices,
            fallback: fallback.map(Opener::new),
            ..OpenDevices::default()
        };
        Self::with_opened(limits, opened)
    }

    /// The same with everything that opening devices can come to.
    pub(crate) fn with_opened(limits: Limits, opened: OpenDevices) -> Self {
        let settings = Settings {
            limits,
            connections: ConnectionLimits {
                open: NonZeroUsize::new(1000).expect("not zero"),
                header: Duration::from_secs(10),
                body: Duration::from_secs(10),
                idle: Duration::from_secs(75),
                age: Duration::from_secs(30),
            },
            nano: NanoSettings {
                difficulties: Difficulties {
                    base: Difficulty::NANO_SEND,
                    most: Multiplier::new(1e6).expect("above zero"),
                },
                connections: NonZeroUsize::new(100).expect("not zero"),
            },
            delay: Duration::ZERO,
            grace: Duration::from_secs(20),
        };
        let (stop, stopped) = oneshot::channel();
        let (addresses, bound) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                let listeners = Listeners::bind(any, Some(any), any).expect("free ports");
                let local =
                    |listener: &tokio::net::TcpListener| listener.local_addr().expect("an address");
                let nano = listeners.nano.as_ref().expect("it is asked for");
                let ports = [&listeners.public, nano, &listeners.management];
                addresses.send(ports.map(local)).expect("the test waits");
                let shutdown = async { drop(stopped.await) };
                service::run(
                    settings,
                    AccessRules::default(),
                    Vec::new(),
                    listeners,
                    move || Ok(opened),
                    shutdown,
                )
                .await
                .expect("it serves");
            });
        });
        let [address, nano, management] = bound.recv().expect("the service starts");
        Self {
            address,
            nano,
            management,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Service {
    /// Asks the service to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
        let ended = self.thread.take().expect("dropped once").join();
        if !thread::panicking() {
            ended.expect("the service ends in order");
        }
    }
}

/// A device that has the answers of whatever it was asked before.
#[allow(dead_code, reason = "benchmarks use it")]
pub(crate) fn clairvoyant() -> Device {
    let mut known: Vec<(_, Option<Nonce>)> = Vec::new();
    let mut engine = honest_engine();
    fake("clairvoyant", move |slice| {
        let found = known.iter().find(|(target, _)| *target == slice.target);
        if let Some(&(_, nonce)) = found {
            return Ok(Searched {
                tried: 1,
                found: nonce,
            });
        }
        let searched = device::search(&mut *engine, slice.clone())?;
        if searched.found.is_some() {
            known.push((slice.target, searched.found));
        }
        Ok(searched)
    })
}
