//! Which clients a relaying listener lets in.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use moorline_tests::{Client, Engine, Issuer, PeerServer, Site, Wire, eventually};

use super::{config, connect};

/// Whether a client of this host gets its byte back. Another one finds its connection closed.
#[track_caller]
fn is_served(engine: &Engine, host: u8) -> bool {
    let mut client = Client::connect_from(engine, 0, Wire::Raw, [127, 0, 0, host]);
    client.send_bytes(b"x").is_ok() && client.try_receive_exactly(1).is_ok()
}

/// The same for one that a proxy names.
#[track_caller]
fn is_served_behind_a_proxy(engine: &Engine, header: &str) -> bool {
    let mut proxy = connect(engine);
    proxy
        .write_all(format!("{header}x").as_bytes())
        .expect("it is open");
    is_answered(&mut proxy)
}

/// Whether a byte comes; else the connection must be closed.
#[track_caller]
fn is_answered(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(bytes) => bytes == 1,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            false
        }
    }
}

#[test]
fn a_denied_client_is_closed_before_any_peer_is_asked() {
    let peer = PeerServer::echo();
    let rules = r#"access = [{ deny = "127.0.0.2" }, { allow = "127.0.0.0/8" }, { deny = "all" }]"#;
    let engine = Engine::start("moorline", &config(rules, "", &[peer.address]));
    assert!(is_served(&engine, 1));
    for _ in 0..20 {
        assert!(!is_served(&engine, 2));
    }
    assert!(is_served(&engine, 3));
    assert_eq!(peer.connections(), 2);
    assert_eq!(engine.status().limit("access"), 20);
    let denied = |log: &str| log.matches("`access` denies it").count();
    let log = engine.site().log();
    assert!(
        (1..=3).contains(&denied(&log)),
        "a flood is told once a second: {log}"
    );
}

#[test]
fn a_denied_client_gets_no_tls_handshake() {
    let peer = PeerServer::echo();
    let text = config(
        r#"access = [{ deny = "127.0.0.0/8" }]"#,
        "",
        &[peer.address],
    )
    .replace(
        "tcp://127.0.0.1:0\"",
        "tls://127.0.0.1:0\"\ntls = { certificate = \"one.pem\", key = \"one.key\" }",
    );
    let site = Site::new("moorline", &text);
    Issuer::new().issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    assert!(!is_answered(&mut connect(&engine)));
    assert_eq!(peer.connections(), 0);
}

#[test]
fn behind_a_trusted_proxy_the_client_that_it_names_counts() {
    let peer = PeerServer::echo();
    let rules = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n\
                 access = [{ deny = \"192.0.2.0/24\" }, { deny = \"2001:db8::/32\" }, { allow = \"all\" }]";
    let engine = Engine::start("moorline", &config(rules, "", &[peer.address]));
    for (header, served) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", false),
        ("PROXY TCP4 192.0.3.7 198.51.100.1 4711 443\r\n", true),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", false),
        (
            "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::2 4711 443\r\n",
            false,
        ),
        // The proxy's own.
        ("PROXY UNKNOWN\r\n", true),
    ] {
        assert_eq!(
            is_served_behind_a_proxy(&engine, header),
            served,
            "{header}"
        );
    }
    assert_eq!(peer.connections(), 2);
    assert_eq!(engine.status().limit("access"), 3);
}

#[test]
fn clients_of_a_unix_socket_have_a_rule_of_their_own() {
    let peer = PeerServer::echo();
    for (rule, served) in [("{ allow = \"unix:\" }, ", true), ("", false)] {
        let rules = format!("access = [{rule}{{ deny = \"all\" }}]");
        let text = config(&rules, "", &[peer.address]).replace("tcp://127.0.0.1:0", "unix://front");
        let engine = Engine::start("moorline", &text);
        let path = engine.site().path("front");
        let mut client = std::os::unix::net::UnixStream::connect(path).expect("it is there");
        let _ = client.write_all(b"x");
        let came = client.read(&mut [0]);
        assert_eq!(matches!(came, Ok(1)), served, "{came:?}");
    }
}

#[test]
fn a_reload_changes_the_rules_for_new_connections() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let mut early = connect(&engine);
    early.write_all(b"x").expect("it is open");
    assert!(is_answered(&mut early));
    let rules = r#"access = [{ deny = "all" }]"#;
    engine.site().configure(&config(rules, "", &[peer.address]));
    engine.reload().expect_success();
    eventually("it is denied", || !is_served(&engine, 1));
    early.write_all(b"y").expect("it is open");
    assert!(is_answered(&mut early));
}

#[test]
fn a_header_of_a_proxy_that_is_not_believed_names_nobody() {
    let peer = PeerServer::echo();
    let rules = "access = [{ deny = \"192.0.2.7\" }]\nproxy_protocol = \"any\"";
    for (trusted, is_denied) in [
        ("", false),
        ("trusted_proxies = [\"10.0.0.0/8\"]", false),
        ("trusted_proxies = [\"127.0.0.1\"]", true),
    ] {
        let rules = format!("{rules}\n{trusted}");
        let engine = Engine::start("moorline", &config(&rules, "", &[peer.address]));
        let header = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
        assert_eq!(
            is_served_behind_a_proxy(&engine, header),
            !is_denied,
            "{trusted}"
        );
        assert!(!is_served_behind_a_proxy(&engine, "PROXY nonsense\r\n"));
    }
}
