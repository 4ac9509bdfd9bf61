//! Every setting: its flag, environment variable, unit, default and range. The comments on the fields are the text of
//! `--help`.

mod environment;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args};

use crate::access::{AccessRules, AllowedHosts, CorsOrigins, Keys, KeysError};
use crate::connections::ConnectionLimits;
use crate::device::cpu;
use crate::device::gpu::Selection;
use crate::device::{BackendChoice, Choice, ChosenKernel};
use crate::http::nano::Difficulties;
use crate::management::Setting;
use crate::scheduler::{AnswerCache, Limits};
use crate::service::{NanoSettings, Settings};
use crate::telemetry::LogFormat;
use crate::work::{Difficulty, Multiplier};
pub use environment::{Environment, ForeignDefault, WrongVariable};
pub(crate) use values::{address, seconds};
use values::{count, multiplier_within, seconds_within};

/// Which devices search, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Devices")]
pub struct DeviceArgs {
    /// Kind of device to search on
    #[arg(
        long,
        env = "ATTO_WORK_BACKEND",
        value_enum,
        default_value = "auto",
        ignore_case = true
    )]
    pub backend: BackendChoice,

    /// Graphics cards to use: `all`, or a comma-separated list of indices, PCI ids (0000:65:00.0) or parts of names, as
    /// `work-server devices` shows them
    #[arg(
        long,
        env = "ATTO_WORK_DEVICE",
        value_name = "LIST",
        default_value = "all"
    )]
    pub device: Selection,

    /// Search threads on the processor [default: one for each core that the process may use] [range: 1 to 1024]
    #[arg(long, env = "ATTO_WORK_THREADS", value_name = "COUNT", value_parser = count(1, 1024), hide_short_help = true)]
    pub threads: Option<usize>,

    /// Kernel of the processor (avx512, avx512-paired, avx512-mixed, avx2-mixed, avx2-single, avx2, neon, neon-sha3 or
    /// portable) or of cards (such as pair64), as `work-server devices` shows them [default: the fastest on each device,
    /// measured at the start]
    #[arg(
        long,
        env = "ATTO_WORK_KERNEL",
        value_name = "NAME",
        hide_short_help = true
    )]
    pub kernel: Option<ChosenKernel>,
}

impl DeviceArgs {
    /// The devices that these flags choose.
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

/// How the service listens, and its limits.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "--help also shows the settings that are rarely used.")]
pub struct ServeArgs {
    /// Which devices search, and how.
    #[command(flatten)]
    pub devices: DeviceArgs,

