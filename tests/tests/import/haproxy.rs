//! Imported configurations behave as HAProxy does.

use std::io::{Read, Write};
use std::net::TcpStream;

use moorline_tests::{PATIENCE, PeerServer, happens_within};

use super::proxies::{Haproxy, filled, free_port, moorline, named, names};

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
