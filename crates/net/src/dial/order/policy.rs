//! The tables that order addresses: those of `/etc/gai.conf`, or else RFC 6724's.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

const GAI_CONF: &str = "/etc/gai.conf";
/// The most that is read of it, in bytes. Debian's has 2.6 KB, nearly all of it comments.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The scope of a link (RFC 6724 §3.1, §3.2).
const LINK_LOCAL: u32 = 0x2;
const SITE_LOCAL: u32 = 0x5;
const GLOBAL: u32 = 0xe;

/// How addresses are ranked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    precedences: Table,
    labels: Table,
    /// Only of IPv4 addresses, which are stored as mapped ones.
    scopes: Table,
}

/// Prefixes with their values. An address has that of its longest prefix.
type Table = Cow<'static, [Row]>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    prefix: Ipv6Addr,
    bits: u32,
    value: u32,
}

const fn row(prefix: [u16; 8], bits: u32, value: u32) -> Row {
    let [a, b, c, d, e, f, g, h] = prefix;
    Row {
        prefix: Ipv6Addr::new(a, b, c, d, e, f, g, h),
        bits,
        value,
    }
}

const MAPPED: [u16; 8] = [0, 0, 0, 0, 0, 0xffff, 0, 0];
const ANY_PRECEDENCE: Row = row([0; 8], 0, 40);
const ANY_LABEL: Row = row([0; 8], 0, 1);
const ANY_SCOPE: Row = row(MAPPED, 96, GLOBAL);

