//! Imported configurations behave as HAProxy does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use moorline_tests::{NameServer, PATIENCE, PeerServer, client_hello as hello, happens_within};

use super::proxies::{Haproxy, exchange, filled, free_port, moorline, named, names};

const DEFAULTS: &str =
    "defaults\n mode tcp\n timeout connect 5s\n timeout client 10s\n timeout server 10s\n";

/// Serves the same sections by HAProxy and by Moorline, and gives back what `ask` got from both, by the ports.
fn both<T>(sections: &str, peers: &[PeerServer], ask: impl Fn(&[u16]) -> T) -> (T, T) {
    let sections = format!("{DEFAULTS}{sections}");
    let (text, ports) = filled(&sections, peers);
    let probe = free_port();
    // A listener of its own shows that HAProxy serves, and leaves the balance as it is.
    let text = format!("{text}listen probe\n bind 127.0.0.1:{probe}\n server a 127.0.0.1:1\n");
    let haproxy = Haproxy::start(&text, probe);
    let theirs = ask(&ports);
    drop(haproxy);
    let (text, ports) = filled(&sections, peers);
    let engine = moorline("haproxy.cfg", &text);
    let ours = ask(&ports);
    drop(engine);
    (theirs, ours)
}

/// How often each letter stands there.
fn counts(names: &str) -> Vec<usize> {
    let count = |letter| names.matches(letter).count();
    ["a", "b", "c"].map(count).into()
}

#[test]
fn weighted_servers_get_the_same_shares() {
    let peers = ["a", "b", "c"].map(named);
    let sections = "frontend f\n bind PORT0\n default_backend b\n\
        backend b\n balance roundrobin\n server a PEER0 weight 5\n server b PEER1 weight 2\n server c PEER2\n";
    let (theirs, ours) = both(sections, &peers, |ports| counts(&names(ports[0], 1, 24)));
    assert_eq!(theirs, ours);
    assert_eq!(ours, [15, 6, 3]);
}

#[test]
fn dead_servers_and_backups_are_used_alike() {
    let peers = ["a", "b", "c"].map(named);
    let dead = free_port();
    let sections = format!(
        "listen l\n bind PORT0\n option redispatch 1\n server x 127.0.0.1:{dead}\n server a PEER0\n server c PEER2 disabled\n\
         listen m\n bind PORT1\n server x 127.0.0.1:{dead} disabled\n server b PEER1 backup\n"
    );
    let (theirs, ours) = both(&sections, &peers, |ports| {
        [0, 1].map(|at: usize| names(ports[at], 1, 4))
    });
    assert_eq!(theirs, ours);
    assert_eq!(ours, ["aaaa", "bbbb"]);
}

#[test]
fn the_header_of_the_proxy_protocol_is_sent_and_taken_alike() {
    let peers = [PeerServer::echo()];
    let sections = "listen l\n bind PORT0 accept-proxy\n server a PEER0 send-proxy\n";
    let (theirs, ours) = both(sections, &peers, |ports| {
        let mut stream = TcpStream::connect(("127.0.0.1", ports[0])).expect("it listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time that is not zero");
        let header = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
        stream
            .write_all(format!("{header}hello").as_bytes())
            .expect("it is open");
        let mut answer = String::new();
        while !answer.ends_with("hello") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an echo comes");
            answer.push(char::from(byte[0]));
        }
        // The address that the client has connected to is the first proxy's with HAProxy, and the own one with Moorline.
        let words = answer.split([' ', '\r']).enumerate();
        let words = words.filter(|(at, _)| ![3, 5].contains(at));
        words.map(|(_, word)| word.to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(theirs, ours);
    assert_eq!(ours, ["PROXY", "TCP4", "192.0.2.7", "4711", "\nhello"]);
}

#[test]
fn a_server_that_hangs_fails_its_check() {
    let peers = [
        named("a"),
        // It takes connections and says nothing.
        PeerServer::new(|mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink()))),
    ];
    let sections = "listen l\n bind PORT0\n option tcp-check\n tcp-check expect string a\n timeout check 300ms\n \
        default-server inter 300ms fall 1 rise 1\n server a PEER0 check\n server b PEER1 check\n";
    let (theirs, ours) = both(sections, &peers, |ports| {
        let is_out = || {
            let mut served = 0;
            for _ in 0..4 {
                let mut stream = TcpStream::connect(("127.0.0.1", ports[0])).expect("it listens");
                let time = std::time::Duration::from_millis(200);
                stream
                    .set_read_timeout(Some(time))
                    .expect("a time that is not zero");
                served += stream.read(&mut [0]).unwrap_or_default();
            }
            served == 4
        };
        happens_within(PATIENCE, is_out)
    });
    assert_eq!((theirs, ours), (true, true));
}

