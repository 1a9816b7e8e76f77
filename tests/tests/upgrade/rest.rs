//! What cannot move is closed if that is asked for, and everything else moves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use moorline_tests::{
    Client, Engine, Finished, Issuer, PATIENCE, PeerServer, Site, UdpClient, UdpPeer, Wire,
    eventually,
};

use crate::config;

const SECURE: usize = 1;
const WEB: usize = 2;
const RELAY: usize = 3;
const DATAGRAMS: usize = 4;
const PLAIN_WEB: usize = 5;

struct Mixed {
    site: Arc<Site>,
    issuer: Issuer,
    _peers: (PeerServer, UdpPeer),
}

/// Listeners of all kinds whose connections cannot move, behind one whose can.
fn mixed() -> Mixed {
    let peers = (PeerServer::echo(), UdpPeer::echo());
    let tls = "tls = { certificate = \"one.pem\", key = \"one.key\" }";
    let more = format!(
        "[[listen]]\nname = \"secure\"\naddress = \"tls://127.0.0.1:0\"\nframing = {{ kind = \"length\", counts = \"payload\" }}\n{tls}\n\
         [[listen]]\nname = \"web\"\naddress = \"https://127.0.0.1:0\"\nwebsocket = \"/ws\"\n{tls}\n\
         [[listen]]\nname = \"relay\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n\
         [[listen]]\nname = \"datagrams\"\naddress = \"udp://127.0.0.1:0\"\nupstream = \"names\"\n\
         [[listen]]\nname = \"plain\"\naddress = \"http://127.0.0.1:0\"\n[[listen.route]]\npath = \"/\"\nkind = \"app\"\n\
         [upstream.back]\npeers = [\"tcp://{}\"]\n[upstream.names]\npeers = [\"udp://{}\"]",
        peers.0.address, peers.1.address
    );
    let head = "[engine]\nstop_code = 1012\n";
    let site = Site::new("probe", &config(head, &more));
    let issuer = Issuer::new();
    issuer.issue(&["one.test"]).write(&site, "one");
    Mixed {
        site,
        issuer,
        _peers: peers,
    }
}

impl Mixed {
    fn secure(&self, engine: &Engine, listener: usize, wire: Wire) -> Client {
        let trust = self.issuer.trust();
        let client = Client::connect_tls(engine, listener, wire, &trust, "one.test");
        client.expect("the handshake succeeds")
    }
}

fn close_rest(engine: &Engine, over: &str) -> Finished {
    let before = engine.status().gateway.pid;
    let upgraded = engine.run(&["upgrade", "--close-rest", "--over", over]);
    let upgraded = upgraded.expect_success();
    assert_ne!(engine.status().gateway.pid, before);
    upgraded
}

fn relayed(engine: &Engine) -> TcpStream {
    let mut stream = TcpStream::connect(engine.socket_address(RELAY)).expect("it listens");
    let wait = stream.set_read_timeout(Some(PATIENCE));
    wait.expect("it is a time");
    stream.write_all(b"ping").expect("it takes bytes");
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).expect("an echo comes");
    stream
}

#[test]
fn what_cannot_move_is_closed_in_order_and_the_rest_moves() {
    let mixed = mixed();
    let engine = mixed.site.start();
    let mut plain = Client::connect(&engine, 0, Wire::LENGTH);
    let id = plain.ask("id");
    let mut secure = mixed.secure(&engine, SECURE, Wire::LENGTH);
    secure.ask("id");
    let mut web = mixed.secure(&engine, WEB, Wire::WebSocket);
    web.ask("id");
    let mut relay = relayed(&engine);
    let datagrams = UdpClient::new(engine.socket_address(DATAGRAMS));
    assert_eq!(datagrams.ask(b"ping"), b"ping");
    engine.run(&["upgrade"]).expect_refusal(&[
        "2 sessions with TLS",
        "1 relayed connection",
        "1 relayed UDP client",
    ]);
    assert!(!secure.ask("id").is_empty());
    // A message in progress ends first.
    secure.send("sleep 500");
    let said = close_rest(&engine, "200ms").said();
    assert!(said.contains("1 session moved, 4 closed"), "{said}");
    assert_eq!(plain.ask("id"), id);
    assert_eq!(secure.receive(), b"slept");
    assert_eq!(secure.receive_to_end(), Vec::<Vec<u8>>::new());
    let (opcode, payload) = web.receive_frame();
    assert_eq!((opcode, &payload[..2]), (8, &1012_u16.to_be_bytes()[..]));
    let mut rest = Vec::new();
    relay.read_to_end(&mut rest).expect("it ends in order");
    // All are served again.
    assert_eq!(datagrams.ask(b"pong"), b"pong");
    relayed(&engine);
    let again = mixed.secure(&engine, SECURE, Wire::LENGTH).ask("id");
    assert!(!again.is_empty());
}

#[test]
fn clients_that_come_meanwhile_wait_for_the_new_gateway() {
    let mixed = mixed();
    let engine = mixed.site.start();
    let mut first = mixed.secure(&engine, SECURE, Wire::LENGTH);
    let id = first.ask("id");
    std::thread::scope(|scope| {
        let upgraded = scope.spawn(|| close_rest(&engine, "1s"));
        first.receive_to_end();
        for _ in 0..3 {
            let mut next = mixed.secure(&engine, SECURE, Wire::LENGTH);
            assert_ne!(next.ask("id"), id);
        }
        upgraded.join().expect("it is upgraded");
        // None was closed again.
        eventually("one session is counted", || {
            engine.status().gateway.sessions == 0
        });
    });
}

#[test]
fn a_new_gateway_that_fails_leaves_all_listeners_open() {
    let mixed = mixed();
    let engine = mixed.site.start();
    let gateway = engine.status().gateway.pid;
    let mut plain = Client::connect(&engine, 0, Wire::LENGTH);
    let id = plain.ask("id");
    mixed.secure(&engine, SECURE, Wire::LENGTH).ask("id");
    for app in ["exits_at_once", "takes_and_hangs"] {
        engine.install(app);
        let refused = engine.run(&["upgrade", "--close-rest"]);
        refused.expect_refusal(&["goes on as before"]);
        assert_eq!(engine.status().gateway.pid, gateway);
        assert_eq!(plain.ask("id"), id);
        assert!(
            !mixed
                .secure(&engine, SECURE, Wire::LENGTH)
                .ask("id")
                .is_empty()
        );
        relayed(&engine);
    }
}

#[test]
fn a_request_that_takes_too_long_is_cut() {
    let mixed = mixed();
    let engine = mixed.site.start();
    let address = engine.socket_address(PLAIN_WEB);
    let ask = |time: &str| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        let wait = stream.set_read_timeout(Some(PATIENCE));
        wait.expect("it is a time");
        let request = format!("GET /?do=wait:{time} HTTP/1.1\r\nHost: x\r\n\r\n");
        let sent = stream.write_all(request.as_bytes());
        sent.expect("it takes bytes");
        stream
    };
    let (mut short, mut long) = (ask("700"), ask("60000"));
    eventually("both have begun", || engine.journal_of("waits ").len() == 2);
    engine
        .run(&["upgrade"])
        .expect_refusal(&["HTTP connection", "cannot move"]);
    close_rest(&engine, "100ms");
    let mut answer = String::new();
    short.read_to_string(&mut answer).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut rest = Vec::new();
    let cut = long.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{cut:?}");
}
