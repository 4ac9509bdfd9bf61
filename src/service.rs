//! The service as a whole: what starts, in which order, and how it ends.
//!
//! ```text
//! management listener -> devices (self-test) -> public listener -> ready
//! signal -> not ready -> no new connections -> finish what was accepted -> refuse the rest -> end
//! ```

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::device::{OpenDevices, OpenError};
use crate::http;
use crate::management::{self, Lifecycle};
use crate::scheduler::{Limits, Scheduler};
use crate::telemetry::{self, Metrics};

/// How long refusals may take to reach their clients when the grace time is over, and devices to end their
/// last slice.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the service is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many searches, and how long one slice of one may take.
    pub limits: Limits,
    /// How long accepted requests may go on after the signal to stop.
    pub grace: Duration,
}

/// The two open ports. The caller binds them, so that tests can let the system choose.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub public: TcpListener,
    /// For probes and scrapers.
    pub management: TcpListener,
}

impl Listeners {
    /// Opens both ports.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Bind`] if one cannot be had.
    pub async fn bind(public: SocketAddr, management: SocketAddr) -> Result<Self, ServiceError> {
        let bind = async |address| {
            let listener = TcpListener::bind(address).await;
            listener.map_err(|source| ServiceError::Bind { address, source })
        };
        Ok(Self {
            public: bind(public).await?,
            management: bind(management).await?,
        })
    }
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A port cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No device can serve.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system refuses something.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// Serves until `shutdown` is ready, then ends in order.
///
/// `open` opens the devices; it runs on a thread of its own, since drivers take their time, and probes are
/// answered meanwhile.
///
/// # Errors
///
/// [`ServiceError`] if the service cannot start. Once it has started, it ends without one.
pub async fn run(
    settings: Settings,
    listeners: Listeners,
    open: impl FnOnce() -> Result<OpenDevices, OpenError> + Send + 'static,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServiceError> {
    let metrics = Metrics::new();
    let scheduler = Scheduler::start(settings.limits, metrics.clone())?;
    let lifecycle = Lifecycle::default();
    let address = listeners.public.local_addr()?;
    let management_address = listeners.management.local_addr()?;
    let mut shutdown = pin!(shutdown);

    let routes = management::routes(lifecycle.clone(), scheduler.clone(), metrics.clone());
    let management = tokio::spawn(warp::serve(routes).incoming(listeners.management).run());
    let opened = tokio::select! {
        opened = tokio::task::spawn_blocking(open) => opened.map_err(io::Error::other)??,
        () = &mut shutdown => return Ok(()),
    };
    scheduler.put_to_work(opened)?;

    let (stop, stopped) = oneshot::channel::<()>();
    let routes = http::routes(scheduler.clone(), metrics);
    let server = warp::serve(routes).incoming(listeners.public);
    let public = tokio::spawn(server.graceful(async { drop(stopped.await) }).run());
    lifecycle.serving();
    let milliseconds = telemetry::since_start().map(|time| time.as_secs_f64() * 1e3);
    tracing::info!(%address, %management_address, milliseconds, "ready");

    shutdown.await;
    lifecycle.draining();
    let status = scheduler.status();
    tracing::info!(running = status.running, waiting = status.waiting, grace = ?settings.grace, "draining");
    drop(stop);
    drain(public, &scheduler, settings.grace).await;
    let stop = tokio::task::spawn_blocking(move || scheduler.stop(FAREWELL));
    stop.await.map_err(io::Error::other)?;
    management.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Lets the public listener finish what it has accepted, and refuses what is left after `grace`.
async fn drain(mut public: JoinHandle<()>, scheduler: &Scheduler, grace: Duration) {
    if timeout(grace, &mut public).await.is_ok() {
        return;
    }
    let status = scheduler.status();
    let (running, waiting) = (status.running, status.waiting);
    if running + waiting > 0 {
        tracing::warn!(
            running,
            waiting,
            "grace time is over: refusing what is left"
        );
    } else {
        tracing::info!("grace time is over: closing connections that carry no request");
    }
    scheduler.abort();
    if timeout(FAREWELL, &mut public).await.is_err() {
        // Connections that carry no request, or whose clients do not read.
        public.abort();
    }
}
