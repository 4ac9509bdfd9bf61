//! The public listener: `POST /works`, `POST /works/verify`, and the description of both.

mod cors;
mod openapi;
mod trace;
mod works;

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tracing::Instrument;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::http::{HeaderMap, Method};
use warp::reply::Response;
use warp::{Buf, Filter, Reply};

use crate::access::AccessRules;
use crate::connections::Arrival;
use crate::lifecycle::Lifecycle;
use crate::problem::Problem;
use crate::scheduler::Scheduler;
use crate::telemetry::Telemetry;
use openapi::Description;
use trace::Trace;
pub use works::MAX_BODY;
#[doc(hidden)]
pub use works::parse;

/// How long a body may take to arrive.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// While the process does not drain.
    pub timeout: Duration,
    /// A draining process waits for a body only as long as the drain grace.
    pub lifecycle: Lifecycle,
}

/// What requests are counted by that no route takes: Spring's way for files, which the reference server tries last.
const NO_ROUTE: &str = "/**";

/// What answers need.
struct Api {
    scheduler: Scheduler,
    telemetry: Telemetry,
    limits: BodyLimits,
    access: AccessRules,
    description: Description,
}

/// What there is.
#[derive(Clone, Copy, Debug)]
enum Route<'a> {
    Works,
    Verify,
    /// The description, for programs.
    Description,
    /// The way to the description for people.
    Root,
    /// A file of that.
    Page(&'a str),
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Option<Self> {
        match path {
            "/works" => Some(Self::Works),
            "/works/verify" => Some(Self::Verify),
            // The second is where the reference server has it.
            "/openapi.json" | "/v3/api-docs" => Some(Self::Description),
            "/" => Some(Self::Root),
            path => path.strip_prefix(openapi::PAGES).map(Self::Page),
        }
    }

    /// What its requests are counted and traced by: the path, or for pages what they have in common.
    const fn pattern(self) -> &'static str {
        match self {
            Self::Works => "/works",
            Self::Verify => "/works/verify",
            Self::Description => "/openapi.json",
            Self::Root => "/",
            Self::Page(_) => "/swagger-ui/**",
        }
    }

    /// The methods, as the `Allow` header lists them.
    const fn methods(self) -> &'static str {
        match self {
            Self::Works | Self::Verify => "POST",
            Self::Description | Self::Root | Self::Page(_) => "GET, HEAD",
        }
    }
}

impl Api {
    async fn answer(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        trace: &Trace,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    ) -> Response {
        let Some(route) = Route::of(path) else {
            return not_found(path);
        };
        match (route, method) {
            (Route::Works, Method::POST) => works::post(self, headers, body, trace).await,
            (Route::Verify, Method::POST) => works::verify(self, headers, body, trace).await,
            (Route::Description, Method::GET | Method::HEAD) => self.description.document(),
            (Route::Root, Method::GET | Method::HEAD) => openapi::to_the_page(),
            (Route::Page(file), Method::GET | Method::HEAD) => self
                .description
                .page(file)
                .unwrap_or_else(|| not_found(path)),
            (route, method) => Problem::MethodNotAllowed {
                method,
                allowed: route.methods(),
            }
            .into_response(),
        }
    }

    /// The answer, if need be with what lets a page in a browser see it.
    async fn answer_pages(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        trace: &Trace,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    ) -> Response {
        let Some(origins) = &self.access.origins else {
            return self.answer(method, path, headers, trace, body).await;
        };
        let methods = Route::of(path).map(Route::methods);
        let preflight =
            methods.and_then(|methods| cors::preflight(origins, &method, headers, methods));
        if let Some(answer) = preflight {
            return answer;
        }
        let mut answer = self.answer(method, path, headers, trace, body).await;
        cors::expose(origins, headers, &mut answer);
        answer
    }

    /// The answer, counted, timed and traced; also if the client leaves before it is there, which ends the future.
    async fn answer_observed(
        &self,
        method: Method,
        path: FullPath,
        headers: HeaderMap,
        arrival: Option<Arrival>,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    ) -> Response {
        let path = path.as_str();
        let uri = Route::of(path).map_or(NO_ROUTE, Route::pattern);
        let request = self.telemetry.metrics.http_request(method.as_str(), uri);
        let traces = &self.telemetry.traces;
        let mut trace = Trace::begin(traces, &method, path, &headers, arrival.as_ref());
        let lines = trace.lines();
        let answer = self.answer_pages(method, path, &headers, &trace, body);
        let answer = answer.instrument(lines).await;
        trace.answered(&answer);
        request.answered(answer.status().as_u16());
        answer
    }
}

fn not_found(path: &str) -> Response {
    Problem::NotFound {
        path: path.to_owned(),
    }
    .into_response()
}

/// Everything that the public port serves. The one filter takes every request, so that no rejection of
/// warp's own ever reaches a client.
pub fn routes(
    scheduler: Scheduler,
    telemetry: Telemetry,
    limits: BodyLimits,
    access: AccessRules,
) -> BoxedFilter<(Response,)> {
    let api = Arc::new(Api {
        scheduler,
        telemetry,
        limits,
        description: Description::new(access.keys.is_some()),
        access,
    });
    warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional())
        .and(warp::body::stream())
        .then(
            move |method, path, headers, arrival: Option<Arrival>, body| {
                let api = Arc::clone(&api);
                async move {
                    api.answer_observed(method, path, headers, arrival, body)
                        .await
                }
            },
        )
        .boxed()
}
