//! The entries of `/etc/hosts` for a name, where `getaddrinfo` would ask servers too.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;

use crate::resolve::Families;

const HOSTS: &str = "/etc/hosts";
/// The longest line that is read, in bytes: a file of one endless line must not fill the memory.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// The addresses of a name. None if the file cannot be read, as for the system itself.
pub(super) fn addresses(name: &str, families: Families) -> Vec<IpAddr> {
    match File::open(HOSTS) {
        Ok(file) => addresses_in(BufReader::new(file), name, families),
        Err(_) => Vec::new(),
    }
}

fn addresses_in(mut hosts: impl BufRead, name: &str, families: Families) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = Read::by_ref(&mut hosts).take(MAX_LINE_BYTES);
        match limited.read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return found,
        }
        let text = String::from_utf8_lossy(&line);
        let mut words = text
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        let is_meant = words.any(|word| word.eq_ignore_ascii_case(name));
        if is_meant && families.admit(ip) && !found.contains(&ip) {
            found.push(ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_addresses_of_every_line_that_lists_it() {
        let hosts = "# 2001:db8::9 me.test\n\
                     ::1 other.test ME.test # me.test\n\
                     nonsense me.test\n\
                     192.0.2.1 me.test\n\
                     ::1 me.test\n\
                     2001:db8::1 \t me.test more.me.test";
        let found = |name, families| addresses_in(hosts.as_bytes(), name, families);
        let ipv6: Vec<IpAddr> = vec!["::1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(found("me.test.", Families::Ipv6), ipv6);
        assert_eq!(found("Me.Test", Families::Both).len(), 3);
        assert_eq!(found("absent.test", Families::Both), Vec::<IpAddr>::new());
    }
}
