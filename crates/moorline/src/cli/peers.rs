//! What `upstreams` looks like to people.

use std::fmt::{self, Write};
use std::time::Duration;

use moorline_engine::admin::text::plain;
use moorline_engine::control::{PeerSeen, UpstreamSeen};

/// One upstream with its peers.
pub(super) fn table(seen: &UpstreamSeen) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_table(&mut out, seen);
    out
}

fn write_table(out: &mut String, seen: &UpstreamSeen) -> fmt::Result {
    writeln!(
        out,
        "upstream {} ({})",
        plain(&seen.name),
        plain(&seen.balance)
    )?;
    writeln!(
        out,
        "  {:<28} {:<10} {:>6} {:>9} {:>10} {:>8} {:>9}  last failure",
        "peer", "state", "weight", "open", "total", "failed", "connect"
    )?;
    for peer in &seen.peers {
        let line = row(peer);
        writeln!(out, "  {}", line.trim_end())?;
    }
    for (name, why) in &seen.unresolved {
        writeln!(out, "  {}: {}", plain(name), plain(why))?;
    }
    Ok(())
}

fn row(peer: &PeerSeen) -> String {
    let address = match &peer.entry {
        Some(entry) => format!("{} ({})", plain(&peer.address), plain(entry)),
        None => plain(&peer.address),
    };
    let role = if peer.is_backup { " backup" } else { "" };
    let weight = match peer.warmth {
        100.. => peer.weight.to_string(),
        warmth => format!("{} at {warmth}%", peer.weight),
    };
    let open = match peer.max_connections {
        Some(most) => format!("{}/{most}", peer.open),
        None => peer.open.to_string(),
    };
    let failure = peer
        .last_failure
        .as_ref()
        .map_or(String::new(), |(why, ago)| {
            format!("{} ago: {}", age(*ago), plain(why))
        });
    format!(
        "{address:<28} {:<10} {weight:>6} {open:>9} {:>10} {:>8} {:>9}  {failure}",
        format!("{}{role}", peer.state),
        peer.connections,
        peer.failures,
        peer.connect_time
            .map_or("-".to_owned(), |time| format!("{time:.1?}")),
    )
}

fn age(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
