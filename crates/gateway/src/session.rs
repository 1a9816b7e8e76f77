//! One accepted connection, as the gateway keeps it: its parts, and the phases that each is in.
//!
//! Small while idle: no read buffer, no queue. What an active session needs beyond this (an unfinished tail, messages that
//! wait, output the socket did not take) is allocated when needed and freed after.

pub(crate) mod app;
pub(crate) mod compression;
pub(crate) mod frame;
pub(crate) mod inbound;
pub(crate) mod link;
pub(crate) mod queue;
pub(crate) mod stay;
pub(crate) mod table;
pub(crate) mod window;

use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;

use moorline_config::Listener;
use moorline_net::tls::TlsRecords;
use moorline_net::watermark::Level;
use moorline_net::{Decoder, Framing};

use crate::ids::{ListenerId, SessionKey, SessionRef};
use crate::kept;
use crate::notes::Notes;
use crate::session::app::{App, AppState};
use crate::session::compression::Compression;
use crate::session::inbound::Inbound;
use crate::session::link::{Interest, Link};
use crate::session::queue::Outbound;
use crate::session::stay::Placement;
use crate::session::window::Window;
use crate::shared::admission::Counted;
use moorline_protocol::control::Limit;
use moorline_protocol::wire::{CloseReason, Peer, SessionData};

/// One accepted connection.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: u64,
    /// Its place in the table.
    pub(crate) key: SessionKey,
    pub(crate) listener: ListenerId,
    pub(crate) peer: Peer,
    pub(crate) phase: Phase,
    pub(crate) counted: Counted,
    pub(crate) kind: Kind,
    pub(crate) transport: Transport,
    pub(crate) input: Input,
    pub(crate) output: Output,
    /// What a WebSocket's handshake has agreed on about compression.
    pub(crate) compression: Option<Box<Compression>>,
    pub(crate) placement: Placement,
    pub(crate) app: App,
    pub(crate) meters: Meters,
    /// The loop's lists that it is on.
    /// What a connection notes before and beside what it says.
    #[serde(skip)]
    pub(crate) notes: Option<Box<Notes>>,
    pub(crate) listed: Listed,
}

/// How a session is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// By its listener's framing.
    Framed,
    /// By server-sent events, in chunks if its client knows them. It is not listened to.
    Events { chunked: bool },
    /// By WebSocket, with text messages in JSON (`moorline.resume.v1`).
    Resumable,
}

impl Kind {
    /// Whether it is spoken to by WebSocket, if its listener has this framing.
    pub(crate) fn is_websocket(self, framing: &Framing) -> bool {
        !matches!(self, Kind::Events { .. }) && matches!(framing, Framing::WebSocket { .. })
    }
}

/// How far a session's life has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// A proxy must say first whose connection it is; no process knows of it yet.
    Announced,
    /// Its client may begin with the hello of TLS, by which a peer is chosen; no process knows of it.
    Preread,
    /// Its TLS handshake runs; no process knows of it yet.
    Handshake,
    /// The connection's first request has not come whole; no process knows of it yet.
    Request,
    /// An app is asked about the connection's first request, which is at the front of its tail, or is to be. This number
    /// of processes died while they looked at it.
    Asking { deaths: u8 },
    /// This limit leaves no room for the connection: that is the answer to its first request.
    TurnedAway(Limit),
    /// The connection's first request was refused for this reason, and the connection ends once the answer is flushed. No
    /// process knows of it.
    Refused(CloseReason),
    /// Its connection is relayed: it leaves the table in its next turn. No process knows of it.
    Relayed,
    /// Messages pass both ways.
    Open,
    /// No more is read. It ends for this reason once no message is in progress and all output is flushed.
    Ending(CloseReason),
    /// The socket is gone; its process must still be told.
    Ended(CloseReason),
    /// The process was told; the socket is kept only until the peer has read the last bytes.
    Lingering,
}

