//! Datagram listeners: a message with its sender's address, an answer by address, no sessions.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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

const UNIX: &str =
    "[workers]\ncount = 2\n[[listen]]\nname = \"local\"\naddress = \"unixgram://local.sock\"\n";

#[test]
fn a_unix_socket_with_a_name_is_answered_and_the_file_goes_with_the_engine() {
    let mut engine = Engine::start("probe", UNIX);
    let file = engine.path("local.sock");
    let mode = std::fs::metadata(&file).expect("the file is there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o666);
    let named = UnixDatagram::bind(engine.path("client.sock")).expect("the name is free");
    named
        .set_read_timeout(Some(PATIENCE))
        .expect("a non-zero timeout is legal");
    named.connect(&file).expect("the engine receives");
    let ask = |bytes: &[u8]| {
        named.send(bytes).expect("a datagram can be sent");
        let mut answer = vec![0; 70_000];
        let count = named.recv(&mut answer).expect("an answer comes");
        answer.truncate(count);
        answer
    };
    for size in [0, 1, 1_400, 65_507] {
        let bytes = vec![7; size];
        assert!(ask(&bytes) == bytes, "{size} bytes came back as others");
    }
    assert_eq!(ask(b"listener"), b"local");
    engine.reload().expect_success();
    assert_eq!(ask(b"after a reload"), b"after a reload");
    // An abstract name is a name, too.
    let name = format!("moorline-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name);
    let abstract_name = UnixDatagram::bind_addr(&address.expect("it is short enough"));
    let abstract_name = abstract_name.expect("the name is free");
    abstract_name
        .set_read_timeout(Some(PATIENCE))
        .expect("a non-zero timeout is legal");
    abstract_name.send_to(b"ahoy", &file).expect("it is taken");
    let mut answer = [0; 10];
    assert_eq!(abstract_name.recv(&mut answer).expect("an answer comes"), 4);
    engine.run(&["stop"]).expect_success();
    assert!(engine.ended().success());
    assert!(!file.exists(), "the file of the socket is left");
}

#[test]
fn a_sender_without_a_name_cannot_be_answered_and_the_app_is_told() {
    let engine = Engine::start("probe", UNIX);
    let unnamed = UnixDatagram::unbound().expect("a socket can be made");
    let file = engine.path("local.sock");
    unnamed.send_to(b"ahoy", &file).expect("it is taken");
    engine.logged(&["a sender without a name cannot be answered"]);
    // One that is gone when the answer comes is counted.
    let gone = UnixDatagram::bind(engine.path("gone.sock")).expect("the name is free");
    std::fs::remove_file(engine.path("gone.sock")).expect("it is ours");
    gone.send_to(b"ahoy", &file).expect("it is taken");
    eventually("the answer is dropped", || dropped(&engine) == 1);
    // One that is larger than any datagram of UDP is not taken.
    gone.send_to(&vec![0; 80_000], &file).expect("it is taken");
    eventually("the long one is dropped", || dropped(&engine) == 2);
}

/// Datagrams that were dropped so far.
fn dropped(engine: &Engine) -> u64 {
    let status = engine.run(&["status", "--json"]).expect_success();
    let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("a status is JSON");
    status["lost"]["datagrams_dropped"]
        .as_u64()
        .expect("it is counted")
}
