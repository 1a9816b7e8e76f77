//! An engine that only relays needs no worker.

use std::io::{Read, Write};
use std::net::TcpStream;

use moorline_tests::{Client, Engine, PATIENCE, PeerServer, Site, Wire, eventually, kill};
use nix::sys::signal::Signal;

use super::{config, connect};

const CHAT: &str = "[[listen]]\nname = \"chat\"\naddress = \"tcp://127.0.0.1:0\"\n\
                    framing = { kind = \"length\", width = 4, endian = \"big\", offset = 0, counts = \"payload\", max = \"2MiB\" }\n";

fn without(upstream: &str, peer: &PeerServer) -> String {
    config("", upstream, &[peer.address]).replace("count = 1", "count = 0")
}

/// Sends this and gets it back.
#[track_caller]
fn ask(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).expect("it is open");
    let mut came = vec![0; bytes.len()];
    client.read_exact(&mut came).expect("it comes back");
    assert_eq!(came, bytes);
}

fn is_served(engine: &Engine) -> bool {
    let Ok(mut client) = TcpStream::connect(engine.socket_address(0)) else {
        return false;
    };
    client.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut came = [0; 2];
    client.write_all(b"hi").is_ok() && client.read_exact(&mut came).is_ok() && &came == b"hi"
}

#[test]
fn an_engine_without_workers_relays_reloads_and_stops() {
    let peer = PeerServer::echo();
    let mut engine = Engine::start("moorline", &without("", &peer));
    let mut client = connect(&engine);
    ask(&mut client, b"hello");
    let status = engine.status();
    assert!(status.workers.is_empty());
    assert_eq!(status.gateway.relays.open, 1);
    engine.run(&["status"]).expect_success();
    engine.run(&["sessions"]).expect_success();
    let said = engine.run(&["upstreams"]).expect_success().stdout;
    assert!(said.contains(&peer.address.to_string()), "{said}");
    engine.configure(&without("connect_timeout = \"1s\"", &peer));
    engine.reload().expect_success();
    ask(&mut client, b"again");
    assert!(is_served(&engine));
    // A new gateway needs no process either.
    kill(status.gateway.pid, Signal::SIGKILL);
    eventually("a new gateway relays", || is_served(&engine));
    kill(engine.supervisor(), Signal::SIGTERM);
    assert!(engine.ended().success());
}

#[test]
fn workers_come_and_go_with_a_reload() {
    let peer = PeerServer::echo();
    let engine = Engine::start("probe", &without("", &peer));
    let mut relayed = connect(&engine);
    ask(&mut relayed, b"hello");
    let with = config("", "", &[peer.address]) + CHAT;
    engine.configure(&with);
    let said = engine.reload().expect_success().stdout;
    assert_eq!(engine.status().workers.len(), 1, "{said}");
    let listeners = engine.status().listeners;
    let chat = listeners.iter().find(|it| it.name == "chat");
    let address = chat.expect("it listens").address.clone();
    let talk = || {
        let stream = moorline_tests::Stream::connect(&address).expect("the listener accepts");
        Client::over(stream, Wire::LENGTH).expect("the engine answers")
    };
    let mut client = talk();
    assert_eq!(client.ask("slot"), "0");
    // Its session needs the worker.
    engine.configure(&without("", &peer));
    let refused = engine.reload();
    assert!(!refused.status.success());
    assert!(
        refused
            .stderr
            .contains("`workers.count` is 0, but 1 open connections need a worker"),
        "{refused:?}"
    );
    assert_eq!(client.ask("slot"), "0");
    drop(client);
    eventually("it has ended", || engine.status().gateway.sessions == 0);
    engine.reload().expect_success();
    eventually("the worker has ended", || {
        engine.status().workers.is_empty()
    });
    ask(&mut relayed, b"still there");
    assert!(is_served(&engine));
    engine.configure(&with);
    engine.reload().expect_success();
    assert_eq!(engine.status().workers.len(), 1);
    ask(&mut relayed, b"still there");
}

#[test]
fn a_listener_with_sessions_needs_a_worker() {
    let site = Site::new("moorline", &format!("[workers]\ncount = 0\n{CHAT}"));
    let checked = site.run(&["check"]);
    assert!(!checked.status.success());
    assert!(
        checked.stderr.contains(
            ":2:9: `count` is 0, and workers handle the sessions of the listener \"chat\""
        ),
        "{checked:?}"
    );
}
