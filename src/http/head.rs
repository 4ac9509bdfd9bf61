//! The head of a request, and the route that it is for.

use std::net::IpAddr;
use std::sync::Arc;

use warp::http::{HeaderMap, HeaderName, Method, header};

use crate::access::{AllowedHosts, named_host, named_host_or_address};
use crate::connections::Arrival;
use crate::problem::{Problem, REQUEST_ID, RequestId};

/// Seconds, whole or not, that the client waits from now (draft-thomson-hybi-http-timeout).
pub(super) const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("request-timeout");

/// Milliseconds that Envoy in front of the server waits; it sets this for every request that has a time-out.
pub(super) const ENVOY_TIMEOUT: HeaderName =
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// Every header field that the ports for clients read. No other arrives in [`Head::headers`].
pub(super) static FIELDS: [HeaderName; 14] = [
    header::ACCEPT,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::AUTHORIZATION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::ORIGIN,
    header::USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    REQUEST_ID,
    REQUEST_TIMEOUT,
    ENVOY_TIMEOUT,
];

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    /// The endpoint at the path; `None` if there is none.
    pub(super) endpoint: Option<Endpoint>,
    pub(super) id: RequestId,
    /// Those of [`FIELDS`].
    pub(super) headers: Arc<HeaderMap>,
    pub(super) arrival: Option<Arrival>,
}

impl Head {
    /// The address of the client.
    pub(super) fn address(&self) -> Option<IpAddr> {
        Some(self.arrival.as_ref()?.peer?.ip())
    }

    /// False if the limit of requests in progress is reached: the request must be refused.
    pub(super) fn is_admitted(&self) -> bool {
        let arrival = self.arrival.as_ref();
        arrival.is_none_or(|arrival| arrival.is_admitted)
    }

    /// Checks that the request names its host as its version of HTTP requires, and that the host is allowed.
    pub(super) fn require_host(&self, allowed: Option<&AllowedHosts>) -> Result<(), Problem> {
        let Some(arrival) = &self.arrival else {
            return Ok(());
        };
        let authority = arrival.authority.as_ref();
        named_host(arrival.version, authority, &self.headers, allowed).map(drop)
    }

    /// The same, but the host may also be a bare IPv6 address.
    pub(super) fn require_host_or_address(
        &self,
        allowed: Option<&AllowedHosts>,
    ) -> Result<(), Problem> {
        let Some(arrival) = &self.arrival else {
            return Ok(());
        };
        let authority = arrival.authority.as_ref();
        named_host_or_address(arrival.version, authority, &self.headers, allowed)
    }
}

/// A path, as metrics, traces and CORS see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Its name in metrics and traces, which no client can make up.
    pub(super) pattern: &'static str,
    /// The methods, as the `Allow` header lists them.
    pub(super) methods: &'static str,
}

/// Everything that the public port serves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route<'a> {
    Works,
    Verify,
    /// The description of the API, for programs.
    Description(Format),
    /// A redirection to the pages, and a health check with `HEAD`.
    Root,
    /// Readiness, for load balancers that check the public port.
    Health,
    /// A file of the pages that show the description to people.
    Page(&'a str),
}

/// How the description is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Json,
    Yaml,
}

/// The folder of [`Route::Page`].
const PAGES: &str = "/swagger-ui/";

impl<'a> Route<'a> {
    /// The route of a path; `None` if there is nothing at it.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        match path {
            "/works" => Some(Self::Works),
            "/works/verify" => Some(Self::Verify),
            // The reference server has it at the last two.
            "/openapi.json" | "/v3/api-docs" => Some(Self::Description(Format::Json)),
            "/v3/api-docs.yaml" => Some(Self::Description(Format::Yaml)),
            "/" => Some(Self::Root),
            "/health" => Some(Self::Health),
            path => path.strip_prefix(PAGES).map(Self::Page),
        }
    }

    /// Its endpoint, for metrics, traces and CORS.
    pub(super) const fn endpoint(self) -> Endpoint {
        Endpoint {
            pattern: self.pattern(),
            methods: self.methods(),
        }
    }

    /// The name of the route in metrics and traces: the path, or the pattern that all pages have in common.
    const fn pattern(self) -> &'static str {
        match self {
            Self::Works => "/works",
            Self::Verify => "/works/verify",
            Self::Description(_) => "/openapi.json",
            Self::Root => "/",
            Self::Health => "/health",
            Self::Page(_) => "/swagger-ui/**",
        }
    }

    /// The methods, as the `Allow` header lists them.
    pub(super) const fn methods(self) -> &'static str {
        match self {
            Self::Works | Self::Verify => "OPTIONS, POST",
            Self::Description(_) | Self::Root | Self::Health | Self::Page(_) => {
                "GET, HEAD, OPTIONS"
            }
        }
    }
}
