//! Names of peers.

use std::io::{Read, Write};

use moorline_tests::{Engine, PeerServer};

use super::connect;

fn config(peers: &str) -> String {
    format!(
        "[workers]\ncount = 1\n[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n\
         [upstream.back]\npeers = [{peers}]\n"
    )
}

fn echo(engine: &Engine) {
    let mut client = connect(engine);
    client.write_all(b"x").expect("it is open");
    client.read_exact(&mut [0]).expect("an echo comes");
}

#[test]
fn a_name_is_resolved_and_the_first_connection_waits_for_that() {
    let peer = PeerServer::echo();
    let text = config(&format!("\"tcp://localhost:{}\"", peer.address.port()));
    let engine = Engine::start("moorline", &text);
    echo(&engine);
    let said = engine.run(&["upstreams"]).expect_success().stdout;
    assert!(said.contains("(localhost:"), "{said}");
}

#[test]
fn a_name_that_does_not_resolve_prevents_neither_the_start_nor_its_neighbours() {
    let peer = PeerServer::echo();
    let name = "\"tcp://no-such-host.invalid:80\"";
    let text = config(&format!("{name}, \"tcp://{}\"", peer.address));
    let engine = Engine::start("moorline", &text);
    (0..3).for_each(|_| echo(&engine));
    engine.logged(&["cannot be resolved", "no-such-host.invalid"]);
    let said = engine.run(&["upstreams"]).expect_success().stdout;
    assert!(said.contains("no-such-host.invalid:80: "), "{said}");
}

#[test]
fn a_client_is_closed_when_the_only_name_does_not_resolve() {
    let engine = Engine::start("moorline", &config("\"tcp://no-such-host.invalid:80\""));
    engine.logged(&["cannot be resolved", "no-such-host.invalid"]);
    let mut client = connect(&engine);
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    engine.logged(&["connection closed: no peer has an address yet"]);
}

#[test]
fn a_reload_brings_a_name() {
    let (old, new) = (PeerServer::echo(), PeerServer::echo());
    let engine = Engine::start("moorline", &config(&format!("\"tcp://{}\"", old.address)));
    echo(&engine);
    engine.configure(&config(&format!(
        "\"tcp://localhost:{}\"",
        new.address.port()
    )));
    engine.reload().expect_success();
    echo(&engine);
    assert_eq!((old.connections(), new.connections()), (1, 1));
}
