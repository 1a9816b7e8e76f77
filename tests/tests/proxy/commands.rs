//! `upstreams` shows peers, and changes them.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use moorline_tests::{Engine, PeerServer, UdpClient, UdpPeer};
use serde_json::Value;

use super::{config, connect};

#[track_caller]
fn echo(engine: &Engine) {
    let mut client = connect(engine);
    client.write_all(b"x").expect("it is open");
    client.read_exact(&mut [0]).expect("an echo comes");
}

/// The peers of the only upstream.
#[track_caller]
fn peers(engine: &Engine) -> Vec<Value> {
    let said = engine.run(&["upstreams", "--json"]).expect_success();
    let seen: Value = serde_json::from_str(&said.stdout).expect("one line of JSON");
    assert_eq!(seen["name"], "back");
    seen["peers"].as_array().expect("a list").clone()
}

#[test]
fn check_tells_what_pipes_relays_may_use() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let said = engine.run(&["check"]).expect_success();
    let said = said.stdout + &said.stderr;
    let expected = "relays that move much use up to 128 pipes of 8192 pages; the kernel allows ";
    assert!(said.contains(expected), "{said}");
    engine.configure("[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nreturn = \"x\"\n");
    let said = engine.run(&["check"]).expect_success();
    assert!(!(said.stdout + &said.stderr).contains("pipes"));
}

#[test]
fn peers_are_shown_with_what_they_did() {
    let servers = [PeerServer::echo(), PeerServer::echo()];
    let addresses = [servers[0].address, servers[1].address];
    let engine = Engine::start("moorline", &config("", "", &addresses));
    for _ in 0..4 {
        echo(&engine);
    }
    let mut held = connect(&engine);
    held.write_all(b"x").expect("it is open");
    held.read_exact(&mut [0]).expect("an echo comes");
    let shown = peers(&engine);
    assert_eq!(shown.len(), 2);
    for (peer, address) in shown.iter().zip(addresses) {
        assert_eq!(peer["address"], address.to_string());
        assert_eq!(peer["state"], "up");
    }
    let totals: Vec<_> = shown.iter().map(|peer| &peer["connections"]).collect();
    assert_eq!(totals, [3, 2]);
    let text = engine.run(&["upstreams"]).expect_success().stdout;
    assert!(text.contains("upstream back (round-robin)"), "{text}");
    assert!(text.contains(&addresses[0].to_string()), "{text}");
}

/// The rows of `sessions`.
#[track_caller]
fn sessions(engine: &Engine) -> Vec<Value> {
    let said = engine.run(&["sessions", "--json"]).expect_success().stdout;
    let rows = said.lines().map(serde_json::from_str);
    rows.collect::<Result<_, _>>().expect("lines of JSON")
}

#[test]
fn relays_are_listed_with_their_client_and_their_peer() {
    const RELAYS: usize = 300;
    let peer = PeerServer::echo();
    let datagrams = UdpPeer::echo();
    let text = config("", "", &[peer.address])
        + &format!(
            "[[listen]]\nname = \"dns\"\naddress = \"udp://127.0.0.1:0\"\nupstream = \"udp\"\n\
             [upstream.udp]\npeers = [\"udp://{}\"]\n",
            datagrams.address
        );
    let engine = Engine::start("moorline", &text);
    let mut clients: Vec<_> = (0..RELAYS).map(|_| connect(&engine)).collect();
    for client in &mut clients {
        client.write_all(b"abc").expect("it is open");
        client.read_exact(&mut [0; 3]).expect("an echo comes");
    }
    let asker = UdpClient::new(engine.socket_address(1));
    asker.ask(b"question");
    let rows = sessions(&engine);
    assert_eq!(rows.len(), RELAYS + 1);
    let ids: BTreeSet<_> = rows.iter().map(|row| row["id"].to_string()).collect();
    assert_eq!(ids.len(), RELAYS + 1);
    for client in &clients {
        let own = client.local_addr().expect("it is bound").to_string();
        let row = rows.iter().find(|row| row["peer"] == own);
        let row = row.expect("it is listed");
        assert_eq!(row["listener"], "front");
        assert_eq!([&row["received"], &row["sent"]], [3, 3]);
        assert_eq!(row["worker"], Value::Null);
        let relay = serde_json::json!({
            "upstream": "back",
            "peer": format!("tcp://{}", peer.address),
            "attempts": 1,
        });
        assert_eq!(row["relay"], relay);
    }
    let row = rows.iter().find(|row| row["listener"] == "dns");
    let row = row.expect("it is listed");
    assert_eq!(
        [&row["messages"], &row["received"], &row["sent"]],
        [1, 8, 8]
    );
    let relay = &row["relay"];
    assert_eq!(relay["peer"], format!("udp://{}", datagrams.address));
    let text = engine.run(&["sessions"]).expect_success().stdout;
    let shown = format!("back tcp://{}", peer.address);
    assert_eq!(text.matches(&shown).count(), RELAYS, "{text}");
}

#[test]
fn a_peer_that_is_switched_off_gets_nothing_until_it_is_switched_on_also_after_a_reload() {
    let servers = [PeerServer::echo(), PeerServer::echo()];
    let addresses = [servers[0].address, servers[1].address];
    let engine = Engine::start("moorline", &config("", "", &addresses));
    let named = format!("back/{}", addresses[0]);
    let set = |what: &str| {
        let said = engine.run(&["upstreams", "set", &named, what]);
        said.expect_success().stdout
    };
    for (what, state) in [("--down", "down"), ("--drain", "draining")] {
        let said = set(what);
        assert!(
            said.contains("changed 1 peer; this lasts as long as the gateway lives"),
            "{said}"
        );
        assert_eq!(peers(&engine)[0]["state"], state);
        engine.reload().expect_success();
        let before = servers[0].connections();
        (0..4).for_each(|_| echo(&engine));
        assert_eq!(servers[0].connections(), before, "{what}");
    }
    set("--up");
    (0..4).for_each(|_| echo(&engine));
    assert_eq!(servers[0].connections(), 2);
}

#[test]
fn a_weight_is_changed_until_a_reload_brings_another_one() {
    let servers = [PeerServer::echo(), PeerServer::echo()];
    let addresses = [servers[0].address, servers[1].address];
    let engine = Engine::start("moorline", &config("", "", &addresses));
    let named = format!("back/{}", addresses[0]);
    let said = engine.run(&["upstreams", "set", &named, "--weight", "9"]);
    let said = said.expect_success().stdout;
    assert!(
        said.contains("until a reload brings another weight"),
        "{said}"
    );
    (0..10).for_each(|_| echo(&engine));
    assert_eq!(servers[0].connections(), 9);
}

#[test]
fn a_peer_that_is_not_there_is_refused_with_those_that_are() {
    let server = PeerServer::echo();
    let engine = Engine::start("moorline", &config("", "", &[server.address]));
    for (named, known) in [
        ("back/10.9.9.9:1", server.address.to_string()),
        ("other/10.9.9.9:1", "back".to_owned()),
    ] {
        let said = engine.run(&["upstreams", "set", named, "--down"]);
        assert!(!said.status.success());
        assert!(said.stderr.contains(&known), "{}", said.stderr);
    }
    let said = engine.run(&["upstreams", "set", "nonsense", "--down"]);
    assert_eq!(said.status.code(), Some(2), "{}", said.stderr);
}
