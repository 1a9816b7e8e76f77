//! Listeners that end TLS and relay plaintext.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use moorline_tests::{Client, Engine, Issuer, PeerServer, Random, Site, Stream, Wire, eventually};

use super::config;

/// An engine with this peer, and a client's trust in it.
fn start(peer: &PeerServer, listen: &str) -> (Engine, moorline_tests::Trust) {
    let issuer = Issuer::new();
    let text = config(listen, "", &[peer.address]);
    let text = text.replace(
        "tcp://127.0.0.1:0\"",
        "tls://127.0.0.1:0\"\ntls = { certificate = \"one.pem\", key = \"one.key\" }",
    );
    let site = Site::new("moorline", &text);
    issuer.issue(&["one.test"]).write(&site, "one");
    (site.start(), issuer.trust())
}

fn connect(engine: &Engine, trust: &moorline_tests::Trust) -> Client {
    let client = Client::connect_tls(engine, 0, Wire::Raw, trust, "one.test");
    client.unwrap_or_else(|error| panic!("the handshake fails: {error}"))
}

#[test]
fn plaintext_reaches_the_peer_and_comes_back_encrypted_and_whole() {
    let peer = PeerServer::echo();
    let (engine, trust) = start(&peer, "");
    thread::scope(|scope| {
        for _ in 0..4 {
            let (engine, trust) = (&engine, &trust);
            scope.spawn(move || {
                let mut random = Random::new();
                for round in 0..25 {
                    let bytes = random.bytes(64 * 1024);
                    let mut client = connect(engine, trust);
                    client.send_bytes(&bytes).expect("it is taken");
                    client.finish_sending();
                    let came = client.receive_bytes_to_end();
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
    let status = engine.status();
    assert_eq!((status.gateway.sessions, status.gateway.accepted), (0, 0));
}

#[test]
fn a_large_answer_reaches_an_encrypted_client_that_reads_slowly() {
    const BYTES: usize = 8 << 20;
    let peer = PeerServer::new(|mut stream| {
        stream.write_all(&vec![4; BYTES]).expect("it is taken");
    });
    let (engine, trust) = start(&peer, "");
    let mut client = connect(&engine, &trust);
    thread::sleep(Duration::from_millis(300));
    let came = client.receive_bytes_to_end();
    assert!(came.len() == BYTES && came.iter().all(|byte| *byte == 4));
}

#[test]
fn what_breaks_tls_ends_the_relay_and_the_peer_gets_what_came_before() {
    let (sender, received) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let peer = PeerServer::new(move |mut stream| {
        let mut came = Vec::new();
        let _ = stream.read_to_end(&mut came);
        let sender = sender.lock().expect("nobody panics");
        sender.send(came).expect("the test waits");
    });
    let (engine, trust) = start(&peer, "");
    let mut client = connect(&engine, &trust);
    client.send_bytes(b"hello").expect("it is taken");
    eventually("it was relayed", || {
        engine.status().gateway.relays.bytes_up == 5
    });
    let Stream::Tls(tls) = &mut client.stream else {
        panic!("it is encrypted");
    };
    // A record of application data that nobody has encrypted.
    let garbage = [&[23, 3, 3, 0, 64][..], &[0; 64]].concat();
    tls.sock.write_all(&garbage).expect("it is taken");
    let came = received.recv_timeout(moorline_tests::PATIENCE);
    assert_eq!(came.expect("the peer learns of the end"), b"hello");
    eventually("it is gone", || engine.status().gateway.relays.open == 0);
    engine.logged(&["relay closed", "client"]);
}

#[test]
fn an_answer_that_its_peer_cuts_off_does_not_look_complete() {
    let peer = PeerServer::new(|mut stream| {
        let _ = stream.read_exact(&mut [0; 5]);
        let _ = stream.write_all(b"half of ");
        let _ = stream.read_exact(&mut [0; 1]);
        let linger = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&stream, linger).expect("it is a socket");
    });
    let (engine, trust) = start(&peer, "");
    let mut client = connect(&engine, &trust);
    client.send_bytes(b"hello").expect("it is taken");
    assert_eq!(client.receive_exactly(8), b"half of ");
    client.send_bytes(b"!").expect("it is taken");
    let Stream::Tls(tls) = &mut client.stream else {
        panic!("it is encrypted");
    };
    let end = tls.read(&mut [0; 8]);
    let error = end.expect_err("no farewell comes");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
}

#[test]
fn a_connection_that_never_ends_its_handshake_reaches_no_peer() {
    let peer = PeerServer::echo();
    let (engine, _) = start(&peer, "handshake_timeout = \"500ms\"");
    let mut client = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    client
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .expect("it is open");
    let _ = client.read_to_end(&mut Vec::new());
    let mut silent = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    let _ = silent.read_to_end(&mut Vec::new());
    assert_eq!(peer.connections(), 0);
    assert_eq!(engine.status().gateway.relays.begun, 0);
}

#[test]
fn what_an_encrypted_client_has_sent_before_it_broke_off_reaches_its_peer() {
    let (sender, received) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let (go, waits) = std::sync::mpsc::channel::<()>();
    let waits = std::sync::Mutex::new(waits);
    let peer = PeerServer::new(move |mut stream| {
        let waits = waits.lock().expect("nobody panics");
        waits.recv().expect("the test says when");
        // The gateway finds that the client has gone as it passes this on.
        let _ = stream.write_all(b"hello");
        thread::sleep(Duration::from_millis(300));
        let came = std::io::copy(&mut stream, &mut std::io::sink());
        let sender = sender.lock().expect("nobody panics");
        sender.send(came.expect("it ends")).expect("the test waits");
    });
    let (engine, trust) = start(&peer, "");
    let client = connect(&engine, &trust);
    let Stream::Tls(mut tls) = client.stream else {
        panic!("it is encrypted");
    };
    tls.sock.set_nonblocking(true).expect("it is a socket");
    let mut refused = 0;
    while refused < 50 {
        if tls.write(&[7; 16 * 1024]).is_err() {
            refused += 1;
            thread::sleep(Duration::from_millis(10));
        }
    }
    let relayed = || engine.status().gateway.relays.bytes_up;
    let before = relayed();
    assert!(before > 0);
    let linger = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(&tls.sock, linger).expect("it is a socket");
    drop(tls);
    go.send(()).expect("the peer waits");
    let came = received.recv_timeout(moorline_tests::PATIENCE);
    let came = came.expect("the peer learns of the end");
    // The loop keeps some 100 KiB at most: the rest was in the client's socket.
    assert!(came > before + (1 << 20), "{came} of more than {before}");
}
