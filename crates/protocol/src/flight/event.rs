//! The events of the flight recorder, and where threads note them.

use moorline_ipc::{FlightRing, FlightTail, RawRecord, Scoreboard, is_whole};
use rustix::time::{ClockId, clock_gettime};

use crate::control::Role;

/// Makes the enum of the kinds, and what needs all of them: one list.
macro_rules! flight_kinds {
    ($($(#[$doc:meta])* $kind:ident $(= $number:literal)? => $name:literal,)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        pub enum FlightKind {
            $($(#[$doc])* $kind $(= $number)?,)*
        }

        impl FlightKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its name for machines.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

flight_kinds! {
    /// A gateway loop: a session has begun, on the listener `detail`, for the worker slot `number`.
    Opened = 1 => "opened",
    /// … has ended for the reason `detail`, after `number` messages.
    Closed => "closed",
    /// … is now with another process of the worker slot `detail`, of pid `number`.
    Moved => "moved",
    /// In the last moment there were `number` messages, and processes were woken `session` times.
    Worked => "worked",
    /// … something waited `number` times for room in a process's ring.
    RingFull => "ring_full",
    /// … the limit `detail` was reached `number` times.
    LimitReached => "limit_reached",
    /// The process `detail` of pid `number` has died, with `session` sessions.
    ProcessLost => "process_lost",
    /// The connection of a relay to its peer was made in `number` microseconds, after `detail` attempts.
    PeerJoined => "peer_joined",
    /// An attempt to connect a relay to a peer failed after `number` microseconds, with the error number `detail`, or 0.
    PeerFailed => "peer_failed",
    /// The gateway's main thread: the process `detail` of pid `number` is joined.
    Attached = 20 => "attached",
    /// The generation `number` is prepared; with `detail` 1 it cannot be.
    Prepared => "prepared",
    /// What was prepared is forgotten.
    Forgotten => "forgotten",
    /// The processes that serve were changed; the generation `number` applies from now on, unless that is 0.
    Activated => "activated",
    /// The sessions are being closed.
    Drains => "drains",
    /// A worker or task worker: it runs, as one of the generation `number`.
    Runs = 40 => "runs",
    /// Its app has started.
    AppStarted => "app_started",
    /// It serves.
    Serves => "serves",
    /// A session begins here; with `detail` 1 it was elsewhere before.
    Begins => "begins",
    /// A session is over, for the reason `detail`.
    Ends => "ends",
    /// A session goes to another process.
    Leaves => "leaves",
    /// In the last moment it has handled `number` messages, and `session` hooks have failed.
    Handled => "handled",
    /// It was joined with a new gateway.
    NewGateway => "new_gateway",
    /// It is told to stop.
    ToldToStop => "told_to_stop",
    /// A step of a connection that it made, or tried to, has ended after `number` microseconds. `detail`: the kind of the step, and
    /// how it went; `session`: an error number, and the number of the dial.
    DialStep => "dial_step",
    /// The dial `session` has ended after `number` microseconds; `detail`: how it went.
    Dialed => "dialed",
    /// The trace that the next handler is a part of: the halves of its number.
    Trace => "trace",
    /// The span above the next handler: `number`.
    TraceParent => "trace_parent",
    /// A handler of the session or request `session` has ended after `number` microseconds. `detail`: its hook, as a place in
    /// [`HOOKS`](super::HOOKS), and how it went.
    Handler => "handler",
    /// The supervisor: the process `detail` of pid `number` was started.
    Started = 60 => "started",
    /// … is ready.
    Ready => "ready",
    /// … has ended, with the signal or code `session` (see [`ended_with`]).
    Ended => "ended",
    /// … has a stuck handler for the session `session`.
    Stalled => "stalled",
    /// … does not answer.
    Silent => "silent",
    /// … answers again.
    Answers => "answers",
    /// … is being killed.
    Killed => "killed",
    /// A reload to the generation `number` has begun.
    ReloadBegun => "reload_begun",
    /// … is committed.
    ReloadDone => "reload_done",
    /// … has failed.
    ReloadFailed => "reload_failed",
    /// The engine is being stopped.
    StopAsked => "stop_asked",
    /// The supervisor: an upgrade of the gateway begins.
    UpgradeBegun => "upgrade_begun",
    /// The gateway is upgraded.
    UpgradeDone => "upgrade_done",
    /// … it is not, and the present one goes on.
    UpgradeFailed => "upgrade_failed",
}

impl FlightKind {
    /// Whether it tells of the start or end of a process, or of a reload.
    pub fn is_of_processes(self) -> bool {
        use FlightKind::*;
        matches!(
            self,
            Prepared
                | Activated
                | Runs
                | AppStarted
                | Serves
                | Started
                | Ready
                | Ended
                | ReloadBegun
                | ReloadDone
                | ReloadFailed
        )
    }

    /// Whether it tells of a handler that was chosen for a trace.
    pub fn is_of_handlers(self) -> bool {
        matches!(self, Self::Trace | Self::TraceParent | Self::Handler)
    }

    /// Whether it tells of a connection that an app makes.
    pub fn is_of_dials(self) -> bool {
        matches!(self, Self::DialStep | Self::Dialed)
    }

    /// The kind of this number, if there is one.
    pub fn from_u16(number: u16) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| *kind as u16 == number)
    }
}

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlightEvent {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`, which all processes of the machine share.
    pub at_ns: u64,
    /// What happened.
    pub kind: FlightKind,
    /// As the kind says.
    pub detail: u16,
    /// A session, or as the kind says.
    pub session: u64,
    /// As the kind says.
    pub number: u64,
}

impl FlightEvent {
    /// Reads the record of this number. `None`: it is half written, or something else than an event.
    pub fn read(record: &RawRecord, number: u64) -> Option<Self> {
        if !is_whole(record, number) {
            return None;
        }
        let [what, at_ns, session, value] = *record;
        Some(Self {
            at_ns,
            kind: FlightKind::from_u16((what >> u16::BITS) as u16)?,
            detail: what as u16,
            session,
            number: value,
        })
    }
}

/// Where one thread notes its events.
#[derive(Debug, Clone)]
pub struct FlightLog(FlightRing);

impl FlightLog {
    /// The one at the beginning of this part of a scoreboard.
    pub fn new(board: Scoreboard) -> Self {
        Self(FlightRing::new(board))
    }

    /// Notes an event that happens now. It costs a look at the clock and a few stores.
    #[inline]
    pub fn note(&self, kind: FlightKind, detail: u16, session: u64, number: u64) {
        self.note_at(now_ns(), (kind, detail), session, number);
    }

    /// Notes an event that has happened at this time.
    #[inline]
    pub fn note_at(
        &self,
        at_ns: u64,
        (kind, detail): (FlightKind, u16),
        session: u64,
        number: u64,
    ) {
        let what = u32::from(kind as u16) << u16::BITS | u32::from(detail);
        self.0.write(what, [at_ns, session, number]);
    }

    /// The last records, at most this many.
    pub fn last(&self, most: usize) -> FlightTail {
        self.0.last(most)
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
}

/// Task workers have this bit, beside their slot.
const TASK: u16 = 1 << 15;

/// A process as the `detail` of an event.
pub fn role_detail(role: Role) -> u16 {
    match role {
        Role::Gateway => u16::MAX,
        Role::Worker(slot) => slot & !TASK,
        Role::Task(slot) => slot | TASK,
    }
}

/// The process that a `detail` means.
pub(super) fn role_of(detail: u16) -> Role {
    match detail {
        u16::MAX => Role::Gateway,
        slot if slot & TASK != 0 => Role::Task(slot & !TASK),
        slot => Role::Worker(slot),
    }
}

/// The `session` of [`FlightKind::Ended`].
pub fn ended_with(code: Option<i32>, signal: Option<i32>) -> u64 {
    let signal = signal.and_then(|signal| u16::try_from(signal).ok());
    let code = code.map_or(0, |code| u64::from(code as u32));
    u64::from(signal.unwrap_or(0)) << u32::BITS | code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_number() {
        for &kind in FlightKind::ALL {
            assert_eq!(FlightKind::from_u16(kind as u16), Some(kind));
        }
        assert_eq!(FlightKind::from_u16(0), None);
        assert_eq!(FlightKind::from_u16(u16::MAX), None);
    }

    #[test]
    fn a_detail_names_a_process() {
        for role in [
            Role::Gateway,
            Role::Worker(0),
            Role::Worker(1023),
            Role::Task(7),
        ] {
            assert_eq!(role_of(role_detail(role)), role);
        }
    }
}
