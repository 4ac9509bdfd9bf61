//! The public listener: `POST /works`.

mod problem;
mod works;

use std::convert::Infallible;

use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, Method};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::scheduler::Scheduler;
use crate::telemetry::Metrics;
pub use problem::Problem;
pub use works::MAX_BODY;

/// Everything that the public port serves. Every request gets an answer from here, so no rejection of
/// warp's own ever reaches a client.
pub fn routes(scheduler: Scheduler, metrics: Metrics) -> BoxedFilter<(Response,)> {
    let works = warp::path!("works")
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method: Method, headers: HeaderMap, body| {
            let (scheduler, metrics) = (scheduler.clone(), metrics.clone());
            async move {
                match method {
                    Method::POST => works::post(&scheduler, &metrics, &headers, body).await,
                    _ => Problem::MethodNotAllowed {
                        method,
                        allowed: "POST",
                    }
                    .into_response(),
                }
            }
        });
    works.or(not_found()).unify().boxed()
}

/// Answers whatever no other route has taken.
fn not_found() -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    warp::any()
        .and(warp::path::full())
        .map(|path: warp::path::FullPath| {
            Problem::NotFound {
                path: path.as_str().to_owned(),
            }
            .into_response()
        })
}
