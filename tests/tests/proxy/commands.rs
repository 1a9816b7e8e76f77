//! `upstreams` shows peers, and changes them.

use std::io::{Read, Write};

use moorline_tests::{Engine, PeerServer};
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
