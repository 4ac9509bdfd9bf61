//! Which requests are allowed: by API key, by the origin of a web page, and by the host that the request names.

mod file;
mod hosts;
mod key;
mod keys;
mod origins;

pub use file::{InvalidFile, InvalidLine};
pub use hosts::{AllowedHosts, InvalidHostName, named_host, named_host_or_address};
pub use key::{ApiKey, InvalidKey, InvalidName, KeyHash, KeyName};
pub use keys::{Client, Keys, KeysError};
pub use origins::{CorsOrigins, InvalidOrigin};

/// Which requests are allowed. By default those of every client that can connect, but of no web page of another origin.
#[derive(Clone, Debug, Default)]
pub struct AccessRules {
    /// The API keys, if a request needs one.
    pub keys: Option<Keys>,
    /// The allowed CORS origins, if any.
    pub origins: Option<CorsOrigins>,
    /// The hosts that requests may name, on all ports. `None` allows any.
    pub hosts: Option<AllowedHosts>,
    /// Whether clients without a key are told apart by their addresses.
    pub by_address: bool,
}
