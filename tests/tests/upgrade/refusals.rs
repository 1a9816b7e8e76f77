//! What cannot move is counted, and the present gateway goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use moorline_tests::{Client, Engine, PeerServer, Wire};

use crate::{config, upgrade};

#[test]
fn what_cannot_move_is_said_and_nothing_changes() {
    let peer = PeerServer::echo();
    let more = format!(
        "[[listen]]\nname = \"relay\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n\
         [upstream.back]\npeers = [\"tcp://{}\"]\n",
        peer.address
    );
    let engine = Engine::start("probe", &config("", &more));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let gateway = engine.status().gateway.pid;
    let mut relayed = TcpStream::connect(engine.socket_address(1)).expect("it listens");
    let wait = relayed.set_read_timeout(Some(Duration::from_secs(20)));
    wait.expect("it is a time");
    let mut echo = |bytes: &[u8; 4]| {
        relayed.write_all(bytes).expect("it takes bytes");
        let mut answer = [0; 4];
        relayed.read_exact(&mut answer).expect("an echo comes");
        assert_eq!(&answer, bytes);
    };
    echo(b"ping");
    engine
        .run(&["upgrade"])
        .expect_refusal(&["1 relayed connection cannot move", "goes on as before"]);
    assert_eq!(engine.status().gateway.pid, gateway);
    assert_eq!(client.ask("id"), id);
    echo(b"pong");
    let log = engine.logged(&["upgrade failed", "the present gateway goes on"]);
    assert!(log.contains("cannot move"), "{log}");
}

#[test]
fn websockets_without_compression_move() {
    let more = "[[listen]]\nname = \"web\"\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/\"\n";
    let engine = Engine::start("probe", &config("", more));
    let connected = Client::connect_websocket(&engine, 1, "/", "");
    let (mut client, _) = connected.expect("it is a WebSocket");
    let id = client.ask("id");
    upgrade(&engine);
    assert_eq!(client.ask("id"), id);
}

#[test]
fn http_connections_between_two_requests_do_not_keep_an_upgrade_from_happening() {
    let more = "[[listen]]\nname = \"web\"\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/\"\n";
    let engine = Engine::start("probe", &config("", more));
    let mut session = Client::connect(&engine, 0, Wire::LENGTH);
    let id = session.ask("id");
    let mut kept: Vec<_> = (0..5).map(|_| kept_open(&engine)).collect();
    upgrade(&engine);
    assert_eq!(session.ask("id"), id);
    for stream in &mut kept {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("it ends");
        assert!(rest.is_empty(), "{rest:?}");
    }
    kept_open(&engine);
}

/// An HTTP connection that has had an answer and waits for more.
fn kept_open(engine: &Engine) -> TcpStream {
    let mut stream = TcpStream::connect(engine.socket_address(1)).expect("it listens");
    let wait = stream.set_read_timeout(Some(Duration::from_secs(20)));
    wait.expect("it is a time");
    let request = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).expect("it takes bytes");
    let mut answer = [0; 2048];
    let length = stream.read(&mut answer).expect("it answers");
    assert!(answer[..length].starts_with(b"HTTP/1.1 "));
    stream
}
