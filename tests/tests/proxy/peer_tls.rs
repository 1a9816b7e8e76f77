//! Peers that speak TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{
    Client, Engine, Finish, Issuer, PeerServer, Random, Site, TlsPeer, Wire, eventually, exchange,
    kill,
};
use nix::sys::signal::Signal;

use super::{config, connect};

/// An engine whose peers must have certificates of this issuer.
fn start(issuer: &Issuer, listen: &str, tls: &str, peers: &[SocketAddr]) -> Engine {
    site(issuer, listen, tls, peers).start()
}

fn site(issuer: &Issuer, listen: &str, tls: &str, peers: &[SocketAddr]) -> Arc<Site> {
    let upstream = format!("{tls}\nconnect_timeout = \"1s\"");
    let site = Site::new("moorline", &config(listen, &upstream, peers));
    site.write("ca.pem", issuer.pem());
    site
}

const NAMED: &str = "tls = { ca = \"ca.pem\", server_name = \"peer.test\" }";

#[test]
fn what_is_sent_before_a_half_close_comes_back_whole_over_tls() {
    let issuer = Issuer::new();
    let peer = TlsPeer::echo(issuer.issue(&["peer.test"]).server());
    let engine = start(&issuer, "", NAMED, &[peer.address()]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut random = Random::new();
                for round in 0..25 {
                    let bytes = random.bytes(64 * 1024);
                    let came = exchange(&connect(&engine), &bytes).expect("nothing breaks");
                    assert!(came == bytes, "round {round}: {} bytes", came.len());
                }
            });
        }
    });
    let bytes = 4 * 25 * 64 * 1024;
    eventually("it is counted", || {
        let relays = engine.status().gateway.relays;
        (relays.bytes_up, relays.bytes_down, relays.open) == (bytes, bytes, 0)
    });
}

#[test]
fn both_sides_may_speak_tls() {
    let issuer = Issuer::new();
    let peer = TlsPeer::echo(issuer.issue(&["peer.test"]).server());
    let site = site(&issuer, "", NAMED, &[peer.address()]);
    let text = config("", &format!("{NAMED}\n"), &[peer.address()]).replace(
        "tcp://127.0.0.1:0\"",
        "tls://127.0.0.1:0\"\ntls = { certificate = \"one.pem\", key = \"one.key\" }",
    );
    site.configure(&text);
    issuer.issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    let mut random = Random::new();
    for round in 0..20 {
        let bytes = random.bytes(64 * 1024);
        let client = Client::connect_tls(&engine, 0, Wire::Raw, &issuer.trust(), "one.test");
        let mut client = client.expect("the handshake succeeds");
        client.send_bytes(&bytes).expect("it is taken");
        client.finish_sending();
        let came = client.receive_bytes_to_end();
        assert!(came == bytes, "round {round}: {} bytes", came.len());
    }
}

#[test]
fn a_peer_that_speaks_first_is_heard_and_a_slow_reader_gets_everything() {
    const BYTES: usize = 8 << 20;
    let issuer = Issuer::new();
    let peer = TlsPeer::new(issuer.issue(&["peer.test"]).server(), |stream| {
        let _ = stream.write_all(&vec![4; BYTES]);
    });
    let engine = start(&issuer, "", NAMED, &[peer.address()]);
    let mut client = connect(&engine);
    thread::sleep(Duration::from_millis(300));
    let mut came = Vec::new();
    client.read_to_end(&mut came).expect("nothing breaks");
    assert!(came.len() == BYTES && came.iter().all(|byte| *byte == 4));
}