    /// IP address and port for clients; `[::]` stands for every IPv6 and IPv4 address of this machine
    #[arg(
        long,
        env = "ATTO_WORK_ADDRESS",
        value_name = "IP:PORT",
        default_value = "[::]:8080",
        value_parser = address,
        help_heading = "Listening"
    )]
    pub address: SocketAddr,

    /// IP address and port for probes, scrapers and the status page
    #[arg(
        long,
        env = "ATTO_WORK_MANAGEMENT_ADDRESS",
        value_name = "IP:PORT",
        default_value = "[::]:8081",
        value_parser = address,
        help_heading = "Listening"
    )]
    pub management_address: SocketAddr,

    /// IP address and port for clients of Nano and Banano [default: none: they are not served]
    #[arg(long, env = "ATTO_WORK_NANO_ADDRESS", value_name = "IP:PORT", value_parser = address, help_heading = "Nano", hide_short_help = true)]
    pub nano_address: Option<SocketAddr>,

    /// Base difficulty of Nano's API, 1 to 16 hex digits: the default of requests, and the difficulty of multiplier 1. Banano
    /// needs `fffffe0000000000`
    #[arg(
        long,
        env = "ATTO_WORK_NANO_DIFFICULTY",
        value_name = "HEX",
        default_value = "fffffff800000000",
        help_heading = "Nano",
        hide_short_help = true
    )]
    pub nano_difficulty: Difficulty,

    /// Hardest request allowed in Nano's API, as a multiple of the base difficulty; fractions allowed [range: 1 to 1000000]
    #[arg(long, env = "ATTO_WORK_NANO_MAX_MULTIPLIER", value_name = "FACTOR", default_value = "64", value_parser = multiplier_within(1.0, 1e6), help_heading = "Nano", hide_short_help = true)]
    pub nano_max_multiplier: Multiplier,

    /// Open connections allowed on Nano's port. Further clients wait; the connection idle for longest is closed to make room
    /// [range: 1 to 1000000]
    #[arg(long, env = "ATTO_WORK_NANO_MAX_CONNECTIONS", value_name = "COUNT", default_value = "1000", value_parser = count(1, 1_000_000), help_heading = "Nano", hide_short_help = true)]
    pub nano_max_connections: usize,

    /// Slots for hard searches, which share the devices; further hard searches wait. An easy search, which most likely
    /// ends within one batch, needs no slot [range: 1 to 1024]
    #[arg(long, env = "ATTO_WORK_QUEUE_SIZE", value_name = "COUNT", default_value = "4", value_parser = count(1, 1024), help_heading = "Searches")]
    pub queue_size: usize,

    /// Searches allowed beyond the slots; one more is refused with 503 [range: 0 to 100000]
    #[arg(long, env = "ATTO_WORK_QUEUE_CAPACITY", value_name = "COUNT", default_value = "1000", value_parser = count(0, 100_000), help_heading = "Searches")]
    pub queue_capacity: usize,

    /// Seconds until a request without an answer is refused with 504; fractions allowed [range: 1 to 86400]
    #[arg(long, env = "ATTO_WORK_DEADLINE", value_name = "SECONDS", default_value = "3600", value_parser = seconds_within(1.0, 86_400.0), help_heading = "Searches")]
    pub deadline: Duration,

    /// Answers cached for ten minutes, for clients that ask again; 0 switches the cache off [range: 0 to 1000000]
    #[arg(long, env = "ATTO_WORK_ANSWER_MEMORY", value_name = "COUNT", default_value = "4096", value_parser = count(0, 1_000_000), help_heading = "Searches", hide_short_help = true)]
    pub answer_memory: usize,

    /// Open client connections allowed. Further clients wait; the connection idle for longest is closed to make room
    /// [range: 1 to 1000000]
    #[arg(long, env = "ATTO_WORK_MAX_CONNECTIONS", value_name = "COUNT", default_value = "10000", value_parser = count(1, 1_000_000), help_heading = "Connections", hide_short_help = true)]
    pub max_connections: usize,

    /// Seconds for the head of a request to arrive; fractions allowed [range: 0.1 to 3600]
    #[arg(long, env = "ATTO_WORK_HEADER_TIMEOUT", value_name = "SECONDS", default_value = "10", value_parser = seconds(0.1), help_heading = "Connections", hide_short_help = true)]
    pub header_timeout: Duration,

    /// Seconds for the body of a request to arrive, and for a client to read some of its answer; fractions allowed
    /// [range: 0.1 to 3600]
    #[arg(long, env = "ATTO_WORK_BODY_TIMEOUT", value_name = "SECONDS", default_value = "10", value_parser = seconds(0.1), help_heading = "Connections", hide_short_help = true)]
    pub body_timeout: Duration,

    /// Seconds that a connection may stay open without a request; fractions allowed [range: 0.1 to 3600]
    #[arg(long, env = "ATTO_WORK_IDLE_TIMEOUT", value_name = "SECONDS", default_value = "75", value_parser = seconds(0.1), help_heading = "Connections", hide_short_help = true)]
    pub idle_timeout: Duration,

    /// Seconds until the client of a connection is asked to reconnect, so that a server added behind a load balancer
    /// gets its share of the clients; fractions allowed [range: 1 to 3600]
    #[arg(long, env = "ATTO_WORK_MAX_CONNECTION_AGE", value_name = "SECONDS", default_value = "30", value_parser = seconds(1.0), help_heading = "Connections", hide_short_help = true)]
    pub max_connection_age: Duration,

    /// File of API keys; a client must send one of them. Reloaded when it changes [default: no key is needed]
    #[arg(
        long,
        env = "ATTO_WORK_API_KEYS_FILE",
        value_name = "PATH",
        help_heading = "Access"
    )]
    pub api_keys_file: Option<PathBuf>,

    /// Requests in progress allowed to the API keys of one name; one more is refused with 429 [range: 1 to 100000]
    #[arg(long, env = "ATTO_WORK_API_KEY_REQUESTS", value_name = "COUNT", default_value = "64", value_parser = count(1, 100_000), help_heading = "Access", hide_short_help = true)]
    pub api_key_requests: usize,

    /// Allowed CORS origins: `*`, or a comma-separated list such as `https://wallet.example` [default: none]
    #[arg(
        long,
        env = "ATTO_WORK_CORS_ORIGINS",
        value_name = "LIST",
        help_heading = "Access",
        hide_short_help = true
    )]
    pub cors_origins: Option<CorsOrigins>,

    /// Host names by which requests may address this server, on all ports: a comma-separated list such as
    /// `work.example`; IP addresses and `localhost` are always allowed [default: any]
    #[arg(
        long,
        env = "ATTO_WORK_ALLOWED_HOSTS",
        value_name = "LIST",
        help_heading = "Access",
        hide_short_help = true
    )]
    pub allowed_hosts: Option<AllowedHosts>,

    /// Whether clients without an API key are told apart by their addresses, so that one with many requests does not make
    /// others wait. Set `false` if a gateway sends the requests of many clients
    #[arg(long, env = "ATTO_WORK_FAIR_BY_ADDRESS", value_name = "BOOL", default_value = "true", action = ArgAction::Set, help_heading = "Access", hide_short_help = true)]
    pub fair_by_address: bool,

    /// Seconds after SIGTERM or SIGINT for which the server is not ready but still serves every request; fractions allowed
    /// [range: 0 to 3600]
    #[arg(long, env = "ATTO_WORK_SHUTDOWN_DELAY", value_name = "SECONDS", default_value = "0", value_parser = seconds(0.0), help_heading = "Stopping")]
    pub shutdown_delay: Duration,

    /// Seconds after that delay for accepted requests to finish; fractions allowed [range: 0 to 3600]
    #[arg(long, env = "ATTO_WORK_SHUTDOWN_GRACE", value_name = "SECONDS", default_value = "25", value_parser = seconds(0.0), help_heading = "Stopping", hide_short_help = true)]
    pub shutdown_grace: Duration,

    /// Format of log lines on standard output [default: text on a terminal, else json]
    #[arg(
        long,
        env = "ATTO_WORK_LOG_FORMAT",
        value_enum,
        ignore_case = true,
        help_heading = "Log"
    )]
    pub log_format: Option<LogFormat>,
}

