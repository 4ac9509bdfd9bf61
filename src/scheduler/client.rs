//! Clients, as far as the scheduler tells them apart.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The client that a search is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientId {
    /// All clients that are not told apart; they count as one.
    #[default]
    Any,
    /// The clients with the API keys of this name.
    Key(Arc<str>),
    /// The clients at this address.
    Address(IpAddr),
}

impl ClientId {
    /// The clients at this address. An IPv6 address counts by its first 64 bits, since one client may have all
    /// addresses that begin with them (RFC 6177).
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                Ipv6Addr::from_bits(network).into()
            }
            address => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let at = |text: &str| ClientId::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1:2:3"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }
}
