//! Imported `stream` blocks behave as nginx does.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};

use moorline_tests::{PATIENCE, PeerServer, eventually};

use super::proxies::{Nginx, exchange, filled, free_port, moorline, named, names};

/// Serves the same block by nginx and by Moorline: `PORT0`, `PORT1` … become free ports of each, `PEER0` … the peers. Gives
/// back what `ask` got from both, by the ports.
fn both<T>(stream: &str, peers: &[&'static str], ask: impl Fn(&[u16]) -> T) -> (T, T) {
    let peers: Vec<_> = peers.iter().map(|name| named(name)).collect();
    both_of(stream, stream, &peers, ask)
}

/// The same with a block for each, and these peers.
fn both_of<T>(
    their_stream: &str,
    our_stream: &str,
    peers: &[PeerServer],
    ask: impl Fn(&[u16]) -> T,
) -> (T, T) {
    let (text, ports) = filled(their_stream, peers);
    let probe = free_port();
    // A listener of its own shows that nginx serves, and leaves the balance as it is.
    let text = text.trim_end().strip_suffix('}').expect("a block");
    let text =
        format!("{text} server {{ listen 127.0.0.1:{probe}; access_log off; return ok; }} }}");
    let nginx = Nginx::start(&text, probe);
    let theirs = ask(&ports);
    drop(nginx);
    let (text, ports) = filled(our_stream, peers);
    let engine = moorline("nginx.conf", &text);
    let ours = ask(&ports);
    drop(engine);
    (theirs, ours)
}

#[test]
fn weighted_peers_are_used_in_the_same_order() {
    let stream =
        "stream { upstream u { server PEER0 weight=5; server PEER1; server PEER2 weight=2; }
        server { listen PORT0; proxy_pass u; proxy_half_close on; } }";
    let (theirs, ours) = both(stream, &["a", "b", "c"], |ports| names(ports[0], 1, 24));
    assert_eq!(theirs, ours);
    assert!(theirs.contains('b'), "{theirs}");
}

#[test]
fn a_hash_keeps_its_peers() {
    let stream = "stream {
        upstream plain { hash $remote_addr; server PEER0; server PEER1 weight=3; server PEER2; }
        upstream ring { hash $remote_addr consistent; server 127.0.0.1:PEERPORT; server PEER1; server PEER2; }
        server { listen PORT0; proxy_pass plain; proxy_half_close on; }
        server { listen PORT1; proxy_pass plain; proxy_half_close on; } }";
    let stream = stream.replace("127.0.0.1:PEERPORT", "PEER0");
    let (theirs, ours) = both(&stream, &["a", "b", "c"], |ports| -> String {
        (1..=60).map(|host| names(ports[0], host, 1)).collect()
    });
    assert_eq!(theirs, ours);
    let stream = stream.replace("PORT0; proxy_pass plain", "PORT0; proxy_pass ring");
    let (theirs, ours) = both(&stream, &["a", "b", "c"], |ports| -> String {
        (1..=60).map(|host| names(ports[0], host, 1)).collect()
    });
    assert_eq!(theirs, ours);
}

#[test]
fn backups_and_failed_peers_are_used_alike() {
    let dead = free_port();
    let stream = format!(
        "stream {{ upstream u {{ server 127.0.0.1:{dead} weight=10; server PEER0; server PEER1 backup; server PEER2 down; }}
        upstream b {{ server 127.0.0.1:{dead}; server PEER1 backup; }}
        server {{ listen PORT0; proxy_pass u; proxy_half_close on; }}
        server {{ listen PORT1; proxy_pass b; proxy_half_close on; }}
        server {{ listen PORT2; proxy_pass 127.0.0.1:{dead}; proxy_half_close on; }} }}"
    );
    let (theirs, ours) = both(&stream, &["a", "b", "c"], |ports| {
        [0, 1, 2].map(|at: usize| names(ports[at], 1, 6))
    });
    assert_eq!(theirs, ours);
    assert_eq!(ours, ["aaaaaa", "bbbbbb", ""]);
}

#[test]
fn rules_of_access_decide_alike() {
    let stream = "stream { upstream u { server PEER0; } proxy_half_close on; allow 127.0.0.7;
        server { listen PORT0; proxy_pass u; deny 127.0.0.2; allow 127.0.0.0/30; deny all; }
        server { listen PORT1; proxy_pass u; } }";
    let (theirs, ours) = both(stream, &["a"], |ports| {
        [1, 2, 3, 4, 7].map(|host| names(ports[0], host, 1) + "," + &names(ports[1], host, 1))
    });
    assert_eq!(theirs, ours);
    assert_eq!(ours, ["a,a", ",a", "a,a", ",a", ",a"]);
}

