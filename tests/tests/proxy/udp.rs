//! Datagrams that are relayed: whole, in order, from and to the right addresses.

use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use moorline_tests::{Engine, PATIENCE, Relays, UdpClient, UdpPeer, eventually};

/// A configuration whose listener relays datagrams to these peers, with these further keys for both.
pub(crate) fn udp_config(listen: &str, upstream: &str, peers: &[SocketAddr]) -> String {
    at("127.0.0.1:0", listen, upstream, peers)
}

fn at(address: &str, listen: &str, upstream: &str, peers: &[SocketAddr]) -> String {
    let mut list = String::new();
    for peer in peers {
        write!(list, "\"udp://{peer}\", ").expect("a string takes it");
    }
    format!(
        "[engine]\ngateway_loops = 2\n[workers]\ncount = 1\n[[listen]]\nname = \"front\"\naddress = \"udp://{address}\"\n\
         upstream = \"back\"\n{listen}\n[upstream.back]\npeers = [{list}]\n{upstream}\n"
    )
}

/// A client of the first listener.
pub(crate) fn client(engine: &Engine) -> UdpClient {
    UdpClient::new(engine.socket_address(0))
}

#[test]
fn datagrams_pass_both_ways_and_are_counted() {
    let peer = UdpPeer::echo();
    let text = udp_config("idle_timeout = \"1s\"", "", &[peer.address]);
    let engine = Engine::start("moorline", &text);
    let client = client(&engine);
    for round in 0..10 {
        assert_eq!(client.ask(&[round; 100]), [round; 100]);
    }
    let relays = Relays {
        open: 1,
        begun: 1,
        failed: 0,
        bytes_up: 1000,
        bytes_down: 1000,
    };
    eventually("it is counted", || engine.status().gateway.relays == relays);
    let said = engine.run(&["upstreams"]).expect_success().stdout;
    assert!(said.contains(&peer.address.to_string()), "{said}");
    let line = engine.logged(&["datagrams relayed", "idle"]);
    for field in [
        "upstream=back",
        "received=1000",
        "sent=1000",
        "attempts=1",
        "requests=10",
        "responses=10",
    ] {
        assert!(line.contains(field), "{field}: {line}");
    }
    eventually("it is gone", || engine.status().gateway.relays.open == 0);
}

#[test]
fn a_datagram_may_be_answered_with_a_text() {
    let text = "[engine]\ngateway_loops = 2\n[workers]\ncount = 0\n[[listen]]\nname = \"front\"\naddress = \"udp://0.0.0.0:0\"\n\
                return = \"${client.address} ${server.address} ${protocol}\"\naccess_log = [\"main\"]\n\
                [[listen]]\nname = \"closed\"\naddress = \"udp://127.0.0.1:0\"\nreturn = \"x\"\naccess = [{ deny = \"all\" }]\n\
                access_log = [\"main\"]\n\
                [access_log.main]\npath = \"{folder}/log\"\n\
                format = \"${listener} ${connection} ${status} ${bytes.received} ${bytes.sent}\"\n";
    let engine = Engine::start("moorline", text);
    let front = SocketAddr::from(([127, 0, 0, 1], engine.socket_address(0).port()));
    let client = UdpClient::new(front);
    for _ in 0..2 {
        assert_eq!(client.ask(b"hello"), b"127.0.0.1 127.0.0.1 UDP");
    }
    UdpClient::new(engine.socket_address(1)).ask_in_vain(b"hello", Duration::from_millis(100));
    assert_eq!(engine.status().gateway.relays.open, 0);
    eventually("each leaves a line", || {
        let log = std::fs::read_to_string(engine.path("log")).unwrap_or_default();
        let lines: Vec<_> = log
            .lines()
            .map(|it| it.split(' ').collect::<Vec<_>>())
            .collect();
        let front = |line: &&Vec<&str>| line[0] == "front" && line[2..] == ["200", "5", "23"];
        // Each connection has a number, one that is refused, too.
        let numbers: std::collections::BTreeSet<_> = lines.iter().map(|line| line[1]).collect();
        lines.len() == 3
            && lines.iter().filter(front).count() == 2
            && lines
                .iter()
                .any(|line| line[0] == "closed" && line[2] == "403")
            && numbers.len() == 3
            && !numbers.contains("0")
    });
}

#[test]
fn empty_and_largest_datagrams_pass_whole() {
    let peer = UdpPeer::echo();
    let engine = Engine::start("moorline", &udp_config("", "", &[peer.address]));
    let client = client(&engine);
    for length in [0, 1, 1472, 1473, 65_507, 0, 9000] {
        let datagram: Vec<_> = (0..length).map(|at| at as u8).collect();
        assert!(client.ask(&datagram) == datagram, "{length} bytes");
    }
}

#[test]
fn the_datagrams_of_a_client_stay_in_order_and_apart() {
    let peer = UdpPeer::echo();
    let engine = Engine::start("moorline", &udp_config("", "", &[peer.address]));
    let client = client(&engine);
    for round in 0..50_u8 {
        for number in 0..20_u8 {
            client.send(&vec![number; usize::from(round) + usize::from(number)]);
        }
        for number in 0..20_u8 {
            let expected = vec![number; usize::from(round) + usize::from(number)];
            assert_eq!(client.receive(), expected, "round {round}");
        }
    }
    assert_eq!(engine.status().gateway.relays.begun, 1);
}

