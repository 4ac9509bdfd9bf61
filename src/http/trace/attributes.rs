//! The name and the attributes of a request's span.

use opentelemetry::{Array, KeyValue, Value};
use warp::http::uri::Authority;
use warp::http::{Method, Version, header};

use crate::http::head::Head;
use crate::work::Rule;

/// How many bytes of a client's text a trace keeps.
const LONGEST: usize = 256;

/// The name of a request's span: the method and the route, as far as they are known. A client cannot make up new names.
pub(super) fn name(method: Option<&'static str>, route: Option<&'static str>) -> String {
    let method = method.unwrap_or("HTTP");
    match route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

/// The method, if it is one that the conventions know.
pub(super) fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// What a digest is compared with, as its protocol writes it. Also a threshold is text: half of its values are beyond the
/// signed integers that attributes have.
pub(super) fn bound(rule: Rule) -> KeyValue {
    match rule {
        Rule::AtMost(threshold) => KeyValue::new("atto.work.threshold", threshold.to_string()),
        Rule::AtLeast(difficulty) => KeyValue::new("atto.work.difficulty", difficulty.to_string()),
    }
}

/// The attributes of a request's span that are known from its head.
pub(super) fn of_request(head: &Head) -> Vec<KeyValue> {
    let (method, headers) = (&head.method, &head.headers);
    let mut attributes = Vec::with_capacity(13);
    let mut add = |name: &'static str, value: Value| attributes.push(KeyValue::new(name, value));
    add(
        "http.request.method",
        known_method(method).unwrap_or("_OTHER").into(),
    );
    if known_method(method).is_none() {
        add("http.request.method_original", cut(method.as_str()).into());
    }
    if let Some(endpoint) = head.endpoint {
        add("http.route", endpoint.pattern.into());
    }
    add("url.scheme", "http".into());
    add("url.path", cut(&head.path).into());
    let id = vec![head.id.as_str().to_owned().into()];
    add(
        "http.response.header.x-request-id",
        Value::Array(Array::String(id)),
    );
    if let Some(agent) = headers.get(header::USER_AGENT) {
        let agent = String::from_utf8_lossy(agent.as_bytes());
        add("user_agent.original", cut(&agent).into());
    }
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(arrival) = &head.arrival else {
        return attributes;
    };
    if let Some(authority) = host.as_ref().or(arrival.authority.as_ref()) {
        add("server.address", cut(authority.host()).into());
        if let Some(port) = authority.port_u16() {
            add("server.port", i64::from(port).into());
        }
    }
    if let Some(peer) = arrival.peer {
        // The peer of the connection. Headers that name another client could be made up.
        add(
            "client.address",
            peer.ip().to_canonical().to_string().into(),
        );
        add("client.port", i64::from(peer.port()).into());
    }
    let version = match arrival.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    add("network.protocol.version", version.into());
    attributes
}

/// The first [`LONGEST`] bytes of a client's text.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::http::head::Route;
    use crate::problem::RequestId;

    fn head(method: &Method, path: &str) -> Head {
        Head {
            method: method.clone(),
            path: path.to_owned(),
            endpoint: Route::of(path).map(Route::endpoint),
            id: RequestId::of(&warp::http::HeaderMap::new()),
            headers: Arc::default(),
            arrival: None,
        }
    }

    #[test]
    fn a_client_cannot_make_names_up() {
        let brew = Method::from_bytes(b"BREW").unwrap();
        let names = [
            (Method::POST, "/works", "POST /works"),
            (Method::GET, "/works", "GET /works"),
            (Method::HEAD, "/v3/api-docs", "HEAD /openapi.json"),
            (Method::POST, "/elsewhere", "POST"),
            (brew.clone(), "/works", "HTTP /works"),
            (brew.clone(), "/elsewhere", "HTTP"),
            (Method::GET, "/swagger-ui/index.html", "GET /swagger-ui/**"),
        ];
        for (method, path, expected) in names {
            let head = head(&method, path);
            let route = head.endpoint.map(|endpoint| endpoint.pattern);
            assert_eq!(
                name(known_method(&method), route),
                expected,
                "{method} {path}"
            );
        }
        let attributes = of_request(&head(&brew, &"é".repeat(200)));
        let of = |name: &str| {
            let found = attributes.iter().find(|pair| pair.key.as_str() == name);
            found.map(|pair| pair.value.as_str().into_owned())
        };
        assert_eq!(of("http.request.method").as_deref(), Some("_OTHER"));
        assert_eq!(of("http.request.method_original").as_deref(), Some("BREW"));
        assert_eq!(of("url.path").unwrap().len(), LONGEST);
        assert_eq!(of("http.route"), None);
    }
}
