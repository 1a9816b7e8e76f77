//! Datagram listeners: a message with its sender's address, an answer by address, no sessions.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use moorline_tests::{Engine, PATIENCE, eventually};

const CONFIG: &str =
    "[workers]\ncount = 2\n[[listen]]\nname = \"pings\"\naddress = \"udp://127.0.0.1:0\"\n";

fn socket(engine: &Engine) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket
        .connect(engine.socket_address(0))
        .expect("the address is one of this machine");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a non-zero timeout is legal");
    socket
}

fn ask(socket: &UdpSocket, bytes: &[u8]) -> Vec<u8> {
    socket.send(bytes).expect("a datagram can be sent");
    let mut answer = vec![0; 70_000];
    let count = socket.recv(&mut answer).expect("an answer comes");
    answer.truncate(count);
    answer
}

#[test]
fn each_datagram_is_answered_to_its_sender() {
    let engine = Engine::start("probe", CONFIG);
    let sockets = [socket(&engine), socket(&engine)];
    for (number, socket) in sockets.iter().enumerate() {
        for size in [0, 1, 1_400, 9_000, 65_507] {
            let bytes = vec![number as u8; size];
            assert!(
                ask(socket, &bytes) == bytes,
                "a datagram of {size} bytes came back as another"
            );
        }
        assert_eq!(ask(socket, b"listener"), b"pings");
        assert_eq!(ask(socket, b"send-to"), b"sent");
    }
    let status = engine.status();
    assert_eq!(
        (status.gateway.sessions, status.gateway.accepted),
        (0, 0),
        "datagrams have no sessions"
    );
    let handled: u64 = status.workers.iter().map(|worker| worker.handled).sum();
    assert_eq!(handled, 14);
}

#[test]
fn datagrams_are_answered_over_ipv6_too() {
    let engine = Engine::start("echo", &CONFIG.replace("127.0.0.1", "[::1]"));
    let socket = UdpSocket::bind("[::1]:0").expect("a port is free");
    socket
        .connect(engine.socket_address(0))
        .expect("the address is one of this machine");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a non-zero timeout is legal");
    assert_eq!(ask(&socket, b"six"), b"six");
}

#[test]
fn datagrams_are_served_through_reloads_and_crashes() {
    let engine = Engine::start("probe", CONFIG);
    let socket = socket(&engine);
    let before: BTreeSet<i32> = engine.status().worker_pids().into_iter().collect();
    engine.reload().expect_success();
    assert_eq!(ask(&socket, b"after a reload"), b"after a reload");
    for slot in [0, 1] {
        engine.kill_worker(slot, nix::sys::signal::Signal::SIGKILL);
    }
    eventually("both are replaced", || {
        let now = engine.settled().worker_pids();
        now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
    });
    assert_eq!(ask(&socket, b"after crashes"), b"after crashes");
}
