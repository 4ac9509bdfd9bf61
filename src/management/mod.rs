//! The management port, for probes, scrapers and people. It is read-only.
//!
//! | route | response |
//! | --- | --- |
//! | `GET /health` | 200 `UP` once requests are accepted, while a device is in service and the clock is right; else 503 `DOWN` |
//! | `GET /health/liveness` | 503 `DOWN` if no device is left in service, which a restart may fix; else, and while starting, 200 `UP` |
//! | `GET /health/readiness` | 200 `UP` while clients should send requests, a device is in service and the clock is right; else 503 `OUT_OF_SERVICE`. From the signal to stop on it is 503, although requests are still served |
//! | `GET /prometheus` | the metrics: `OpenMetrics` for clients that ask for it, as Prometheus does, else Prometheus's text |
//! | `GET /metrics` | the same; for a client that accepts JSON and no text, the names of the metrics |
//! | `GET /metrics/NAME` | one metric as JSON, narrowed by `?tag=NAME:VALUE` |
//! | `GET /` | the status page for browsers; for all others, links to the above |
//! | `GET /status.json` | the data of the status page |
//!
//! JSON has the media types of Spring Boot Actuator, see `actuator`.

mod accept;
mod actuator;
mod clock;
mod guard;
mod health;
mod server;
mod status;
mod status_page;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use warp::filters::path::FullPath;
use warp::http::uri::Authority;
use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::access::{AllowedHosts, named_host};
use crate::connections::{Arrival, Routes};
use crate::lifecycle::Lifecycle;
use crate::problem::{Problem, REQUEST_ID, RequestId};
use crate::scheduler::{DeviceState, Scheduler};
use crate::telemetry::Metrics;
use crate::work::Timestamp;
use accept::Accept;
pub use clock::watch_clock;
pub use server::Server;
pub use status::{About, Setting, observe};

/// The media type of `OpenMetrics`, in requests and in responses.
const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_VERSION: &str = "1.0.0";
const OPEN_METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Prometheus's own format.
const PROMETHEUS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// Every header field that this module reads. No other arrives.
static FIELDS: [HeaderName; 3] = [header::ACCEPT, header::HOST, REQUEST_ID];

/// What the responses are made from.
struct Management {
    lifecycle: Lifecycle,
    scheduler: Scheduler,
    metrics: Metrics,
    about: About,
    /// The hosts that requests may name, if not any.
    hosts: Option<AllowedHosts>,
}

/// A request.
#[derive(Debug)]
struct Asked {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    arrival: Option<Arrival>,
}

/// Everything that the management port serves.
pub fn routes(
    lifecycle: Lifecycle,
    scheduler: Scheduler,
    metrics: Metrics,
    about: About,
    hosts: Option<AllowedHosts>,
) -> Routes {
    let management = Arc::new(Management {
        lifecycle,
        scheduler,
        metrics,
        about,
        hosts,
    });
    let filter = warp::method()
        .and(warp::path::full())
        .and(warp::query())
        .and(warp::ext::optional::<Arrival>())
        .map(move |method, path: FullPath, query, arrival| {
            let asked = Asked {
                method,
                path: path.as_str().to_owned(),
                query,
                arrival,
            };
            let id = RequestId::of(asked.headers());
            let response = management.answer(&asked);
            let mut response =
                response.unwrap_or_else(|problem| problem.response(&asked.path, &id));
            response.headers_mut().insert(REQUEST_ID, id.header());
            response
        })
        .boxed();
    Routes {
        filter,
        fields: &FIELDS,
    }
}

impl Asked {
    /// Those of [`FIELDS`].
    fn headers(&self) -> &HeaderMap {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        self.arrival
            .as_ref()
            .map_or(&NONE, |arrival| &arrival.fields)
    }

    /// The host that it names.
    fn host(&self, allowed: Option<&AllowedHosts>) -> Result<Option<Authority>, Problem> {
        let Some(arrival) = &self.arrival else {
            return Ok(None);
        };
        let authority = arrival.authority.as_ref();
        named_host(arrival.version, authority, self.headers(), allowed)
    }

