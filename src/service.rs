//! The service as a whole: what starts, in which order, and how it ends.
//!
//! ```text
//! management listener -> devices (self-test) -> public listener -> ready
//! signal -> not ready -> a delay for load balancers to see it, in which all is served as before
//!        -> no new connections -> finish what was accepted -> refuse the rest -> send traces -> management ends
//! ```

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::connections::{self, Closing, FAREWELL, MANAGEMENT_CONNECTIONS, Phase, Port};
use crate::device::{OpenDevices, OpenError};
use crate::http::{self, Admission, BodyLimits};
use crate::management::{self, About, Lifecycle, Setting};
use crate::scheduler::{Limits, Scheduler};
use crate::telemetry::{self, History, Metrics, Telemetry, Traces};

/// How long the last traces may take to be sent when the service ends.
pub const FLUSH: Duration = Duration::from_secs(3);

/// What the service is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many searches, and how long one slice of one may take.
    pub limits: Limits,
    /// How many connections, and how long each may take for what.
    pub connections: connections::Limits,
    /// How long everything is still served after the signal to stop, while the service already is not ready.
    pub delay: Duration,
    /// How long accepted requests may go on after that.
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
    /// Opens both ports. To be called in a runtime.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Bind`] if one cannot be had.
    pub fn bind(public: SocketAddr, management: SocketAddr) -> Result<Self, ServiceError> {
        let bind = |address, option| {
            let listener = connections::bind(address);
            listener.map_err(|source| ServiceError::Bind {
                address,
                option,
                source,
            })
        };
        Ok(Self {
            public: bind(public, "--address (ATTO_WORK_ADDRESS)")?,
            management: bind(
                management,
                "--management-address (ATTO_WORK_MANAGEMENT_ADDRESS)",
            )?,
        })
    }
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A port cannot be had.
    #[error("cannot listen on {address}: {source}; {}", way_out(source, option))]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// The flag and the variable that it is set by.
        option: &'static str,
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

/// What to do about an address that cannot be listened on.
fn way_out(error: &io::Error, option: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "something listens there already, perhaps another work server or this one's other port: end it, or choose \
             another port with {option}"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 are not for everybody: choose a higher one with {option}, or give the process \
             CAP_NET_BIND_SERVICE"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine does not have that address: choose one of its own with {option}, or 0.0.0.0 for all"
        ),
        _ => format!("choose another address with {option}"),
    }
}

/// Serves until `shutdown` is ready, then ends in order.
///
/// `open` opens the devices; it runs on a thread of its own, since drivers take their time, and probes are
/// answered meanwhile. `configuration` is what the status page shows of it, without secrets.
///
/// # Errors
///
/// [`ServiceError`] if the service cannot start. Once it has started, it ends without one.
pub async fn run(
    settings: Settings,
    admission: Admission,
    configuration: Vec<Setting>,
    listeners: Listeners,
    open: impl FnOnce() -> Result<OpenDevices, OpenError> + Send + 'static,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServiceError> {
    let metrics = Metrics::new();
    connections::begin_counts(&metrics);
    let traces = Traces::start(&metrics);
    let scheduler = Scheduler::start(settings.limits, metrics.clone())?;
    let lifecycle = Lifecycle::default();
    let history = History::new();
    let address = listeners.public.local_addr()?;
    let management_address = listeners.management.local_addr()?;
    let mut shutdown = pin!(shutdown);

    let limits = connections::Limits {
        open: connections::reserve_descriptors(settings.connections.open),
        ..settings.connections
    };
    let (phase, follow) = watch::channel(Phase::Serving);

    // The management port serves to the very end: it follows a phase of its own, which never changes.
    let (_always, serving) = watch::channel(Phase::Serving);
    let management_limits = connections::Limits {
        open: MANAGEMENT_CONNECTIONS,
        ..limits
    };
    let _observer = Aborting(tokio::spawn(management::observe(
        scheduler.clone(),
        history.clone(),
    )));
    let about = About {
        history: history.clone(),
        configuration,
        keys: admission.keys.clone(),
        turns: settings.limits.running.get(),
    };
    let routes = management::routes(lifecycle.clone(), scheduler.clone(), metrics.clone(), about);
    let management = Aborting(tokio::spawn(connections::serve(
        listeners.management,
        Port::Management,
        routes,
        management_limits,
        serving,
        metrics.clone(),
    )));
    let opened = tokio::select! {
        opened = tokio::task::spawn_blocking(open) => opened.map_err(io::Error::other)??,
        () = &mut shutdown => return Ok(()),
    };
    scheduler.put_to_work(opened)?;

    let body = BodyLimits {
        timeout: limits.body,
        closing: Closing::new(follow.clone()),
    };
    let telemetry = Telemetry {
        metrics: metrics.clone(),
        history,
        traces: traces.clone(),
    };
    let routes = http::routes(scheduler.clone(), telemetry, body, admission);
    let mut public = Aborting(tokio::spawn(connections::serve(
        listeners.public,
        Port::Public,
        routes,
        limits,
        follow,
        metrics.clone(),
    )));
    lifecycle.serving();
    let started = telemetry::since_start();
    if let Some(time) = started {
        metrics.ready(time);
    }
    let milliseconds = started.map(|time| time.as_secs_f64() * 1e3);
    tracing::info!(%address, %management_address, milliseconds, "ready");

    shutdown.await;
    if !settings.delay.is_zero() {
        lifecycle.leaving();
        phase.send_replace(Phase::Leaving);
        tracing::info!(delay = ?settings.delay, "not ready any more, and still serving");
        sleep(settings.delay).await;
    }
    lifecycle.draining();
    let status = scheduler.status();
    tracing::info!(running = status.running, waiting = status.waiting, grace = ?settings.grace, "draining");
    phase.send_replace(Phase::Closing);
    drain(&mut public.0, &scheduler, settings.grace).await;
    drop(public);
    let stop = tokio::task::spawn_blocking(move || scheduler.stop(FAREWELL));
    let (stopped, ()) = tokio::join!(stop, traces.stop(FLUSH));
    stopped.map_err(io::Error::other)?;
    drop(management);
    tracing::info!("stopped");
    Ok(())
}

/// Lets the public listener finish what it has accepted, and refuses what is left after `grace`.
async fn drain(public: &mut JoinHandle<()>, scheduler: &Scheduler, grace: Duration) {
    if timeout(grace, &mut *public).await.is_ok() {
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
    // What is still there then belongs to clients that do not read.
    let _ = timeout(FAREWELL, public).await;
}

/// A task that ends when this is dropped.
struct Aborting(JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_had_says_what_to_do() {
        let cases = [
            (io::ErrorKind::AddrInUse, "something listens there already"),
            (io::ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
            (io::ErrorKind::AddrNotAvailable, "0.0.0.0 for all"),
            (io::ErrorKind::Other, "another address"),
        ];
        for (kind, told) in cases {
            let error = ServiceError::Bind {
                address: ([127, 0, 0, 1], 80).into(),
                option: "--address",
                source: kind.into(),
            };
            let text = error.to_string();
            assert!(
                text.starts_with("cannot listen on 127.0.0.1:80: "),
                "{text}"
            );
            assert!(text.contains(told) && text.contains("--address"), "{text}");
        }
    }
}
