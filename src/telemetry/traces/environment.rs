//! The standard `OTEL_*` variables. The SDK is told what they come to, since it reads them otherwise, white space around a
//! value included, and ignores in silence what they have wrong. It reads the headers, which it trims, and the resource's
//! attributes by itself (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use warp::http::Uri;

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Protobuf in the bodies of HTTP/1.1 requests.
    Http,
    Grpc,
}

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http/protobuf",
            Self::Grpc => "grpc",
        })
    }
}

/// Which requests are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    /// Whether those whose caller has decided are as the caller has it.
    pub(super) follows_caller: bool,
    /// The share of the others, from 0 to 1.
    pub(super) share: f64,
}

/// Where spans go, and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Export {
    pub(super) protocol: Protocol,
    /// The whole of it, without a user and a password.
    pub(super) url: String,
    /// For the log: without what may be a secret.
    pub(super) endpoint: String,
    pub(super) gzip: bool,
    pub(super) sampling: Sampling,
    /// The most of each that a span has, if that is bounded.
    pub(super) attributes: Option<u32>,
    pub(super) events: Option<u32>,
    /// For one batch.
    pub(super) timeout: Duration,
    /// How many spans may wait.
    pub(super) queue: usize,
    /// How many go at once.
    pub(super) batch: usize,
    /// How long the first of a batch waits for others.
    pub(super) delay: Duration,
}

/// What is wrong with a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) variable: &'static str,
    pub(super) reason: String,
}

/// What the variables say.
#[derive(Debug, PartialEq)]
pub(super) struct Environment {
    /// Whether a caller's trace is continued.
    pub(super) continues: bool,
    /// None if nothing is to be exported, and an error if it should be but cannot.
    pub(super) export: Result<Option<Export>, Complaint>,
    /// What is ignored since it is wrong.
    pub(super) complaints: Vec<Complaint>,
}

/// Reads the variables. One that is empty is as good as not set.
pub(super) fn read(lookup: impl Fn(&str) -> Option<String>) -> Environment {
    let mut reader = Reader {
        lookup,
        complaints: Vec::new(),
    };
    let continues = reader.continues();
    let export = reader.export();
    Environment {
        continues,
        complaints: match &export {
            // Where nothing is exported, the rest has no meaning that could be wrong.
            Ok(None) | Err(_) => reader.complaints,
            Ok(Some(_)) => {
                reader.check_headers();
                reader.name_what_has_no_effect();
                reader.complaints
            }
        },
        export,
    }
}

struct Reader<L> {
    lookup: L,
    complaints: Vec<Complaint>,
}

/// The same for all signals and for traces alone, of which the latter counts.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const TIMEOUTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];
const COMPRESSIONS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
];
const HEADERS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
];
const INSECURE: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    "OTEL_EXPORTER_OTLP_INSECURE",
];
/// What is read by nobody here, nor by the SDK.
const WITHOUT_EFFECT: [&str; 7] = [
    // OTEL_EXPORTER_OTLP_TIMEOUT is for a batch with everything that is tried again.
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    // There are no links.
    "OTEL_SPAN_LINK_COUNT_LIMIT",
];

