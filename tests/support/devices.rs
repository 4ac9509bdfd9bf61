//! Devices that behave as a test wants, and the service in this process on top of them.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Duration;

use atto_work_server::connections;
use atto_work_server::device;
use atto_work_server::device::cpu::{self, Kernel};
use atto_work_server::device::{
    Backend, Device, DeviceError, DeviceInfo, Engine, OpenDevices, Opener, Searched, Slice,
};
use atto_work_server::scheduler::Limits;
use atto_work_server::service::{self, Listeners, Settings};
use atto_work_server::work::Threshold;
use tokio::sync::oneshot;

/// How long an engine may take for a slice before it is passed over, in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// An engine that does what its closure does.
struct Fake<F> {
    search: F,
    batch: Vec<Slice>,
}

impl<F: FnMut(&Slice) -> Result<Searched, DeviceError> + Send> Engine for Fake<F> {
    fn lengths(&self, thresholds: &[Threshold]) -> Vec<u64> {
        vec![1 << 16; thresholds.len()]
    }

    fn submit(&mut self, batch: Vec<Slice>) -> Result<(), DeviceError> {
        self.batch = batch;
        Ok(())
    }

    fn complete(&mut self) -> Result<Vec<Searched>, DeviceError> {
        std::mem::take(&mut self.batch)
            .iter()
            .map(&mut self.search)
            .collect()
    }
}

/// A device with one engine that does what `search` does.
pub(crate) fn fake(
    name: &str,
    search: impl FnMut(&Slice) -> Result<Searched, DeviceError> + Send + 'static,
) -> Device {
    let info = DeviceInfo {
        name: name.to_owned(),
        backend: Backend::Gpu,
        kernel: "fake".to_owned(),
        threads: 1,
        trials: Vec::new(),
    };
    Device {
        info,
        engines: vec![Box::new(Fake {
            search,
            batch: Vec::new(),
        })],
        reopen: None,
    }
}

/// The processor, with one thread.
pub(crate) fn honest() -> Device {
    cpu::open(Kernel::fastest(), NonZeroUsize::MIN).expect("the processor computes")
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

/// The limits of these tests.
pub(crate) fn limits(running: usize, waiting: usize) -> Limits {
    Limits {
        running: NonZeroUsize::new(running).expect("not zero"),
        waiting,
        patience: PATIENCE,
    }
}

/// The service, in a thread of this process. Ends when dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
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
        let settings = Settings {
            limits: limits(4, 16),
            connections: connections::Limits {
                open: NonZeroUsize::new(1000).expect("not zero"),
                header: Duration::from_secs(10),
                body: Duration::from_secs(10),
                idle: Duration::from_secs(75),
            },
            delay: Duration::ZERO,
            grace: Duration::from_secs(20),
        };
        let opened = OpenDevices {
            devices,
            fallback: fallback.map(Opener::new),
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
                let listeners = Listeners::bind(any, any).expect("free ports");
                let local =
                    |listener: &tokio::net::TcpListener| listener.local_addr().expect("an address");
                addresses
                    .send((local(&listeners.public), local(&listeners.management)))
                    .expect("the test waits");
                let shutdown = async { drop(stopped.await) };
                service::run(settings, listeners, move || Ok(opened), shutdown)
                    .await
                    .expect("it serves");
            });
        });
        let (address, management) = bound.recv().expect("the service starts");
        Self {
            address,
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