#[test]
fn each_client_gets_its_own_answers() {
    let peer = UdpPeer::echo();
    let engine = Engine::start("moorline", &udp_config("", "", &[peer.address]));
    let clients: Vec<_> = (0..50).map(|_| client(&engine)).collect();
    for round in 0..10_u8 {
        for (number, client) in clients.iter().enumerate() {
            client.send(&[round, number as u8]);
        }
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(client.receive(), [round, number as u8]);
        }
    }
    assert_eq!(engine.status().gateway.relays.begun, 50);
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let peer = UdpPeer::echo();
    let text = at("0.0.0.0:0", "", "", &[peer.address]);
    let engine = Engine::start("moorline", &text);
    let port = engine.socket_address(0).port();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a time that is not zero");
    for host in [1, 2, 3, 2, 1] {
        let asked = SocketAddr::from(([127, 0, 0, host], port));
        socket.send_to(&[host], asked).expect("it is sent");
        let mut answer = [0; 2];
        let (length, from) = socket.recv_from(&mut answer).expect("an answer comes");
        assert_eq!((&answer[..length], from), (&[host][..], asked));
    }
    // One session for each address that the client has asked.
    assert_eq!(engine.status().gateway.relays.begun, 3);
}

#[test]
fn clients_over_ipv6_reach_peers_over_ipv4_and_the_other_way_round() {
    let peers = [
        UdpPeer::echo(),
        UdpPeer::at("[::1]:0".parse().expect("an address"), |datagram| {
            vec![datagram.to_vec()]
        }),
    ];
    for (listener, peer) in [
        ("[::1]:0", &peers[0]),
        ("[::]:0", &peers[0]),
        ("127.0.0.1:0", &peers[1]),
    ] {
        let engine = Engine::start("moorline", &at(listener, "", "", &[peer.address]));
        let mut address = engine.socket_address(0);
        if address.ip().is_unspecified() {
            address.set_ip("::1".parse().expect("an address"));
        }
        assert_eq!(UdpClient::new(address).ask(b"x"), b"x", "{listener}");
    }
}

#[test]
fn a_local_address_is_bound() {
    let peer = UdpPeer::echo();
    let text = udp_config("", "bind = \"127.0.0.9\"", &[peer.address]);
    let engine = Engine::start("moorline", &text);
    client(&engine).ask(b"x");
    assert_eq!(peer.received().1.ip().to_string(), "127.0.0.9");
}

#[test]
fn sessions_are_balanced_by_weight() {
    let peers: Vec<_> = (0..3).map(|_| UdpPeer::echo()).collect();
    let entries = [(0, 5), (1, 2), (2, 1)].map(|(at, weight)| {
        let address: SocketAddr = peers[at].address;
        format!("{{ address = \"udp://{address}\", weight = {weight} }}")
    });
    let text = format!(
        "[workers]\ncount = 1\n[[listen]]\naddress = \"udp://127.0.0.1:0\"\nupstream = \"back\"\n\
         [upstream.back]\npeers = [{}]\n",
        entries.join(", ")
    );
    let engine = Engine::start("moorline", &text);
    // All are kept: another one with the port of one before it would have its session.
    let clients: Vec<_> = (0..80).map(|_| client(&engine)).collect();
    for client in &clients {
        client.ask(b"x");
    }
    let counts: Vec<_> = peers.iter().map(UdpPeer::count).collect();
    assert_eq!(counts, [50, 20, 10]);
}

#[test]
fn a_full_peer_gets_no_session_until_one_of_its_own_ends() {
    let peer = UdpPeer::echo();
    let text = format!(
        "[workers]\ncount = 1\n[[listen]]\naddress = \"udp://127.0.0.1:0\"\nupstream = \"back\"\nidle_timeout = \"1s\"\n\
         [upstream.back]\npeers = [{{ address = \"udp://{}\", max_connections = 1 }}]\n",
        peer.address
    );
    let engine = Engine::start("moorline", &text);
    let (first, second) = (client(&engine), client(&engine));
    first.ask(b"x");
    second.ask_in_vain(b"y", Duration::from_millis(200));
    engine.logged(&["datagrams lost: all peers are full"]);
    eventually("the first is idle", || {
        engine.status().gateway.relays.open == 0
    });
    assert_eq!(second.ask(b"z"), b"z");
}

#[test]
fn a_name_is_resolved_and_the_first_datagrams_wait_for_that() {
    let peer = UdpPeer::echo();
    let text = udp_config("", "", &[peer.address]);
    let text = text.replace("udp://127.0.0.1:", "udp://localhost:");
    let text = text.replacen("udp://localhost:0", "udp://127.0.0.1:0", 1);
    let engine = Engine::start("moorline", &text);
    let client = client(&engine);
    client.send(b"one");
    client.send(b"two");
    assert_eq!(client.receive(), b"one");
    assert_eq!(client.receive(), b"two");
}
