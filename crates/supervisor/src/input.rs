//! What comes to the supervisor: from its children, from signals, over the control socket.

use moorline_protocol::command::{Request, SessionFilter};
use moorline_protocol::control::{
    AppRequest, ListPlace, ProcessId, SessionRow, StallReport, UpstreamPlace, UpstreamSeen,
};

use super::control_socket::{Answers, Asked};
use super::plan::Event;

/// What comes to the supervisor.
#[derive(Debug)]
pub(crate) enum Input {
    /// An event for the plan.
    Event(Event),
    /// Someone asks for something over the control socket.
    Asked(Request, Answers),
    /// An asker for sessions has taken those so far.
    ListSessions(SessionList, Answers),
    /// The gateway of this incarnation answers `ListSessions`.
    Sessions {
        incarnation: u32,
        question: u64,
        rows: Vec<SessionRow>,
        next: Option<ListPlace>,
    },
    /// An asker for upstreams has taken those before this place.
    ListUpstreams(UpstreamPlace, Answers),
    /// The gateway of this incarnation answers `ListUpstreams`.
    Upstreams {
        incarnation: u32,
        question: u64,
        seen: Option<UpstreamSeen>,
        next: Option<UpstreamPlace>,
    },
    /// The gateway of this incarnation answers `CloseSession`: whether there was one.
    SessionClosed(u32, u64, bool),
    /// The gateway of this incarnation answers `SetPeer`.
    PeerSet(u32, u64, Result<usize, String>),
    /// The gateway of this incarnation: the retired listeners at these places have no connection left.
    Vacant(u32, Vec<u16>),
    /// The gateway of this incarnation: most connections that this limit keeps out come to this listener from this address.
    Refused(u32, [String; 3]),
    /// A worker or task worker has found one of its handlers stuck.
    Stalled(ProcessId, StallReport),
    /// The gateway of this incarnation: all sessions of this drain are closed.
    DrainEnded(u32, u64),
    /// The gateway of this incarnation says how many sessions wait for each process that does not answer.
    Waiting(u32, Vec<(ProcessId, u64)>),
    /// The app in a worker or task worker asks for something, under this number.
    AppAsks(ProcessId, u64, AppRequest),
    /// The answer to that.
    AppAnswered(ProcessId, u64, Result<String, String>),
    /// The app that has asked for the state under this number may have it.
    AppStatusDue(ProcessId, u64),
    /// Log files were moved away and must be opened again.
    ReopenLog,
}

/// The rest of a list of sessions.
#[derive(Debug)]
pub(crate) struct SessionList {
    /// Where it goes on.
    pub(crate) from: ListPlace,
    /// Which sessions are listed.
    pub(crate) filter: Option<SessionFilter>,
    /// How many may follow.
    pub(crate) left: u64,
}

impl SessionList {
    /// From the beginning.
    pub(crate) fn new(filter: Option<SessionFilter>, most: u64) -> Self {
        Self {
            from: ListPlace::default(),
            filter,
            left: most,
        }
    }
}

impl From<Asked> for Input {
    fn from(Asked(request, answers): Asked) -> Self {
        Self::Asked(request, answers)
    }
}
