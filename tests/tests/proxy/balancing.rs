//! Which peer a connection gets.

use std::io::{Read, Write};
use std::net::SocketAddr;

use moorline_tests::{Client, Engine, PeerServer, Wire};

use super::{config, connect};

/// One byte there and back.
#[track_caller]
fn pass_a_byte(engine: &Engine) {
    let mut client = connect(engine);
    client.write_all(b"x").expect("it is open");
    client.read_exact(&mut [0]).expect("an echo comes");
}

#[test]
fn connections_are_spread_by_weight() {
    let peers: Vec<_> = (0..3).map(|_| PeerServer::echo()).collect();
    let entries = [(0, 5), (1, 2), (2, 1)].map(|(at, weight)| {
        let address: SocketAddr = peers[at].address;
        format!("{{ address = \"tcp://{address}\", weight = {weight} }}")
    });
    let text = format!(
        "[workers]\ncount = 1\n[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n\
         [upstream.back]\npeers = [{}]\n",
        entries.join(", ")
    );
    let engine = Engine::start("moorline", &text);
    for _ in 0..80 {
        pass_a_byte(&engine);
    }
    let counts: Vec<_> = peers.iter().map(PeerServer::connections).collect();
    assert_eq!(counts, [50, 20, 10]);
}

#[test]
fn the_connections_of_one_address_have_one_peer_where_its_hash_decides() {
    let peers: Vec<_> = (0..4).map(|_| PeerServer::echo()).collect();
    let addresses: Vec<_> = peers.iter().map(|peer| peer.address).collect();
    let balance = "balance = { kind = \"hash\", key = \"${client.address}\", method = \"ketama\" }";
    let engine = Engine::start("moorline", &config("", balance, &addresses));
    let mut used = 0;
    for host in 1..=16 {
        let before: Vec<_> = peers.iter().map(PeerServer::connections).collect();
        for _ in 0..3 {
            let mut client = Client::connect_from(&engine, 0, Wire::Raw, [127, 0, 0, host]);
            client.send("x");
            assert_eq!(client.receive_exactly(1), b"x");
        }
        let after = peers.iter().map(PeerServer::connections);
        let changes: Vec<_> = after
            .zip(before)
            .map(|(after, before)| after - before)
            .collect();
        let chosen = changes.iter().position(|count| *count == 3);
        let chosen = chosen.unwrap_or_else(|| panic!("host {host}: {changes:?}"));
        used |= 1 << chosen;
    }
    assert!(
        used > 1 && used != 2 && used != 4,
        "one peer has all: {used:b}"
    );
}

#[test]
fn the_peer_with_the_fewest_connections_gets_the_next_one() {
    let peers: Vec<_> = (0..2).map(|_| PeerServer::echo()).collect();
    let addresses: Vec<_> = peers.iter().map(|peer| peer.address).collect();
    let balance = "balance = \"least-connections\"";
    let engine = Engine::start("moorline", &config("", balance, &addresses));
    let mut held = Vec::new();
    for count in 1..=10_usize {
        let mut client = connect(&engine);
        client.write_all(b"x").expect("it is open");
        client.read_exact(&mut [0]).expect("an echo comes");
        held.push(client);
        let counts = peers.iter().map(PeerServer::connections);
        assert!(counts.max() <= Some(count.div_ceil(2)), "after {count}");
    }
}
