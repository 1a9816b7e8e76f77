//! Names of peers that a DNS server knows.

use std::io::{Read, Write};
use std::time::Duration;

use moorline_tests::{
    Engine, Manner, NameServer, PeerServer, Site, UdpClient, UdpPeer, eventually, happens_within,
    require_root,
};

use super::connect;

/// Peers on several addresses of this machine with one port.
fn peers<const N: usize>() -> ([PeerServer; N], u16) {
    let echo = |mut stream: std::net::TcpStream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).expect("it is open");
        }
    };
    let first = PeerServer::at("127.0.0.1:0".parse().expect("an address"), echo);
    let port = first.address.port();
    let mut first = Some(first);
    let peers = std::array::from_fn(|at| {
        first.take().unwrap_or_else(|| {
            let address = ([127, 0, 0, at as u8 + 1], port).into();
            PeerServer::at(address, echo)
        })
    });
    (peers, port)
}

fn config(server: &NameServer, rules: &str, peer: &str) -> String {
    format!(
        "[workers]\ncount = 1\n[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n\
         [upstream.back]\npeers = [{peer}]\nresolver = {{ servers = [\"{}\"]{rules} }}\n",
        server.address
    )
}

fn echo(engine: &Engine) -> bool {
    let mut client = connect(engine);
    client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok()
}

fn shown(engine: &Engine) -> String {
    engine.run(&["upstreams"]).expect_success().stdout
}

#[test]
fn a_name_is_looked_up_again_when_its_answer_is_no_longer_valid() {
    let (peers, port) = peers::<3>();
    let server = NameServer::new();
    server.set("db.test", &["127.0.0.1", "127.0.0.2"]);
    let text = config(&server, "", &format!("\"tcp://db.test:{port}\""));
    let engine = Engine::start("moorline", &text);
    (0..4).for_each(|_| assert!(echo(&engine)));
    assert_eq!((peers[0].connections(), peers[1].connections()), (2, 2));
    server.set("db.test", &["127.0.0.3"]);
    eventually("the third is the only peer", || {
        let shown = shown(&engine);
        shown.contains("127.0.0.3:") && !shown.contains("127.0.0.1:")
    });
    let before = peers[2].connections();
    (0..4).for_each(|_| assert!(echo(&engine)));
    assert_eq!(peers[2].connections() - before, 4);
}

#[test]
fn an_answer_holds_as_long_as_the_file_says() {
    let (_peers, port) = peers::<1>();
    let server = NameServer::new();
    server.set("db.test", &["127.0.0.1"]);
    let peer = format!("\"tcp://db.test:{port}\"");
    let engine = Engine::start("moorline", &config(&server, ", valid = \"100ms\"", &peer));
    eventually("it is asked often", || server.questions() > 10);
    engine.configure(&config(&server, ", valid = \"1h\"", &peer));
    engine.reload().expect_success();
    assert!(echo(&engine));
    // What was valid before is asked for once more.
    let is_asked = || {
        let before = server.questions();
        happens_within(Duration::from_millis(1500), || server.questions() > before)
    };
    eventually("it is asked no more", || !is_asked());
    assert!(echo(&engine));
}

#[test]
fn what_was_resolved_stays_while_the_server_fails_also_over_a_reload() {
    let (_peers, port) = peers::<1>();
    let server = NameServer::new();
    server.set("db.test", &["127.0.0.1"]);
    let peer = format!("\"tcp://db.test:{port}\"");
    let text = config(&server, ", valid = \"100ms\", timeout = \"300ms\"", &peer);
    let engine = Engine::start("moorline", &text);
    assert!(echo(&engine));
    for (manner, why) in [
        (Manner::Failing, "cannot resolve"),
        (Manner::Silent, "within 300ms"),
    ] {
        server.behave(manner);
        engine.logged(&["cannot be resolved", "db.test", why]);
        engine.reload().expect_success();
        assert!(echo(&engine), "{manner:?}");
        assert!(shown(&engine).contains("db.test"), "{manner:?}");
        server.behave(Manner::Plain);
        engine.logged(&["can be resolved again"]);
        assert!(echo(&engine));
    }
}

