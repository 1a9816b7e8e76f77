//! The control socket: requests to a running engine, and their answers.
//!
//! One JSON object a line each way, so that an older command can talk to a newer engine: the asker sends one [`Request`]
//! and reads [`Response`]s until one is the last. [`ask`] does that; the supervisor has the other side.
//!
//! - `client`: a command's side
//! - `admin_stream`: the same between the process that serves `[admin]` and the supervisor, many questions at once
//! - `session_filter`: which sessions are asked for

mod admin_stream;
mod client;
mod session_filter;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::{PeerChange, SessionRow};
use crate::session_id::SessionId;
use moorline_proxy::UpstreamSeen;

pub use admin_stream::{AdminAnswer, AdminQuestion, Denied, MOST_QUESTIONS, ShownToken};
pub use client::{CommandError, ask, ask_while, find, stop};
pub use session_filter::SessionFilter;

/// Askers at the same time; more wait in the socket's backlog.
pub const ASKERS: usize = 64;

/// A request to an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// Replace the processes by new ones from the paths.
    Reload {
        /// Which processes.
        scope: Scope,
        /// The configuration that the asker means, if that is known: the engine reads none but its own.
        #[serde(default)]
        config: Option<PathBuf>,
    },
    /// Replace the gateway by one of the executable at the path, under its connections.
    Upgrade {
        /// Close what cannot move, spread over this time, in milliseconds; without, that refuses the upgrade.
        close_rest_ms: Option<u64>,
    },
    /// Drain and end; asked a second time, end now.
    Stop,
    /// Close the present sessions, spread over a time, and keep serving.
    Drain {
        /// How long, in milliseconds; without, `stop_over`, or half a minute if that is zero.
        over_ms: Option<u64>,
        /// Only sessions of the listener of this name.
        listener: Option<String>,
    },
    /// Report the state.
    Status,
    /// List the sessions.
    Sessions,
    /// List some of the sessions. The last answer is [`THERE_ARE_MORE`] if more than `most` fit.
    FindSessions {
        /// Which.
        filter: SessionFilter,
        /// The number of them after which the list ends, with the part that it is in.
        most: u64,
    },
    /// Close a session when no message of it is in progress.
    CloseSession {
        /// Which.
        id: SessionId,
    },
    /// Accept connections of a listener, or none: then they wait in the kernel's queue. It lasts until it is changed, also over
    /// reloads.
    Accept {
        /// The name of the listener.
        listener: String,
        /// Whether it accepts.
        accepts: bool,
    },
    /// List the upstreams and their peers.
    Upstreams,
    /// List the recordings of the flight recorder.
    Recordings,
    /// Show the last events in a recording.
    Recording {
        /// The name of the file.
        file: String,
    },
    /// Tell the last events of all processes: those of processes, reloads, dials, and handlers that were chosen for traces.
    Events,
    /// Change peers of an upstream.
    SetPeer {
        /// The name of the upstream.
        upstream: String,
        /// The address of a peer, or an entry as it is written.
        peer: String,
        /// How.
        change: PeerChange,
    },
}

/// The text of the last answer to `FindSessions` if some were left out.
pub const THERE_ARE_MORE: &str = "there are more";

/// Which processes a reload replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Workers and task workers.
    All,
    /// Task workers only.
    Tasks,
}

/// An answer of an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// It is in progress; more answers follow.
    Progress(String),
    /// It is done. The last answer.
    Done(String),
    /// It failed, for this reason. The last answer.
    Refused(String),
    /// It is committed, and may not be in effect yet, for this reason. The last answer.
    Unconfirmed(String),
    /// The state. The last answer.
    Status(Value),
    /// The recordings, or one of them. The last answer.
    Recorded(Value),
    /// Some of the sessions; more follows.
    Sessions(Vec<SessionRow>),
    /// An upstream and some of its peers; more follows, perhaps of the same one.
    Upstream(UpstreamSeen),
}

impl Response {
    /// No answer follows this one.
    pub fn is_last(&self) -> bool {
        match self {
            Response::Done(_)
            | Response::Refused(_)
            | Response::Unconfirmed(_)
            | Response::Status(_)
            | Response::Recorded(_) => true,
            Response::Progress(_) | Response::Sessions(_) | Response::Upstream(_) => false,
        }
    }
}
