//! The service as a whole: the order in which it starts and ends.
//!
//! ```text
//! starting  management listener -> devices (self-test) -> waits until one can serve -> listeners for clients
//! serving   ready
//! leaving   signal -> not ready, but serving as before until load balancers have noticed
//! draining  no new connections -> accepted requests are finished -> after the shutdown grace, the rest is refused
//!           -> traces are sent -> the management listener ends
//! ```

mod systemd;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::access::AccessRules;
use crate::connections::{self, ConnectionLimits, DRAIN_GRACE, Port};
use crate::device::{OpenDevices, OpenError};
use crate::http::nano::{self, Difficulties};
use crate::http::{self, BodyLimits};
use crate::lifecycle;
use crate::management::{self, About, Setting};
use crate::milliseconds::milliseconds;
use crate::scheduler::{Limits, Scheduler};
use crate::telemetry::{self, History, MORE_THREADS, Metrics, Telemetry, Traces};

/// How long sending the last traces may take when the service ends.
pub const FLUSH: Duration = Duration::from_secs(3);

/// The limits of the service.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Of searches.
    pub limits: Limits,
    /// Of connections.
    pub connections: ConnectionLimits,
    /// Of Nano's API, if there is a listener for it.
    pub nano: NanoSettings,
    /// How long requests are served as before after the signal to stop, although the service is not ready any more.
    pub delay: Duration,
    /// How long accepted requests may take after that.
    pub grace: Duration,
}

/// The settings of Nano's API.
#[derive(Clone, Copy, Debug)]
pub struct NanoSettings {
    /// The difficulties that it goes by.
    pub difficulties: Difficulties,
    /// How many connections are open at once.
    pub connections: NonZeroUsize,
}

/// The open ports. The caller binds them, so that tests can let the system choose.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub public: TcpListener,
    /// For clients of Nano and Banano, if they are served.
    pub nano: Option<TcpListener>,
    /// For probes and scrapers.
    pub management: TcpListener,
}

impl Listeners {
    /// Opens the ports. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Bind`] if one cannot be opened.
    pub fn bind(
        public: SocketAddr,
        nano: Option<SocketAddr>,
        management: SocketAddr,
    ) -> Result<Self, ServiceError> {
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
            nano: nano
                .map(|nano| bind(nano, "--nano-address (ATTO_WORK_NANO_ADDRESS)"))
                .transpose()?,
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
    /// A port cannot be opened.
    #[error("cannot listen on {address}: {source}; {}", advice(source, option))]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// The flag and the variable that set it.
        option: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// No device can serve.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system refuses a thread or an address.
    #[error("{}", refusal(.0))]
    System(#[from] io::Error),
}

/// What the system refuses, and what to do about it.
fn refusal(error: &io::Error) -> String {
    match error.kind() {
        // EAGAIN, of clone(2).
        io::ErrorKind::WouldBlock => {
            format!("the system refuses a thread: {error}; {MORE_THREADS}")
        }
        _ => format!("the system refuses a thread or an address: {error}"),
    }
}

/// What to do about an address that cannot be listened on.
fn advice(error: &io::Error, option: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "something listens there already, perhaps another work server or another port of this one: end it, or choose \
             another port with {option}"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 need CAP_NET_BIND_SERVICE: give the process this capability, or choose a higher port with \
             {option}"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine does not have that address: choose one of its own with {option}, or [::] for all"
        ),
        _ => format!("choose another address with {option}"),
    }
}