impl ServeArgs {
    /// The rules of access: API keys, CORS origins and allowed hosts.
    ///
    /// # Errors
    ///
    /// [`KeysError`] if the file of API keys cannot be read or has a wrong line.
    pub fn access(&self) -> Result<AccessRules, KeysError> {
        let requests = NonZeroUsize::new(self.api_key_requests).unwrap_or(NonZeroUsize::MIN);
        let open = |path| Keys::open(path, requests);
        Ok(AccessRules {
            keys: self.api_keys_file.clone().map(open).transpose()?,
            origins: self.cors_origins.clone(),
            hosts: self.allowed_hosts.clone(),
            by_address: self.fair_by_address,
        })
    }

    /// The format of log lines.
    pub fn log_format(&self) -> LogFormat {
        self.log_format
            .unwrap_or_else(LogFormat::of_standard_output)
    }

    /// Every setting for the status page, in the order of `--help`. `matches` is what these flags were read from; a
    /// value is shown as it was given. No setting is a secret: for API keys it is the path of their file.
    pub fn configuration(&self, matches: &ArgMatches) -> Vec<Setting> {
        let command = Self::augment_args(clap::Command::new("serve"));
        let setting = |argument: &Arg| {
            let id = argument.get_id().as_str();
            let given = matches.get_raw(id).into_iter().flatten().next();
            // Another program's variable may have set the default.
            let is_own = given == argument.get_default_values().first().map(|own| &**own);
            let given = given.map(|value| value.to_string_lossy().into_owned());
            let source = matches.value_source(id);
            Some(Setting {
                variable: argument.get_env()?.to_string_lossy().into_owned(),
                value: match id {
                    // The defaults of these depend on where the process runs, so clap has none to show.
                    "threads" => Some(self.devices.choice().threads.to_string()),
                    "log_format" => Some(self.log_format().to_string()),
                    _ => given,
                },
                is_default: is_own
                    && source.is_none_or(|source| source == ValueSource::DefaultValue),
            })
        };
        command.get_arguments().filter_map(setting).collect()
    }

