//! What cannot move is counted, and the present gateway goes on.

use moorline_tests::{Client, Engine, Wire};

use crate::{config, upgrade};

#[test]
fn what_cannot_move_is_said_and_nothing_changes() {
    let more = "[[listen]]\nname = \"web\"\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/\"\n";
    let engine = Engine::start("probe", &config("", more));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let gateway = engine.status().gateway.pid;
    let mut keeps = Client::connect(&engine, 0, Wire::LENGTH);
    keeps.ask("keep-events room 10");
    engine.run(&["upgrade"]).expect_refusal(&[
        "1 group that keeps its last events cannot move",
        "goes on as before",
    ]);
    assert_eq!(engine.status().gateway.pid, gateway);
    assert_eq!(client.ask("id"), id);
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
