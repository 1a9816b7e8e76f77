//! What holds for any text that should name something: addresses, proxies, names, quantities, hosts files.

use std::fmt;

use super::*;
use crate::dial::via::Via;
use crate::resolve::{Name, StaticResolver};
use crate::unit::{duration, size};

/// Any text: an accepted text means the same when it is written and read again, and the error for a refused one is fit
/// for a terminal.
pub fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<Address>() {
        Ok(address) => {
            assert_eq!(address.to_string().parse().as_ref(), Ok(&address));
            if let Some(host_port) = address.host_port() {
                let is_ipv6 = host_port.host.contains(':');
                assert_eq!(host_port.ip().is_some_and(|ip| ip.is_ipv6()), is_ipv6);
                assert!(is_ipv6 || host_port.zone().is_none());
                assert_is_fit(&address);
            }
            if let Some(file) = address.socket_file() {
                assert!(file.is_absolute() && excess_bytes(file) == 0);
            }
        }
        Err(error) => assert_is_fit(&error),
    }
    match text.parse::<Via>() {
        Ok(via) => {
            let written = String::from(via.clone());
            assert_eq!(written.parse().as_ref(), Ok(&via));
            assert_is_fit(&written);
        }
        Err(error) => assert_is_fit(&error),
    }
    match Name::parse(text) {
        Ok(name) => {
            assert_eq!(Name::parse(name.as_str()).ok().as_ref(), Some(&name));
            assert_eq!(name.as_str().trim_end_matches('.'), name.relative());
        }
        Err(error) => assert_is_fit(&error),
    }
    match duration(text) {
        Ok(length) => assert_eq!(duration(&format!("{}ms", length.as_millis())), Ok(length)),
        Err(error) => assert_is_fit(&error),
    }
    match size(text) {
        Ok(bytes) => assert_eq!(size(&format!("{bytes}B")), Ok(bytes)),
        Err(error) => assert_is_fit(&error),
    }
    if let Err(error) = StaticResolver::from_hosts(text) {
        assert!((1..=text.lines().count()).contains(&error.line));
        assert_is_fit(&error);
    }
}

/// Says something, on one line, without a sequence that the terminal would obey.
fn assert_is_fit(words: &impl fmt::Display) {
    let words = words.to_string();
    assert!(!words.is_empty());
    assert!(!words.chars().any(char::is_control), "{words:?}");
}