/// Serves until `shutdown` is ready, then ends in order.
///
/// `open` opens the devices. It runs on a thread of its own, since drivers are slow, and probes are answered meanwhile.
/// `configuration` is shown on the status page, and has no secrets.
///
/// # Errors
///
/// [`ServiceError`] if the service cannot start. Once it has started, it ends without one.
pub async fn run(
    settings: Settings,
    access: AccessRules,
    configuration: Vec<Setting>,
    listeners: Listeners,
    open: impl FnOnce() -> Result<OpenDevices, OpenError> + Send + 'static,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServiceError> {
    let metrics = Metrics::new();
    let base = settings.nano.difficulties.base;
    let nano_base = listeners.nano.is_some().then_some(base);
    connections::register_metrics(&metrics, &[Port::Public, Port::Management]);
    if let Some(base) = nano_base {
        connections::register_metrics(&metrics, &[Port::Nano]);
        metrics.begin_nano(base);
    }
    let traces = Traces::start(&metrics);
    let scheduler = Scheduler::start(settings.limits, metrics.clone())?;
    let (transitions, lifecycle) = lifecycle::begin();
    let _report = Aborting(tokio::spawn(systemd::report(
        lifecycle.clone(),
        scheduler.clone(),
    )));
    let history = History::new();
    let address = listeners.public.local_addr()?;
    let nano_address = listeners.nano.as_ref().map(TcpListener::local_addr);
    let nano_address = nano_address.transpose()?;
    let management_address = listeners.management.local_addr()?;
    let mut shutdown = pin!(shutdown);

    let nano_wanted = nano_address.map(|_| settings.nano.connections);
    let (public_open, nano_open) =
        connections::reserve_descriptors(settings.connections.open, nano_wanted);
    let limits = ConnectionLimits {
        open: public_open,
        ..settings.connections
    };
    let _observer = Aborting(tokio::spawn(management::observe(
        scheduler.clone(),
        history.clone(),
    )));
    let _clock = Aborting(tokio::spawn(management::watch_clock()));
    let about = About {
        history: history.clone(),
        configuration,
        keys: access.keys.clone(),
        slots: settings.limits.running.get(),
        nano: nano_base,
    };
    let routes = management::routes(
        lifecycle.clone(),
        scheduler.clone(),
        metrics.clone(),
        about,
        access.hosts.clone(),
    );
    let management =
        management::Server::start(listeners.management, routes, limits, metrics.clone())?;
    let opened = tokio::select! {
        opened = on_thread("devices", open)? => opened??,
        () = &mut shutdown => return Ok(()),
    };
    scheduler.put_to_work(opened)?;
    if let Some(time) = telemetry::since_start() {
        metrics.started(time);
    }
    if !scheduler.status().can_serve {
        let reasons = scheduler
            .missing_cards()
            .map(|missing| missing.reasons.join("; "));
        tracing::warn!(reasons, "not ready: waiting for a card");
        tokio::select! {
            () = scheduler.serving() => {}
            () = &mut shutdown => {
                on_thread("stop", move || scheduler.stop(DRAIN_GRACE))?.await?;
                return Ok(());
            }
        }
    }

    let body = BodyLimits {
        timeout: limits.body,
        lifecycle: lifecycle.clone(),
    };
    let telemetry = Telemetry {
        metrics: metrics.clone(),
        history,
        traces: traces.clone(),
    };
    let serve = |listener, port, routes, limits| {
        let served = connections::serve(
            listener,
            port,
            routes,
            limits,
            lifecycle.clone(),
            metrics.clone(),
        );
        Aborting(tokio::spawn(served))
    };
    let nano = listeners.nano.zip(nano_open).map(|(listener, open)| {
        let routes = nano::routes(
            scheduler.clone(),
            telemetry.clone(),
            body.clone(),
            access.clone(),
            settings.nano.difficulties,
            &settings.limits,
        );
        let limits = ConnectionLimits { open, ..limits };
        serve(listener, Port::Nano, routes, limits)
    });
    let routes = http::routes(scheduler.clone(), telemetry, body, access);
    let public = serve(listeners.public, Port::Public, routes, limits);
    let mut clients: Vec<_> = [Some(public), nano].into_iter().flatten().collect();
    transitions.serving();
    let started = telemetry::since_start();
    if let Some(time) = started {
        metrics.ready(time);
    }
    let milliseconds = started.map(milliseconds);
    // Test containers of the reference server's project wait for a line with these words.
    tracing::info!("started on port {} (http)", address.port());
    let nano_address = nano_address.map(tracing::field::display);
    tracing::info!(%address, nano_address, %management_address, milliseconds, "ready");

    shutdown.await;
    if !settings.delay.is_zero() {
        transitions.leaving();
        tracing::info!(delay = ?settings.delay, "stopping: not ready any more, but still serving requests");
        sleep(settings.delay).await;
    }
    let status = scheduler.status();
    transitions.draining();
    tracing::info!(running = status.running, waiting = status.waiting, grace = ?settings.grace, "draining");
    drain(&mut clients, &scheduler, settings.grace).await;
    drop(clients);
    let stop = on_thread("stop", move || scheduler.stop(DRAIN_GRACE))?;
    let (stopped, ()) = tokio::join!(stop, traces.stop(FLUSH));
    stopped?;
    drop(management);
    tracing::info!("stopped");
    Ok(())
}

/// Lets the listeners for clients finish the requests that they have accepted. After `grace`, the rest is refused.
async fn drain(clients: &mut [Aborting], scheduler: &Scheduler, grace: Duration) {
    let mut ended = join_all(clients.iter_mut().map(|client| &mut client.0));
    if timeout(grace, &mut ended).await.is_ok() {
        return;
    }
    let status = scheduler.status();
    let (running, waiting) = (status.running, status.waiting);
    if running + waiting > 0 {
        tracing::warn!(
            running,
            waiting,
            "the shutdown grace is over: refusing the remaining requests"
        );
    } else {
        tracing::info!("the shutdown grace is over: closing connections that carry no request");
    }
    scheduler.abort();
    // A connection that outlasts this has a client that does not read.
    let _ = timeout(DRAIN_GRACE, ended).await;
}

/// Does this on a thread of its own. Not on one of Tokio's blocking threads: if the system refuses another of those,
/// the work would never start.
fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<impl Future<Output = io::Result<T>>> {
    let (sender, done) = oneshot::channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || drop(sender.send(work())))?;
    Ok(async {
        done.await
            .map_err(|_| io::Error::other("a thread has panicked"))
    })
}

/// A task that is aborted when this is dropped.
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
    fn the_error_of_an_address_says_what_to_do() {
        let cases = [
            (io::ErrorKind::AddrInUse, "something listens there already"),
            (io::ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
            (io::ErrorKind::AddrNotAvailable, "[::] for all"),
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
