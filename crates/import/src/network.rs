//! IP addresses and networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address or a network without the bits behind its prefix, which Moorline refuses.
pub(crate) fn masked(text: &str) -> Option<String> {
    let Some((address, prefix)) = text.split_once('/') else {
        return Some(text.parse::<IpAddr>().ok()?.to_canonical().to_string());
    };
    let address: IpAddr = address.parse().ok()?;
    let prefix = match prefix.parse::<u32>() {
        Ok(prefix) => prefix,
        // A mask of IPv4: ones, then zeros.
        Err(_) => {
            let mask = prefix.parse::<Ipv4Addr>().ok()?.to_bits();
            (mask.leading_ones() + mask.trailing_zeros() >= 32).then(|| mask.leading_ones())?
        }
    };
    match address {
        IpAddr::V4(ip) if prefix <= 32 => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            Some(format!(
                "{}/{prefix}",
                Ipv4Addr::from_bits(ip.to_bits() & mask)
            ))
        }
        IpAddr::V6(ip) if prefix <= 128 => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            let first = Ipv6Addr::from_bits(ip.to_bits() & mask);
            // Clients with such addresses are known by the IPv4 address within.
            match first.to_ipv4_mapped() {
                Some(first) if prefix >= 96 => Some(format!("{first}/{}", prefix - 96)),
                _ => Some(format!("{first}/{prefix}")),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn a_network_loses_the_bits_behind_its_prefix() {
        for (text, expected) in [
            ("10.1.2.3", Some("10.1.2.3")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("10.1.2.3/0", Some("0.0.0.0/0")),
            ("10.1.2.3/255.255.0.0", Some("10.1.0.0/16")),
            ("10.1.2.3/255.0.255.0", None),
            ("10.1.2.3/33", None),
            ("2001:db8::1/32", Some("2001:db8::/32")),
            ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
            ("::ffff:10.1.2.3", Some("10.1.2.3")),
            ("::1/0", Some("::/0")),
            ("x", None),
        ] {
            assert_eq!(masked(text).as_deref(), expected, "{text}");
        }
    }
}