    fn not_found(&self) -> Problem {
        Problem::NotFound {
            path: self.path.clone(),
        }
    }
}

impl Management {
    fn answer(&self, asked: &Asked) -> Result<Response, Problem> {
        let host = asked.host(self.hosts.as_ref())?;
        let accept = &Accept::of(asked.headers());
        let phase = self.lifecycle.phase();
        let route: &dyn Fn() -> Result<Response, Problem> = match asked.path.as_str() {
            "/" => &|| match accept.wants("text/html", None) > 0.0 {
                true => status_page::page(),
                false => Ok(actuator::links(accept, host.as_ref())),
            },
            "/status.json" => &|| Ok(status::data(phase, &self.scheduler, &self.about)),
            "/health" => &|| Ok(health::health(accept, phase, self.can_answer())),
            "/health/liveness" => &|| Ok(health::liveness(accept, phase, self.can_serve())),
            "/health/readiness" => &|| Ok(health::readiness(accept, phase, self.can_answer())),
            "/metrics" if actuator::accepts_json_only(accept) => &|| Ok(self.names(accept)),
            "/metrics" | "/prometheus" => &|| self.metrics(accept),
            path => match path.strip_prefix("/metrics/") {
                Some(name) => &|| self.measurement(accept, asked, name),
                None => return Err(asked.not_found()),
            },
        };
        match asked.method {
            Method::GET | Method::HEAD => route(),
            _ => Err(Problem::MethodNotAllowed {
                method: asked.method.clone(),
                allowed: "GET, HEAD",
            }),
        }
    }

    /// Whether requests can be answered: no timestamp can be checked by a wrong clock.
    fn can_answer(&self) -> bool {
        self.can_serve() && Timestamp::clock().is_ok()
    }

    fn can_serve(&self) -> bool {
        self.scheduler.status().can_serve
    }

    /// The metrics as text.
    fn metrics(&self, accept: &Accept) -> Result<Response, Problem> {
        self.observe();
        let open_metrics = accept.wants(OPEN_METRICS, Some(OPEN_METRICS_VERSION));
        let is_open =
            open_metrics > 0.0 && open_metrics >= accept.wants("text/plain", Some("0.0.4"));
        let (text, media_type) = if is_open {
            (self.metrics.open_metrics(), OPEN_METRICS_TYPE)
        } else {
            let text = self.metrics.prometheus().map_err(|error| {
                tracing::error!(%error, "metrics cannot be rendered");
                Problem::Internal
            });
            (text?, PROMETHEUS_TYPE)
        };
        let mut response = text.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, media_type);
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        Ok(response)
    }

    /// The names of all metrics.
    fn names(&self, accept: &Accept) -> Response {
        self.observe();
        let names = HashMap::from([("names", self.metrics.names())]);
        actuator::json(accept, StatusCode::OK, &names)
    }

    /// The metric of this name, of the series with all tags that are asked for.
    fn measurement(&self, accept: &Accept, asked: &Asked, name: &str) -> Result<Response, Problem> {
        self.observe();
        let tags = asked.query.iter().filter(|(name, _)| name == "tag");
        // A tag without a value is one that no series has.
        let tags = tags.map(|(_, tag)| tag.split_once(':').unwrap_or((tag, "")));
        let tags: Vec<_> = tags.collect();
        match self.metrics.measurement(name, &tags) {
            Some(measurement) => Ok(actuator::json(accept, StatusCode::OK, &measurement)),
            None => Err(asked.not_found()),
        }
    }

    /// Sets the metrics of the scheduler's state.
    fn observe(&self) {
        let status = self.scheduler.status();
        let metrics = &self.metrics;
        metrics.observe_queue(status.running, status.waiting, status.capacity);
        metrics.observe_pace(status.hash_rate, status.expected_wait);
        for device in self.scheduler.devices() {
            let states = DeviceState::ALL.map(|state| (state.as_str(), state == device.state));
            metrics.observe_device(&device.info, states, device.hash_rate);
        }
    }
}
