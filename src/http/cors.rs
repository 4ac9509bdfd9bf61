//! Which web pages may ask, from a browser (Fetch standard, "CORS protocol"). By default none.
//!
//! warp has a filter for this, which would refuse what a page served here itself asks for: browsers name the origin
//! of such a request too, and it is not on the list. Here the request of an origin that is not allowed is answered
//! as that of any other client; it is the browser that keeps the answer from the page. Nothing is lost by that, since
//! browsers ask before they send JSON.

use std::fmt;
use std::str::FromStr;

use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

/// How long a browser may remember what it was told, in seconds; browsers have limits of their own below this.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// What a page may send that is not of the simplest kind.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type");

/// What a page may see of an answer.
const RESPONSE_HEADERS: HeaderValue =
    HeaderValue::from_static("retry-after, server-timing, www-authenticate");

/// What a preflight's answer depends on.
const VARY: HeaderValue = HeaderValue::from_static(
    "origin, access-control-request-method, access-control-request-headers",
);

/// The origins of pages that may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All.
    Any,
    /// Those on the list, as browsers write them.
    These(Vec<HeaderValue>),
}

impl Origins {
    /// The answer to a browser that asks whether it may send a request of one of these `methods`, if this is that.
    pub(super) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
        methods: &'static str,
    ) -> Option<Response> {
        let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if method != Method::OPTIONS || !asks {
            return None;
        }
        let allowed = self.allowed(headers)?;
        let mut answer = Response::default();
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer.headers_mut().extend([
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed),
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static(methods),
            ),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            (header::VARY, VARY),
        ]);
        Some(answer)
    }

    /// Lets the page that has asked see the answer, whatever it is, if it may.
    pub(super) fn expose(&self, headers: &HeaderMap, answer: &mut Response) {
        let answer = answer.headers_mut();
        if *self != Self::Any {
            answer.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let Some(allowed) = self.allowed(headers) else {
            return;
        };
        let headers: [(HeaderName, HeaderValue); 2] = [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS),
        ];
        answer.extend(headers);
    }

    /// What is said to the page that has sent these headers: the origin that may see the answer.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::These(origins) => origins.contains(origin).then(|| origin.clone()),
        }
    }
}

/// As it is read.
impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::These(origins) => {
                let origins = origins.iter().filter_map(|origin| origin.to_str().ok());
                f.write_str(&origins.collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// `*`, or origins separated by commas.
impl FromStr for Origins {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let origins = text.split(',').map(|text| origin(text.trim()));
        Ok(Self::These(origins.collect::<Result<_, _>>()?))
    }
}

/// Reads an origin as a browser writes it (RFC 6454, 6.2), which must be spelt as there, since it is compared as text.
fn origin(text: &str) -> Result<HeaderValue, InvalidOrigin> {
    let invalid = || InvalidOrigin(text.to_owned());
    let (scheme, authority) = text.split_once("://").ok_or_else(invalid)?;
    let (host, port) = match authority.rsplit_once(':') {
        // A colon within brackets is of an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let of_a_host =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._[]:".contains(&byte);
    let default = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return Err(invalid()),
    };
    let named = !host.is_empty() && host.bytes().all(of_a_host);
    let numbered = port.is_none_or(|port| {
        port != default && !port.starts_with('0') && port.parse::<u16>().is_ok()
    });
    if !named || !numbered {
        return Err(invalid());
    }
    HeaderValue::from_str(text).map_err(|_| invalid())
}

/// A text is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin; allowed are `*`, or a list separated by commas of http:// or https://, a host in lower case \
     and, if it is not the scheme's own, a port, with nothing behind it"
)]
pub struct InvalidOrigin(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        assert_eq!("*".parse(), Ok(Origins::Any));
        let origins =
            "https://wallet.example, http://localhost:3000,http://[::1]:8080,http://[::1]";
        let Ok(Origins::These(read)) = origins.parse() else {
            panic!("not read");
        };
        let expected = [
            "https://wallet.example",
            "http://localhost:3000",
            "http://[::1]:8080",
            "http://[::1]",
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        let cases = [
            "",
            "null",
            "wallet.example",
            "https://",
            "https://wallet.example/",
            "https://wallet.example/path",
            "https://Wallet.example",
            "HTTPS://wallet.example",
            "ftp://wallet.example",
            "https://user@wallet.example",
            "https://wallet.example:443",
            "http://wallet.example:80",
            "http://wallet.example:",
            "http://wallet.example:08",
            "http://wallet.example:65536",
            "https://*.example",
            "*,https://wallet.example",
            "https://wallet.example,",
            "https://wallet.example https://other.example",
        ];
        for text in cases {
            assert!(text.parse::<Origins>().is_err(), "{text}");
        }
    }
}
