//! A proxy that is known by its name.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use moorline_net::Address;
use serde::{Deserialize, Serialize};

/// A proxy that is known by its name. Its addresses are those that it was found to have: none until the gateway has looked it up.
/// Clones share them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrustedHost {
    /// Its name.
    pub name: String,
    #[serde(skip)]
    addresses: Arc<RwLock<Vec<IpAddr>>>,
}

impl TrustedHost {
    /// Reads the name of a host. `None`: it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.contains(['/', ':', '@']) {
            return None;
        }
        let address: Address = format!("tcp://{text}:1").parse().ok()?;
        let host_port = address.host_port()?;
        host_port.ip().is_none().then(|| Self {
            name: host_port.host.clone(),
            addresses: Arc::default(),
        })
    }

    /// Whether it has this address. An IPv4 address that IPv6 maps must be given as IPv4.
    pub fn has(&self, address: IpAddr) -> bool {
        let known = self.addresses.read();
        // A list is replaced as a whole.
        let known = known.unwrap_or_else(PoisonError::into_inner);
        known.contains(&address)
    }

    /// It has these addresses from now on.
    pub fn set(&self, addresses: &[IpAddr]) {
        let addresses = addresses.iter().map(IpAddr::to_canonical).collect();
        let known = self.addresses.write();
        *known.unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

/// Equal configurations name the same hosts.
impl PartialEq for TrustedHost {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TrustedHost {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_name_that_is_no_address() {
        for (text, is_host) in [
            ("proxy.example", true),
            ("localhost", true),
            ("10.0.0.1", false),
            ("10.0.1", false),
            ("::1", false),
            ("10.0.0.0/8", false),
            ("a.example:80", false),
            ("a b", false),
            ("", false),
        ] {
            assert_eq!(TrustedHost::parse(text).is_some(), is_host, "{text}");
        }
    }

    #[test]
    fn clones_share_the_addresses() {
        let host = TrustedHost::parse("proxy.example").expect("it is a name");
        let address: IpAddr = "10.0.0.1".parse().expect("an address");
        let mapped = "::ffff:10.0.0.1".parse().expect("an address");
        assert!(!host.has(address));
        host.clone().set(&[mapped]);
        assert!(host.has(address));
        host.set(&[]);
        assert!(!host.has(address));
    }
}
