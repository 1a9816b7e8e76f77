use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Address, AddressError> {
    text.parse()
}

fn host_port(host: &str, port: u16) -> HostPort {
    HostPort {
        host: host.to_owned(),
        port,
    }
}

#[test]
fn each_kind_is_read_and_written_alike() {
    for (text, address) in [
        (
            "tcp://0.0.0.0:9501",
            Address::Tcp(host_port("0.0.0.0", 9501)),
        ),
        (
            "udp://localhost:53",
            Address::Udp(host_port("localhost", 53)),
        ),
        ("http://[::]:0", Address::Http(host_port("::", 0))),
        (
            "tcp://[fe80::1%eth0]:1",
            Address::Tcp(host_port("fe80::1%eth0", 1)),
        ),
        (
            "unix:///run/chat.sock",
            Address::Unix("/run/chat.sock".into()),
        ),
        ("unix://@chat", Address::Unix("\0chat".into())),
        ("unixgram:///a", Address::Unixgram("/a".into())),
        ("unixgram://@a", Address::Unixgram("\0a".into())),
        ("tls://a:1", Address::Tls(host_port("a", 1))),
        ("https://a:1", Address::Https(host_port("a", 1))),
        ("ws://a:1", Address::Ws(host_port("a", 1))),
        ("wss://a:1", Address::Wss(host_port("a", 1))),
        ("kcp://a:1", Address::Kcp(host_port("a", 1))),
    ] {
        assert_eq!(parse(text), Ok(address.clone()));
        assert_eq!(address.to_string(), text);
    }
}

#[test]
fn a_browser_s_lone_slash_and_capitals_are_forgiven() {
    let expected = Ok(Address::Http(host_port("localhost", 80)));
    assert_eq!(parse("HTTP://localhost:80/"), expected);
}

#[test]
fn a_host_knows_whether_it_is_an_address() {
    assert_eq!(host_port("::1", 1).ip(), Some(Ipv6Addr::LOCALHOST.into()));
    assert_eq!(host_port("localhost", 1).ip(), None);
    let zoned = host_port("fe80::1%eth0", 1);
    assert_eq!(zoned.ip(), Some("fe80::1".parse().unwrap()));
    assert_eq!(zoned.zone(), Some("eth0"));
}

#[test]
fn a_name_may_have_numbers_in_it() {
    for host in ["0x7g.test", "0x7f.test", "x0", "1.a", "0xfg", "0x7f-1"] {
        let address = parse(&format!("tcp://{host}:1"));
        assert_eq!(address, Ok(Address::Tcp(host_port(host, 1))));
    }
}

#[test]
fn only_a_socket_with_a_path_has_a_file() {
    let file = |text| parse(text).unwrap().socket_file().map(Path::to_owned);
    assert_eq!(file("unix:///run/a"), Some("/run/a".into()));
    assert_eq!(file("unix://@a"), None);
    assert_eq!(file("tcp://a:1"), None);
}

/// The whole sentence for one, the part that tells the cases apart for the others.
#[test]
fn a_mistake_is_named_with_its_remedy() {
    assert_eq!(
        parse("tcp://::1:9501").unwrap_err().to_string(),
        "address `tcp://::1:9501`: it has more than one colon: \
         put an IPv6 address in brackets, as in [::1]:9501"
    );
    for (text, problem, hint) in [
        ("127.0.0.1:9501", "no scheme", "tcp://127.0.0.1:9501"),
        ("/run/chat.sock", "no scheme", "unix:///run/chat.sock"),
        ("", "no scheme", "tcp://host:port"),
        ("ftp://a:1", "`ftp` is no scheme", "tcp://host:port"),
        ("tcp://a", "no port", "127.0.0.1:9501"),
        ("tcp://a:", "no port", "127.0.0.1:9501"),
        ("tcp://[::1]", "no port", "127.0.0.1:9501"),
        ("tcp://[::1]9501", "no port", "127.0.0.1:9501"),
        ("tcp://a:65536", "`65536` is no port", "0 to 65535"),
        ("tcp://a:+1", "`+1` is no port", "0 to 65535"),
        ("tcp://a:http", "`http` is no port", "0 to 65535"),
        ("tcp://:1", "no host", "0.0.0.0"),
        ("tcp://*:1", "`*` is no host", "0.0.0.0"),
        ("tcp://[::1:1", "`[` is not closed", "[::1]:9501"),
        (
            "tcp://[localhost]:1",
            "`localhost` is no IPv6",
            "[::1]:9501",
        ),
        ("tcp://10.1:1", "`10.1` is no IPv4", "127.0.0.1"),
        ("tcp://0x7f000001:1", "`0x7f000001` is no IPv4", "127.0.0.1"),
        ("tcp://0X7F.1:1", "`0X7F.1` is no IPv4", "127.0.0.1"),
        ("tcp://127.0.0.0x1.:1", "is no IPv4", "127.0.0.1"),
        ("tcp://0x:1", "`0x` is no IPv4", "127.0.0.1"),
        ("tcp://2130706433:1", "`2130706433` is no IPv4", "127.0.0.1"),
        ("tcp://256.0.0.1:1", "`256.0.0.1` is no IPv4", "127.0.0.1"),
        ("tcp://a b:1", "`a b` is no host", "letters"),
        ("tcp://me@a:1", "user", "`@`"),
        ("tcp://a:1/path", "`/path` follows the port", "leave it out"),
        ("tcp://a:1/", "`/` follows the port", "leave it out"),
        ("unix://chat.sock", "not absolute", "unix:///"),
        ("unix:///run/", "folder", "file"),
        ("unix:///a\0b", "NUL", "take it out"),
        ("unix://@", "no name", "unix://@chat"),
        ("unix://@a\0b", "NUL", "take it out"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.problem().contains(problem), "{error}");
        assert!(error.hint().contains(hint), "{error}");
    }
}

#[test]
fn a_message_has_nothing_that_a_terminal_would_obey() {
    for text in [
        "\u{1b}[2J",
        "\u{9b}2J://h:1",
        "tcp://\u{1b}[2J:1",
        "tcp://h:\u{7}",
        "tcp://[fe80::1%\u{1b}c]:1",
        "unix://\u{1b}c",
    ] {
        let said = parse(text).unwrap_err().to_string();
        assert!(!said.contains(char::is_control), "{said:?}");
    }
}

#[test]
fn a_unix_path_is_refused_and_never_cut() {
    let longest = format!("unix:///{}", "x".repeat(MAX_UNIX_PATH_BYTES - 1));
    assert!(parse(&longest).is_ok());
    let error = parse(&format!("{longest}yy")).unwrap_err();
    assert_eq!(
        error.problem(),
        "its path has 109 bytes, the system allows 107"
    );
    assert!(error.hint().starts_with("shorten it by 2"), "{error}");
    let name = "x".repeat(MAX_UNIX_PATH_BYTES - 1);
    assert!(parse(&format!("unix://@{name}")).is_ok());
    assert!(parse(&format!("unix://@{name}x")).is_err());
}

proptest! {
    #[test]
    fn a_written_address_is_read_again(ip in any::<IpAddr>(), port in any::<u16>()) {
        let address = Address::Tcp(HostPort { host: ip.to_string(), port });
        prop_assert_eq!(parse(&address.to_string()), Ok(address));
    }

    #[test]
    fn no_text_panics(text in "(tcp|unix|http|wss|unixgram)?(://)?@?\\[?\\PC{0,12}[:\\]%/]{0,2}[0-9]{0,6}") {
        if let Ok(address) = parse(&text) {
            prop_assert_eq!(parse(&address.to_string()), Ok(address));
        }
    }
}
