//! Connections that begin with a header of the PROXY protocol, written by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Issuer, Site, Stream, Wire, eventually};

/// A listener of each kind: 0 length, 1 WebSocket, 2 Unix, 3 one that trusts nobody who comes here.
const CONFIG: &str = r#"
[workers]
count = 2
[engine]
gateway_loops = 2
[[listen]]
name = "raw"
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 4, counts = "payload" }
proxy_protocol = true
trusted_proxies = ["127.0.0.0/8"]
max_sessions_per_address = 2
handshake_timeout = "1s"
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
proxy_protocol = true
trusted_proxies = ["127.0.0.1"]
max_sessions_per_address = 2
[[listen]]
name = "unix"
address = "unix://socket"
framing = { kind = "length", width = 4, counts = "payload" }
proxy_protocol = true
trusted_proxies = ["unix"]
[[listen]]
name = "strict"
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 4, counts = "payload" }
proxy_protocol = true
trusted_proxies = ["10.0.0.0/8", "unix"]
[app]
journal = "{folder}/journal"
"#;

const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";

/// A header of version 2 for this client.
fn binary(command: u8, client: [u8; 4], more: &[u8]) -> Vec<u8> {
    let length = (12 + more.len() as u16).to_be_bytes();
    let ports = [0x12, 0x67, 1, 187];
    [
        &b"\r\n\r\n\0\r\nQUIT\n"[..],
        &[0x20 | command, 0x11],
        &length,
        &client,
        &[198, 51, 100, 1],
        &ports,
        more,
    ]
    .concat()
}

/// A session behind this header; what comes with it is sent in one piece.
fn announced(engine: &Engine, listener: usize, header: &[u8]) -> Client {
    let mut client = Client::connect(engine, listener, Wire::LENGTH);
    let first = [header, &Wire::LENGTH.encode(b"peer")].concat();
    client.send_bytes(&first).expect("it is taken");
    client
}

fn text(client: &mut Client) -> String {
    String::from_utf8(client.receive()).expect("text")
}

#[test]
fn the_peer_is_the_client_that_the_header_names() {
    let engine = Engine::start("probe", CONFIG);
    let own = |client: &Client| format!("127.0.0.1:{}", client.port());
    for (header, expected) in [
        (LINE.as_bytes().to_vec(), Some("192.0.2.7:4711")),
        (binary(1, [192, 0, 2, 7], &[]), Some("192.0.2.7:4711")),
        (binary(1, [192, 0, 2, 7], &[4; 300]), Some("192.0.2.7:4711")),
        (
            b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n".to_vec(),
            Some("[2001:db8::7]:4711"),
        ),
        // The proxy speaks for itself.
        (binary(0, [192, 0, 2, 7], &[]), None),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
    ] {
        let mut client = announced(&engine, 0, &header);
        let expected = expected.map_or_else(|| own(&client), str::to_owned);
        assert_eq!(text(&mut client), expected);
        let listed = engine.site().run(&["sessions"]);
        assert!(listed.stdout.contains(&expected), "{}", listed.stdout);
        drop(client);
        engine
            .site()
            .logged(&["session closed", &format!("peer={expected}")]);
    }
    let mut client = announced(&engine, 2, LINE.as_bytes());
    assert_eq!(text(&mut client), "192.0.2.7:4711");
    let mut client = announced(&engine, 2, &binary(0, [1, 2, 3, 4], &[]));
    assert_eq!(text(&mut client), "unix");
}

#[test]
fn a_client_of_a_proxy_that_knows_no_address_cannot_name_itself() {
    let engine = Engine::start("probe", CONFIG);
    let unspecified = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0".to_vec();
    let own = |client: &Client| format!("127.0.0.1:{}", client.port());
    for (header, expected) in [
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (unspecified, None),
        // The proxy's own word.
        (binary(0, [192, 0, 2, 7], &[]), Some("203.0.113.9:0")),
    ] {
        let mut client = Client::connect(&engine, 1, Wire::Raw);
        let expected = expected.map_or_else(|| own(&client), str::to_owned);
        client.send_bytes(&header).expect("it is taken");
        let head = client
            .shake_hands_with("/ws", "X-Forwarded-For: 203.0.113.9\r\n")
            .expect("an answer");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
            .send_bytes(&Wire::WebSocket.encode(b"peer"))
            .expect("it is taken");
        assert_eq!(client.receive_frame().1, expected.as_bytes());
    }
}

