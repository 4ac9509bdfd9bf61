//! The host that a request names (RFC 9112, 3.2), and which of them are allowed.
//!
//! A web site can point its own name to this server's address after a browser has loaded its page (DNS rebinding). The
//! page's requests are then same-origin, so no CORS rule stops them. But they name the site's host.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use warp::http::uri::Authority;
use warp::http::{HeaderMap, HeaderValue, Version, header};

use crate::problem::Problem;

/// The host that a request names; `None` if it names none, as HTTP/1.0 allows. `authority` is the host outside the headers,
/// as HTTP/2 has it.
///
/// # Errors
///
/// [`Problem::InvalidHost`] unless an HTTP/1.1 request has exactly one `Host`, and that is a host or empty;
/// [`Problem::HostNotAllowed`] if only some hosts are allowed, and this one is not.
pub fn named_host(
    version: Version,
    authority: Option<&Authority>,
    headers: &HeaderMap,
    allowed: Option<&AllowedHosts>,
) -> Result<Option<Authority>, Problem> {
    let mut given = headers.get_all(header::HOST).iter();
    let host = given.next();
    if given.next().is_some() {
        return Err(Problem::InvalidHost("there is more than one `Host`"));
    }
    if host.is_none() && version == Version::HTTP_11 {
        return Err(Problem::InvalidHost("there is no `Host`"));
    }
    let host = match host {
        Some(host) if !host.is_empty() => {
            let host = Authority::try_from(host.as_bytes()).ok();
            // A host has no name and password before it.
            let host = host.filter(|host| !host.as_str().contains('@'));
            Some(host.ok_or(Problem::InvalidHost("`Host` is not a host"))?)
        }
        _ => None,
    };
    // A host in the request target takes precedence over the header.
    let host = authority.cloned().or(host);
    match (host, allowed) {
        (Some(host), Some(allowed)) if !allowed.has(host.host()) => Err(Problem::HostNotAllowed {
            host: host.host().to_owned(),
        }),
        (host, _) => Ok(host),
    }
}

/// Checks the host that a request names as [`named_host`] does, but it may also be an IPv6 address without brackets, with a zone
/// or without: Nano's nodes write `Host: ::1`.
///
/// # Errors
///
/// As [`named_host`].
pub fn named_host_or_address(
    version: Version,
    authority: Option<&Authority>,
    headers: &HeaderMap,
    allowed: Option<&AllowedHosts>,
) -> Result<(), Problem> {
    let mut given = headers.get_all(header::HOST).iter();
    let is_bare = |host: &HeaderValue| {
        let host = host.to_str().ok();
        let address = host.and_then(|host| host.split('%').next());
        address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
    };
    match (given.next(), given.next()) {
        (Some(host), None) if authority.is_none() && is_bare(host) => Ok(()),
        _ => named_host(version, authority, headers, allowed).map(drop),
    }
}

/// The names of hosts that requests may name, in lower case. Addresses and `localhost` are always allowed: no site can
/// use them as its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    fn has(&self, host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.');
        let is_same = |allowed: &String| allowed.eq_ignore_ascii_case(host);
        address.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(is_same)
    }
}

/// In the form that is parsed.
impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// Names separated by commas.
impl FromStr for AllowedHosts {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let name = |text: &str| {
            let is_name = !text.is_empty() && text.bytes().all(of_a_name);
            let name = is_name.then(|| text.trim_end_matches('.').to_lowercase());
            name.ok_or_else(|| InvalidHostName(text.to_owned()))
        };
        let names = text.split(',').map(|text| name(text.trim()));
        Ok(Self(names.collect::<Result<_, _>>()?))
    }
}

/// The text is not a list of hosts' names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a host name; give a comma-separated list of names without a scheme or port, such as work.example; IP \
     addresses need not be listed"
)]
pub struct InvalidHostName(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn named(version: Version, hosts: &[&'static str]) -> Result<Option<String>, Problem> {
        let hosts = hosts
            .iter()
            .map(|host| (header::HOST, HeaderValue::from_static(host)));
        let mut headers = HeaderMap::new();
        for (name, host) in hosts {
            headers.append(name, host);
        }
        let host = named_host(version, None, &headers, None)?;
        Ok(host.map(|host| host.as_str().to_owned()))
    }

    #[test]
    fn http_1_1_names_exactly_one_host() {
        for host in ["wallet.example", "localhost:8080", "[::1]:8080", "10.0.0.1"] {
            let named = named(Version::HTTP_11, &[host]).unwrap();
            assert_eq!(named.as_deref(), Some(host));
        }
        assert_eq!(named(Version::HTTP_11, &[""]).unwrap(), None);
        for wrong in [&[][..], &["a", "a"], &["a b"], &["a/b"], &["user@a"]] {
            let error = named(Version::HTTP_11, wrong).unwrap_err();
            assert!(matches!(error, Problem::InvalidHost(_)), "{wrong:?}");
        }
    }

    #[test]
    fn on_nanos_port_an_ipv6_address_without_brackets_is_a_host() {
        let allowed: AllowedHosts = "work.example".parse().unwrap();
        let is_right = |hosts: &[&'static str], allowed| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            named_host_or_address(Version::HTTP_11, None, &headers, allowed).is_ok()
        };
        for host in [
            "::1",
            "2001:db8::7",
            "fe80::1%eth0",
            "::ffff:192.0.2.1",
            "[::1]:7000",
        ] {
            assert!(is_right(&[host], Some(&allowed)), "{host}");
        }
        assert!(is_right(&["any.example"], None));
        for wrong in [&[][..], &["::1", "::1"], &["::1::"], &["a b"]] {
            assert!(!is_right(wrong, None), "{wrong:?}");
        }
        assert!(!is_right(&["rebound.example"], Some(&allowed)));
    }

    #[test]
    fn other_http_versions_may_name_the_host_elsewhere_or_not_at_all() {
        for version in [Version::HTTP_10, Version::HTTP_2] {
            assert_eq!(named(version, &[]).unwrap(), None);
            assert!(named(version, &["a", "b"]).is_err());
        }
        let authority = Authority::from_static("wallet.example");
        let host = named_host(Version::HTTP_2, Some(&authority), &HeaderMap::new(), None);
        assert_eq!(host.unwrap(), Some(authority));
    }

    #[test]
    fn names_on_the_list_and_all_addresses_are_allowed() {
        let allowed: AllowedHosts = "work.example, Other.Example.".parse().unwrap();
        assert_eq!(allowed.to_string(), "work.example,other.example");
        for host in [
            "work.example",
            "WORK.example",
            "work.example.",
            "other.example",
            "localhost",
            "127.0.0.1",
            "[::1]",
        ] {
            assert!(allowed.has(host), "{host}");
        }
        for host in [
            "rebound.example",
            "work.example.evil.example",
            "example",
            "127.0.0.1.evil.example",
        ] {
            assert!(!allowed.has(host), "{host}");
        }
        for wrong in ["", "a,", "http://a", "a:80", "a/b", "*.example", "[::1]"] {
            assert!(wrong.parse::<AllowedHosts>().is_err(), "{wrong}");
        }
    }
}
