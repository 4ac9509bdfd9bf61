//! The standard `OTEL_*` variables
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).
//!
//! They are read here because the SDK takes white space around a value as part of it and silently ignores a wrong
//! value. Variables that would lose traces silently are reported; those that only change their form or cost are not.
//! The SDK itself reads the headers and the limits of a span.

mod attributes;

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use warp::http::{HeaderName, Uri};

use super::export::{Export, Protocol, Sampling};
use super::tls::Authorities;

/// What is wrong with a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) variable: &'static str,
    pub(super) reason: String,
}

/// The configuration that the variables ask for.
#[derive(Debug, PartialEq)]
pub(super) struct Environment {
    /// Whether a caller's trace is continued.
    pub(super) continues: bool,
    /// `None` if nothing is to be exported; an error if it should be but cannot.
    pub(super) export: Result<Option<Export>, Complaint>,
    /// Wrong values, which defaults replace.
    pub(super) complaints: Vec<Complaint>,
}

/// Reads the variables. An empty variable counts as not set.
pub(super) fn read(lookup: impl Fn(&str) -> Option<String>) -> Environment {
    let mut reader = Reader {
        lookup,
        complaints: Vec::new(),
    };
    Environment {
        continues: reader.continues(),
        export: reader.export(),
        complaints: reader.complaints,
    }
}

/// A variable for traces alone, and the variable for all signals, which counts if the first is not set.
type Pair = [&'static str; 2];

const ENDPOINTS: Pair = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const PROTOCOLS: Pair = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const TIMEOUTS: Pair = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];
const COMPRESSIONS: Pair = [
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
];
const HEADERS: Pair = [
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
];
const CERTIFICATES: Pair = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
];
/// The variables for a client certificate, which this process cannot present.
const CLIENT_CERTIFICATES: Pair = [
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
];
const INSECURE: Pair = [
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    "OTEL_EXPORTER_OTLP_INSECURE",
];

/// The path that OTLP over HTTP adds to the endpoint of all signals.
const TRACES: &str = "/v1/traces";

/// Bounds the queue and the batch: their places, of some 400 bytes each, are allocated at the start.
const MOST_SPANS: usize = 65_536;

/// Where spans go.
struct Endpoint {
    /// The whole URL.
    url: String,
    /// The URL as the log shows it.
    shown: String,
    is_tls: bool,
}

struct Reader<L> {
    lookup: L,
    complaints: Vec<Complaint>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    fn get(&self, variable: &str) -> Option<String> {
        let value = (self.lookup)(variable)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    /// The variable of the pair that counts, and its value.
    fn first(&self, pair: Pair) -> Option<(&'static str, String)> {
        pair.into_iter()
            .find_map(|variable| Some((variable, self.get(variable)?)))
    }

    fn complain(&mut self, variable: &'static str, reason: impl Into<String>) {
        self.complaints.push(Complaint {
            variable,
            reason: reason.into(),
        });
    }

    /// Whether `tracecontext`, the one propagator here, is switched on.
    fn continues(&self) -> bool {
        let list = self.get("OTEL_PROPAGATORS");
        list.is_none_or(|list| list.split(',').any(|name| name.trim() == "tracecontext"))
    }

    fn is_true(value: Option<String>) -> bool {
        value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn export(&mut self) -> Result<Option<Export>, Complaint> {
        const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
        if Self::is_true(self.get("OTEL_SDK_DISABLED")) {
            return Ok(None);
        }
        let exporter = self.get(EXPORTER);
        match exporter.as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                return Err(Complaint {
                    variable: EXPORTER,
                    reason: format!("is {other:?}; it must be otlp or none"),
                });
            }
        }
        let Some((variable, endpoint)) = self.first(ENDPOINTS) else {
            if exporter.is_some() {
                let reason = format!("there is no {}: no traces are exported", ENDPOINTS[1]);
                self.complain(EXPORTER, reason);
            }
            return Ok(None);
        };
        let protocol = self.protocol()?;
        let Endpoint { url, shown, is_tls } = self.endpoint(variable, &endpoint, protocol)?;
        self.check_headers();
        let compression = self.first(COMPRESSIONS);
        let queue = self.spans("OTEL_BSP_MAX_QUEUE_SIZE", 2048);
        let batch = self.spans("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512);
        let delay = self.number("OTEL_BSP_SCHEDULE_DELAY", 5000);
        let timeout = self.first(TIMEOUTS).map_or(TIMEOUTS[1], |(name, _)| name);
        Ok(Some(Export {
            protocol,
            url,
            endpoint: shown,
            tls: is_tls.then(|| self.authorities()),
            gzip: compression.is_some_and(|(_, name)| name.eq_ignore_ascii_case("gzip")),
            sampling: self.sampling(),
            timeout: Duration::from_millis(self.number(timeout, 10_000)),
            queue,
            batch: batch.min(queue),
            delay: Duration::from_millis(delay),
            attributes: self.attributes(),
        }))
    }

    fn attributes(&mut self) -> Vec<(String, String)> {
        const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let list = self.get(ATTRIBUTES).unwrap_or_default();
        attributes::read(&list).unwrap_or_else(|reason| {
            self.complain(ATTRIBUTES, reason);
            Vec::new()
        })
    }

    fn protocol(&self) -> Result<Protocol, Complaint> {
        match self.first(PROTOCOLS) {
            None => Ok(Protocol::Http),
            Some((_, value)) if value == "http/protobuf" => Ok(Protocol::Http),
            Some((_, value)) if value == "grpc" => Ok(Protocol::Grpc),
            Some((variable, value)) => Err(Complaint {
                variable,
                reason: format!("is {value:?}; it must be http/protobuf or grpc"),
            }),
        }
    }

    /// Whose certificates are trusted.
    fn authorities(&mut self) -> Authorities {
        if let Some((variable, _)) = self.first(CLIENT_CERTIFICATES) {
            let reason = "is not supported: the collector gets no certificate of this process";
            self.complain(variable, reason);
        }
        self.first(CERTIFICATES)
            .map_or(Authorities::System, |(_, path)| {
                Authorities::File(path.into())
            })
    }

    fn endpoint(
        &mut self,
        variable: &'static str,
        given: &str,
        protocol: Protocol,
    ) -> Result<Endpoint, Complaint> {
        let wrong = |reason: &str| {
            Err(Complaint {
                variable,
                reason: reason.to_owned(),
            })
        };
        let Ok(uri) = given.parse::<Uri>() else {
            return wrong("is not a URL such as http://collector:4318");
        };
        let is_plain = Self::is_true(self.first(INSECURE).map(|(_, value)| value));
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            None if protocol == Protocol::Grpc && is_plain => false,
            _ => return wrong("must have the scheme http or https"),
        };
        let Some(authority) = uri.authority().filter(|all| !all.host().is_empty()) else {
            return wrong("names no host");
        };
        if authority.as_str().contains('@') {
            let reason = format!(
                "has a user name in it, which is not sent: use {}",
                HEADERS[1]
            );
            self.complain(variable, reason);
        }
        let port = uri.port().map_or(String::new(), |port| format!(":{port}"));
        let scheme = if is_tls { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}{port}", authority.host());
        let query = uri
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        let path = match protocol {
            // gRPC's path names its method.
            Protocol::Grpc => String::new(),
            Protocol::Http if variable == ENDPOINTS[0] => format!("{}{query}", uri.path()),
            Protocol::Http => format!("{}{TRACES}{query}", uri.path().trim_end_matches('/')),
        };
        if variable == ENDPOINTS[1] && uri.path().trim_end_matches('/').ends_with(TRACES) {
            let [own, _] = ENDPOINTS;
            let reason =
                format!("ends with {TRACES}, which is appended anyway: leave it out, or use {own}");
            self.complain(variable, reason);
        }
        let shown = path.split('?').next().unwrap_or_default();
        Ok(Endpoint {
            shown: format!("{endpoint}{shown}"),
            url: format!("{endpoint}{path}"),
            is_tls,
        })
    }

