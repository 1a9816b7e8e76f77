//! Which of several addresses is the better one to try: destination address selection (RFC 6724 §6).

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

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

/// Puts the better one first: `Less` if that is `a`.
///
/// Rules 3, 4 and 7 need to know more about local addresses than a program is told. An order only among
/// addresses of one family: rule 9 compares no others.
pub(super) fn compare(a: &Candidate, b: &Candidate, preferred: Preferred) -> Ordering {
    let (Some(source_a), Some(source_b)) = (a.source, b.source) else {
        // Rule 1: avoid unusable destinations.
        return b.source.is_some().cmp(&a.source.is_some());
    };
    let (to_a, to_b) = (a.address.ip(), b.address.ip());
    let matches_scope = |to, from| scope(to) == scope(from);
    let matches_label = |to, from| policy(to, preferred).label == policy(from, preferred).label;
    // Each compares what is better when greater, b's first; rule 8 the other way round.
    matches_scope(to_b, source_b)
        .cmp(&matches_scope(to_a, source_a)) // Rule 2
        .then_with(|| matches_label(to_b, source_b).cmp(&matches_label(to_a, source_a))) // Rule 5
        .then_with(|| {
            let precedence = |to| policy(to, preferred).precedence;
            precedence(to_b).cmp(&precedence(to_a)) // Rule 6
        })
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

/// RFC 6724 §3.1 and §3.2, with the numbers of IPv6 multicast scopes.
fn scope(ip: IpAddr) -> u8 {
    const LINK_LOCAL: u8 = 0x2;
    const SITE_LOCAL: u8 = 0x5;
    const GLOBAL: u8 = 0xe;
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_link_local() => LINK_LOCAL,
        IpAddr::V4(_) => GLOBAL,
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.octets();
            match (first, second & 0xc0) {
                _ if ip.is_loopback() => LINK_LOCAL,
                (0xff, _) => second & 0xf,
                (0xfe, 0x80) => LINK_LOCAL,
                (0xfe, 0xc0) => SITE_LOCAL,
                _ => GLOBAL,
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Policy {
    prefix: Ipv6Addr,
    bits: u32,
    precedence: u8,
    label: u8,
}

const fn policy_row(prefix: [u16; 8], bits: u32, precedence: u8, label: u8) -> Policy {
    let [a, b, c, d, e, f, g, h] = prefix;
    Policy {
        prefix: Ipv6Addr::new(a, b, c, d, e, f, g, h),
        bits,
        precedence,
        label,
    }
}

/// The default policy table (RFC 6724 §2.1), the longest prefix first.
const POLICIES: [Policy; 9] = [
    policy_row([0, 0, 0, 0, 0, 0, 0, 1], 128, 50, 0),
    policy_row([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, 35, 4),
    policy_row([0; 8], 96, 1, 3),
    policy_row([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, 5, 5),
    policy_row([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, 30, 2),
    policy_row([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, 1, 12),
    policy_row([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, 1, 11),
    policy_row([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, 3, 13),
    policy_row([0; 8], 0, 40, 1),
];

/// The precedence of IPv4 where it is preferred: above every other, as `gai.conf` does it.
const PREFERRED_IPV4: u8 = 100;

fn policy(ip: IpAddr, preferred: Preferred) -> Policy {
    let mapped = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut policy = POLICIES
        .into_iter()
        .find(|row| common_bits(mapped, row.prefix) >= row.bits)
        .unwrap_or(POLICIES[POLICIES.len() - 1]);
    if ip.is_ipv4() && preferred == Preferred::Ipv4 {
        policy.precedence = PREFERRED_IPV4;
    }
    policy
}

/// How many bits they have in common, up to the 64 that number networks (RFC 6724 §2.2).
fn common_prefix(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    common_bits(a, b).min(64)
}

fn common_bits(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    (a.to_bits() ^ b.to_bits()).leading_zeros()
}

#[cfg(test)]
mod tests;
