//! Networks within networks: what holds for the addresses of each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::network::masked;

/// The networks of several sets, each once.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    /// With the sets that have each, in the order in which a network comes before those within it.
    networks: BTreeMap<Key, Vec<usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    is_ipv6: bool,
    first: u128,
    prefix: u8,
}

impl Key {
    /// `text` is as [`masked`] gives it.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        Some(match address.parse().ok()? {
            IpAddr::V4(ip) => Self {
                is_ipv6: false,
                // At the top, as those of IPv6 are.
                first: u128::from(ip.to_bits()) << 96,
                prefix: prefix.unwrap_or(32),
            },
            IpAddr::V6(ip) => Self {
                is_ipv6: true,
                first: ip.to_bits(),
                prefix: prefix.unwrap_or(128),
            },
        })
    }

    fn has(self, other: Self) -> bool {
        let differing = (self.first ^ other.first).leading_zeros();
        self.is_ipv6 == other.is_ipv6
            && self.prefix <= other.prefix
            && differing >= u32::from(self.prefix)
    }

    fn text(self) -> String {
        let (address, whole): (IpAddr, _) = match self.is_ipv6 {
            false => (IpAddr::V4(((self.first >> 96) as u32).into()), 32),
            true => (IpAddr::V6(self.first.into()), 128),
        };
        match self.prefix == whole {
            true => address.to_string(),
            false => format!("{address}/{}", self.prefix),
        }
    }
}

impl Regions {
    /// Adds the networks of the set with this number.
    pub(crate) fn add(&mut self, set: usize, networks: &[String]) {
        let keys = networks.iter().filter_map(|it| Key::parse(&masked(it)?));
        for key in keys {
            self.networks.entry(key).or_default().push(set);
        }
    }

    /// What holds outside of all networks, and for each network that differs from the one around it, the narrowest first.
    /// `value`: by the sets that an address is in, of `sets`.
    pub(crate) fn values<T: PartialEq + Copy>(
        &self,
        sets: usize,
        value: impl Fn(&[bool]) -> T,
    ) -> (T, Vec<(String, T)>) {
        let outside = value(&vec![false; sets]);
        let mut around: Vec<(Key, Vec<bool>, T)> = Vec::new();
        let mut found = Vec::new();
        for (key, of) in &self.networks {
            while around.last().is_some_and(|(outer, ..)| !outer.has(*key)) {
                around.pop();
            }
            let (mut inside, outer) = match around.last() {
                Some((_, inside, outer)) => (inside.clone(), *outer),
                None => (vec![false; sets], outside),
            };
            for set in of {
                inside[*set] = true;
            }
            let own = value(&inside);
            if own != outer {
                found.push((*key, own));
            }
            around.push((*key, inside, own));
        }
        found.sort_by_key(|(key, _)| (std::cmp::Reverse(key.prefix), *key));
        let found = found.into_iter().map(|(key, value)| (key.text(), value));
        (outside, found.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_value_of_the_narrowest_one_that_differs() {
        let mut regions = Regions::default();
        let lists = [
            &["10.0.0.0/8", "::1", "10.1.2.3/8"][..],
            &["10.1.0.0/16", "10.2.0.0/16", "0.0.0.0/0"],
            &["10.1.2.3"],
        ];
        for (set, list) in lists.iter().enumerate() {
            let list: Vec<_> = list.iter().map(|it| (*it).to_owned()).collect();
            regions.add(set, &list);
        }
        let (outside, found) = regions.values(3, |inside| inside[0] && !inside[2]);
        let found: Vec<_> = found.iter().map(|(text, is)| (&text[..], *is)).collect();
        assert!(!outside);
        let expected = [("::1", true), ("10.1.2.3", false), ("10.0.0.0/8", true)];
        assert_eq!(found, expected);
        let (_, found) = regions.values(3, |inside| inside[1]);
        assert_eq!(found, [("0.0.0.0/0".to_owned(), true)]);
    }
}
