//! The examples of RFC 6724 §10.1 and §10.2, as far as sources are what a program is told.

use std::sync::LazyLock;

use super::*;

fn candidate(to: &str, from: Option<&str>) -> Candidate {
    Candidate {
        address: SocketAddr::new(to.parse().unwrap(), 1),
        source: from.map(|from| from.parse().unwrap()),
    }
}

fn better<'a>(a: (&'a str, Option<&str>), b: (&'a str, Option<&str>)) -> Option<&'a str> {
    prefer(Family::Both, a, b)
}

/// Which of the two is better, whichever stands first. `None` if neither is.
fn prefer<'a>(
    family: Family,
    a: (&'a str, Option<&str>),
    b: (&'a str, Option<&str>),
) -> Option<&'a str> {
    let (one, other) = (candidate(a.0, a.1), candidate(b.0, b.1));
    let rule = Order::rfc(family);
    let order = rule.compare(&one, &other);
    assert_eq!(rule.compare(&other, &one), order.reverse());
    match order {
        Ordering::Less => Some(a.0),
        Ordering::Greater => Some(b.0),
        Ordering::Equal => None,
    }
}

#[test]
fn unreachable_addresses_come_last() {
    let reachable = ("198.51.100.121", Some("198.51.100.117"));
    assert_eq!(
        better(("2001:db8:1::1", None), reachable),
        Some(reachable.0)
    );
    assert_eq!(better(("2001:db8:1::1", None), ("fe80::1", None)), None);
}

#[test]
fn scopes_shall_match_and_be_small() {
    // Rule 2
    let global = ("2001:db8:1::1", Some("2001:db8:1::2"));
    let from_link_local = ("198.51.100.121", Some("169.254.13.78"));
    assert_eq!(better(global, from_link_local), Some(global.0));
    let from_fe80 = ("2001:db8:1::1", Some("fe80::1"));
    let v4 = ("198.51.100.121", Some("198.51.100.117"));
    assert_eq!(better(from_fe80, v4), Some(v4.0));
    // Rule 8
    let link_local = ("fe80::1", Some("fe80::2"));
    assert_eq!(better(global, link_local), Some(link_local.0));
}

#[test]
fn labels_shall_match() {
    // Rule 5: a 6to4 source towards a native address crosses a relay.
    let relayed = ("2001:db8:1::1", Some("2002:c633:6401::2"));
    let tunnelled = ("2002:c633:6401::1", Some("2002:c633:6401::2"));
    assert_eq!(better(relayed, tunnelled), Some(tunnelled.0));
    let v4 = ("198.51.100.121", Some("198.51.100.117"));
    assert_eq!(better(relayed, v4), Some(v4.0));
}

#[test]
fn precedence_decides_between_families() {
    let v6 = ("2001:db8:1::1", Some("2001:db8:1::2"));
    let v4 = ("10.1.2.3", Some("10.1.2.4"));
    assert_eq!(better(v6, v4), Some(v6.0));
    assert_eq!(prefer(Family::PreferIpv4, v6, v4), Some(v4.0));
    let loopback = ("::1", Some("::1"));
    let loopback4 = ("127.0.0.1", Some("127.0.0.1"));
    assert_eq!(better(loopback, loopback4), Some(loopback.0));
    assert_eq!(
        prefer(Family::PreferIpv4, loopback, loopback4),
        Some(loopback4.0)
    );
    // Unique local addresses seldom lead out.
    let unique_local = ("fd00::1", Some("fd00::2"));
    assert_eq!(better(unique_local, v4), Some(v4.0));
}

#[test]
fn the_option_overrules_the_file_about_families() {
    static IPV4_FIRST: LazyLock<Policy> =
        LazyLock::new(|| Policy::parse("precedence ::ffff:0:0/96 100"));
    for (family, preferred) in [
        (Family::Both, Preferred::Ipv4),
        (Family::PreferIpv4, Preferred::Ipv4),
        (Family::PreferIpv6, Preferred::Ipv6),
    ] {
        let order = Order {
            policy: &IPV4_FIRST,
            family,
        };
        assert_eq!(order.preferred(), preferred);
        let v6 = candidate("2001:db8:1::1", Some("2001:db8:1::2"));
        let v4 = candidate("10.1.2.3", Some("10.1.2.4"));
        let is_ipv4_first = order.compare(&v4, &v6).is_lt();
        assert_eq!(is_ipv4_first, preferred == Preferred::Ipv4, "{family:?}");
    }
    assert_eq!(Order::rfc(Family::Both).preferred(), Preferred::Ipv6);
}

#[test]
fn the_longer_common_prefix_wins_in_ipv6_alone() {
    let near = ("2001:db8:1::1", Some("2001:db8:1::2"));
    let far = ("2001:db8:3ffe::1", Some("2001:db8:3f44::2"));
    assert_eq!(better(near, far), Some(near.0));
    // Behind the 64th bit it says nothing.
    let one = ("2001:db8::1", Some("2001:db8::ffff"));
    let other = ("2001:db8::fffe", Some("2001:db8::ffff"));
    assert_eq!(better(one, other), None);
    let near4 = ("198.51.100.121", Some("198.51.100.117"));
    let far4 = ("203.0.113.1", Some("198.51.100.117"));
    assert_eq!(better(near4, far4), None);
}