#[test]
fn datagrams_are_balanced_and_answered_alike() {
    let stream = "stream { upstream u { server PEER0 weight=2; server PEER1; }
        server { listen PORT0 udp; proxy_pass u; proxy_requests 1; proxy_responses 1; } }";
    let peers = ["a", "b"].map(|name| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            let mut datagram = [0; 100];
            while let Ok((_, from)) = socket.recv_from(&mut datagram) {
                let _ = socket.send_to(name.as_bytes(), from);
            }
        });
        address
    });
    let stream = stream.replace("PEER0", &peers[0].to_string());
    let stream = stream.replace("PEER1", &peers[1].to_string());
    let (theirs, ours) = both(&stream, &[], |ports| -> String {
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        client.connect(("127.0.0.1", ports[0])).expect("an address");
        client
            .set_read_timeout(Some(PATIENCE))
            .expect("a time that is not zero");
        let ask = |_| {
            let mut answer = [0];
            client.send(b"x").expect("it is sent");
            client.recv(&mut answer).expect("an answer comes");
            char::from(answer[0])
        };
        (0..9).map(ask).collect()
    });
    assert_eq!(theirs, ours);
    assert_eq!(ours, "abaabaaba");
}

#[test]
fn connections_over_a_limit_are_closed_alike() {
    let stream = "stream { limit_conn_zone $remote_addr zone=one:1m; upstream u { server PEER0; }
        server { listen PORT0; proxy_pass u; limit_conn one 1; proxy_half_close on; }
        server { listen PORT1; proxy_pass u; limit_conn one 2; limit_conn_dry_run on; proxy_half_close on; } }";
    let (theirs, ours) = both(stream, &["a"], |ports| {
        let mut held = TcpStream::connect(("127.0.0.1", ports[0])).expect("it listens");
        held.read_exact(&mut [0]).expect("the peer says its name");
        let answers =
            [(0, 1), (0, 2), (1, 1)].map(|(at, host): (usize, u8)| names(ports[at], host, 1));
        drop(held);
        answers
    });
    assert_eq!(theirs, ours);
    assert_eq!(ours, ["", "a", "a"]);
}

#[test]
fn lines_of_an_access_log_are_the_same() {
    let stream = r#"stream { upstream u { server PEER0; }
        log_format one escape=json '$remote_addr $server_addr $protocol $status $bytes_sent $bytes_received "$upstream_addr" '
            '$upstream_bytes_sent $upstream_bytes_received';
        log_format two '[$upstream_addr] $status';
        access_log FOLDER/one.log one;
        server { listen PORT0; proxy_pass u; proxy_half_close on; }
        server { listen PORT1; proxy_pass 127.0.0.1:DEAD; access_log FOLDER/two.log two; }
        server { listen PORT2; proxy_pass u; deny all; access_log FOLDER/two.log two; } }"#;
    let stream = stream.replace("DEAD", &free_port().to_string());
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let lines = |at: usize| {
        let text = ["one.log", "two.log"].map(|name| {
            let path = folders[at].path().join(name);
            std::fs::read_to_string(path).unwrap_or_default()
        });
        text.concat()
    };
    // nginx is asked first.
    let turn = std::cell::Cell::new(0);
    let peers = ["hello"].map(named);
    let name = |at: usize| stream.replace("FOLDER", &folders[at].path().display().to_string());
    let ask = |ports: &[u16]| {
        for port in ports {
            exchange(*port, Ipv4Addr::LOCALHOST, b"xyz");
        }
        let at = turn.get();
        turn.set(at + 1);
        eventually("three lines are written", || lines(at).lines().count() == 3);
        lines(at)
    };
    let (theirs, ours) = both_of(&name(0), &name(1), &peers, ask);
    assert_eq!(theirs, ours);
    assert!(
        ours.contains(" TCP 200 5 3 \\\"") || ours.contains(" TCP 200 5 3 \""),
        "{ours}"
    );
}

#[test]
fn texts_maps_and_shares_are_the_same() {
    let stream = r#"stream {
        map $remote_addr $by_text { default none; 127.0.0.1 one; ~^127\.0\.0\.(?<last>[23])$ last-$last-$1; }
        geo $by_network { default none; 127.0.0.0/30 inner; 127.0.0.0/8 outer; 127.0.0.9 nine; }
        geo $by_range { ranges; default none; 127.0.0.2-127.0.0.4 range; }
        split_clients $remote_addr $share { 33.3% a; 20% b; * c; }
        server { listen PORT0; set $mine "<$by_text>"; return "$remote_addr $mine $by_network $by_range $share $protocol\n"; } }"#;
    let (theirs, ours) = both(stream, &[], |ports| -> String {
        (1..=40).map(|host| names(ports[0], host, 1)).collect()
    });
    assert_eq!(theirs, ours);
    assert!(ours.contains("127.0.0.3 <last-3-3> inner range "), "{ours}");
}

#[test]
fn a_map_chooses_the_upstream_or_the_address() {
    let stream = "stream { upstream one { server PEER0; } upstream two { server PEER1; } proxy_half_close on;
        map $remote_addr $target { 127.0.0.1 one; 127.0.0.2 two; default PEER2; }
        server { listen PORT0; proxy_pass $target; } server { listen PORT1; proxy_pass two; } }";
    let (theirs, ours) = both(stream, &["a", "b", "c"], |ports| -> String {
        let ask = |host| names(ports[0], host, 1) + &names(ports[1], host, 1);
        (1..=3).map(ask).collect()
    });
    assert_eq!(theirs, ours);
    assert_eq!(ours, "abbbcb");
}