impl Phase {
    /// Where a connection begins once its bytes can be read.
    pub(crate) fn first(listener: &Listener) -> Self {
        match listener.is_http() {
            true => Phase::Request,
            false if listener.stream.preread.is_some() => Phase::Preread,
            false if listener.is_relay() => Phase::Relayed,
            false => Phase::Open,
        }
    }
}

/// Why a step could not continue with a session. Only the loop acts on it, in `service`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the session goes on if nobody ends it"]
pub(crate) enum End {
    /// No more is read; it ends when its output is flushed.
    WhenFlushed(CloseReason),
    /// It ends now, and its output is discarded.
    Now(CloseReason),
    /// The connection broke. What its peer sent before may still be delivered.
    Broken(rustix::io::Errno),
}

/// The connection that the bytes pass through.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Transport {
    #[serde(skip)]
    pub(crate) socket: Option<OwnedFd>,
    /// Its TLS state, if it is encrypted.
    #[serde(skip)]
    pub(crate) tls: Option<Box<TlsRecords>>,
    pub(crate) link: Link,
    pub(crate) watched: Interest,
}

/// Bytes from the peer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    /// The socket may have something to read.
    pub(crate) readable: bool,
    /// Bytes received and not yet cut.
    #[serde(with = "kept::bytes")]
    pub(crate) tail: Vec<u8>,
    pub(crate) cut: Cut,
    /// How long the tail must be before it can be cut further, if that is known: the peer's word, within its framing's limit.
    pub(crate) expected: usize,
    /// The length of the last message, if the next may be read straight into the ring; else 0.
    pub(crate) direct: u32,
    #[serde(with = "kept::decoder")]
    pub(crate) decoder: Decoder,
    pub(crate) window: Window,
    pub(crate) kept: Option<Box<Inbound>>,
    /// Whether the peer has said that it closes the WebSocket.
    pub(crate) farewell: Farewell,
    /// How fast an unfinished message comes, if that is measured.
    pub(crate) measurement: Option<Box<Measurement>>,
}

/// Whether the peer has said that it closes the WebSocket. Nothing more is read then, and the answer follows those to its
/// messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Farewell {
    /// It has not.
    None,
    /// It has, with this code, or 0 without one.
    Came(u16),
    /// It has, with this code, or 0 without one, and was answered.
    Answered(u16),
}

impl Farewell {
    /// The peer's code, or 0.
    pub(crate) fn code(self) -> u16 {
        match self {
            Farewell::None => 0,
            Farewell::Came(code) | Farewell::Answered(code) => code,
        }
    }
}

/// One measurement of how fast an unfinished message comes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// When it began, in the loop's milliseconds.
    pub(crate) since: u64,
    /// Bytes that had been received by then.
    pub(crate) bytes: u64,
    /// Messages that had been received by then.
    pub(crate) messages: u64,
    /// The engine did not read the session for a part of the time.
    pub(crate) was_held: bool,
}

/// How far the tail was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cut {
    /// Whole messages may still be in it.
    Pending,
    /// It cannot be cut any further before more arrives.
    Exhausted,
}

/// Bytes for the peer that the socket did not take.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Output {
    pub(crate) queue: Option<Box<Outbound>>,
    /// Where the queue is between its watermarks.
    pub(crate) level: Level,
    /// The level that its process knows.
    pub(crate) told: Level,
    /// Whether a timer looks after the peer taking output.
    pub(crate) timer: Timer,
}

/// Whether a session's own timer is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Timer {
    Set,
    Unset,
}

/// The meters of the session. Times are in the loop's milliseconds unless said otherwise.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Meters {
    /// Milliseconds since the Unix epoch.
    pub(crate) connected_at: u64,
    pub(crate) received_at: u64,
    pub(crate) sent_at: u64,
    /// The peer was asked for a sign of life, and had given none when this was last looked at.
    pub(crate) asked: Option<Asked>,
    /// When its peer half-closed it, or when a message was last done since.
    pub(crate) half_closed_at: Option<u64>,
    /// Unset: its idle timer has run out while that did not count; it is started again once it does.
    pub(crate) idle_timer: Timer,
    pub(crate) messages: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// A question for a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// The lower half of the time in the loop's milliseconds; 1 for 0.
    at: NonZeroU32,
    /// Bytes that the peer's system had acknowledged by then, up to a constant.
    pub(crate) acknowledged: u32,
}

