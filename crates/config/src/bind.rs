//! `bind` of an upstream: the local address that its peers see.

use std::net::{IpAddr, SocketAddr};

use moorline_net::Address;
use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::variables::{Template, any_template};
use super::walk::{Field, Section};

const HINT: &str =
    r#"write an address, with or without a port, as in "10.0.0.9" or "${client.address}""#;
const TABLE_HINT: &str = r#"write bind = { address = "${client.address}", transparent = true }"#;

/// The local address of connections to peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Which one.
    pub address: BindAddress,
    /// It may be one of another machine, such as the client's.
    pub is_transparent: bool,
}

/// Which local address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindAddress {
    /// The same for all. Port 0: any port.
    Fixed(SocketAddr),
    /// A connection decides. Empty: the kernel's choice.
    Text(Template),
}

impl Bind {
    /// The address, if it is the same for all.
    pub fn fixed(&self) -> Option<SocketAddr> {
        match self.address {
            BindAddress::Fixed(address) => Some(address),
            BindAddress::Text(_) => None,
        }
    }

    /// The text that a connection fills in.
    pub(super) fn text(&self) -> Option<&Template> {
        match &self.address {
            BindAddress::Fixed(_) => None,
            BindAddress::Text(text) => Some(text),
        }
    }
}

/// A local address: of IP, with a port or without one, which is port 0 then.
///
/// # Errors
/// It is none.
pub fn parse_bind(text: &str) -> Result<SocketAddr, BadBind> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 0));
    }
    let bracketed = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    match bracketed {
        Some(ip) => match ip.parse::<std::net::Ipv6Addr>() {
            Ok(ip) => Ok(SocketAddr::new(ip.into(), 0)),
            Err(_) => Err(BadBind),
        },
        None => text.parse().map_err(|_| BadBind),
    }
}

/// A text is no local address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBind;

/// A text, or a table with one.
pub(super) fn bind(field: &Field<'_>) -> Result<Bind, Reported> {
    if field.is_text() {
        return Ok(Bind {
            address: address(field)?,
            is_transparent: false,
        });
    }
    let section = field.section("`bind`", TABLE_HINT)?;
    let address = section.require("address", TABLE_HINT, |field| address(&field));
    let is_transparent = section.read("transparent", |field| field.flag());
    section.finish()?;
    Ok(Bind {
        address: address?,
        is_transparent: is_transparent?.unwrap_or(false),
    })
}

fn address(field: &Field<'_>) -> Result<BindAddress, Reported> {
    let template = any_template(field, &[])?;
    let Some(text) = template.constant() else {
        return Ok(BindAddress::Text(template));
    };
    let parsed = parse_bind(text).map_err(|BadBind| {
        let message = format!("`{}`: {text:?} is no IP address", field.key);
        field.refuse(message, HINT)
    });
    parsed.map(BindAddress::Fixed)
}

/// A socket of one family cannot connect to the other.
pub(super) fn check_families<'a>(
    section: &Section<'_>,
    bind: Option<&Bind>,
    mut peers: impl Iterator<Item = &'a Address>,
) -> Result<(), Reported> {
    let Some(own) = bind.and_then(Bind::fixed) else {
        return Ok(());
    };
    let is_other = |peer: &&Address| {
        let ip = peer.host_port().and_then(|it| it.ip());
        ip.is_some_and(|ip| ip.is_ipv4() != own.is_ipv4())
    };
    match peers.find(is_other) {
        None => Ok(()),
        Some(peer) => Err(section.report.error(
            section.place("bind"),
            format!("`bind` is of another family than the peer {peer}"),
            "write upstreams of one family each, or leave it out",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_address_may_have_a_port() {
        for (text, address) in [
            ("10.0.0.9", "10.0.0.9:0"),
            ("10.0.0.9:80", "10.0.0.9:80"),
            ("::1", "[::1]:0"),
            ("[::1]", "[::1]:0"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(parse_bind(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "unix:",
            "a",
            "10.0.0",
            "10.0.0.9:",
            "[10.0.0.9]",
            ":80",
            "[::1",
        ] {
            assert_eq!(parse_bind(text), Err(BadBind), "{text}");
        }
    }
}
