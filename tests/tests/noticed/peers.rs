//! Peers that fail, and names that are dead.

use std::net::{SocketAddr, TcpListener, TcpStream};

use moorline_tests::{Engine, Manner, NameServer, Onlooker, PeerServer};

fn config(peers: &str, more: &str) -> String {
    let admin = Onlooker::ADMIN;
    format!(
        "[workers]\ncount = 1\n[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n\
         [upstream.back]\npeers = [{peers}]\n{more}{admin}"
    )
}

/// An address that refuses connections.
fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound")
}

#[test]
fn a_peer_that_fails_is_named_although_another_one_serves() {
    let (peer, dead) = (PeerServer::echo(), refusing());
    let peers = format!("\"tcp://{dead}\", \"tcp://{}\"", peer.address);
    // It stays out for as long as the test looks.
    let engine = Engine::start("moorline", &config(&peers, "fail_timeout = \"5m\"\n"));
    let onlooker = Onlooker::new(&engine);
    let clients: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(engine.socket_address(0)).expect("it accepts"))
        .collect();
    onlooker.sees(
        "peer-is-down",
        &format!("Peer {dead} of upstream back is out: "),
    );
    drop(clients);
}

#[test]
fn connections_that_find_no_peer_are_named_with_the_peer() {
    let dead = refusing();
    let engine = Engine::start("moorline", &config(&format!("\"tcp://{dead}\""), ""));
    let onlooker = Onlooker::new(&engine);
    let clients: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(engine.socket_address(0)).expect("it accepts"))
        .collect();
    onlooker.sees("relays-find-no-peer", &format!("{dead} of back: "));
    drop(clients);
}

#[test]
fn a_name_that_is_dead_is_named() {
    let peer = PeerServer::echo();
    let server = NameServer::new();
    server.set("db.test", &["127.0.0.1"]);
    let peers = format!("\"tcp://db.test:{}\"", peer.address.port());
    let resolver = format!(
        "resolver = {{ servers = [\"{}\"], valid = \"500ms\" }}\n",
        server.address
    );
    let engine = Engine::start("moorline", &config(&peers, &resolver));
    let onlooker = Onlooker::new(&engine);
    server.behave(Manner::Failing);
    onlooker.sees("name-is-not-resolved", "The name db.test");
}
