//! Limits of connections by a key.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use moorline_tests::{Client, Engine, Issuer, PeerServer, Site, Wire, black_hole, eventually};

use super::{config, connect};

const PER_CLIENT: &str = "[limit.per_client]\nkey = \"${client.address}\"\n";

/// With this limit of connections for a client.
fn limited(most: u32, listen: &str, rest: &str, peer: &PeerServer) -> String {
    let listen = format!("limits = [{{ limit = \"per_client\", most = {most} }}]\n{listen}");
    config(&listen, &format!("{PER_CLIENT}{rest}"), &[peer.address])
}

/// A client of this host that is served, or `None` if it is refused.
#[track_caller]
fn served(engine: &Engine, listener: usize, host: u8) -> Option<Client> {
    let mut client = Client::connect_from(engine, listener, Wire::Raw, [127, 0, 0, host]);
    let is_served = client.send_bytes(b"x").is_ok() && client.try_receive_exactly(1).is_ok();
    is_served.then_some(client)
}

#[track_caller]
fn wait_for_room(engine: &Engine, host: u8) -> Client {
    let mut client = None;
    eventually("there is room", || {
        client = served(engine, 0, host);
        client.is_some()
    });
    client.expect("there is one")
}

#[test]
fn a_connection_over_the_limit_of_its_key_is_refused_until_another_one_ends() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &limited(2, "", "", &peer));
    let first = served(&engine, 0, 1).expect("there is room");
    let _second = served(&engine, 0, 1).expect("there is room");
    assert!(served(&engine, 0, 1).is_none());
    let _other = served(&engine, 0, 2).expect("it has a key of its own");
    assert_eq!(peer.connections(), 3);
    assert_eq!(engine.status().limit("limits"), 1);
    engine.logged(&["connection refused by a limit", "per_client", "most"]);
    drop(first);
    wait_for_room(&engine, 1);
}

#[test]
fn listeners_share_a_limit() {
    let peer = PeerServer::echo();
    let other = "[[listen]]\nname = \"other\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n\
                 limits = [{ limit = \"per_client\", most = 2 }]\n";
    let engine = Engine::start("moorline", &limited(1, "", other, &peer));
    let _first = served(&engine, 1, 1).expect("there is room");
    assert!(served(&engine, 0, 1).is_none());
    let _second = served(&engine, 1, 1).expect("this listener has more room");
    assert!(served(&engine, 1, 1).is_none());
}

#[test]
fn a_dry_run_only_tells() {
    let peer = PeerServer::echo();
    let text = limited(1, "", "", &peer).replace("most = 1", "most = 1, dry_run = true");
    let engine = Engine::start("moorline", &text);
    let clients: Vec<_> = (0..3).map(|_| served(&engine, 0, 1)).collect();
    assert!(clients.iter().all(Option::is_some));
    let status = engine.status();
    assert_eq!(
        (status.limit("limits"), status.limit("limits_dry_run")),
        (0, 2)
    );
}

#[test]
fn a_connection_without_a_key_is_not_counted() {
    let peer = PeerServer::echo();
    // No peer is chosen by then.
    let text = limited(1, "", "", &peer).replace("${client.address}", "${upstream.address}");
    let engine = Engine::start("moorline", &text);
    let clients: Vec<_> = (0..3).map(|_| served(&engine, 0, 1)).collect();
    assert!(clients.iter().all(Option::is_some));
}

#[test]
fn no_other_key_gets_in_while_there_are_as_many_as_may_be() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &limited(9, "", "max_keys = 1\n", &peer));
    let first = served(&engine, 0, 1).expect("there is room");
    assert!(served(&engine, 0, 2).is_none());
    let second = served(&engine, 0, 1).expect("its key is there");
    drop((first, second));
    wait_for_room(&engine, 2);
}

#[test]
fn room_comes_back_however_a_connection_ends() {
    let peer = PeerServer::echo();
    let issuer = Issuer::new();
    let listen = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]\nhandshake_timeout = \"1s\"\n\
                  tls = { certificate = \"one.pem\", key = \"one.key\" }\n";
    let text = limited(1, listen, "", &peer).replace("tcp://127.0.0.1:0\"", "tls://127.0.0.1:0\"");
    let site = Site::new("moorline", &text);
    issuer.issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    let announce = |bytes: &[u8]| {
        let mut proxy = connect(&engine);
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
        proxy
            .write_all(&[header, bytes].concat())
            .expect("it is open");
        proxy
    };
    // It stays open for this long, so it is counted.
    let stays = |mut proxy: &TcpStream| {
        let short = Some(Duration::from_millis(50));
        proxy
            .set_read_timeout(short)
            .expect("a time that is not zero");
        !matches!(proxy.read(&mut [0]), Ok(0))
    };
    let hold = || {
        let mut held = None;
        eventually("there is room", || {
            held = Some(announce(b"")).filter(stays);
            held.is_some()
        });
        held
    };
    let is_refused = || !stays(&announce(b""));
    // Its handshake fails, takes too long, or its client leaves.
    drop(announce(b"GET / HTTP/1.1\r\n\r\n"));
    let too_long = hold();
    assert!(is_refused());
    drop(hold());
    drop(too_long);
    let leaves = hold();
    assert!(is_refused());
    drop(leaves);
    drop(hold());
}

#[test]
fn room_comes_back_when_a_client_leaves_before_a_peer_has_answered() {
    let (hole, _guard) = black_hole();
    let peer = PeerServer::echo();
    let text = limited(1, "", "", &peer).replace(&peer.address.to_string(), &hole.to_string());
    let engine = Engine::start("moorline", &text);
    let waits = Client::connect(&engine, 0, Wire::Raw);
    eventually("it waits", || engine.status().gateway.relays.open == 1);
    assert!(served(&engine, 0, 1).is_none());
    waits.reset();
    eventually("it has left", || engine.status().gateway.relays.open == 0);
    let _again = connect(&engine);
    eventually("it has room", || engine.status().gateway.relays.open == 1);
}

#[test]
fn counts_stay_over_a_reload() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &limited(1, "", "", &peer));
    let first = served(&engine, 0, 1).expect("there is room");
    engine
        .site()
        .configure(&limited(1, "", "max_keys = 7\n", &peer));
    engine.reload().expect_success();
    assert!(served(&engine, 0, 1).is_none());
    drop(first);
    let _second = wait_for_room(&engine, 1);
    engine.site().configure(&limited(2, "", "", &peer));
    engine.reload().expect_success();
    let _third = wait_for_room(&engine, 1);
    assert!(served(&engine, 0, 1).is_none());
}