    /// A number of spans, bounded by [`MOST_SPANS`].
    fn spans(&mut self, variable: &'static str, default: usize) -> usize {
        let number = self.number(variable, default);
        if number > MOST_SPANS {
            let reason = format!("{number} is too many; {MOST_SPANS} is used");
            self.complain(variable, reason);
        }
        number.min(MOST_SPANS)
    }

    /// A number above zero.
    fn number<T: FromStr + From<u16> + PartialOrd + Display>(
        &mut self,
        variable: &'static str,
        default: T,
    ) -> T {
        let Some(value) = self.get(variable) else {
            return default;
        };
        match value.parse() {
            Ok(number) if number >= T::from(1) => number,
            _ => {
                let reason = format!("{value:?} is not a number above zero; {default} is used");
                self.complain(variable, reason);
                default
            }
        }
    }

    /// Reports headers that the SDK drops without a word: a collector may need them to accept traces, or to file them.
    fn check_headers(&mut self) {
        for variable in HEADERS {
            let headers = self.get(variable).unwrap_or_default();
            let wrong = headers
                .split_terminator(',')
                .filter(|header| !header.contains('='))
                .count();
            if wrong > 0 {
                // Without their text, which may be a secret.
                let reason = format!("{wrong} of its entries are not NAME=VALUE");
                self.complain(variable, reason);
            }
            for (name, _) in headers
                .split(',')
                .filter_map(|header| header.split_once('='))
            {
                if HeaderName::try_from(name.trim()).is_err() {
                    // Only its beginning: a secret may stand where the name should.
                    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                    let end = name
                        .trim()
                        .find(|c| !is_of_a_name(c))
                        .unwrap_or(name.trim().len());
                    let begin = &name.trim()[..end];
                    let reason = format!(
                        "the name that begins with {begin:?} is not a header name: it is not sent"
                    );
                    self.complain(variable, reason);
                }
            }
        }
        let [hiding, hidden] = HEADERS;
        let is_empty = (self.lookup)(hiding).is_some() && self.get(hiding).is_none();
        if is_empty && self.get(hidden).is_some() {
            let reason = format!("is set and empty, so that {hidden} is not sent");
            self.complain(hiding, reason);
        }
    }

    fn sampling(&mut self) -> Sampling {
        const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
        let Some(sampler) = self.get(SAMPLER) else {
            return Sampling::DEFAULT;
        };
        let own = sampler.strip_prefix("parentbased_");
        let share = match own.unwrap_or(&sampler) {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => self.ratio(),
            _ => {
                let reason =
                    format!("{sampler:?} is not a known sampler: parentbased_always_on is used");
                self.complain(SAMPLER, reason);
                return Sampling::DEFAULT;
            }
        };
        Sampling {
            follows_caller: own.is_some(),
            share,
        }
    }

    fn ratio(&mut self) -> f64 {
        const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";
        let value = self.get(RATIO).unwrap_or_default();
        match value.parse() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                let reason =
                    format!("{value:?} is not a ratio from 0 to 1: all requests are sampled");
                self.complain(RATIO, reason);
                1.0
            }
        }
    }
}

#[cfg(test)]
mod tests;