/// What clients at these addresses of this machine get that send these bytes: the name of a server, or nothing.
fn outcomes(port: u16, clients: &[(u8, &[u8])]) -> Vec<String> {
    let outcome = |(host, sent): &(u8, &[u8])| {
        let answer = exchange(port, Ipv4Addr::new(127, 0, 0, *host), sent);
        String::from_utf8_lossy(&answer).into_owned()
    };
    clients.iter().map(outcome).collect()
}

/// A proxy in front, at 127.0.0.2, and clients of their own share a listener.
#[test]
fn a_header_is_expected_of_the_same_clients() {
    let peers = ["a", "b", "c"].map(named);
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    let clients: [(u8, &[u8]); 3] = [(2, header), (1, b""), (1, header)];
    let sections = format!(
        "frontend f\n bind PORT0\n tcp-request connection expect-proxy layer4 if {{ src 127.0.0.2 }}\n \
         use_backend b if {{ src 192.0.2.7 }}\n default_backend a\n{BACKENDS}"
    );
    let (theirs, ours) = both(&sections, &peers, |ports| outcomes(ports[0], &clients));
    assert_eq!(theirs, ours);
    assert_eq!(ours, ["b", "a", "a"]);
}

const BACKENDS: &str =
    "backend a\n server a PEER0\nbackend b\n server b PEER1\nbackend c\n server c PEER2\n";

#[test]
fn rules_by_address_choose_and_refuse_alike() {
    let peers = ["a", "b", "c"].map(named);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let list = folder.path().join("list");
    std::fs::write(&list, "# ours\n127.0.0.8\n\n127.0.0.64/26\n").expect("it can be written");
    let clients: Vec<(u8, &[u8])> = [1, 2, 3, 4, 8, 70, 200].map(|it| (it, &b""[..])).into();
    for (rules, expected) in [
        ("use_backend b if { src 127.0.0.2 }", "a b a a a a a"),
        ("use_backend b unless { src 127.0.0.0/26 }", "a a a a a b b"),
        (
            "acl low src 127.0.0.0/30\n acl two src 127.0.0.2\n use_backend b if low !two\n use_backend c if two or { src -f LIST }",
            "b c b a c c a",
        ),
        (
            "use_backend c if ! { src -f LIST } { src 127.0.0.0/25 }\n use_backend b",
            "c c c c b b b",
        ),
        (
            "acl some src 127.0.0.2\n acl some src 127.0.0.3\n tcp-request connection reject if some\n use_backend b if { src 127.0.0.4 }",
            "a   b a a a",
        ),
        (
            "acl low src 127.0.0.0/30\n acl two src 127.0.0.2\n tcp-request connection reject unless low !two || { src 127.0.0.200 }",
            "a  a    a",
        ),
        (
            "tcp-request connection accept if { src 127.0.0.2 }\n tcp-request connection reject if { src 127.0.0.0/30 }\n \
             tcp-request session reject if { src 127.0.0.4 }\n tcp-request content reject if { src -f LIST }",
            " a     a",
        ),
        (
            "tcp-request content accept if { src 127.0.0.2 }\n tcp-request content reject if { dst_port 1 } or { src 127.0.0.0/30 }\n \
             use_backend b if { src 127.0.0.2 } TRUE\n use_backend c if LOCALHOST FALSE",
            " b  a a a a",
        ),
    ] {
        let rules = rules.replace("LIST", &list.display().to_string());
        let sections = format!("frontend f\n bind PORT0\n {rules}\n default_backend a\n{BACKENDS}");
        let (theirs, ours) = both(&sections, &peers, |ports| outcomes(ports[0], &clients));
        assert_eq!(theirs, ours, "{rules}");
        assert_eq!(ours.join(" "), expected, "{rules}");
    }
}

