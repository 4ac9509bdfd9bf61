//! The allowed CORS origins, as an operator lists them.

use std::fmt;
use std::str::FromStr;

use warp::http::HeaderValue;

/// The allowed CORS origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Every origin.
    Any,
    /// Those on the list, in the form that browsers send.
    List(Vec<HeaderValue>),
}

/// In the form that is parsed.
impl fmt::Display for CorsOrigins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::List(origins) => {
                let origins = origins.iter().filter_map(|origin| origin.to_str().ok());
                f.write_str(&origins.collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// `*`, or origins separated by commas.
impl FromStr for CorsOrigins {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let origins = text.split(',').map(|text| origin(text.trim()));
        Ok(Self::List(origins.collect::<Result<_, _>>()?))
    }
}

/// The schemes of browsers' extensions and of apps that are web pages. Their origins have no port.
const APP_SCHEMES: [&str; 4] = ["chrome-extension", "moz-extension", "capacitor", "tauri"];

/// Reads an origin in the form that browsers send (RFC 6454, 6.2). No other form is accepted, since origins are compared as
/// text.
fn origin(text: &str) -> Result<HeaderValue, InvalidOrigin> {
    let invalid = || InvalidOrigin(text.to_owned());
    let (scheme, authority) = text.split_once("://").ok_or_else(invalid)?;
    let (host, port) = match authority.rsplit_once(':') {
        // A colon within brackets is part of an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let of_a_host =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._[]:".contains(&byte);
    let is_web = ["http", "https"].contains(&scheme);
    if !is_web && !APP_SCHEMES.contains(&scheme) {
        return Err(invalid());
    }
    let default = if scheme == "http" { "80" } else { "443" };
    let named = !host.is_empty() && host.bytes().all(of_a_host);
    let numbered = port.is_none_or(|port| {
        is_web && port != default && !port.starts_with('0') && port.parse::<u16>().is_ok()
    });
    if !named || !numbered {
        return Err(invalid());
    }
    HeaderValue::from_str(text).map_err(|_| invalid())
}

/// The text is not a list of origins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an origin; give `*`, or a comma-separated list of origins. An origin is http:// or https:// and a host \
     in lower case, with a port unless it is the scheme's default, and nothing after it; or chrome-extension://, \
     moz-extension://, capacitor:// or tauri:// and an id or a host"
)]
pub struct InvalidOrigin(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_send_them() {
        assert_eq!("*".parse(), Ok(CorsOrigins::Any));
        let origins =
            "https://wallet.example, http://localhost:3000,http://[::1]:8080,http://[::1]";
        let Ok(CorsOrigins::List(read)) = origins.parse() else {
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
    fn origins_of_extensions_and_apps_are_read() {
        let origins = "chrome-extension://ihgkadpbkahkfbdbphcnidmfhnfmhbkl,\
             moz-extension://0f8fad5b-d9cb-469f-a165-70867728950e,capacitor://localhost,tauri://localhost";
        let Ok(CorsOrigins::List(read)) = origins.parse() else {
            panic!("not read");
        };
        assert_eq!(read, origins.split(',').collect::<Vec<_>>());
    }

    #[test]
    fn origins_that_no_browser_sends_are_refused() {
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
            "file://",
            "chrome-extension://",
            "capacitor://localhost:80",
            "tauri://localhost/",
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
            assert!(text.parse::<CorsOrigins>().is_err(), "{text}");
        }
    }
}
