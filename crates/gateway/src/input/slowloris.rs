//! The slowloris guard: peers that begin a message and then send it byte by byte, to hold what a message holds.
//!
//! While a session has an unfinished message, each window of time must bring it what `min_receive_rate` asks
//! for. A session that the engine itself does not read is not measured.

use crate::session::{End, Measurement, Session};
use crate::timers::Alarm;
use crate::tools::Tools;
use moorline_protocol::control::Limit;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::CloseReason;

/// How long one measurement takes, in milliseconds: longer than a lost packet's first retransmissions.
const WINDOW_MS: u64 = 3000;

/// Measures a session that is owed the rest of a message, where its listener asks for that.
pub(crate) fn watch(session: &mut Session, tools: &mut Tools) {
    let is_held = session.is_held();
    if let Some(measurement) = &mut session.input.measurement {
        measurement.was_held |= is_held;
        return;
    }
    if tools
        .cx
        .listener(session.listener)
        .min_receive_rate
        .is_some()
    {
        measure(session, tools);
    }
}

fn measure(session: &mut Session, tools: &mut Tools) {
    let now = tools.cx.clock.ms;
    session.input.measurement = Some(Box::new(begin(session, now)));
    let alarm = Alarm::Slowloris(session.name());
    tools.agenda.timers.set(now + WINDOW_MS, alarm);
}

/// A measurement is over.
///
/// # Errors
/// The session ends: its message comes too slowly.
pub(crate) fn check(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    let listener = tools.cx.listener(session.listener);
    let Some(rate) = listener.min_receive_rate else {
        session.input.measurement = None;
        return Ok(());
    };
    let Some(measurement) = &session.input.measurement else {
        return Ok(());
    };
    if !session.is_owed_input() {
        // The next message that comes in parts is measured again.
        session.input.measurement = None;
        return Ok(());
    }
    if passes(measurement, session, tools.cx.clock.ms, rate) {
        measure(session, tools);
        return Ok(());
    }
    tracing::warn!(
        session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer, rate,
        reason = %CloseReason::Slow, "session closed: its message comes slower than min_receive_rate"
    );
    tools.cx.count_limit(Limit::MinReceiveRate);
    Err(End::Now(CloseReason::Slow))
}

/// A measurement that begins now.
fn begin(session: &Session, now: u64) -> Measurement {
    Measurement {
        since: now,
        bytes: received(session),
        messages: session.meters.messages,
        was_held: session.is_held(),
    }
}

/// Whether the peer has kept to the rate, or there is a reason why it could not.
fn passes(measurement: &Measurement, session: &Session, now: u64, rate: u64) -> bool {
    let came = received(session).saturating_sub(measurement.bytes);
    let due = u128::from(rate) * u128::from(now - measurement.since) / 1000;
    u128::from(came) >= due
        || session.meters.messages != measurement.messages
        || measurement.was_held
        || session.is_held()
}

/// What has come, with what is still encrypted.
fn received(session: &Session) -> u64 {
    session.meters.bytes_in + session.transport.unopened() as u64
}