#[test]
fn a_name_that_does_not_exist_any_more_has_no_peers_until_it_is_back() {
    let (_peers, port) = peers::<1>();
    let server = NameServer::new();
    let peer = format!("\"tcp://db.test:{port}\"");
    let engine = Engine::start("moorline", &config(&server, ", valid = \"100ms\"", &peer));
    engine.logged(&["a peer's name has no address", "db.test"]);
    assert!(!echo(&engine), "there is no peer");
    server.set("db.test", &["127.0.0.1"]);
    eventually("it is there", || echo(&engine));
    server.set("db.test", &[]);
    eventually("it is gone", || !echo(&engine));
    server.set("db.test", &["127.0.0.1"]);
    eventually("it is back", || echo(&engine));
}

#[test]
fn an_answer_that_is_too_long_for_a_datagram_is_asked_for_over_tcp() {
    let (_peers, port) = peers::<1>();
    let server = NameServer::new();
    server.set("db.test", &["127.0.0.1"]);
    server.behave(Manner::Truncating);
    let text = config(&server, "", &format!("\"tcp://db.test:{port}\""));
    let engine = Engine::start("moorline", &text);
    assert!(echo(&engine));
    assert!(server.questions_over_tcp() > 0);
}

#[test]
fn a_family_that_is_off_is_not_asked_for() {
    let (_peers, port) = peers::<1>();
    let server = NameServer::new();
    server.set("db.test", &["127.0.0.1", "::1"]);
    let peer = format!("\"tcp://db.test:{port}\"");
    let engine = Engine::start("moorline", &config(&server, ", ipv6 = false", &peer));
    assert!(echo(&engine));
    assert!(!shown(&engine).contains("[::1]"));
    assert_eq!(server.questions_of_ipv6(), 0);
    engine.configure(&config(&server, ", ipv4 = false", &peer));
    engine.reload().expect_success();
    eventually("the other one is a peer", || {
        let shown = shown(&engine);
        shown.contains("[::1]") && !shown.contains("127.0.0.1:")
    });
}

#[test]
fn the_servers_of_a_service_are_peers_by_priority_and_weight() {
    let (peers, port) = peers::<3>();
    let server = NameServer::new();
    let hosts = ["a.test", "b.test", "c.test"];
    for (host, at) in hosts.iter().zip(1..) {
        server.set(host, &[&format!("127.0.0.{at}")]);
    }
    let entries = [(10, 3), (10, 1), (20, 9)];
    let list: Vec<_> = entries
        .iter()
        .zip(hosts)
        .map(|((priority, weight), host)| (*priority, *weight, port, host))
        .collect();
    server.set_service("_db._tcp.test", &list);
    let text = config(
        &server,
        ", valid = \"100ms\"",
        "{ service = \"_db._tcp.test\" }",
    );
    let engine = Engine::start("moorline", &text);
    (0..8).for_each(|_| assert!(echo(&engine)));
    let counts = peers.each_ref().map(PeerServer::connections);
    assert_eq!(counts, [6, 2, 0]);
    let shown_now = shown(&engine);
    assert!(shown_now.contains("(_db._tcp.test)"), "{shown_now}");
    // Without those of the first priority the others are no backups any more.
    server.set_service("_db._tcp.test", &list[2..]);
    eventually("the third serves", || {
        assert!(echo(&engine));
        peers[2].connections() > 0
    });
}

#[test]
fn a_service_that_does_not_exist_prevents_neither_the_start_nor_its_neighbours() {
    let (_peers, port) = peers::<1>();
    let server = NameServer::new();
    let peers = format!("{{ service = \"_db._tcp.test\" }}, \"tcp://127.0.0.1:{port}\"");
    let engine = Engine::start("moorline", &config(&server, "", &peers));
    assert!(echo(&engine));
    engine.logged(&["a peer's name has no address", "_db._tcp.test"]);
}

#[test]
fn a_service_of_udp_has_datagrams() {
    let peer = UdpPeer::echo();
    let server = NameServer::new();
    server.set("a.test", &["127.0.0.1"]);
    server.set_service("_dns._udp.test", &[(0, 0, peer.address.port(), "a.test")]);
    let text = config(&server, "", "{ service = \"_dns._udp.test\" }");
    let text = text.replacen("tcp://127.0.0.1:0", "udp://127.0.0.1:0", 1);
    let engine = Engine::start("moorline", &text);
    assert_eq!(UdpClient::new(engine.socket_address(0)).ask(b"x"), b"x");
}

