//! `work-server serve`: the runtime, the signals, the service.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CommandError;
use super::list_cards;
use crate::config::ServeArgs;
use crate::device::{self, Lister};
use crate::management::Setting;
use crate::service::{self, Listeners};

/// Requests are small, and the search has threads of its own that need the cores.
const RUNTIME_THREADS: usize = 2;

/// How long the process waits at its end for a driver that is still starting.
const LEAVE_BEHIND_AFTER: Duration = Duration::from_millis(100);

/// Serves until a signal. `configuration` is for the status page.
pub(super) fn run(args: &ServeArgs, configuration: Vec<Setting>) -> Result<ExitCode, CommandError> {
    let served = serve_in_runtime(args, configuration);
    // The reason belongs in the log: that is what operators collect.
    if let Err(error) = &served {
        tracing::error!(%error, "cannot serve");
    }
    Ok(if served.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn serve_in_runtime(args: &ServeArgs, configuration: Vec<Setting>) -> Result<(), CommandError> {
    // Panics where the system refuses a thread, which ends the process (`log_to_stdout`).
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(args, configuration));
    runtime.shutdown_timeout(LEAVE_BEHIND_AFTER);
    served
}

async fn serve(args: &ServeArgs, configuration: Vec<Setting>) -> Result<(), CommandError> {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        backend = %args.devices.backend,
        queue_size = args.queue_size,
        queue_capacity = args.queue_capacity,
        "starting"
    );
    let mut signals = Signals::listen()?;
    // The default action of SIGHUP ends the process.
    let hangup = signal(SignalKind::hangup())?;
    let access = args.access()?;
    match access.keys.clone() {
        Some(keys) => tokio::spawn(keys.follow(hangup)),
        None => tokio::spawn(ignore(hangup)),
    };
    let listeners = Listeners::bind(args.address, args.nano_address, args.management_address)?;
    let choice = args.devices.choice();
    // The file that runs, even if its path has another one by now.
    let lister = Lister::new("/proc/self/exe", [list_cards::NAME]);
    let shutdown = async {
        signals.next().await;
        // A second signal ends the process at once, so nothing is logged.
        tokio::spawn(async move {
            signals.next().await;
            std::process::exit(1);
        });
    };
    service::run(
        args.settings(),
        access,
        configuration,
        listeners,
        move || device::open_for_service(&choice, lister),
        shutdown,
    )
    .await?;
    Ok(())
}

async fn ignore(mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP ignored: there is no file of API keys to reload");
    }
}

/// The signals that stop the service.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
