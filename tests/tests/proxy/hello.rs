//! Listeners that read what a TLS client asks for, and pass TLS through.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use moorline_tests::{Engine, PeerServer, eventually};

use super::{config, connect};

pub(crate) use moorline_tests::client_hello as hello;

#[test]
fn a_hello_goes_on_as_it_came_however_it_is_cut() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("preread = {}", "", &[peer.address]));
    for most in [1, 20, 200] {
        let bytes = [&hello("a.test", most)[..], b"and more"].concat();
        for cut in [1, 9, bytes.len()] {
            let mut client = connect(&engine);
            client.set_nodelay(true).expect("it is a socket");
            for part in bytes.chunks(cut) {
                client.write_all(part).expect("it is taken");
                thread::sleep(Duration::from_micros(200));
            }
            let mut came = vec![0; bytes.len()];
            client.read_exact(&mut came).expect("an echo comes");
            assert!(came == bytes, "{most} {cut}");
        }
    }
}

#[test]
fn what_is_no_tls_goes_on_at_once() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("preread = {}", "", &[peer.address]));
    for bytes in [&b"G"[..], b"\x15\x03\x03", b"\x80\x01\x02", b"\x16\x02"] {
        let mut client = connect(&engine);
        client.write_all(bytes).expect("it is taken");
        client.shutdown(Shutdown::Write).expect("it is open");
        let mut came = Vec::new();
        client.read_to_end(&mut came).expect("an echo comes");
        assert_eq!(came, bytes);
    }
}

#[test]
fn a_client_goes_on_when_a_reload_takes_preread_away() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("preread = {}", "", &[peer.address]));
    let mut client = connect(&engine);
    let bytes = hello("a.test", 200);
    client.write_all(&bytes[..20]).expect("it is taken");
    thread::sleep(Duration::from_millis(100));
    engine.configure(&config("", "", &[peer.address]));
    engine.reload().expect_success();
    let mut came = vec![0; 20];
    client.read_exact(&mut came).expect("an echo comes");
    assert_eq!(came, bytes[..20]);
}

#[test]
fn no_peer_is_asked_before_the_hello_is_whole() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("preread = {}", "", &[peer.address]));
    let mut client = connect(&engine);
    let bytes = hello("a.test", 200);
    client.write_all(&bytes[..20]).expect("it is taken");
    thread::sleep(Duration::from_millis(100));
    assert_eq!(peer.connections(), 0);
    client.shutdown(Shutdown::Write).expect("it is open");
    let mut came = Vec::new();
    let _ = client.read_to_end(&mut came);
    assert_eq!((came.len(), peer.connections()), (0, 0));
    engine.logged(&["hello", "left", "status=400"]);
}

#[test]
fn a_hello_that_is_too_long_or_too_slow_ends_its_connection() {
    let peer = PeerServer::echo();
    let keys = "preread = { buffer = \"90B\", timeout = \"300ms\" }";
    let engine = Engine::start("moorline", &config(keys, "", &[peer.address]));
    let mut long = connect(&engine);
    long.write_all(&hello("a.very.long.name.of.a.host.test", 200)[..20])
        .expect("it is taken");
    let _ = long.read_to_end(&mut Vec::new());
    engine.logged(&["hello", "longer", "status=400"]);
    let mut slow = connect(&engine);
    slow.write_all(&hello("a.test", 200)[..20])
        .expect("it is taken");
    let _ = slow.read_to_end(&mut Vec::new());
    engine.logged(&["hello", "timeout", "status=400"]);
    let mut silent = connect(&engine);
    let _ = silent.read_to_end(&mut Vec::new());
    assert_eq!(peer.connections(), 0);
    let mut short = connect(&engine);
    let bytes = hello("a.test", 200);
    short.write_all(&bytes).expect("it is taken");
    let mut came = vec![0; bytes.len()];
    short.read_exact(&mut came).expect("an echo comes");
    drop(short);
    eventually("all are gone", || engine.status().gateway.relays.open == 0);
}

#[test]
fn a_hello_behind_the_header_of_a_proxy_has_its_own_time() {
    let peer = PeerServer::echo();
    let keys = "preread = { timeout = \"10s\" }\nhandshake_timeout = \"300ms\"\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]";
    let engine = Engine::start("moorline", &config(keys, "", &[peer.address]));
    let mut client = connect(&engine);
    let bytes = hello("a.test", 200);
    client
        .write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n")
        .expect("it is taken");
    client.write_all(&bytes[..20]).expect("it is taken");
    thread::sleep(Duration::from_millis(600));
    client.write_all(&bytes[20..]).expect("it is taken");
    let mut came = vec![0; bytes.len()];
    client.read_exact(&mut came).expect("an echo comes");
    assert_eq!(came, bytes);
}