/// An engine that has this server in its `/etc/resolv.conf`.
fn with_system_server(server: &NameServer, text: &str) -> Engine {
    let site = Site::new("moorline", text);
    let own = format!("nameserver {}\n", server.address.ip());
    site.write("resolv.conf", &own);
    let script = format!(
        "exec unshare --mount sh -c 'mount --bind {} /etc/resolv.conf; exec \"$0\" \"$@\"' \"$0\" \"$@\"",
        site.path("resolv.conf").display()
    );
    let started = site.try_start_by(&script, |_| {});
    started.unwrap_or_else(|finished| panic!("it does not start: {finished:#?}"))
}

/// A server on the port of DNS, at an address of no other test that runs at the same time.
fn system_server() -> NameServer {
    require_root("a resolv.conf of its own is mounted, and a server listens on port 53");
    let [.., second, first] = std::process::id().to_be_bytes();
    NameServer::at(([127, 53, second, first | 1], 53).into())
}

#[test]
fn a_name_that_the_system_resolves_is_looked_up_again_by_its_time_to_live() {
    let server = system_server();
    let (peers, port) = peers::<2>();
    server.set("db.test", &["127.0.0.1"]);
    let text = format!(
        "[workers]\ncount = 1\n[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nupstream = \"back\"\n\
         [upstream.back]\npeers = [\"tcp://db.test:{port}\"]\n"
    );
    let engine = with_system_server(&server, &text);
    assert!(echo(&engine));
    server.set("db.test", &["127.0.0.2"]);
    // A second after it was asked, and not half a minute.
    let has_moved = || {
        let shown = shown(&engine);
        shown.contains("127.0.0.2:") && !shown.contains("127.0.0.1:")
    };
    assert!(happens_within(Duration::from_secs(10), has_moved));
    assert!(echo(&engine));
    assert_eq!(peers.map(|it| it.connections()), [1, 1]);
}

/// What a client gets from a listener that sends it its own address, behind a PROXY header.
fn named_client(engine: &Engine) -> String {
    let mut client = connect(engine);
    let mut answer = String::new();
    // One that is refused is closed.
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n";
    if client.write_all(header).is_ok() {
        let _ = client.read_to_string(&mut answer);
    }
    answer
}

fn proxied(names: &str) -> String {
    format!(
        "[workers]\ncount = 1\n[[listen]]\nname = \"front\"\naddress = \"tcp://127.0.0.1:0\"\nreturn = \"${{client.address}}\"\n\
         proxy_protocol = true\ntrusted_proxies = [{names}]\n"
    )
}

#[test]
fn proxies_are_trusted_by_their_names() {
    let engine = Engine::start("moorline", &proxied("\"localhost\""));
    assert_eq!(named_client(&engine), "192.0.2.7");
    engine.configure(&proxied("\"10.0.0.1\""));
    engine.reload().expect_success();
    eventually("it is trusted no more", || named_client(&engine).is_empty());
    engine.configure(&proxied("\"10.0.0.1\", \"localhost\""));
    engine.reload().expect_success();
    eventually("it is trusted again", || {
        named_client(&engine) == "192.0.2.7"
    });
}

#[test]
fn a_trusted_name_follows_its_addresses_and_keeps_them_while_servers_fail() {
    let server = system_server();
    server.set("proxy.test", &["127.0.0.9"]);
    let engine = with_system_server(&server, &proxied("\"proxy.test\""));
    assert_eq!(named_client(&engine), "");
    server.set("proxy.test", &["127.0.0.1", "127.0.0.9"]);
    eventually("it is looked up again", || {
        named_client(&engine) == "192.0.2.7"
    });
    server.behave(Manner::Failing);
    // Where the server fails just when it is asked how long its last answer holds, that holds for a minute.
    let fails = || {
        let log = engine.site().log();
        log.contains("cannot resolve the name of a trusted proxy")
    };
    assert!(happens_within(Duration::from_secs(100), fails));
    assert_eq!(named_client(&engine), "192.0.2.7");
    engine.reload().expect_success();
    assert_eq!(named_client(&engine), "192.0.2.7");
    server.behave(Manner::Plain);
    engine.logged(&["a trusted proxy's name can be resolved again"]);
}
