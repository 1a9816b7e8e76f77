//! Events in words.

use std::fmt;
use std::io::Error;

use crate::control::{Limit, process_name, role_name};
use crate::session_id::SessionId;
use crate::wire::CloseReason;

use super::event::{FlightEvent, FlightKind, role_of};

/// The hooks of an app, as [`FlightKind::Handler`] counts them.
pub const HOOKS: [&str; 14] = [
    "message", "start", "open", "close", "full", "drained", "datagram", "post", "task", "timer",
    "stop", "serving", "accept", "request",
];

/// An event in words.
#[derive(Debug, Clone, Copy)]
pub struct FlightText<'a> {
    /// The event.
    pub event: &'a FlightEvent,
    /// The names of the listeners, by their places.
    pub listeners: &'a [String],
}

impl fmt::Display for FlightText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event.kind as u16 {
            ..20 => self.of_a_loop(f),
            20..40 => self.of_the_main_thread(f),
            40..60 => self.of_a_process(f),
            60.. => self.of_the_supervisor(f),
        }
    }
}

impl FlightText<'_> {
    fn of_a_loop(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlightEvent {
            detail,
            session,
            number,
            ..
        } = *self.event;
        let id = SessionId::from(session);
        match self.event.kind {
            FlightKind::Opened => {
                let listener = self.listener(detail);
                write!(f, "session {id} opened on {listener}, for worker {number}")
            }
            FlightKind::Closed => {
                let reason = reason(detail);
                write!(f, "session {id} closed ({reason}), {number} messages")
            }
            FlightKind::Moved => {
                let worker = process_of(detail, number);
                write!(f, "session {id} moved to {worker}")
            }
            FlightKind::Worked => {
                write!(f, "{number} messages, processes woken {session} times")
            }
            FlightKind::RingFull => write!(f, "waited {number} times for room in a ring"),
            FlightKind::LimitReached => {
                let limit = Limit::ALL.get(usize::from(detail));
                let limit = limit.map_or("?", |limit| limit.as_str());
                write!(f, "limit {limit} reached {number} times")
            }
            FlightKind::ProcessLost => {
                let process = process_of(detail, number);
                write!(f, "{process} is lost, {session} sessions were with it")
            }
            FlightKind::PeerJoined => {
                let ms = milliseconds(number);
                write!(
                    f,
                    "relay {id} connected in {ms}, after {detail} attempts in all"
                )
            }
            _ => {
                let ms = milliseconds(number);
                write!(f, "relay {id}: an attempt to connect failed after {ms}")?;
                error(f, detail)
            }
        }
    }

    fn of_the_main_thread(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlightEvent { detail, number, .. } = *self.event;
        match self.event.kind {
            FlightKind::Attached => write!(f, "joined with {}", process_of(detail, number)),
            FlightKind::Prepared if detail == 0 => write!(f, "generation {number} is prepared"),
            FlightKind::Prepared => write!(f, "generation {number} cannot be prepared"),
            FlightKind::Forgotten => f.write_str("forgets the generation that was prepared"),
            FlightKind::Activated if number == 0 => f.write_str("other processes serve"),
            FlightKind::Activated => write!(f, "generation {number} serves"),
            _ => f.write_str("closes sessions"),
        }
    }

    fn of_a_process(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlightEvent {
            detail,
            session,
            number,
            ..
        } = *self.event;
        let id = SessionId::from(session);
        match self.event.kind {
            FlightKind::Runs => write!(f, "runs, generation {number}"),
            FlightKind::AppStarted => f.write_str("the app has started"),
            FlightKind::Serves => f.write_str("serves"),
            FlightKind::Begins if detail == 0 => write!(f, "session {id} begins"),
            FlightKind::Begins => write!(f, "session {id} arrives"),
            FlightKind::Ends => write!(f, "session {id} ends ({})", reason(detail)),
            FlightKind::Leaves => write!(f, "session {id} leaves"),
            FlightKind::Handled => {
                write!(f, "handled {number} messages, {session} hooks failed")
            }
            FlightKind::NewGateway => f.write_str("joined with a new gateway"),
            FlightKind::ToldToStop => f.write_str("is told to stop"),
            FlightKind::DialStep => {
                let step = ["resolve", "connect", "proxy", "tls"].get(usize::from(detail >> 8));
                let step = step.copied().unwrap_or("a step");
                let (dial, ms) = (session as u32, milliseconds(number));
                write!(f, "dial {dial}: {step} {} after {ms}", how(detail & 0xff))?;
                error(f, (session >> u32::BITS) as u16)
            }
            FlightKind::Trace => write!(f, "a handler of the trace {session:016x}{number:016x}"),
            FlightKind::TraceParent => write!(f, "… below the span {number:016x}"),
            FlightKind::Handler => {
                let hook = HOOKS.get(usize::from(detail >> 8)).copied().unwrap_or("?");
                let ms = milliseconds(number);
                write!(f, "{hook} of {id} {} after {ms}", how(detail & 0xff))
            }
            _ => {
                let ms = milliseconds(number);
                write!(f, "dial {session}: {} after {ms} in all", how(detail))
            }
        }
    }

    fn of_the_supervisor(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlightEvent {
            detail,
            session,
            number,
            ..
        } = *self.event;
        let process = process_of(detail, number);
        match self.event.kind {
            FlightKind::Started => write!(f, "{process} started"),
            FlightKind::Ready => write!(f, "{process} is ready"),
            FlightKind::Ended => match ((session >> u32::BITS) as u32, session as u32) {
                (0, code) => write!(f, "{process} exited with code {}", code as i32),
                (signal, _) => write!(f, "{process} was killed by signal {signal}"),
            },
            FlightKind::Stalled => {
                write!(f, "{process} has a stuck handler")?;
                match session {
                    0 => Ok(()),
                    id => write!(f, ", of session {}", SessionId::from(id)),
                }
            }
            FlightKind::Silent => write!(f, "{process} does not answer"),
            FlightKind::Answers => write!(f, "{process} answers again"),
            FlightKind::Killed => write!(f, "kills {process}"),
            FlightKind::ReloadBegun => write!(f, "reload to generation {number} begins"),
            FlightKind::ReloadDone => write!(f, "reload to generation {number} is done"),
            FlightKind::ReloadFailed => write!(f, "reload to generation {number} has failed"),
            FlightKind::UpgradeBegun => f.write_str("an upgrade of the gateway begins"),
            FlightKind::UpgradeDone => f.write_str("the gateway is upgraded"),
            FlightKind::UpgradeFailed => f.write_str("the upgrade of the gateway has failed"),
            _ => f.write_str("the engine stops"),
        }
    }

    fn listener(&self, place: u16) -> String {
        let listener = self.listeners.get(usize::from(place));
        listener.map_or_else(|| format!("listener {place}"), |name| printable(name))
    }
}

/// A name from a file that anybody may have written, without what steers a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .collect()
}

/// How a dial or a step of it went.
fn how(number: u16) -> &'static str {
    let all = ["runs", "done", "failed", "timed out", "cancelled"];
    all.get(usize::from(number)).copied().unwrap_or("over")
}

/// The system's error of this number, if there is one.
fn error(f: &mut fmt::Formatter<'_>, number: u16) -> fmt::Result {
    match number {
        0 => Ok(()),
        number => write!(f, ": {}", Error::from_raw_os_error(i32::from(number))),
    }
}

fn process_of(detail: u16, pid: u64) -> String {
    match u32::try_from(pid) {
        Ok(pid) if pid > 0 => process_name(role_of(detail), pid),
        _ => role_name(role_of(detail)),
    }
}

fn reason(number: u16) -> &'static str {
    CloseReason::from_u16(number).map_or("?", CloseReason::as_str)
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03} ms", microseconds / 1000, microseconds % 1000)
}
