//! When the session of a client of datagrams ends, and what a reload, a drain and a stop do with it.

use std::time::Duration;

use moorline_tests::{Engine, UdpClient, UdpPeer, eventually, kill};
use nix::sys::signal::Signal;

use super::udp::{client, udp_config};

const SHORT: Duration = Duration::from_millis(300);

fn open(engine: &Engine) -> u64 {
    engine.status().gateway.relays.open
}

#[test]
fn each_datagram_is_balanced_with_one_request_a_session() {
    let peers = [UdpPeer::echo(), UdpPeer::echo()];
    let addresses = [peers[0].address, peers[1].address];
    let keys = "requests = 1\nresponses = 1";
    let engine = Engine::start("moorline", &udp_config(keys, "", &addresses));
    let client = client(&engine);
    for round in 0..20 {
        assert_eq!(client.ask(&[round]), [round]);
    }
    assert_eq!((peers[0].count(), peers[1].count()), (10, 10));
    eventually("they are over", || open(&engine) == 0);
    engine.logged(&["datagrams relayed", "finished", "requests=1", "responses=1"]);
}

#[test]
fn a_session_ends_after_its_requests_and_their_responses() {
    let peer = UdpPeer::answering(|datagram| vec![datagram.to_vec(); 2]);
    let keys = "requests = 3\nresponses = 2";
    let engine = Engine::start("moorline", &udp_config(keys, "", &[peer.address]));
    let client = client(&engine);
    for round in 0..5 {
        client.send(&[round]);
        assert_eq!(
            (client.receive(), client.receive()),
            (vec![round], vec![round])
        );
    }
    eventually("two were begun", || {
        let relays = engine.status().gateway.relays;
        (relays.begun, relays.open) == (2, 1)
    });
    let ports: Vec<_> = (0..5).map(|_| peer.received().1.port()).collect();
    assert!(ports[0] == ports[2] && ports[3] == ports[4] && ports[2] != ports[3]);
}

#[test]
fn responses_that_are_late_come_to_a_session_that_gets_no_more_requests() {
    let peer = UdpPeer::answering(|datagram| match datagram {
        b"last" => [&b"a"[..], b"b", b"c"].map(<[u8]>::to_vec).to_vec(),
        _ => Vec::new(),
    });
    let keys = "requests = 2";
    let engine = Engine::start("moorline", &udp_config(keys, "", &[peer.address]));
    let client = client(&engine);
    client.send(b"first");
    client.send(b"last");
    for answer in [b"a", b"b", b"c"] {
        assert_eq!(client.receive(), answer);
    }
    assert_eq!(open(&engine), 1, "it may get more");
}

#[test]
fn a_session_without_responses_ends_when_its_datagram_is_passed_on() {
    let peer = UdpPeer::silent();
    let keys = "responses = 0";
    let engine = Engine::start("moorline", &udp_config(keys, "", &[peer.address]));
    let client = client(&engine);
    for round in 0..5 {
        client.send(&[round]);
        assert_eq!(peer.received().0, [round]);
    }
    eventually("they are over", || {
        let relays = engine.status().gateway.relays;
        (relays.begun, relays.open) == (5, 0)
    });
}

#[test]
fn a_session_is_idle_after_its_time_and_the_next_datagram_begins_another() {
    let peer = UdpPeer::echo();
    let keys = "idle_timeout = \"500ms\"";
    let engine = Engine::start("moorline", &udp_config(keys, "", &[peer.address]));
    let client = client(&engine);
    client.ask(b"x");
    eventually("it is idle", || open(&engine) == 0);
    client.ask(b"y");
    assert_eq!(engine.status().gateway.relays.begun, 2);
}

#[test]
fn datagrams_of_new_clients_are_dropped_at_a_limit_and_those_of_known_ones_pass() {
    let peer = UdpPeer::echo();
    let engine = Engine::start(
        "moorline",
        &udp_config("max_sessions = 2", "", &[peer.address]),
    );
    let clients = [client(&engine), client(&engine), client(&engine)];
    clients[0].ask(b"x");
    clients[1].ask(b"x");
    clients[2].ask_in_vain(b"x", SHORT);
    clients[0].ask(b"x");
    engine.logged(&["datagram dropped: max_sessions"]);
    let text = udp_config("max_sessions_per_address = 2", "", &[peer.address]);
    engine.configure(&text);
    engine.reload().expect_success();
    clients[2].ask_in_vain(b"x", SHORT);
    clients[1].ask(b"x");
    let said = engine.run(&["status"]).expect_success().stdout;
    assert!(said.contains("1 max sessions per address"), "{said}");
    assert!(said.contains("2 datagrams dropped"), "{said}");
}

