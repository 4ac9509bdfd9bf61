//! The public listener: `POST /works`.

mod problem;
mod works;

use std::time::Duration;

use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::http::{HeaderMap, Method};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::connections::Closing;
use crate::scheduler::Scheduler;
use crate::telemetry::Metrics;
pub use problem::Problem;
pub use works::MAX_BODY;
#[doc(hidden)]
pub use works::parse;

/// How long a body may take to arrive.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// While the service is there.
    pub timeout: Duration,
    /// Says when it can wait no longer, since it ends.
    pub closing: Closing,
}

/// Everything that the public port serves. The one filter takes every request, so that no rejection of
/// warp's own ever reaches a client.
pub fn routes(
    scheduler: Scheduler,
    metrics: Metrics,
    limits: BodyLimits,
) -> BoxedFilter<(Response,)> {
    warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(
            move |method: Method, path: FullPath, headers: HeaderMap, body| {
                let (scheduler, metrics, limits) =
                    (scheduler.clone(), metrics.clone(), limits.clone());
                async move {
                    match (path.as_str(), method) {
                        ("/works", Method::POST) => {
                            works::post(&scheduler, &metrics, &headers, &limits, body).await
                        }
                        ("/works", method) => Problem::MethodNotAllowed {
                            method,
                            allowed: "POST",
                        }
                        .into_response(),
                        (path, _) => Problem::NotFound {
                            path: path.to_owned(),
                        }
                        .into_response(),
                    }
                }
            },
        )
        .boxed()
}