/// The most spans that may wait, or go at once: the places for them are made at the start, of some 400 bytes each.
const MOST: usize = 65_536;

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    fn get(&self, variable: &str) -> Option<String> {
        let value = (self.lookup)(variable)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    /// The first of these that is set.
    fn first(&self, variables: [&'static str; 2]) -> Option<(&'static str, String)> {
        let mut values = variables
            .iter()
            .map(|&variable| Some((variable, self.get(variable)?)));
        values.find_map(|value| value)
    }

    fn complain(&mut self, variable: &'static str, reason: impl Into<String>) {
        self.complaints.push(Complaint {
            variable,
            reason: reason.into(),
        });
    }

    /// Whether the list of propagators has the one that there is. Baggage would be carried on, but there is nobody to
    /// carry it to.
    fn continues(&mut self) -> bool {
        const VARIABLE: &str = "OTEL_PROPAGATORS";
        let Some(list) = self.get(VARIABLE) else {
            return true;
        };
        let mut continues = false;
        for name in list.split(',').map(str::trim) {
            match name {
                "tracecontext" => continues = true,
                "baggage" | "none" | "" => {}
                other => self.complain(
                    VARIABLE,
                    format!("{other:?} is neither tracecontext nor baggage nor none"),
                ),
            }
        }
        continues
    }

    fn is_true(&mut self, variable: &'static str) -> bool {
        match self.get(variable).as_deref() {
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            None => false,
            Some(value) if value.eq_ignore_ascii_case("false") => false,
            Some(value) => {
                let reason = format!("{value:?} is neither true nor false");
                self.complain(variable, reason);
                false
            }
        }
    }

    fn export(&mut self) -> Result<Option<Export>, Complaint> {
        if self.is_true("OTEL_SDK_DISABLED") {
            return Ok(None);
        }
        const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
        let exporter = self.get(EXPORTER);
        match exporter.as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                return Err(Complaint {
                    variable: EXPORTER,
                    reason: format!("is {other:?}, but there are only otlp and none"),
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
        let (url, endpoint) = self.endpoint(variable, &endpoint, protocol)?;
        let queue = self.number_up_to_most("OTEL_BSP_MAX_QUEUE_SIZE", 2048);
        let batch = self.number_up_to_most("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512);
        let delay = self.number("OTEL_BSP_SCHEDULE_DELAY", 5000);
        let timeout = match TIMEOUTS.iter().find(|name| self.get(name).is_some()) {
            Some(variable) => self.number(variable, 10_000),
            None => 10_000,
        };
        Ok(Some(Export {
            protocol,
            url,
            endpoint,
            gzip: self.gzip(),
            sampling: self.sampling(),
            attributes: self.limit("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
            events: self.limit("OTEL_SPAN_EVENT_COUNT_LIMIT"),
            timeout: Duration::from_millis(timeout),
            queue,
            batch: batch.min(queue),
            delay: Duration::from_millis(delay),
        }))
    }

    fn protocol(&mut self) -> Result<Protocol, Complaint> {
        match self.first(PROTOCOLS) {
            None => Ok(Protocol::Http),
            Some((_, value)) if value == "http/protobuf" => Ok(Protocol::Http),
            Some((_, value)) if value == "grpc" => Ok(Protocol::Grpc),
            Some((variable, value)) => Err(Complaint {
                variable,
                reason: format!("is {value:?}, but there are only http/protobuf and grpc"),
            }),
        }
    }

    /// The endpoint, whole and for the log, if it is one that can be reached.
    fn endpoint(
        &mut self,
        variable: &'static str,
        given: &str,
        protocol: Protocol,
    ) -> Result<(String, String), Complaint> {
        let wrong = |reason: &str| {
            Err(Complaint {
                variable,
                reason: reason.to_owned(),
            })
        };
        let Ok(uri) = given.parse::<Uri>() else {
            return wrong("is no URL, such as http://collector:4318");
        };
        let insecure = self.first(INSECURE);
        let insecure = insecure.is_some_and(|(variable, _)| self.is_true(variable));
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return wrong(
                    "has the scheme https, which is not supported: name a collector or an agent inside the cluster, \
                     which may speak TLS to the outside",
                );
            }
            None if protocol == Protocol::Grpc && insecure => {}
            _ => return wrong("has no scheme, or another than http"),
        }
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return wrong("names no host");
        };
        if uri
            .authority()
            .is_some_and(|all| all.as_str().contains('@'))
        {
            let reason = format!("has a user in it, who is not sent: use {}", HEADERS[1]);
            self.complain(variable, reason);
        }
        let port = uri.port().map_or(String::new(), |port| format!(":{port}"));
        let endpoint = format!("http://{host}{port}");
        let query = uri
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        let path = match protocol {
            // The path is the method's.
            Protocol::Grpc => String::new(),
            Protocol::Http if variable == ENDPOINTS[0] => format!("{}{query}", uri.path()),
            Protocol::Http => format!("{}/v1/traces{query}", uri.path().trim_end_matches('/')),
        };
        Ok((format!("{endpoint}{path}"), endpoint))
    }

    fn number_up_to_most(&mut self, variable: &'static str, default: usize) -> usize {
        let number = self.number(variable, default);
        if number > MOST {
            self.complain(variable, format!("{number} is too many; it is {MOST}"));
        }
        number.min(MOST)
    }

    fn limit(&mut self, variable: &'static str) -> Option<u32> {
        let value = self.get(variable)?;
        let limit = value.parse().ok();
        if limit.is_none() {
            self.complain(variable, format!("{value:?} is no number"));
        }
        limit
    }

    fn gzip(&mut self) -> bool {
        let Some((variable, value)) = self.first(COMPRESSIONS) else {
            return false;
        };
        let gzip = value.eq_ignore_ascii_case("gzip");
        if !gzip && !value.eq_ignore_ascii_case("none") {
            self.complain(variable, format!("{value:?} is neither gzip nor none"));
        }
        gzip
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
                let reason = format!("{value:?} is no number above zero; it stays at {default}");
                self.complain(variable, reason);
                default
            }
        }
    }

    /// Names what the SDK, which reads these by itself, ignores without a word.
    fn check_headers(&mut self) {
        for variable in HEADERS {
            let headers = self.get(variable).unwrap_or_default();
            // Their text is not repeated: it is where secrets stand.
            let wrong = headers
                .split_terminator(',')
                .filter(|header| !header.contains('='))
                .count();
            if wrong > 0 {
                let reason = format!("{wrong} of its entries are not NAME=VALUE");
                self.complain(variable, reason);
            }
        }
        let [hiding, hidden] = HEADERS;
        let is_empty = (self.lookup)(hiding).is_some() && self.get(hiding).is_none();
        if is_empty && self.get(hidden).is_some() {
            self.complain(
                hiding,
                format!("is set and empty, so that {hidden} is not sent"),
            );
        }
    }

    fn name_what_has_no_effect(&mut self) {
        for variable in WITHOUT_EFFECT {
            if self.get(variable).is_some() {
                self.complain(variable, "has no effect here");
            }
        }
    }

    fn sampling(&mut self) -> Sampling {
        const VARIABLE: &str = "OTEL_TRACES_SAMPLER";
        let sampler = self.get(VARIABLE);
        let sampler = sampler.as_deref().unwrap_or("parentbased_always_on");
        let own = sampler.strip_prefix("parentbased_");
        let share = match own.unwrap_or(sampler) {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => self.ratio(),
            _ => {
                let reason = format!(
                    "{sampler:?} is no sampler that there is: parentbased_always_on is used"
                );
                self.complain(VARIABLE, reason);
                return Sampling {
                    follows_caller: true,
                    share: 1.0,
                };
            }
        };
        Sampling {
            follows_caller: own.is_some(),
            share,
        }
    }

    fn ratio(&mut self) -> f64 {
        const VARIABLE: &str = "OTEL_TRACES_SAMPLER_ARG";
        let value = self.get(VARIABLE).unwrap_or_default();
        match value.parse() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                let reason = format!("{value:?} is no ratio from 0 to 1: all are sampled");
                self.complain(VARIABLE, reason);
                1.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these variables say.
    fn reading(variables: &[(&str, &str)]) -> Environment {
        read(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// With an endpoint, unless there is another.
    fn exporting(more: &[(&str, &str)]) -> Environment {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        reading(&[more, &[endpoint]].concat())
    }

    fn complaints(environment: &Environment) -> Vec<&str> {
        let complaints = environment.complaints.iter();
        complaints.map(|complaint| complaint.variable).collect()
    }

    #[test]
    fn nothing_is_exported_without_an_endpoint() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[("OTEL_TRACES_EXPORTER", "otlp")],
        ] {
            let read = reading(variables);
            assert_eq!((read.export, read.continues), (Ok(None), true));
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_specification() {
        let read = exporting(&[]);
        assert_eq!(
            read.export,
            Ok(Some(Export {
                protocol: Protocol::Http,
                url: "http://collector:4318/v1/traces".to_owned(),
                endpoint: "http://collector:4318".to_owned(),
                gzip: false,
                sampling: Sampling {
                    follows_caller: true,
                    share: 1.0,
                },
                attributes: None,
                events: None,
                timeout: Duration::from_secs(10),
                queue: 2048,
                batch: 512,
                delay: Duration::from_secs(5),
            }))
        );
        assert_eq!(read.complaints, []);
    }

    #[test]
    fn what_is_for_traces_alone_counts() {
        let read = exporting(&[
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://user:secret@other/path",
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ]);
        let export = read.export.unwrap().unwrap();
        assert_eq!(export.endpoint, "http://other", "without the secret");
        assert_eq!(
            export.url, "http://other",
            "without a path, which gRPC has itself"
        );
        assert_eq!(export.protocol, Protocol::Grpc);
        assert_eq!(export.timeout, Duration::from_secs(2));
        assert_eq!((export.queue, export.batch), (100, 100));
    }

    #[test]
    fn white_space_around_a_value_is_none_of_it() {
        let export = reading(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://collector:4318/base/\n",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000\n"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", " "),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip\n"),
            ("OTEL_TRACES_SAMPLER", "traceidratio\n"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.01\n"),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "7\n"),
        ]);
        assert_eq!(export.complaints, []);
        let export = export.export.unwrap().unwrap();
        assert_eq!(export.url, "http://collector:4318/base/v1/traces");
        assert_eq!((export.timeout.as_secs(), export.gzip), (2, true));
        let sampling = Sampling {
            follows_caller: false,
            share: 0.01,
        };
        assert_eq!((export.sampling, export.events), (sampling, Some(7)));
    }

    #[test]
    fn a_user_in_the_endpoint_goes_nowhere() {
        for (variable, path, protocol) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "", "grpc"),
        ] {
            let read = reading(&[
                (variable, "http://user:secret@[::1]:4318"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ]);
            assert_eq!(complaints(&read), [variable]);
            assert!(!format!("{read:?}").contains("secret"), "{read:?}");
            let export = read.export.unwrap().unwrap();
            assert_eq!(export.url, format!("http://[::1]:4318{path}"));
        }
    }

    #[test]
    fn what_is_set_in_vain_is_named() {
        let read = reading(&[("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!(complaints(&read), ["OTEL_TRACES_EXPORTER"]);
        let in_vain: Vec<_> = WITHOUT_EFFECT.map(|variable| (variable, "1")).to_vec();
        assert_eq!(complaints(&exporting(&in_vain)), WITHOUT_EFFECT);
        let hidden = exporting(&[
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", ""),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
        ]);
        assert_eq!(complaints(&hidden), [HEADERS[0]]);
    }

    #[test]
    fn no_more_spans_wait_than_there_may_be_places() {
        let read = exporting(&[
            ("OTEL_BSP_MAX_QUEUE_SIZE", "4000000000"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "65537"),
        ]);
        assert_eq!(complaints(&read).len(), 2);
        let export = read.export.unwrap().unwrap();
        assert_eq!((export.queue, export.batch), (65_536, 65_536));
    }

    #[test]
    fn it_can_be_switched_off() {
        for variable in [
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            let read = exporting(&[variable]);
            assert_eq!((read.export, read.complaints), (Ok(None), vec![]));
        }
        let read = exporting(&[("OTEL_SDK_DISABLED", "yes")]);
        assert!(read.export.unwrap().is_some());
        assert_eq!(read.complaints[0].variable, "OTEL_SDK_DISABLED");
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let cases = [
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "https://collector:4318",
                "https",
            ),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "scheme"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://", "no URL"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/json"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "zipkin"),
        ];
        for (variable, value, expected) in cases {
            let error = exporting(&[(variable, value)]).export.unwrap_err();
            assert_eq!(error.variable, variable);
            assert!(error.reason.contains(expected), "{error:?}");
        }
    }

    #[test]
    fn grpc_may_leave_the_scheme_out_where_it_is_said_to_be_plain() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ];
        let export = reading(&variables).export.unwrap().unwrap();
        assert_eq!(export.endpoint, "http://collector:4317");
        assert!(reading(&variables[..2]).export.is_err());
    }

    #[test]
    fn callers_are_followed_unless_it_is_switched_off() {
        for (value, continues, wrong) in [
            ("tracecontext,baggage", true, 0),
            ("baggage", false, 0),
            ("none", false, 0),
            ("b3, tracecontext", true, 1),
        ] {
            let read = reading(&[("OTEL_PROPAGATORS", value)]);
            assert_eq!(read.continues, continues, "{value}");
            assert_eq!(complaints(&read).len(), wrong, "{value}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_ignored() {
        let read = exporting(&[
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,secret"),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "few"),
        ]);
        assert_eq!(
            complaints(&read),
            [
                "OTEL_BSP_MAX_QUEUE_SIZE",
                "OTEL_BSP_SCHEDULE_DELAY",
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                "OTEL_TRACES_SAMPLER",
                "OTEL_SPAN_EVENT_COUNT_LIMIT",
                "OTEL_EXPORTER_OTLP_HEADERS",
            ]
        );
        let text = format!("{:?}", read.complaints);
        assert!(!text.contains("secret"), "{text}");
        let export = read.export.unwrap().unwrap();
        assert_eq!((export.queue, export.delay.as_secs()), (2048, 5));
    }

    #[test]
    fn a_sampler_is_checked_with_its_argument() {
        let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        for (argument, wrong) in [("0.01", 0), ("1", 0), ("1.5", 1), ("1 %", 1), ("", 1)] {
            let read = exporting(&[sampler, ("OTEL_TRACES_SAMPLER_ARG", argument)]);
            assert_eq!(complaints(&read).len(), wrong, "{argument:?}");
        }
    }
}
