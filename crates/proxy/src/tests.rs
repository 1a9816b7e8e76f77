//! Upstreams as a gateway uses them.

mod changes;
mod choices;
mod fairness;
mod health;
mod random;
mod recorded;

use std::path::Path;
use std::time::Duration;

use super::*;

/// An upstream of these lines of its table, at time 0.
fn upstream(lines: &str) -> Upstream {
    Upstream::new(config(lines), 1, 0)
}

fn config(lines: &str) -> moorline_config::Upstream {
    let text = format!(
        "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\nupstream = \"u\"\n[upstream.u]\n{lines}\n"
    );
    let loaded = moorline_config::load_text(&text, Path::new("/a.toml"));
    let mut loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    loaded.config.upstreams.remove(0)
}

/// Chooses for a new connection, and says by the last part of its address which peer it got.
fn choose(upstream: &mut Upstream, now: u64) -> Result<(char, PeerKey), NoPeer> {
    again(upstream, now, &mut Attempts::new(now))
}

fn again(
    upstream: &mut Upstream,
    now: u64,
    attempts: &mut Attempts,
) -> Result<(char, PeerKey), NoPeer> {
    let choice = upstream.choose(now, b"", attempts)?;
    Ok((name(&choice.address), choice.peer))
}

/// `a` for port 1 or 18001, `b` for port 2 …
fn name(address: &PeerAddress) -> char {
    let PeerAddress::Tcp(address) = address else {
        panic!("{address} has no port");
    };
    let port = u32::from(address.port()) % 1000;
    char::from_u32(u32::from('a') + port - 1).expect("a letter")
}

/// The peers of this number of connections, each of which ends at once.
fn chosen(upstream: &mut Upstream, number: usize) -> String {
    let one = |_| {
        let (name, peer) = choose(upstream, 0).expect("a peer");
        upstream.connected(peer, 0, Duration::from_millis(1));
        upstream.closed(peer, 0, Duration::from_millis(1));
        name
    };
    (0..number).map(one).collect()
}