    /// Those of `defaults` that are in use: neither the setting's flag nor its own variable was given. `matches` is what
    /// these flags were read from.
    pub fn used<'a>(
        matches: &ArgMatches,
        defaults: &'a [ForeignDefault],
    ) -> impl Iterator<Item = &'a ForeignDefault> {
        let command = Self::augment_args(clap::Command::new("serve"));
        let is_used = move |default: &&ForeignDefault| {
            let mut arguments = command.get_arguments();
            let argument = arguments.find(|argument| {
                argument
                    .get_env()
                    .is_some_and(|name| name == default.setting)
            });
            argument.is_some_and(|argument| {
                let source = matches.value_source(argument.get_id().as_str());
                source == Some(ValueSource::DefaultValue)
            })
        };
        defaults.iter().filter(is_used)
    }

    /// The service's limits.
    pub fn settings(&self) -> Settings {
        Settings {
            limits: Limits {
                deadline: Some(self.deadline),
                answers: AnswerCache {
                    entries: self.answer_memory,
                    ..AnswerCache::DEFAULT
                },
                ..Limits::new(
                    NonZeroUsize::new(self.queue_size).unwrap_or(NonZeroUsize::MIN),
                    self.queue_capacity,
                )
            },
            connections: ConnectionLimits {
                open: NonZeroUsize::new(self.max_connections).unwrap_or(NonZeroUsize::MIN),
                header: self.header_timeout,
                body: self.body_timeout,
                idle: self.idle_timeout,
                age: self.max_connection_age,
            },
            nano: NanoSettings {
                difficulties: Difficulties {
                    base: self.nano_difficulty,
                    most: self.nano_max_multiplier,
                },
                connections: NonZeroUsize::new(self.nano_max_connections)
                    .unwrap_or(NonZeroUsize::MIN),
            },
            delay: self.shutdown_delay,
            grace: self.shutdown_grace,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    /// The settings that the status page shows for these flags, with nothing of the environment that the tests run in.
    fn shown(flags: &[&str]) -> Vec<Setting> {
        let command = ServeArgs::augment_args(clap::Command::new("serve"))
            .mut_args(|argument| argument.env(None::<&str>));
        let matches = command.get_matches_from([&["serve"], flags].concat());
        let args = ServeArgs::from_arg_matches(&matches).unwrap();
        args.configuration(&matches)
    }

    #[test]
    fn every_variable_is_shown_in_the_order_of_help() {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let variables: Vec<_> = command
            .get_arguments()
            .filter_map(|argument| argument.get_env()?.to_str())
            .collect();
        let shown = shown(&[]);
        let names: Vec<_> = shown.iter().map(|setting| &setting.variable).collect();
        assert_eq!(names, variables);
        let changed: Vec<_> = shown.iter().filter(|setting| !setting.is_default).collect();
        assert_eq!(changed, Vec::<&Setting>::new());
        let value = |variable: &str| {
            let mut settings = shown.iter();
            let setting = settings.find(|setting| setting.variable == variable);
            setting.unwrap().value.as_deref()
        };
        assert_eq!(value("ATTO_WORK_DEADLINE"), Some("3600"));
        assert_eq!(value("ATTO_WORK_KERNEL"), None);
        let threads = value("ATTO_WORK_THREADS").unwrap();
        assert!(threads.parse::<usize>().unwrap() >= 1, "{threads}");
    }

    #[test]
    fn a_given_setting_is_not_shown_as_default_even_if_it_has_the_default_value() {
        let flags = [
            "--backend=cpu",
            "--device=0,L4",
            "--threads=3",
            "--deadline=1.5",
            "--api-keys-file=keys",
            "--cors-origins=https://a.example, https://b.example",
            "--shutdown-grace=25",
            "--log-format=json",
        ];
        let shown = shown(&flags);
        let given: Vec<_> = shown
            .iter()
            .filter(|setting| !setting.is_default)
            .map(|setting| (&*setting.variable, setting.value.as_deref().unwrap()))
            .collect();
        assert_eq!(
            given,
            [
                ("ATTO_WORK_BACKEND", "cpu"),
                ("ATTO_WORK_DEVICE", "0,L4"),
                ("ATTO_WORK_THREADS", "3"),
                ("ATTO_WORK_DEADLINE", "1.5"),
                ("ATTO_WORK_API_KEYS_FILE", "keys"),
                (
                    "ATTO_WORK_CORS_ORIGINS",
                    "https://a.example, https://b.example"
                ),
                ("ATTO_WORK_SHUTDOWN_GRACE", "25"),
                ("ATTO_WORK_LOG_FORMAT", "json"),
            ]
        );
    }

    #[test]
    fn a_default_set_by_another_programs_variable_is_shown_as_set_and_reported_if_used() {
        let default = |setting, default: &str| ForeignDefault {
            variable: "SERVER_PORT",
            given: "9000".to_owned(),
            setting,
            default: default.to_owned(),
        };
        let defaults = [
            default("ATTO_WORK_ADDRESS", "[::]:9000"),
            default("ATTO_WORK_SHUTDOWN_GRACE", "18"),
        ];
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let command = Environment::default().with_defaults(command, &defaults);
        let command = command.mut_args(|argument| argument.env(None::<&str>));
        let matches = command.get_matches_from(["serve", "--shutdown-grace", "25"]);
        let args = ServeArgs::from_arg_matches(&matches).unwrap();
        assert_eq!(args.address, "[::]:9000".parse().unwrap());
        assert_eq!(args.shutdown_grace, Duration::from_secs(25));
        let used: Vec<_> = ServeArgs::used(&matches, &defaults).collect();
        assert_eq!(used, [&defaults[0]]);
        let shown = args.configuration(&matches);
        let mut given = shown.iter().filter(|setting| !setting.is_default);
        assert_eq!(given.next().unwrap().variable, "ATTO_WORK_ADDRESS");
        assert_eq!(given.next().unwrap().variable, "ATTO_WORK_SHUTDOWN_GRACE");
    }
}
