//! Environment variables that are not settings: other programs' variables, which set defaults here, and misspelt ones,
//! which are reported.
//!
//! | variable | of | sets the default of |
//! | --- | --- | --- |
//! | `SPRING_PROFILES_ACTIVE` | the reference server | `ATTO_WORK_BACKEND` (`cpu`; `cuda`, `rocm`, `intel`), `ATTO_WORK_LOG_FORMAT` (`json`) |
//! | `SERVER_PORT` | the reference server | `ATTO_WORK_ADDRESS` |
//! | `MANAGEMENT_SERVER_PORT` | the reference server | `ATTO_WORK_MANAGEMENT_ADDRESS` |
//! | `LOGGING_LEVEL_ROOT` | the reference server | what is logged without `RUST_LOG` |
//! | `KUBERNETES_SERVICE_HOST` | Kubernetes | `ATTO_WORK_SHUTDOWN_DELAY`, `ATTO_WORK_SHUTDOWN_GRACE` |
//!
//! A setting's own flag or variable takes precedence. An empty variable counts as unset.

use std::collections::{BTreeMap, BTreeSet};

use tracing::level_filters::LevelFilter;

use crate::device::gpu::discovery::STARTED_AGAIN;

/// Variables of the process, without those that are empty or not Unicode.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

/// A default that another program's variable sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignDefault {
    /// The variable.
    pub variable: &'static str,
    /// Its value.
    pub given: String,
    /// The setting's own variable.
    pub setting: &'static str,
    /// The setting's default.
    pub default: String,
}

/// A variable of another program with a wrong value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is \"{given}\": {rule}")]
pub struct WrongVariable {
    variable: &'static str,
    given: String,
    rule: &'static str,
}

const PROFILES: &str = "SPRING_PROFILES_ACTIVE";
const LOG_LEVEL: &str = "LOGGING_LEVEL_ROOT";
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// Ports of the reference server, and the settings that they are part of.
const PORTS: [(&str, &str); 2] = [
    ("SERVER_PORT", "ATTO_WORK_ADDRESS"),
    ("MANAGEMENT_SERVER_PORT", "ATTO_WORK_MANAGEMENT_ADDRESS"),
];

/// Settings where Kubernetes runs the process. The endpoints of a Service take seconds to change. Delay, grace and
/// what follows fit into the 30 s that Kubernetes gives a pod by default.
const ON_KUBERNETES: [(&str, &str); 2] = [
    ("ATTO_WORK_SHUTDOWN_DELAY", "5"),
    ("ATTO_WORK_SHUTDOWN_GRACE", "18"),
];

/// Levels of Spring Boot.
const LEVELS: [(&str, LevelFilter); 8] = [
    ("TRACE", LevelFilter::TRACE),
    ("DEBUG", LevelFilter::DEBUG),
    ("INFO", LevelFilter::INFO),
    ("WARN", LevelFilter::WARN),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::ERROR),
    ("OFF", LevelFilter::OFF),
    ("FALSE", LevelFilter::OFF),
];

