//! What a reload changes for relays, and what it does not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use moorline_tests::{Engine, PeerServer, eventually};

use super::{config, connect};

#[track_caller]
fn echo(client: &mut TcpStream) {
    client.write_all(b"x").expect("it is open");
    client.read_exact(&mut [0]).expect("an echo comes");
}

#[test]
fn relays_keep_their_peer_when_a_reload_replaces_it() {
    let (old, new) = (PeerServer::echo(), PeerServer::echo());
    let engine = Engine::start("moorline", &config("", "", &[old.address]));
    let mut client = connect(&engine);
    echo(&mut client);
    engine.configure(&config("", "", &[new.address]));
    engine.reload().expect_success();
    echo(&mut client);
    echo(&mut connect(&engine));
    assert_eq!((old.connections(), new.connections()), (1, 1));
}

#[test]
fn a_peer_stays_out_over_a_reload() {
    let peer = PeerServer::echo();
    let (hole, _held) = moorline_tests::black_hole();
    let keys = "connect_timeout = \"300ms\"\nfail_timeout = \"1h\"";
    let text = config("", keys, &[hole, peer.address]);
    let engine = Engine::start("moorline", &text);
    echo(&mut connect(&engine));
    engine.logged(&["peer taken out"]);
    engine.configure(&text.replace("300ms", "10s"));
    engine.reload().expect_success();
    for _ in 0..4 {
        let begun = std::time::Instant::now();
        echo(&mut connect(&engine));
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    }
}

#[test]
fn open_relays_count_for_a_limit_by_address_that_a_reload_brings() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let mut clients = [connect(&engine), connect(&engine)];
    clients.iter_mut().for_each(echo);
    engine.configure(&config("max_sessions_per_address = 2", "", &[peer.address]));
    engine.reload().expect_success();
    let mut refused = connect(&engine);
    let _ = refused.write_all(b"x");
    assert!(!matches!(refused.read(&mut [0]), Ok(1)), "one too many");
    engine.logged(&["connection refused: max_sessions_per_address"]);
    clients.iter_mut().for_each(echo);
}

#[test]
fn a_removed_listener_keeps_its_relays_until_they_end() {
    let peer = PeerServer::echo();
    let text = config("", "", &[peer.address]);
    let two = format!(
        "[[listen]]\nname = \"other\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n{text}"
    );
    let two = two.replacen("[[listen]]", "\n[[listen]]", 1);
    let engine = Engine::start("moorline", &two);
    let mut client = connect(&engine);
    echo(&mut client);
    engine.configure(&text);
    engine.reload().expect_success();
    echo(&mut client);
    let state = |name: &str| {
        let status = engine.status();
        let found = status.listeners.iter().find(|it| it.name == name);
        found.map(|listener| listener.state.clone())
    };
    assert_eq!(state("other").as_deref(), Some("retired"));
    drop(client);
    eventually("its place is vacant", || state("other").is_none());
}

#[test]
fn no_relay_closes_and_no_byte_is_lost_over_many_reloads_under_load() {
    const CLIENTS: usize = 100;
    let peers = [PeerServer::echo(), PeerServer::echo()];
    let both = config("", "", &[peers[0].address, peers[1].address]);
    let one = config("", "balance = \"least-connections\"", &[peers[1].address]);
    let engine = Engine::start("moorline", &both);
    let (is_over, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (engine, is_over, rounds) = (&engine, &is_over, &rounds);
            scope.spawn(move || {
                let mut client = connect(engine);
                let sent = vec![number as u8; 1000 + number * 100];
                let mut came = vec![0; sent.len()];
                while !is_over.load(Ordering::Relaxed) {
                    client.write_all(&sent).expect("it is open");
                    client.read_exact(&mut came).expect("an echo comes");
                    assert!(came == sent);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..6 {
            let before = rounds.load(Ordering::Relaxed);
            engine.configure(if round % 2 == 0 { &one } else { &both });
            engine.reload().expect_success();
            eventually("bytes pass", || {
                rounds.load(Ordering::Relaxed) > before + CLIENTS as u64
            });
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(engine.status().gateway.relays.begun, CLIENTS as u64);
}
