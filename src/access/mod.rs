//! Who may ask for work: clients with an API key, and web pages of allowed origins, under allowed names of this host.

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

/// Who may ask. By default every client that the network lets through, but no web page.
#[derive(Clone, Debug, Default)]
pub struct AccessRules {
    /// The API keys, if a request needs one.
    pub keys: Option<Keys>,
    /// The origins of web pages that may ask, if any.
    pub origins: Option<CorsOrigins>,
    /// The hosts that requests may name, on both ports. `None` if that may be any.
    pub hosts: Option<AllowedHosts>,
    /// Whether clients without a key are told apart by their addresses.
    pub by_address: bool,
}
