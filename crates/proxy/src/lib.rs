//! Upstreams: the peers that connections are relayed to, which of them a connection gets, and which are healthy.
//!
//! [`Upstream`] is the state of one upstream, and the only thing to begin with. It opens no socket, resolves no name
//! and reads no clock: it is told what happened and at which time, and says what to do. Times are milliseconds of one
//! clock that never goes back. Every call takes at most a few microseconds for a usual number of peers, so that
//! event loops may share an upstream behind a lock that they take for each choice and each result, not for each byte.
//!
//! A connection that looks for its peer has [`Attempts`]: the peers that it has tried already.
//!
//! ```
//! use std::path::Path;
//! use moorline_proxy::{Attempts, Upstream};
//!
//! let text = r#"
//!     [[listen]]
//!     address = "tcp://127.0.0.1:3306"
//!     upstream = "mysql"
//!     [upstream.mysql]
//!     peers = ["tcp://10.0.0.1:3306", "tcp://10.0.0.2:3306"]
//! "#;
//! let loaded = moorline_config::load_text(text, Path::new("/a.toml")).unwrap();
//! let mut mysql = Upstream::new(loaded.config.upstreams[0].clone(), 1, 0);
//!
//! let mut attempts = Attempts::new(0);
//! let choice = mysql.choose(0, b"", &mut attempts).unwrap();
//! assert_eq!(choice.address.to_string(), "tcp://10.0.0.1:3306");
//! ```
//!
//! This crate knows no sessions and no processes.
//!
//! The modules, from top to bottom:
//!
//! - `snapshot`: what people see of an upstream
//! - `switches`: what people change by a command
//! - `checks`: active checks
//! - `membership`: what becomes of the peers when a name is resolved, and at a reload
//! - `upstream`: choices and their results
//! - `balance`: the rules by which a peer is chosen
//! - `members`: from entries and their addresses to peers
//! - `peers`: all peers, by key
//! - `attempts`: what one connection has tried
//! - `peer`: one peer: its settings, its load, its health
//! - `average`: measured times
//! - `address`: where a peer is
//! - `text`: texts that a connection fills in
//! - `servers`: which server behind an address a TLS client means
//! - `maps`: from one text to another

#![forbid(unsafe_code)]

mod address;
mod attempts;
mod average;
mod balance;
mod checks;
mod maps;
mod members;
mod membership;
mod peer;
mod peers;
mod servers;
mod snapshot;
mod switches;
#[cfg(test)]
mod tests;
mod text;
mod upstream;

pub use address::PeerAddress;
pub use attempts::Attempts;
pub use checks::{Answer, Probe};
pub use maps::Maps;
pub use members::{Found, Unplaced};
pub use peer::{Failure, Switch, Turn};
pub use peers::PeerKey;
pub use servers::{NamesOfListeners, ServerNames};
pub use snapshot::{PeerSeen, State, UpstreamSeen};
pub use switches::NoSuchPeer;
pub use text::{Facts, MOST_FILLED, Text};
pub use upstream::{Choice, NoPeer, Upstream};