/// The default policy table (RFC 6724 §2.1), and the scopes of §3.2.
static RFC_6724: Policy = Policy {
    precedences: Cow::Borrowed(&[
        row([0, 0, 0, 0, 0, 0, 0, 1], 128, 50),
        row(MAPPED, 96, 35),
        row([0; 8], 96, 1),
        row([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, 5),
        row([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, 30),
        row([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, 1),
        row([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, 1),
        row([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, 3),
        ANY_PRECEDENCE,
    ]),
    labels: Cow::Borrowed(&[
        row([0, 0, 0, 0, 0, 0, 0, 1], 128, 0),
        row(MAPPED, 96, 4),
        row([0; 8], 96, 3),
        row([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, 5),
        row([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, 2),
        row([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16, 12),
        row([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, 11),
        row([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, 13),
        ANY_LABEL,
    ]),
    scopes: Cow::Borrowed(&[
        row([0, 0, 0, 0, 0, 0xffff, 0xa9fe, 0], 112, LINK_LOCAL),
        row([0, 0, 0, 0, 0, 0xffff, 0x7f00, 0], 104, LINK_LOCAL),
        ANY_SCOPE,
    ]),
};

impl Policy {
    /// RFC 6724's.
    #[cfg(test)]
    pub(super) const fn rfc() -> &'static Self {
        &RFC_6724
    }

    /// This machine's: that of `/etc/gai.conf`, which is read once in a process, as by the system's resolver.
    pub(super) fn system() -> &'static Self {
        static SYSTEM: LazyLock<Policy> = LazyLock::new(|| match read() {
            Ok(text) => Policy::parse(&text),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("cannot read {GAI_CONF}: {error}");
                }
                RFC_6724.clone()
            }
        });
        &SYSTEM
    }

    /// The tables of a file like gai.conf(5). A line of one kind replaces the whole default table of its kind.
    /// Unreadable lines are skipped, as the system does it.
    pub(super) fn parse(text: &str) -> Self {
        let (mut precedences, mut labels, mut scopes) = (Vec::new(), Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(keyword) = words.next() else {
                continue;
            };
            let text = words.next().unwrap_or_default();
            let (table, prefix) = match keyword {
                "precedence" => (&mut precedences, prefix(text)),
                "label" => (&mut labels, prefix(text)),
                "scopev4" => (&mut scopes, prefix_of_ipv4(text)),
                // `reload`, and what later systems may add.
                _ => continue,
            };
            let value = words.next().and_then(|value| value.parse().ok());
            match (prefix, value) {
                (Some((prefix, bits)), Some(value)) => table.push(Row {
                    prefix,
                    bits,
                    value,
                }),
                _ => {
                    let line = index + 1;
                    tracing::warn!("{GAI_CONF}, line {line}: cannot read this `{keyword}`");
                }
            }
        }
        Self {
            precedences: table(precedences, &RFC_6724.precedences, ANY_PRECEDENCE),
            labels: table(labels, &RFC_6724.labels, ANY_LABEL),
            scopes: table(scopes, &RFC_6724.scopes, ANY_SCOPE),
        }
    }

    pub(super) fn precedence(&self, ip: IpAddr) -> u32 {
        find(&self.precedences, ip)
    }

    pub(super) fn label(&self, ip: IpAddr) -> u32 {
        find(&self.labels, ip)
    }

    /// RFC 6724 §3.1 and §3.2, with the numbers of IPv6 multicast scopes.
    pub(super) fn scope(&self, ip: IpAddr) -> u32 {
        let IpAddr::V6(ip) = ip else {
            return find(&self.scopes, ip);
        };
        let [first, second, ..] = ip.octets();
        match (first, second & 0xc0) {
            _ if ip.is_loopback() => LINK_LOCAL,
            (0xff, _) => u32::from(second & 0xf),
            (0xfe, 0x80) => LINK_LOCAL,
            (0xfe, 0xc0) => SITE_LOCAL,
            _ => GLOBAL,
        }
    }

    /// The precedence of IPv4 addresses as a whole.
    pub(super) fn of_ipv4(&self) -> u32 {
        self.precedence(Ipv4Addr::UNSPECIFIED.into())
    }

    /// The precedence of the IPv6 addresses of the internet (2000::/3).
    pub(super) fn of_ipv6(&self) -> u32 {
        self.precedence(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0).into())
    }
}

fn read() -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(GAI_CONF)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The longest prefix first. What no row is about has the value of `any`.
fn table(mut rows: Vec<Row>, default: &Table, any: Row) -> Table {
    if rows.is_empty() {
        return default.clone();
    }
    rows.push(any);
    // The first of two equal ones counts.
    rows.sort_by_key(|row| std::cmp::Reverse(row.bits));
    Cow::Owned(rows)
}

fn find(table: &[Row], ip: IpAddr) -> u32 {
    let ip = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let row = table
        .iter()
        .find(|row| common_bits(ip, row.prefix) >= row.bits);
    row.map_or(0, |row| row.value)
}

/// An IPv6 prefix, as in `2002::/16`.
fn prefix(text: &str) -> Option<(Ipv6Addr, u32)> {
    let (ip, bits) = split(text, 128)?;
    Some((ip.parse().ok()?, bits))
}

/// An IPv4 prefix, also written as a mapped one, as in `169.254.0.0/16` or `::ffff:169.254.0.0/112`.
fn prefix_of_ipv4(text: &str) -> Option<(Ipv6Addr, u32)> {
    const MAPPED_BITS: u32 = 96;
    if let Some((ip, bits)) = prefix(text) {
        return (ip.to_ipv4_mapped().is_some() && bits >= MAPPED_BITS).then_some((ip, bits));
    }
    let (ip, bits) = split(text, 32)?;
    let ip: Ipv4Addr = ip.parse().ok()?;
    Some((ip.to_ipv6_mapped(), MAPPED_BITS + bits))
}

/// The address, and how many of its bits count.
fn split(text: &str, most: u32) -> Option<(&str, u32)> {
    match text.split_once('/') {
        None => Some((text, most)),
        Some((ip, bits)) => {
            let bits = bits.parse().ok()?;
            (bits <= most).then_some((ip, bits))
        }
    }
}

pub(super) fn common_bits(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    (a.to_bits() ^ b.to_bits()).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn precedence(policy: &Policy, ip: &str) -> u32 {
        policy.precedence(ip.parse().unwrap())
    }

    #[test]
    fn one_line_replaces_the_whole_table_of_its_kind() {
        let policy =
            Policy::parse("# label ::/0 7\nprecedence ::ffff:0:0/96 100 # as everybody has it\n");
        assert_eq!(precedence(&policy, "192.0.2.1"), 100);
        assert_eq!(precedence(&policy, "2001:db8::1"), 40);
        // RFC 6724 has 3 for it.
        assert_eq!(precedence(&policy, "fc00::1"), 40);
        assert_eq!(
            (&policy.labels, &policy.scopes),
            (&RFC_6724.labels, &RFC_6724.scopes)
        );
        assert!(policy.of_ipv4() > policy.of_ipv6());
    }

    #[test]
    fn the_longest_prefix_counts_in_whichever_order_they_stand() {
        let policy = Policy::parse(
            "precedence ::/0 1\nprecedence 2001:db8::/32 2\nprecedence 2001:db8::7 3\n",
        );
        assert_eq!(precedence(&policy, "2001:db8::7"), 3);
        assert_eq!(precedence(&policy, "2001:db8::8"), 2);
        assert_eq!(precedence(&policy, "192.0.2.1"), 1);
    }

    #[test]
    fn scopes_are_written_in_two_ways() {
        for text in ["scopev4 10.0.0.0/8 5", "scopev4 ::ffff:10.0.0.0/104 5"] {
            let policy = Policy::parse(text);
            let scope = |ip: &str| policy.scope(ip.parse().unwrap());
            assert_eq!(
                (scope("10.1.2.3"), scope("169.254.1.1")),
                (5, GLOBAL),
                "{text}"
            );
        }
    }

    #[test]
    fn an_unreadable_line_changes_nothing() {
        let text = "precedence\nprecedence ::/0\nprecedence ::/129 1\nprecedence 10.0.0.0/8 1\nlabel ::/0 -1\n\
                    label ::/0 x\nscopev4 2001:db8::/32 1\nscopev4 ::ffff:0:0/95 1\nscopev4 1.2.3.4/33 1\n\
                    reload yes\nnonsense\n\u{1b}[2J\n";
        assert_eq!(Policy::parse(text), RFC_6724);
        assert_eq!(Policy::parse(""), RFC_6724);
    }
}
