//! Which of several addresses is the better one to try: destination address selection (RFC 6724 §6).

mod policy;

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::options::Family;
use policy::{Policy, common_bits};

/// An address that may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The address.
    pub(super) address: SocketAddr,
    /// The local address that the system would send from. `None` if no way leads there.
    pub(super) source: Option<IpAddr>,
}

/// Which family is tried first, where the addresses themselves do not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preferred {
    Ipv6,
    Ipv4,
}

/// What decides between addresses: this machine's policy, and the option `family`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    policy: &'static Policy,
    family: Family,
}

impl Order {
    /// Reads `/etc/gai.conf`, once in a process.
    pub(super) fn of(family: Family) -> Self {
        Self {
            policy: Policy::system(),
            family,
        }
    }

    /// RFC 6724's own policy.
    #[cfg(test)]
    pub(super) const fn rfc(family: Family) -> Self {
        Self {
            policy: Policy::rfc(),
            family,
        }
    }

    /// Which family is tried first.
    pub(super) fn preferred(self) -> Preferred {
        match self.family {
            Family::PreferIpv4 | Family::Ipv4 => Preferred::Ipv4,
            Family::Both if self.policy.of_ipv4() > self.policy.of_ipv6() => Preferred::Ipv4,
            Family::Both | Family::PreferIpv6 | Family::Ipv6 => Preferred::Ipv6,
        }
    }

    /// Puts the better one first: `Less` if that is `a`.
    ///
    /// Rules 3, 4 and 7 need to know more about local addresses than a program can learn. The order is total only among
    /// addresses of one family: rule 9 compares no others.
    pub(super) fn compare(self, a: &Candidate, b: &Candidate) -> Ordering {
        let (Some(source_a), Some(source_b)) = (a.source, b.source) else {
            // Rule 1: avoid unusable destinations.
            return b.source.is_some().cmp(&a.source.is_some());
        };
        let (to_a, to_b) = (a.address.ip(), b.address.ip());
        let scope = |ip| self.policy.scope(ip);
        let matches_scope = |to, from| scope(to) == scope(from);
        let matches_label = |to, from| self.policy.label(to) == self.policy.label(from);
        // Each pair compares a value that is better when greater, b's first; rule 8 the other way round.
        matches_scope(to_b, source_b)
            .cmp(&matches_scope(to_a, source_a)) // Rule 2
            .then_with(|| matches_label(to_b, source_b).cmp(&matches_label(to_a, source_a))) // Rule 5
            .then_with(|| self.precedence(to_b).cmp(&self.precedence(to_a))) // Rule 6
            .then_with(|| scope(to_a).cmp(&scope(to_b))) // Rule 8
            .then_with(|| match (to_a, source_a, to_b, source_b) {
                // Rule 9, for IPv6 alone: IPv4's prefixes say nothing about nearness, and all clients would
                // choose the same one of a name's many addresses.
                (IpAddr::V6(to_a), IpAddr::V6(from_a), IpAddr::V6(to_b), IpAddr::V6(from_b)) => {
                    common_prefix(to_b, from_b).cmp(&common_prefix(to_a, from_a))
                }
                _ => Ordering::Equal,
            })
    }

    fn precedence(self, ip: IpAddr) -> u32 {
        let own = self.policy.precedence(ip);
        match self.family {
            Family::PreferIpv4 | Family::Ipv4 if ip.is_ipv4() => u32::MAX,
            // Whatever the file says of IPv4: below the IPv6 addresses of the internet.
            Family::PreferIpv6 | Family::Ipv6 if ip.is_ipv4() => {
                own.min(self.policy.of_ipv6().saturating_sub(1))
            }
            _ => own,
        }
    }
}

/// How many bits they have in common, up to the 64 that number networks (RFC 6724 §2.2).
fn common_prefix(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    common_bits(a, b).min(64)
}

#[cfg(test)]
mod tests;