impl Asked {
    pub(crate) fn new(now: u64, acknowledged: u32) -> Self {
        let at = NonZeroU32::new(now as u32).unwrap_or(NonZeroU32::MIN);
        Self { at, acknowledged }
    }

    /// How long ago that was, in milliseconds: not as long as half of the time counts.
    pub(crate) fn since(self, now: u64) -> u64 {
        u64::from((now as u32).wrapping_sub(self.at.get()))
    }
}

/// The loop's lists that a session is on, each at most once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// Those to be serviced in the next turn.
    pub(crate) scheduled: bool,
    /// Those that wait for room in a ring, or for a process.
    pub(crate) parked: bool,
    /// Those that are not read until there is memory again.
    pub(crate) held_back: bool,
}

impl Session {
    /// Its name on the loop's lists.
    pub(crate) fn name(&self) -> SessionRef {
        SessionRef {
            key: self.key,
            id: self.id,
        }
    }

    /// Whether room in its socket is waited for, if it has output that waits for it.
    pub(crate) fn is_watched(&self) -> bool {
        let waits = self.output.queue.is_some() && self.transport.socket.is_some();
        !waits || self.transport.watched == Interest::Both
    }

    /// Bytes that came with its handshake.
    pub(crate) fn take_received(&mut self, received: Vec<u8>) {
        self.meters.bytes_in = received.len() as u64;
        self.input.cut = match received.is_empty() {
            true => Cut::Exhausted,
            false => Cut::Pending,
        };
        self.input.tail = received;
    }

    /// Whether its connection has become a session.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Announced
                | Phase::Preread
                | Phase::Handshake
                | Phase::Request
                | Phase::Asking { .. }
                | Phase::TurnedAway(_)
                | Phase::Refused(_)
                | Phase::Relayed
        )
    }

    /// Whether what its peer sends is read.
    pub(crate) fn is_read(&self) -> bool {
        matches!(
            self.phase,
            Phase::Open | Phase::Request | Phase::TurnedAway(_)
        )
    }

    /// Whether it is neither over nor only lingering.
    pub(crate) fn lives(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Ending(_))
    }

    /// Whether it is over, and counts for no limit any more.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_) | Phase::Lingering)
    }

    /// Whether the app's output still goes to the peer.
    pub(crate) fn takes_output(&self) -> bool {
        matches!(
            self.phase,
            Phase::Open | Phase::Ending(CloseReason::Stopped)
        ) && !self.transport.link.is_broken()
    }

    /// Whether a message of it is in progress or waits.
    pub(crate) fn is_worked_for(&self) -> bool {
        self.input.window.in_hand() > 0 || self.input.waits()
    }

    /// Whether its socket may have input that the engine has not read.
    pub(crate) fn has_unread_input(&self) -> bool {
        self.input.readable && !self.transport.link.is_read()
    }

    /// Whether a message, if there were one, would have to wait.
    pub(crate) fn holds_input(&self) -> bool {
        self.placement.is_moving()
            || self.app.is_paused
            || self.input.waits()
            || !self.input.window.has_room()
            || self.phase != Phase::Open
    }

    /// Whether the engine itself does not read it.
    pub(crate) fn is_held(&self) -> bool {
        self.holds_input() || self.listed.parked || self.listed.held_back
    }

    /// Whether the session's end waits for input that is not delivered yet.
    pub(crate) fn has_input_left(&self) -> bool {
        self.input.waits()
            || self.input.is_mid_message()
            || (self.phase == Phase::Open && self.input.is_uncut())
    }

    /// Whether the peer has begun a message, or a record of TLS, and owes the rest of it.
    pub(crate) fn is_owed_input(&self) -> bool {
        let input = &self.input;
        let is_mid_message =
            (input.cut == Cut::Exhausted && !input.tail.is_empty()) || input.decoder.buffered() > 0;
        (is_mid_message || self.transport.unopened() > 0)
            && self.phase == Phase::Open
            && !self.transport.link.is_read()
    }

    /// Bytes that the gateway holds for it.
    pub(crate) fn held(&self) -> u64 {
        let state = self.app.state.as_ref().map_or(0, |state| state.held());
        self.under_way() + state as u64
    }

    /// The part of them that is on its way from its peer or to it.
    pub(crate) fn under_way(&self) -> u64 {
        let queue = self.output.queue.as_ref().map_or(0, |queue| queue.held());
        self.received() as u64 + queue
    }

    /// Bytes received from its peer and not done.
    pub(crate) fn received(&self) -> usize {
        let input = &self.input;
        let kept = input.kept.as_ref().map_or(0, |kept| kept.bytes());
        input.tail.len() + input.decoder.buffered() + self.transport.unopened() + kept
    }

    /// The app's data of it.
    pub(crate) fn data(&self) -> Option<Box<SessionData>> {
        let app = &self.app;
        let has_more = |state: &&AppState| state.bytes() > 0 || state.is_input_lost;
        let state = app.state.as_deref().filter(has_more);
        (state.is_some() || app.is_paused || app.is_kept).then(|| {
            Box::new(SessionData {
                state: state.map_or_else(Vec::new, |state| state.locker.clone()),
                key: state.map_or_else(Vec::new, |state| state.key.clone()),
                label: app.label().to_vec(),
                request: state.map_or_else(Vec::new, |state| state.request.clone()),
                paused: app.is_paused,
                kept: app.is_kept,
                is_input_lost: state.is_some_and(|state| state.is_input_lost),
            })
        })
    }
}

