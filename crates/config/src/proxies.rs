//! Proxies in front of a listener: which of them are believed, and how they name their clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use moorline_net::Address;
use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::trusted_host::TrustedHost;
use super::walk::{Field, Section};

/// Each connection is compared with all of them, and each is looked up again and again.
const MOST_HOSTS: usize = 64;

/// Proxies in front of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    /// The addresses of those that are believed.
    pub trusted: Vec<Network>,
    /// Those that are known by their names.
    pub hosts: Vec<TrustedHost>,
    /// Whether peers on a Unix socket are.
    pub trusts_unix: bool,
    /// The header in which they name their clients.
    pub header: ForwardedHeader,
    /// Which connections begin with the header of the PROXY protocol.
    pub announced: AnnouncedConnections,
}

impl Proxies {
    /// Whether a proxy at this address is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|it| it.contains(address))
            || self.hosts.iter().any(|it| it.has(address))
    }
}

/// Which connections begin with the header of the PROXY protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnnouncedConnections {
    /// None.
    #[default]
    None,
    /// Those of trusted proxies, and there are no others: they are refused.
    OnlyTrusted,
    /// Those of trusted proxies. Others come from clients.
    Trusted,
    /// All. The headers of proxies that are not trusted are read, and name nobody.
    All,
}

impl AnnouncedConnections {
    /// Whether there are any.
    pub fn are_some(self) -> bool {
        self != Self::None
    }
}

/// The header in which proxies name their clients. The other one is ignored: a client may have written it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, and `X-Forwarded-Proto`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The first of them.
    pub address: IpAddr,
    /// The number of bits that they have in common.
    pub prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, or an address alone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "is no IP address")?;
        if address.to_canonical() != address {
            // Peers are compared as the IPv4 addresses that they are.
            return Err("is an IPv4 address within IPv6: write it as IPv4");
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => {
                let prefix: u8 = prefix.parse().map_err(|_| "has no valid prefix length")?;
                if prefix > bits {
                    return Err("has a prefix length that is too large");
                }
                prefix
            }
        };
        let network = Self { address, prefix };
        match network.first() == address {
            true => Ok(network),
            false => Err("has bits behind its prefix"),
        }
    }

    fn first(&self) -> IpAddr {
        masked(self.address, self.prefix)
    }

    /// Whether an address is in it. An IPv4 address that IPv6 maps must be given as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

/// The address with zeros behind this number of bits.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

/// Reads the keys of a listener. `is_http` where HTTP is spoken.
pub(super) fn proxies(
    section: &Section<'_>,
    address: Option<&Address>,
    is_http: impl Fn(&Address) -> bool,
) -> Result<Proxies, Reported> {
    let trusted = section.read("trusted_proxies", |field| trusted(&field));
    let header = section.read("forwarded_header", |field| {
        field.choice(&[
            ("x-forwarded-for", ForwardedHeader::XForwardedFor),
            ("forwarded", ForwardedHeader::Forwarded),
        ])
    });
    let protocol = section.read("proxy_protocol", |field| protocol(&field));
    // Without the address it is unknown which of them belong.
    let address = address.ok_or(Reported)?;
    let (trusted, header, announced) = (trusted?, header?, protocol?.unwrap_or_default());
    let TrustedProxies {
        networks,
        hosts,
        has_unix,
    } = trusted.unwrap_or_default();
    let trusts_none = networks.is_empty() && hosts.is_empty() && !has_unix;
    let problem = match announced {
        AnnouncedConnections::OnlyTrusted => Some("nobody could connect"),
        AnnouncedConnections::Trusted => Some("no connection has a header"),
        AnnouncedConnections::None | AnnouncedConnections::All => None,
    };
    if let Some(problem) = problem.filter(|_| trusts_none) {
        return Err(section.report.error(
            section.place("proxy_protocol"),
            format!("`proxy_protocol` without `trusted_proxies`: {problem}"),
            r#"write trusted_proxies = ["10.0.0.0/8"] with the addresses of your proxies, or proxy_protocol = "any""#,
        ));
    }
    if !is_http(address) {
        section.refuse_keys(&["forwarded_header"], "belongs to http:// listeners")?;
        if !announced.are_some() {
            section.refuse_keys(
                &["trusted_proxies"],
                "has no effect without `proxy_protocol`: only requests of HTTP have headers",
            )?;
        }
    } else if trusts_none {
        section.refuse_keys(
            &["forwarded_header"],
            "has no effect without `trusted_proxies`",
        )?;
    }
    Ok(Proxies {
        trusted: networks,
        hosts,
        trusts_unix: has_unix,
        header: header.unwrap_or_default(),
        announced,
    })
}

fn protocol(field: &Field<'_>) -> Result<AnnouncedConnections, Reported> {
    if field.is_text() {
        return field.choice(&[
            ("any", AnnouncedConnections::All),
            ("trusted", AnnouncedConnections::Trusted),
        ]);
    }
    Ok(match field.flag()? {
        true => AnnouncedConnections::OnlyTrusted,
        false => AnnouncedConnections::None,
    })
}

/// `trusted_proxies`.
#[derive(Default)]
struct TrustedProxies {
    networks: Vec<Network>,
    hosts: Vec<TrustedHost>,
    has_unix: bool,
}

fn trusted(field: &Field<'_>) -> Result<TrustedProxies, Reported> {
    let hint = r#"write trusted_proxies = ["10.0.0.0/8", "::1", "proxy.example", "unix"]"#;
    let mut trusted = TrustedProxies::default();
    for entry in field.array(hint)? {
        let text = entry.text()?;
        if text == "unix" {
            trusted.has_unix = true;
            continue;
        }
        match (Network::parse(text), TrustedHost::parse(text)) {
            (Ok(network), _) => trusted.networks.push(network),
            (Err(_), Some(host)) => trusted.hosts.push(host),
            (Err(problem), None) => {
                let message = format!("`trusted_proxies`: {text:?} {problem}");
                return Err(entry.refuse(message, hint));
            }
        }
    }
    if trusted.hosts.len() > MOST_HOSTS {
        let message = format!("`trusted_proxies` has over {MOST_HOSTS} names");
        return Err(field.refuse(message, "write addresses or networks"));
    }
    Ok(trusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_with_its_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1", "::1", "::2"),
            ("::/0", "2001:db8::1", "127.0.0.1"),
        ] {
            let parsed = Network::parse(network).expect("it is right");
            let of = |text: &str| text.parse().expect("an address");
            assert!(parsed.contains(of(inside)), "{inside} in {network}");
            assert!(!parsed.contains(of(outside)), "{outside} in {network}");
        }
        for wrong in [
            "",
            "example.org",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "::1/129",
            "10.0.0.0/-1",
            "::ffff:10.0.0.1",
            "::ffff:10.0.0.0/104",
            "::ffff:0:0/96",
        ] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mapped_address_is_trusted_as_the_one_that_it_maps() {
        let proxies = Proxies {
            trusted: vec![Network::parse("10.0.0.0/8").expect("it is right")],
            ..Proxies::default()
        };
        assert!(proxies.trusts("::ffff:10.1.2.3".parse().expect("an address")));
        assert!(!proxies.trusts("::ffff:11.1.2.3".parse().expect("an address")));
    }
}
