//! Clients of TLS 1.3 that ask for new keys again and again, and read nothing.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use moorline_tests::{Engine, Issuer, PeerServer, Process, Site, Trust};

/// Updates of one flood: each costs the engine a derivation of keys.
const UPDATES: usize = 50_000;
/// What a gateway may hold for a flood. An answer to each update would be more.
const MOST_BYTES: u64 = 16 << 20;

/// A relay with TLS to this peer.
fn start(peer: &PeerServer, issuer: &Issuer) -> Engine {
    let text = format!(
        "[engine]\ngateway_loops = 1\n[workers]\ncount = 0\n[[listen]]\nname = \"front\"\naddress = \"tls://127.0.0.1:0\"\n\
         upstream = \"back\"\ntls = {{ certificate = \"one.pem\", key = \"one.key\" }}\n[upstream.back]\npeers = [\"tcp://{}\"]\n",
        peer.address
    );
    let site = Site::new("moorline", &text);
    issuer.issue(&["one.test"]).write(&site, "one");
    site.start()
}

/// Sends updates, with a byte behind each if it `speaks`, until all are sent or nothing more is taken. Returns how many.
fn flood(address: SocketAddr, trust: &Trust, speaks: bool) -> usize {
    let mut stream = trust.connect(address, "one.test").expect("it is served");
    stream.write_all(b"hello").expect("it is taken");
    stream.flush().expect("it is taken");
    let timeout = Some(Duration::from_secs(2));
    stream.sock.set_write_timeout(timeout).expect("an option");
    for sent in 0..UPDATES {
        stream.conn.refresh_traffic_keys().expect("TLS 1.3 can");
        let written = match speaks {
            true => stream.write_all(b"."),
            false => Ok(()),
        };
        if written.and_then(|()| stream.flush()).is_err() {
            return sent;
        }
    }
    UPDATES
}

fn is_served(address: SocketAddr, trust: &Trust) -> bool {
    let Ok(mut stream) = trust.connect(address, "one.test") else {
        return false;
    };
    let mut came = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut came).is_ok() && &came == b"hello"
}

/// A peer that takes all, and echoes the first bytes only.
fn sink() -> PeerServer {
    PeerServer::new(|mut stream| {
        let mut buffer = vec![0; 64 * 1024];
        let Ok(first) = stream.read(&mut buffer) else {
            return;
        };
        let _ = stream.write_all(&buffer[..first]);
        while matches!(stream.read(&mut buffer), Ok(1..)) {}
    })
}

#[test]
fn a_flood_of_key_updates_costs_no_memory_and_harms_nobody() {
    let issuer = Issuer::new();
    let trust = issuer.trust();
    for (peer, speaks) in [(sink(), true), (PeerServer::echo(), true), (sink(), false)] {
        let engine = start(&peer, &issuer);
        let address = engine.socket_address(0);
        assert!(is_served(address, &trust));
        let gateway = engine.status().gateway.pid;
        let before = Process::private_memory(gateway);
        let sent = flood(address, &trust, speaks);
        let grown = Process::private_memory(gateway).saturating_sub(before);
        assert!(grown < MOST_BYTES, "{grown} bytes after {sent} updates");
        assert!(is_served(address, &trust));
        assert_eq!(engine.status().gateway.pid, gateway);
    }
}
