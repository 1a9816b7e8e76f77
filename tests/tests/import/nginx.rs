//! Imported `stream` blocks behave as nginx does.

use super::proxies::{Nginx, filled, free_port, moorline, named, names};

/// Serves the same block by nginx and by Moorline: `PORT0`, `PORT1` … become free ports of each, `PEER0` … the peers. Gives
/// back what `ask` got from both, by the ports.
fn both<T>(stream: &str, peers: &[&'static str], ask: impl Fn(&[u16]) -> T) -> (T, T) {
    let peers: Vec<_> = peers.iter().map(|name| named(name)).collect();
    let (text, ports) = filled(stream, &peers);
    let probe = free_port();
    // A listener of its own shows that nginx serves, and leaves the balance as it is.
    let text = text.trim_end().strip_suffix('}').expect("a block");
    let text = format!("{text} server {{ listen 127.0.0.1:{probe}; return ok; }} }}");
    let nginx = Nginx::start(&text, probe);
    let theirs = ask(&ports);
    drop(nginx);
    let (text, ports) = filled(stream, &peers);
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
