//! Every knob: its flag, its environment variable, its unit, default and range. The comments here are the
//! text of `--help`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;

use crate::device::cpu::{self, Kernel};
use crate::device::gpu::Selection;
use crate::device::{BackendChoice, Choice};
use crate::scheduler::{Backoff, Limits, PATIENCE};
use crate::service::Settings;
use crate::telemetry::LogFormat;

/// Which devices search, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Devices")]
pub struct DeviceArgs {
    /// Which kind of device searches
    #[arg(
        long,
        env = "ATTO_WORK_BACKEND",
        value_enum,
        default_value = "auto",
        ignore_case = true
    )]
    pub backend: BackendChoice,

    /// Which graphics cards search: `all`, or a list separated by commas of indices, PCI ids
    /// (0000:65:00.0) or parts of names, as `work-server devices` shows them
    #[arg(
        long,
        env = "ATTO_WORK_DEVICE",
        value_name = "LIST",
        default_value = "all"
    )]
    pub device: Selection,

    /// How many threads search on the processor [default: as many as the process may use cores]
    /// [range: 1 to 1024]
    #[arg(long, env = "ATTO_WORK_THREADS", value_name = "COUNT", value_parser = count(1, 1024))]
    pub threads: Option<usize>,

    /// Which instructions the processor searches with: avx512, avx2, neon, neon-sha3 or portable
    /// [default: the fastest, by a race of some milliseconds]
    #[arg(long, env = "ATTO_WORK_KERNEL", value_name = "NAME", value_parser = Kernel::named)]
    pub kernel: Option<Kernel>,
}

impl DeviceArgs {
    /// The choice that these flags make.
    pub fn choice(&self) -> Choice {
        Choice {
            backend: self.backend,
            selection: self.device.clone(),
            kernel: self.kernel,
            threads: self
                .threads
                .and_then(NonZeroUsize::new)
                .unwrap_or_else(cpu::available_threads),
        }
    }
}

/// How the service listens and how much it takes on.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Which devices search, and how.
    #[command(flatten)]
    pub devices: DeviceArgs,

    /// Where clients connect: an IP address and a port
    #[arg(
        long,
        env = "ATTO_WORK_ADDRESS",
        value_name = "IP:PORT",
        default_value = "0.0.0.0:8080"
    )]
    pub address: SocketAddr,

    /// Where probes and scrapers connect: an IP address and a port
    #[arg(
        long,
        env = "ATTO_WORK_MANAGEMENT_ADDRESS",
        value_name = "IP:PORT",
        default_value = "0.0.0.0:8081"
    )]
    pub management_address: SocketAddr,

    /// How many hard searches take turns; the others wait. Easy ones, which a device ends at a stroke, run at once
    /// [range: 1 to 1024]
    #[arg(long, env = "ATTO_WORK_QUEUE_SIZE", value_name = "COUNT", default_value = "4", value_parser = count(1, 1024))]
    pub queue_size: usize,

    /// How many searches there may be beyond those that take turns; one more is refused with 503
    /// [range: 0 to 100000]
    #[arg(long, env = "ATTO_WORK_QUEUE_CAPACITY", value_name = "COUNT", default_value = "1000", value_parser = count(0, 100_000))]
    pub queue_capacity: usize,

    /// How many seconds accepted requests may go on after SIGTERM or SIGINT [range: 0 to 3600]
    #[arg(long, env = "ATTO_WORK_SHUTDOWN_GRACE", value_name = "SECONDS", default_value = "25", value_parser = count(0, 3600))]
    pub shutdown_grace: usize,

    /// How log lines are written
    #[arg(
        long,
        env = "ATTO_WORK_LOG_FORMAT",
        value_enum,
        default_value = "text",
        ignore_case = true
    )]
    pub log_format: LogFormat,
}

impl ServeArgs {
    /// What these flags allow the service.
    pub fn settings(&self) -> Settings {
        Settings {
            limits: Limits {
                running: NonZeroUsize::new(self.queue_size).unwrap_or(NonZeroUsize::MIN),
                waiting: self.queue_capacity,
                patience: PATIENCE,
                backoff: Backoff::DEFAULT,
            },
            grace: Duration::from_secs(self.shutdown_grace as u64),
        }
    }
}

fn count(from: u64, to: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(from..=to)
}
