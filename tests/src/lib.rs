//! What the end-to-end tests share: an engine started as its users start it, clients of every framing, and load.
//!
//! The clients use none of the engine's own crates: framings are written a second time, so that a mistake in
//! the engine's is not repeated by its checks. [`probe`] is the app that most tests start.

// Names and fields say it: this is no library for others.
#![allow(missing_docs)]
// What `new` makes here is random or costs something: no default.
#![allow(clippy::new_without_default)]

mod browser;
mod client;
mod client_hello;
mod collector;
mod engine;
mod finished;
mod frozen;
mod load;
mod name_server;
mod nats;
mod network;
mod onlooker;
mod outsider;
pub mod probe;
mod process;
mod pseudo_terminal;
mod random;
mod relayed_peer;
mod stopwatch;
mod tls;
mod tls_peer;
mod tls_server;
mod udp_peer;
mod wire;

pub use browser::{Browser, Tab};
pub use client::{Client, Stream};
pub use client_hello::client_hello;
pub use collector::{Telemetry, TelemetryCollector};
pub use engine::{
    Engine, ListenerStatus, Lost, ProcessStatus, Relays, Reloads, Site, Stall, Status, built,
};
pub use finished::{Finish, Finished};
pub use frozen::Frozen;
pub use load::{Load, Plan, Report, Troubles};
pub use name_server::{Manner, NameServer};
pub use nats::Nats;
pub use network::Network;
pub use onlooker::Onlooker;
pub use outsider::Outsider;
pub use process::{Process, kill, processes_of_session, reopen_logs};
pub use pseudo_terminal::PseudoTerminal;
pub use random::Random;
pub use relayed_peer::{PeerServer, black_hole, exchange};
pub use stopwatch::Stopwatch;
pub use tls::{Issued, Issuer, TlsStream, Trust};
pub use tls_peer::{Handshake, TlsPeer, TlsPeerStream};
pub use tls_server::TlsServer;
pub use udp_peer::{UdpClient, UdpPeer};
pub use wire::{Wire, frame};

use std::time::{Duration, Instant};

/// How long anything that must happen may take: far more than it needs, so that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A length-framed listener as most tests use it; `Wire::LENGTH` speaks to it.
pub const LENGTH_LISTENER: &str = r#"
[[listen]]
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 4, endian = "big", offset = 0, counts = "payload", max = "2MiB" }
"#;

/// The size of a test: the first one, or the second one where `MOORLINE_FULL` is set, as `cargo xtask full` does.
pub fn sized(usual: usize, full: usize) -> usize {
    match std::env::var_os("MOORLINE_FULL") {
        Some(_) => full,
        None => usual,
    }
}

/// Fails without root: a test that sees nothing must not pass. `cargo xtask test` leaves such tests out for others,
/// and names them.
#[track_caller]
pub fn require_root(why: &str) {
    assert!(
        nix::unistd::geteuid().is_root(),
        "{why}: run this test as root"
    );
}

/// Waits until `condition` holds; fails with `what` if it never does.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    let within = PATIENCE;
    assert!(
        happens_within(within, condition),
        "{what}: not within {within:?}"
    );
}

/// Looks at `condition` until it holds or the time is over, and says whether it does.
pub fn happens_within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The folder with the control socket: the only one in the site's folder for such.
pub fn run_dir(site: &Site) -> String {
    let folders = std::fs::read_dir(site.path("moorline")).expect("there is a run folder");
    let folder = folders.flatten().next().expect("there is one engine");
    folder.path().display().to_string()
}