/// The similarity of two names, from 0 to 1, from which on one counts as the other misspelt.
const ALIKE: f64 = 0.75;

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::new(std::env::vars_os().filter_map(unicode))
    }

    fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables = variables.into_iter();
        Self(variables.filter(|(_, value)| !value.is_empty()).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether a variable is set and not empty.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The defaults that other programs' variables set. A setting whose own variable is set has none.
    ///
    /// # Errors
    ///
    /// [`WrongVariable`] if such a variable has a wrong value.
    pub fn foreign_defaults(&self) -> Result<Vec<ForeignDefault>, WrongVariable> {
        let mut defaults = Vec::new();
        let mut add = |variable, given: &str, setting, default: &str| {
            if !self.has(setting) {
                defaults.push(ForeignDefault {
                    variable,
                    given: given.to_owned(),
                    setting,
                    default: default.to_owned(),
                });
            }
        };
        let profiles = self.profiles();
        let is_active = |profile| profiles.contains(&profile);
        if let Some(given) = self.get(PROFILES) {
            // A card goes before the processor, which `auto` falls back to.
            if ["cuda", "rocm", "intel"].into_iter().any(is_active) {
                add(PROFILES, given, "ATTO_WORK_BACKEND", "auto");
            } else if is_active("cpu") {
                add(PROFILES, given, "ATTO_WORK_BACKEND", "cpu");
            }
            if is_active("json") {
                add(PROFILES, given, "ATTO_WORK_LOG_FORMAT", "json");
            }
        }
        for (variable, setting) in PORTS {
            // A Service of this name makes Kubernetes set the variable to `tcp://…`.
            let given = self
                .get(variable)
                .filter(|value| !is_address_of_service(value));
            if let Some(given) = given
                && !self.has(setting)
            {
                let port: u16 = given.trim().parse().map_err(|_| WrongVariable {
                    variable,
                    given: given.to_owned(),
                    rule: "it must be a port from 0 to 65535",
                })?;
                add(variable, given, setting, &format!("[::]:{port}"));
            }
        }
        if let Some(given) = self.get(KUBERNETES) {
            for (setting, default) in ON_KUBERNETES {
                add(KUBERNETES, given, setting, default);
            }
        }
        Ok(defaults)
    }

    fn profiles(&self) -> Vec<&str> {
        let profiles = self.get(PROFILES).into_iter();
        let profiles = profiles.flat_map(|text| text.split(',')).map(str::trim);
        profiles.filter(|profile| !profile.is_empty()).collect()
    }

    /// A command line with these defaults, in which an empty variable counts as unset.
    pub fn with_defaults(
        &self,
        command: clap::Command,
        defaults: &[ForeignDefault],
    ) -> clap::Command {
        command
            .mut_args(|argument| self.argument(argument, defaults))
            .mut_subcommands(|command| self.with_defaults(command, defaults))
    }

    fn argument(&self, argument: clap::Arg, defaults: &[ForeignDefault]) -> clap::Arg {
        let Some(variable) = argument.get_env().map(std::ffi::OsStr::to_owned) else {
            return argument;
        };
        let mut defaults = defaults.iter();
        let default = defaults.find(|default| variable == default.setting);
        let argument = match default {
            Some(default) => argument.default_value(default.default.clone()),
            None => argument,
        };
        match std::env::var_os(&variable) {
            Some(value) if value.is_empty() => argument.env(None::<&str>),
            _ => argument,
        }
    }

    /// The level of `LOGGING_LEVEL_ROOT`, if that is set and can be read.
    pub fn log_level(&self) -> Option<LevelFilter> {
        let given = self.get(LOG_LEVEL)?.trim();
        let mut levels = LEVELS.into_iter();
        let level = levels.find(|(name, _)| name.eq_ignore_ascii_case(given));
        level.map(|(_, level)| level)
    }

    /// Complaints about variables that this program does not use. `settings` are the variables of all settings.
    pub fn complaints(&self, settings: &BTreeSet<String>) -> Vec<String> {
        let mut complaints: Vec<_> = self
            .profiles()
            .into_iter()
            .filter(|profile| !["cpu", "cuda", "rocm", "intel", "json"].contains(profile))
            .map(|profile| {
                format!("{PROFILES} names \"{profile}\", which is ignored: cpu, cuda, rocm, intel and json are known")
            })
            .collect();
        if let Some(level) = self.get(LOG_LEVEL)
            && self.log_level().is_none()
        {
            complaints.push(format!(
                "{LOG_LEVEL} is \"{level}\" and is ignored: TRACE, DEBUG, INFO, WARN, ERROR and OFF are known"
            ));
        }
        let known = settings.iter().map(String::as_str).chain([PROFILES]);
        let known: BTreeSet<_> = known.collect();
        let unknown = self.0.iter().filter(|(name, value)| {
            (name.starts_with("ATTO_WORK_") || name.starts_with("SPRING_"))
                && !known.contains(name.as_str())
                && name.as_str() != STARTED_AGAIN
                && !is_of_service(name)
                && !is_address_of_service(value)
        });
        complaints.extend(unknown.map(|(name, _)| match nearest(name, &known) {
            Some(nearest) => {
                format!("{name} is not known and is ignored; did you mean {nearest}?")
            }
            None => format!("{name} is not known and is ignored"),
        }));
        complaints
    }
}

/// Whether Kubernetes makes a variable of this name for a Service, such as `ATTO_WORK_SERVER_PORT_8080_TCP`.
fn is_of_service(name: &str) -> bool {
    if name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
    {
        return true;
    }
    // …_PORT_8080_TCP, and then _PROTO, _PORT or _ADDR.
    let Some((_, rest)) = name.split_once("_PORT_") else {
        return false;
    };
    let mut parts = rest.split('_');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.next().is_some_and(is_number)
        && (parts.next()).is_some_and(|part| ["TCP", "UDP", "SCTP"].contains(&part))
}

/// Whether Kubernetes gives a variable this value for a Service, such as `ATTO_WORK_SERVER_PORT`.
fn is_address_of_service(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"]
        .into_iter()
        .any(|scheme| value.starts_with(scheme))
}

/// The known name that is most similar to this one, if any is similar enough.
fn nearest<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    // Without the common prefix, which would make all names similar.
    let bare = |name: &str| {
        let bare = name.strip_prefix("ATTO_WORK_");
        bare.unwrap_or(name).to_owned()
    };
    let likeness = |other: &&str| strsim::jaro_winkler(&bare(name), &bare(other));
    let nearest = known
        .iter()
        .map(|other| (likeness(other), *other))
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    (nearest.0 >= ALIKE).then_some(nearest.1)
}

#[cfg(test)]
mod tests;