#[test]
fn the_header_comes_in_any_pieces_and_nothing_behind_it_is_lost() {
    let engine = Engine::start("probe", CONFIG);
    for header in [
        LINE.as_bytes().to_vec(),
        binary(1, [192, 0, 2, 7], &[4; 40]),
    ] {
        let whole = [&header[..], &Wire::LENGTH.encode(b"peer")].concat();
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        for byte in whole {
            client.send_bytes(&[byte]).expect("it is taken");
            thread::sleep(Duration::from_micros(300));
        }
        assert_eq!(text(&mut client), "192.0.2.7:4711");
    }
    let request = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut client = Client::connect(&engine, 1, Wire::Raw);
    let first = [
        LINE.as_bytes(),
        request.as_bytes(),
        &Wire::WebSocket.encode(b"peer"),
    ]
    .concat();
    client.send_bytes(&first).expect("it is taken");
    let head = client.receive_head().expect("the handshake is answered");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(client.receive_frame().1, b"192.0.2.7:4711");
    // Another request than one for a session goes to another thread, behind the header.
    let mut client = Client::connect(&engine, 1, Wire::Raw);
    let first = [LINE, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", request].concat();
    client.send_bytes(first.as_bytes()).expect("it is taken");
    let head = client.receive_head().expect("an answer");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

#[test]
fn a_connection_without_a_valid_header_is_closed() {
    let engine = Engine::start("probe", CONFIG);
    for wrong in [
        &b"\0\0\0\x04peer"[..],
        b"PROXY TCP4 192.0.2.7\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
    ] {
        let mut client = Client::connect(&engine, 0, Wire::Raw);
        client.send_bytes(wrong).expect("it is taken");
        assert!(client.receive_bytes_to_end().is_empty());
    }
    engine
        .site()
        .logged(&["proxy_protocol", "does not begin with a PROXY header"]);
    let begun = Instant::now();
    for some in [&b""[..], b"PROXY TCP4 192.0.2.7 "] {
        let mut client = Client::connect(&engine, 0, Wire::Raw);
        client.send_bytes(some).expect("it is taken");
        assert!(client.receive_bytes_to_end().is_empty());
    }
    let waited = begun.elapsed();
    assert!(
        waited > Duration::from_secs(1) && waited < Duration::from_secs(6),
        "{waited:?}"
    );
    // One that leaves within the header.
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    client.send_bytes(b"PROXY ").expect("it is taken");
    client.finish_sending();
    assert!(client.receive_bytes_to_end().is_empty());
    eventually("nothing is left", || engine.status().gateway.sessions == 0);
}

#[test]
fn only_trusted_proxies_may_connect() {
    let engine = Engine::start("probe", CONFIG);
    for _ in 0..20 {
        let mut client = Client::connect(&engine, 3, Wire::Raw);
        // It may be closed already.
        let _ = client.send_bytes(LINE.as_bytes());
        assert!(client.receive_bytes_to_end().is_empty());
    }
    engine
        .site()
        .logged(&["none of `trusted_proxies`", "127.0.0.1"]);
    assert_eq!(engine.status().closed("handshake"), 20);
    // Nor may 127.0.0.2 at one that trusts 127.0.0.1 alone.
    let mut client = Client::connect_from(&engine, 1, Wire::Raw, [127, 0, 0, 2]);
    let _ = client.send_bytes(LINE.as_bytes());
    assert!(client.receive_bytes_to_end().is_empty());
}

#[test]
fn clients_and_trusted_proxies_may_share_a_listener() {
    let config = CONFIG
        .replace("proxy_protocol = true", "proxy_protocol = \"trusted\"")
        .replace("127.0.0.0/8", "127.0.0.2")
        .replace("[\"127.0.0.1\"]", "[\"127.0.0.2\"]");
    let engine = Engine::start("probe", &config);
    let of_proxy = |listener: usize, number: u8| {
        let wire = if listener == 0 {
            Wire::LENGTH
        } else {
            Wire::Raw
        };
        let mut client = Client::connect_from(&engine, listener, wire, [127, 0, 0, 2]);
        let header = binary(1, [192, 0, 2, number], &[]);
        client.send_bytes(&header).expect("it is taken");
        client
    };
    let mut direct = Client::connect(&engine, 0, Wire::LENGTH);
    let own = format!("127.0.0.1:{}", direct.port());
    assert_eq!(direct.ask("peer"), own);
    assert_eq!(of_proxy(0, 7).ask("peer"), "192.0.2.7:4711");
    // Limits count clients, whichever way they come.
    let _two = [8, 8].map(|number| of_proxy(0, number));
    let _second = Client::connect(&engine, 0, Wire::LENGTH).ask("peer");
    let mut third = Client::connect(&engine, 0, Wire::LENGTH);
    assert!(third.receive_bytes_to_end().is_empty());
    assert_eq!(of_proxy(0, 9).ask("peer"), "192.0.2.9:4711");
    // What a client writes itself is no header: as a length it is too much.
    let mut liar = Client::connect_from(&engine, 0, Wire::Raw, [127, 0, 0, 3]);
    let _ = liar.send_bytes(LINE.as_bytes());
    assert!(liar.receive_bytes_to_end().is_empty());
    for mut client in [of_proxy(1, 7), Client::connect(&engine, 1, Wire::Raw)] {
        let head = client.shake_hands("/ws").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }
    engine.reload().expect_success();
    assert_eq!(direct.ask("peer"), own);
}

#[test]
fn the_limit_for_one_address_counts_the_client() {
    let engine = Engine::start("probe", CONFIG);
    let named = |number: u8| binary(1, [192, 0, 2, number], &[]);
    let mut clients: Vec<_> = (1..=3)
        .flat_map(|number| [number, number])
        .map(|number| {
            let mut client = announced(&engine, 0, &named(number));
            assert_eq!(text(&mut client), format!("192.0.2.{number}:4711"));
            client
        })
        .collect();
    let mut refused = announced(&engine, 0, &named(2));
    assert!(refused.receive_bytes_to_end().is_empty());
    assert_eq!(engine.status().limit("max_sessions_per_address"), 1);
    drop(clients.remove(2));
    eventually("its place is free", || {
        let mut next = announced(&engine, 0, &named(2));
        matches!(next.try_receive(), Ok(Some(_)))
    });
    // A client of HTTP is told.
    let begin = |number: u8| {
        let mut client = Client::connect(&engine, 1, Wire::Raw);
        client.send_bytes(&named(number)).expect("it is taken");
        let head = client.shake_hands("/ws").expect("an answer");
        (client, head)
    };
    let _two = [1, 1].map(|number| {
        let (client, head) = begin(number);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    });
    assert!(begin(1).1.starts_with("HTTP/1.1 429 "));
    assert!(begin(2).1.starts_with("HTTP/1.1 101 "));
}

#[test]
fn the_header_stands_before_tls() {
    let authority = Issuer::new();
    let site = Site::new(
        "probe",
        r#"
[workers]
count = 1
[[listen]]
name = "tls"
address = "tls://127.0.0.1:0"
tls = { certificate = "cert.pem", key = "cert.key" }
framing = { kind = "length", width = 4, counts = "payload" }
proxy_protocol = true
trusted_proxies = ["127.0.0.1"]
"#,
    );
    authority.issue(&["localhost"]).write(&site, "cert");
    let engine = site.start();
    let mut stream = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    stream.write_all(LINE.as_bytes()).expect("it is taken");
    let tls = authority
        .trust()
        .connect_over(stream, "localhost")
        .expect("a handshake");
    let stream = Stream::Tls(Box::new(tls));
    let mut client = Client::over(stream, Wire::LENGTH).expect("it is open");
    assert_eq!(client.ask("peer"), "192.0.2.7:4711");
    // Without the header a handshake of TLS is none.
    let mut plain = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    plain
        .write_all(b"\x16\x03\x01\0\x05hello")
        .expect("it is taken");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(answer.is_empty());
}
