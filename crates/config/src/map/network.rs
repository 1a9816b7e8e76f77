//! Keys of maps by IP address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::error::Reported;
use crate::proxies::Network;
use crate::variables::Template;

const HINT: &str = r#"write "10.0.0.0/8", "10.0.0.1-10.0.0.9", "::1" or "2001:db8::/32""#;

/// Addresses of one family, the first and the last with all between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The first.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
}

impl Addresses {
    /// Reads `10.0.0.0/8`, `10.0.0.1-10.0.0.9`, or an address alone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let Some((first, last)) = text.split_once('-') else {
            let network = Network::parse(text)?;
            return Ok(Self {
                first: network.address,
                last: last(network),
            });
        };
        let one = |text| Network::parse(text).map(|network| network.address);
        if first.contains('/') || last.contains('/') {
            return Err("is a range of networks: write the first and the last address");
        }
        let (first, last) = (one(first)?, one(last)?);
        if first.is_ipv4() != last.is_ipv4() {
            return Err("begins in one family and ends in the other");
        }
        match first <= last {
            true => Ok(Self { first, last }),
            false => Err("ends before it begins"),
        }
    }
}

fn last(network: Network) -> IpAddr {
    let prefix = u32::from(network.prefix);
    match network.address {
        IpAddr::V4(ip) => {
            Ipv4Addr::from_bits(ip.to_bits() | u32::MAX.checked_shr(prefix).unwrap_or(0)).into()
        }
        IpAddr::V6(ip) => {
            Ipv6Addr::from_bits(ip.to_bits() | u128::MAX.checked_shr(prefix).unwrap_or(0)).into()
        }
    }
}

pub(super) fn keys(entries: &[Entry<'_>]) -> Result<Vec<(Addresses, Template)>, Reported> {
    let keys: Vec<_> = entries
        .iter()
        .map(|entry| {
            let addresses = Addresses::parse(&entry.key);
            let addresses = addresses.map_err(|problem| entry.refuse(problem, HINT))?;
            Ok((addresses, entry.template()?))
        })
        .collect();
    let keys = keys.into_iter().collect::<Result<Vec<_>, _>>()?;
    check(entries, &keys)?;
    Ok(keys)
}

/// One entry must be within the other, or beside it.
fn check(entries: &[Entry<'_>], keys: &[(Addresses, Template)]) -> Result<(), Reported> {
    let mut order: Vec<_> = (0..keys.len()).collect();
    order.sort_by_key(|at| (keys[*at].0.first, std::cmp::Reverse(keys[*at].0.last), *at));
    let mut around: Vec<usize> = Vec::new();
    for at in order {
        let Addresses { first, last } = keys[at].0;
        let is_before = |other: &mut usize| keys[*other].0.last < first;
        while around.pop_if(is_before).is_some() {}
        if let Some(other) = around.last() {
            let line = entries[*other]
                .value
                .report
                .line(entries[*other].span.start);
            let outer = keys[*other].0;
            if outer == keys[at].0 {
                let problem = format!("means the same as the one in line {line}");
                return Err(entries[at].refuse(&problem, "remove one of them"));
            }
            if last > outer.last {
                let problem = format!("overlaps with the one in line {line}");
                let hint = "write ranges that are within each other, or beside each other";
                return Err(entries[at].refuse(&problem, hint));
            }
        }
        around.push(at);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_first_and_a_last_one() {
        for (text, first, last) in [
            ("10.0.0.0/8", "10.0.0.0", "10.255.255.255"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
            ("10.0.0.1-10.0.1.9", "10.0.0.1", "10.0.1.9"),
            ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:db8::/127", "2001:db8::", "2001:db8::1"),
        ] {
            let of = |text: &str| text.parse().expect("an address");
            let expected = Addresses {
                first: of(first),
                last: of(last),
            };
            assert_eq!(Addresses::parse(text), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "-",
            "10.0.0.2-10.0.0.1",
            "10.0.0.1-::1",
            "10.0.0.0/8-10.0.0.9",
        ] {
            assert!(Addresses::parse(wrong).is_err(), "{wrong}");
        }
    }
}