impl Meters {
    /// Whether these, which have come from another process, are times that one can count with.
    pub(crate) fn are_sound(&self) -> bool {
        const FAR_AWAY: u64 = 1 << 53;
        let half_closed = self.half_closed_at.unwrap_or(0);
        [
            self.connected_at,
            self.received_at,
            self.sent_at,
            half_closed,
        ]
        .iter()
        .all(|time| *time < FAR_AWAY)
    }
}

impl Transport {
    /// Bytes of records of TLS that are not whole.
    pub(crate) fn unopened(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.unfinished())
    }
}

impl Input {
    /// Whether these counts, which have come from another process, fit together.
    pub(crate) fn is_sound(&self) -> bool {
        let scanned = self.decoder.scanned();
        self.kept.as_ref().is_none_or(|kept| kept.is_sound())
            && self.window.is_sound()
            && scanned.is_some_and(|scanned| scanned <= self.tail.len())
    }

    /// Whether messages wait here for their process.
    pub(crate) fn waits(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.next().is_some())
    }

    /// Whether a message has begun to travel in fragments and has not been sent whole.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.offset > 0)
    }

    /// Whether there are bytes that may be whole messages.
    pub(crate) fn is_uncut(&self) -> bool {
        self.cut == Cut::Pending && !self.tail.is_empty()
    }

    /// The messages that wait, or are kept until they are done.
    pub(crate) fn queue(&mut self) -> &mut Inbound {
        self.kept.get_or_insert_default()
    }
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            queue: None,
            level: Level::default(),
            told: Level::default(),
            timer: Timer::Unset,
        }
    }

    /// Bytes queued for its peer.
    pub(crate) fn queued(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.bytes)
    }

    /// Whether the socket would take more: the turn's share was used up.
    pub(crate) fn goes_on(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.again)
    }
}

/// The cost of an idle session for the loop, without the kernel's part for its peer. Its entry in the map of ids comes
/// on top, about 32 bytes.
const _: () = assert!(
    size_of::<Session>() <= 512,
    "an idle session stays under 600 bytes"
);