#[test]
fn a_peer_whose_handshake_fails_is_passed_over() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let right = TlsPeer::echo(issuer.issue(&["peer.test"]).server());
    let stalls = PeerServer::new(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let garbage = PeerServer::new(|mut stream| {
        let _ = stream.write_all(&[0x55; 4096]);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let closes = PeerServer::new(|mut stream| {
        let _ = stream.read(&mut [0; 16]);
    });
    let unknown = TlsPeer::echo(other.issue(&["peer.test"]).server());
    let misnamed = TlsPeer::echo(issuer.issue(&["other.test"]).server());
    for (wrong, why) in [
        (stalls.address, None),
        (garbage.address, Some("no TLS")),
        // Its end may be a reset.
        (closes.address, None),
        (unknown.address(), Some("no trusted issuer")),
        (
            misnamed.address(),
            Some("not for `peer.test` but for other.test"),
        ),
    ] {
        let engine = start(&issuer, "", NAMED, &[wrong, right.address()]);
        for _ in 0..2 {
            let came = exchange(&connect(&engine), b"hello").expect("nothing breaks");
            assert_eq!(came, b"hello", "{why:?}");
        }
        if let Some(why) = why {
            engine.logged(&["tls handshake with a peer failed", why]);
        }
        engine.logged(&["peer taken out"]);
    }
}

#[test]
fn a_client_whose_peers_all_fail_is_closed_and_none_of_its_bytes_is_sent_in_the_clear() {
    let issuer = Issuer::new();
    let (sender, received) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let plain = PeerServer::new(move |mut stream| {
        let mut came = Vec::new();
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut part = [0; 1024];
        while let Ok(bytes @ 1..) = stream.read(&mut part) {
            came.extend_from_slice(&part[..bytes]);
            let _ = stream.write_all(b"220 hello\r\n");
        }
        let sender = sender.lock().expect("nobody panics");
        sender.send(came).expect("the test waits");
    });
    let engine = start(&issuer, "", NAMED, &[plain.address]);
    let mut client = connect(&engine);
    client.write_all(b"a secret").expect("it is taken");
    let _ = client.read_to_end(&mut Vec::new());
    let came = received.recv_timeout(moorline_tests::PATIENCE);
    let came = came.expect("the peer learns of the end");
    assert!(!came.windows(8).any(|it| it == b"a secret"));
    engine.logged(&["relay closed", "unreachable"]);
}

#[test]
fn the_name_that_a_peer_is_sent_may_be_made_of_variables() {
    let issuer = Issuer::new();
    let peer = TlsPeer::echo(issuer.issue(&["front.test"]).server());
    for (tls, name) in [
        (
            "ca = \"ca.pem\", server_name = \"${listener}.test\"",
            Some("front.test"),
        ),
        ("verify = false", None),
        ("verify = false, server_name = \"a.test\"", Some("a.test")),
        (
            "verify = false, server_name = \"a.test\", send_server_name = false",
            None,
        ),
    ] {
        let engine = start(
            &issuer,
            "",
            &format!("tls = {{ {tls} }}"),
            &[peer.address()],
        );
        let came = exchange(&connect(&engine), b"hello").expect("nothing breaks");
        assert_eq!(came, b"hello", "{tls}");
        let last = peer.handshakes().pop().expect("there was one");
        assert_eq!(last.server_name.as_deref(), name, "{tls}");
    }
}

#[test]
fn sessions_are_resumed_with_each_peer_unless_they_may_not_be() {
    let issuer = Issuer::new();
    let peers = [(), ()].map(|()| TlsPeer::echo(issuer.issue(&["peer.test"]).server()));
    let addresses = peers.each_ref().map(TlsPeer::address);
    for (reuse, resumed) in [(true, [false, true, true]), (false, [false; 3])] {
        let tls =
            format!("tls = {{ ca = \"ca.pem\", server_name = \"peer.test\", reuse = {reuse} }}");
        let engine = start(&issuer, "", &tls, &addresses);
        for _ in 0..6 {
            let came = exchange(&connect(&engine), b"hello").expect("nothing breaks");
            assert_eq!(came, b"hello");
        }
        for peer in &peers {
            let handshakes = peer.handshakes();
            let last: Vec<_> = handshakes[handshakes.len() - 3..]
                .iter()
                .map(|it| it.is_resumed)
                .collect();
            assert_eq!(last, resumed, "reuse = {reuse}");
        }
    }
}

#[test]
fn protocols_are_offered_and_versions_kept_to() {
    let issuer = Issuer::new();
    let mut server = issuer.issue(&["peer.test"]).server();
    server.alpn_protocols = vec![b"b".to_vec()];
    let peer = TlsPeer::echo(server);
    let tls = "tls = { verify = false, alpn = [\"a\", \"b\"], versions = [\"1.2\"] }";
    let engine = start(&issuer, "", tls, &[peer.address()]);
    let came = exchange(&connect(&engine), b"hello").expect("nothing breaks");
    assert_eq!(came, b"hello");
    let last = peer.handshakes().pop().expect("there was one");
    assert_eq!(last.alpn.as_deref(), Some(&b"b"[..]));
}

#[test]
fn peers_at_tls_addresses_are_verified_by_the_names_in_them() {
    let issuer = Issuer::new();
    let peer = TlsPeer::echo(issuer.issue(&["localhost"]).server());
    for (host, is_right) in [("localhost", true), ("127.0.0.1", false)] {
        let text = config("", "tls = { ca = \"ca.pem\" }", &[]).replace(
            "peers = []",
            &format!("peers = [\"tls://{host}:{}\"]", peer.address().port()),
        );
        let site = Site::new("moorline", &text);
        site.write("ca.pem", issuer.pem());
        let engine = site.start();
        let came = exchange(&connect(&engine), b"hello").unwrap_or_default();
        assert_eq!(came == b"hello", is_right, "{host}");
    }
}

#[test]
fn a_check_of_kind_tls_finds_a_peer_whose_handshake_fails() {
    let issuer = Issuer::new();
    let right = TlsPeer::echo(issuer.issue(&["peer.test"]).server());
    let plain = PeerServer::new(|mut stream| {
        let _ = stream.write_all(b"220 hello\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    for check in [
        "check = { kind = \"tls\", interval = \"100ms\", fall = 1 }",
        "check = { kind = \"expect\", send = \"ping\", expect = \"ping\", interval = \"100ms\", fall = 1 }",
    ] {
        let tls = format!("{NAMED}\n{check}\nmax_fails = 0");
        let engine = start(&issuer, "", &tls, &[plain.address, right.address()]);
        engine.logged(&["peer taken out: its checks fail", "TLS handshake failed"]);
        let before = plain.connections();
        for _ in 0..4 {
            let came = exchange(&connect(&engine), b"hello").expect("nothing breaks");
            assert_eq!(came, b"hello");
        }
        // Checks alone go there.
        let checks = plain.connections() - before;
        assert!(checks <= 3, "{checks}");
    }
}

/// `openssl s_server` with these arguments, which sends each line back reversed.
fn s_server(folder: &std::path::Path, arguments: &str) -> (std::process::Child, SocketAddr) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = port.local_addr().expect("it is bound");
    drop(port);
    let process = Command::new("openssl")
        .args(format!("s_server -accept {address} -rev -quiet {arguments}").split(' '))
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl is installed");
    eventually("it listens", || TcpStream::connect(address).is_ok());
    (process, address)
}

#[test]
fn a_peer_with_a_certificate_of_debian_counts_and_gets_the_certificate_that_it_asks_for() {
    let site = Site::new(
        "moorline",
        &config("", "", &[]).replace("[]", "[\"tcp://127.0.0.1:1\"]"),
    );
    site.write("plain.conf", "[req]\ndistinguished_name = name\n[name]\n");
    for name in ["peer.test", "client.test"] {
        Command::new("openssl")
            .args(format!("req -x509 -newkey rsa:2048 -nodes -config plain.conf -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}").split(' '))
            .current_dir(site.path("."))
            .finish()
            .expect_success();
    }
    let shown = "-cert peer.test.pem -key peer.test.key -CAfile client.test.pem -Verify 1 -verify_return_error";
    for version in ["-tls1_2", "-tls1_3"] {
        let (mut process, address) = s_server(&site.path("."), &format!("{shown} {version}"));
        let tls = "tls = { ca = \"peer.test.pem\", server_name = \"peer.test\", certificate = \"client.test.pem\", key = \"client.test.key\" }";
        site.configure(&config("", tls, &[address]));
        let engine = site.start();
        let mut client = connect(&engine);
        client.write_all(b"hello\n").expect("it is taken");
        let mut answer = [0; 6];
        client.read_exact(&mut answer).expect("an answer comes");
        assert_eq!(&answer, b"olleh\n");
        let _ = process.kill();
        let _ = process.wait();
    }
}

#[test]
fn first_bytes_that_were_read_ahead_reach_the_peer_whose_handshake_succeeds() {
    let issuer = Issuer::new();
    let right = TlsPeer::echo(issuer.issue(&["peer.test"]).server());
    let closes = PeerServer::new(|mut stream| {
        let _ = stream.read(&mut [0; 16]);
    });
    let peers = [closes.address, right.address()];
    let engine = start(&issuer, "preread = {}", NAMED, &peers);
    let bytes = [
        &moorline_tests::client_hello("a.test", 200)[..],
        b"and more",
    ]
    .concat();
    for _ in 0..2 {
        let came = exchange(&connect(&engine), &bytes).expect("nothing breaks");
        assert!(came == bytes);
    }
    assert_eq!(closes.connections(), 1);
}

#[test]
fn a_stop_does_not_wait_for_a_handshake_that_does_not_end() {
    let issuer = Issuer::new();
    let stalls = PeerServer::new(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let site = site(&issuer, "", NAMED, &[stalls.address]);
    let text = config(
        "",
        &format!("{NAMED}\nconnect_timeout = \"1m\""),
        &[stalls.address],
    );
    site.configure(&text.replace("count = 1", "count = 1\nmax_wait = \"1s\""));
    let mut engine = site.start();
    let mut client = connect(&engine);
    client.write_all(b"hello").expect("it is open");
    eventually("the handshake has begun", || stalls.connections() == 1);
    let begun = Instant::now();
    kill(engine.supervisor(), Signal::SIGTERM);
    // Its bytes were not read: the end may be a reset.
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    assert!(engine.ended().success());
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}