#[test]
fn sessions_keep_their_peer_over_a_reload() {
    let (old, new) = (UdpPeer::echo(), UdpPeer::echo());
    let engine = Engine::start("moorline", &udp_config("", "", &[old.address]));
    let first = client(&engine);
    first.ask(b"x");
    engine.configure(&udp_config("", "", &[new.address]));
    engine.reload().expect_success();
    first.ask(b"x");
    client(&engine).ask(b"x");
    assert_eq!((old.count(), new.count()), (2, 1));
}

#[test]
fn a_removed_listener_keeps_its_sessions_until_they_end() {
    let peer = UdpPeer::echo();
    let text = udp_config("", "", &[peer.address]);
    let two = text.replace(
        "[upstream.back]",
        "[[listen]]\nname = \"other\"\naddress = \"udp://127.0.0.1:0\"\nupstream = \"back\"\nidle_timeout = \"2s\"\n[upstream.back]",
    );
    let engine = Engine::start("moorline", &two);
    let address = engine.socket_address(1);
    let (known, unknown) = (UdpClient::new(address), UdpClient::new(address));
    known.ask(b"x");
    engine.configure(&text);
    engine.reload().expect_success();
    known.ask(b"y");
    unknown.ask_in_vain(b"z", SHORT);
    known.ask(b"y");
    eventually("its place is vacant", || {
        let status = engine.status();
        !status.listeners.iter().any(|it| it.name == "other")
    });
    // Its port is free.
    std::net::UdpSocket::bind(address).expect("nobody has it");
}

#[test]
fn a_stop_waits_for_an_answer_that_is_owed() {
    let peer = UdpPeer::answering(|datagram| {
        std::thread::sleep(SHORT);
        vec![datagram.to_vec()]
    });
    let mut engine = Engine::start("moorline", &udp_config("", "", &[peer.address]));
    let client = client(&engine);
    client.send(b"x");
    peer.received();
    kill(engine.supervisor(), Signal::SIGTERM);
    assert_eq!(client.receive(), b"x");
    assert!(engine.ended().success());
}

#[test]
fn a_drain_ends_sessions_that_are_answered() {
    let peer = UdpPeer::echo();
    let engine = Engine::start("moorline", &udp_config("", "", &[peer.address]));
    let client = client(&engine);
    client.ask(b"x");
    engine.run(&["drain", "--over", "10ms"]).expect_success();
    engine.logged(&["datagrams relayed", "stopped"]);
    client.ask(b"y");
    assert_eq!(engine.status().gateway.relays.begun, 2);
}

#[test]
fn datagrams_of_clients_that_access_denies_are_dropped() {
    let peer = UdpPeer::echo();
    let keys = "access = [{ deny = \"127.0.0.1\" }]";
    let engine = Engine::start("moorline", &udp_config(keys, "", &[peer.address]));
    client(&engine).ask_in_vain(b"x", SHORT);
    engine.logged(&["`access` denies it"]);
    let other = std::net::UdpSocket::bind("127.0.0.2:0").expect("a port is free");
    other
        .connect(engine.socket_address(0))
        .expect("it is local");
    let other = UdpClient(other);
    assert_eq!(other.ask(b"y"), b"y");
    assert_eq!(peer.count(), 1);
}

#[test]
fn the_first_datagram_to_a_peer_begins_with_the_header_of_the_proxy_protocol() {
    let peer = UdpPeer::silent();
    let absent = UdpPeer::absent();
    let text = udp_config("", "proxy_protocol = 2", &[absent, peer.address]);
    let engine = Engine::start("moorline", &text);
    let client = client(&engine);
    client.send(b"one");
    client.send(b"two");
    let from = client.0.local_addr().expect("it is bound").port();
    let to = engine.socket_address(0).port();
    let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    expected.extend(from.to_be_bytes());
    expected.extend(to.to_be_bytes());
    expected.extend(b"one");
    assert_eq!(peer.received().0, expected);
    assert_eq!(peer.received().0, b"two");
}

#[test]
fn the_header_waits_for_a_datagram_that_is_sent() {
    let peer = UdpPeer::silent();
    let text = udp_config("", "proxy_protocol = 2", &[peer.address]);
    let engine = Engine::start("moorline", &text);
    let client = client(&engine);
    // With the header it is longer than a datagram can be.
    client.send(&[7; 65_500]);
    client.send(b"one");
    let first = peer.received().0;
    assert!(first.starts_with(b"\r\n\r\n\0\r\nQUIT\n") && first.ends_with(b"one"));
    client.send(b"two");
    assert_eq!(peer.received().0, b"two");
}