#[test]
fn rules_by_name_and_address_choose_and_refuse_alike() {
    let peers = ["a", "b", "c"].map(named);
    let hellos = ["x.test", "a.x.test", "X.Test", "other"].map(|host| hello(host, 200));
    let mut clients: Vec<(u8, &[u8])> = vec![(1, b"GET / HTTP/1.0\r\n\r\n")];
    clients.extend(hellos.iter().map(|it| (1, &it[..])));
    clients.extend(hellos.iter().map(|it| (2, &it[..])));
    for (rules, expected) in [
        (
            "use_backend b if { req.ssl_sni x.test } { src 127.0.0.2 }",
            "a a a a a b a a a",
        ),
        (
            "use_backend b if { req.ssl_sni,lower -m dom x.test }\n use_backend c unless { src 127.0.0.1 }",
            "a b b b a b b b c",
        ),
        (
            "use_backend b if { req.ssl_sni -m found } !{ req.ssl_sni -m sub x }\n use_backend c if { req.ssl_sni -m reg .* }",
            "a c c b b c c b b",
        ),
        (
            "tcp-request content reject unless { req.ssl_hello_type 1 }\n use_backend b if { req.ssl_sni -m end .x.test }",
            " a b a a a b a a",
        ),
        (
            "tcp-request content accept if { src 127.0.0.2 }\n tcp-request content reject if { req.ssl_sni -i x.test }\n use_backend b if { src 127.0.0.2 }",
            "a  a  a b b b b",
        ),
    ] {
        let rules = format!("tcp-request inspect-delay 5s\n {rules}");
        // HAProxy looks at a name once it has come, for which rules of contents wait.
        let waits = "tcp-request content accept if { req.ssl_hello_type 1 } or WAIT_END";
        let sections =
            format!("frontend f\n bind PORT0\n {rules}\n {waits}\n default_backend a\n{BACKENDS}");
        let (theirs, ours) = both(&sections, &peers, |ports| outcomes(ports[0], &clients));
        assert_eq!(theirs, ours, "{rules}");
        assert_eq!(ours.join(" "), expected, "{rules}");
    }
}

#[test]
fn servers_of_the_dns_are_found_alike() {
    let peers = ["a", "b"].map(named);
    let dns = NameServer::new();
    let [a, b] = [0, 1].map(|at: usize| peers[at].address.port());
    dns.set("one.test", &["127.0.0.1"]);
    dns.set_service(
        "_db._tcp.test",
        &[(1, 1, a, "one.test"), (1, 1, b, "one.test")],
    );
    let sections = format!(
        "resolvers dns\n nameserver one {}\n hold valid 1s\n timeout retry 500ms\n\
         listen l\n bind PORT0\n server-template db 2 _db._tcp.test resolvers dns resolve-opts allow-dup-ip init-addr none check inter 100ms\n\
         listen m\n bind PORT1\n default-server init-addr none resolvers dns resolve-prefer ipv4\n server b one.test:{b} check inter 100ms\n",
        dns.address
    );
    let (theirs, ours) = both(&sections, &peers, |ports| {
        let found = || {
            let mut all: Vec<char> = names(ports[0], 1, 8).chars().collect();
            all.sort_unstable();
            (all.iter().collect::<String>(), names(ports[1], 1, 2))
        };
        let is_whole = || found() == ("aaaabbbb".into(), "bb".into());
        happens_within(PATIENCE, is_whole).then(found)
    });
    assert_eq!(theirs, ours);
    assert_eq!(ours, Some(("aaaabbbb".into(), "bb".into())));
}
