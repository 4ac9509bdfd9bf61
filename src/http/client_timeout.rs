//! How long a client says that it waits.

use std::time::Duration;

use warp::http::HeaderMap;

use crate::http::head::{ENVOY_TIMEOUT, REQUEST_TIMEOUT};

/// The shorter of the two headers, if there is any. Zero and a value that cannot be read are ignored without an error:
/// the headers are advice, and a search without them is bounded by the server's own deadline.
pub(super) fn client_timeout(headers: &HeaderMap) -> Option<Duration> {
    let seconds = [(REQUEST_TIMEOUT, 1.0), (ENVOY_TIMEOUT, 1e-3)];
    let values = seconds.into_iter().flat_map(|(name, unit)| {
        let values = headers.get_all(name).iter();
        values
            .filter_map(move |value| Some(value.to_str().ok()?.trim().parse::<f64>().ok()? * unit))
    });
    let timeouts = values.filter_map(|seconds| Duration::try_from_secs_f64(seconds).ok());
    timeouts.filter(|timeout| !timeout.is_zero()).min()
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderName;

    use super::*;

    #[test]
    fn the_shortest_time_that_can_be_read_counts() {
        for (headers, millis) in [
            (vec![], None),
            (vec![("request-timeout", "10")], Some(10_000)),
            (vec![("request-timeout", " 2.5 ")], Some(2500)),
            (
                vec![("x-envoy-expected-rq-timeout-ms", "15000")],
                Some(15_000),
            ),
            (
                vec![
                    ("request-timeout", "60"),
                    ("x-envoy-expected-rq-timeout-ms", "15000"),
                ],
                Some(15_000),
            ),
            (
                vec![("request-timeout", "60"), ("request-timeout", "30")],
                Some(30_000),
            ),
            (
                vec![("request-timeout", "soon"), ("request-timeout", "30")],
                Some(30_000),
            ),
            (vec![("request-timeout", "0")], None),
            (vec![("request-timeout", "-1")], None),
            (vec![("request-timeout", "NaN")], None),
            (vec![("request-timeout", "1e300")], None),
            (vec![("request-timeout", "")], None),
        ] {
            let pairs = headers
                .iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
            let mut map = HeaderMap::new();
            pairs.for_each(|(name, value)| {
                map.append(name, value);
            });
            assert_eq!(
                client_timeout(&map),
                millis.map(Duration::from_millis),
                "{headers:?}"
            );
        }
    }
}
