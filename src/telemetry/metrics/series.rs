//! Spring's labels of a request to a port for clients (`DefaultServerRequestObservationConvention` of Spring 6).

/// Spring's labels.
pub(super) const LABELS: [&str; 6] = ["error", "exception", "method", "outcome", "status", "uri"];

/// The labels `error` and `exception` of a request that was not refused.
const NO_ERROR: &str = "none";

/// The label of a method that is not in [`METHODS`], and of the status of a request that was not answered.
const UNKNOWN: &str = "UNKNOWN";

/// The methods that Spring knows (`HttpMethod`).
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
];

/// The labels that vary. None is text of a request, so there are few combinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Series {
    method: &'static str,
    uri: &'static str,
    /// `None` if it is not answered.
    status: Option<u16>,
    error: &'static str,
}

impl Series {
    /// The labels of a request without an answer. `uri` is its route.
    pub(super) fn in_progress(method: &str, uri: &'static str) -> Self {
        Self {
            method: method_label(method),
            uri,
            status: None,
            error: NO_ERROR,
        }
    }

    /// The request is answered with this status code and, if it was refused, with an error of this class.
    pub(super) fn end(&mut self, status: u16, error: Option<&'static str>) {
        self.status = Some(status);
        self.error = error.unwrap_or(NO_ERROR);
    }

    /// The values of [`LABELS`].
    pub(super) fn labels(self) -> [String; LABELS.len()] {
        let status = self.status.map(|status| status.to_string());
        [
            self.error.to_owned(),
            self.error.to_owned(),
            self.method.to_owned(),
            outcome(self.status).to_owned(),
            status.unwrap_or_else(|| UNKNOWN.to_owned()),
            self.uri.to_owned(),
        ]
    }
}

/// The label of a method.
fn method_label(method: &str) -> &'static str {
    let mut known = METHODS.into_iter();
    known.find(|known| *known == method).unwrap_or(UNKNOWN)
}

/// The label of a status code's class.
fn outcome(status: Option<u16>) -> &'static str {
    match status {
        Some(100..200) => "INFORMATIONAL",
        Some(200..300) => "SUCCESS",
        Some(300..400) => "REDIRECTION",
        Some(400..500) => "CLIENT_ERROR",
        Some(500..600) => "SERVER_ERROR",
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_classes_are_those_that_spring_knows() {
        assert_eq!(method_label("PATCH"), "PATCH");
        for method in ["CONNECT", "get", "BREW", ""] {
            assert_eq!(method_label(method), "UNKNOWN", "{method}");
        }
        let cases = [
            (Some(100), "INFORMATIONAL"),
            (Some(204), "SUCCESS"),
            (Some(307), "REDIRECTION"),
            (Some(404), "CLIENT_ERROR"),
            (Some(503), "SERVER_ERROR"),
            (Some(600), "UNKNOWN"),
            (None, "UNKNOWN"),
        ];
        for (status, expected) in cases {
            assert_eq!(outcome(status), expected, "{status:?}");
        }
    }
}
