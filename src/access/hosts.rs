//! The host that a request names (RFC 9112, 3.2).

use warp::http::uri::Authority;
use warp::http::{HeaderMap, Version, header};

use crate::problem::Problem;

/// The host that a request names; `None` if it names none, as HTTP/1.0 allows. `authority` is the host outside the headers,
/// as HTTP/2 has it.
///
/// # Errors
///
/// [`Problem::InvalidHost`] unless an HTTP/1.1 request has exactly one `Host`, and that is a host or empty.
pub fn named_host(
    version: Version,
    authority: Option<&Authority>,
    headers: &HeaderMap,
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
    // A target with a host of its own counts before the header.
    Ok(authority.cloned().or(host))
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    fn named(version: Version, hosts: &[&'static str]) -> Result<Option<String>, Problem> {
        let hosts = hosts
            .iter()
            .map(|host| (header::HOST, HeaderValue::from_static(host)));
        let mut headers = HeaderMap::new();
        for (name, host) in hosts {
            headers.append(name, host);
        }
        let host = named_host(version, None, &headers)?;
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
    fn other_versions_may_name_it_elsewhere_or_not_at_all() {
        for version in [Version::HTTP_10, Version::HTTP_2] {
            assert_eq!(named(version, &[]).unwrap(), None);
            assert!(named(version, &["a", "b"]).is_err());
        }
        let authority = Authority::from_static("wallet.example");
        let host = named_host(Version::HTTP_2, Some(&authority), &HeaderMap::new());
        assert_eq!(host.unwrap(), Some(authority));
    }
}
