//! The bytes of a relay: from one socket through the loop's buffer into the other.

use rustix::io::Errno;

use crate::ids::Side;
use crate::memory::Class;
use crate::relay::bulk::splice;
use crate::relay::inflow::{Inflow, count, note_activity, receive};
use crate::relay::pace::allowance;
use crate::relay::sealed::{open_received, say_farewell, seal};
use crate::relay::way::{Delivery, WayPhase};
use crate::relay::{Cause, Fault, Relay};
use crate::scratch::SCRATCH;
use crate::tools::Tools;

/// Reads of one way in a turn: then others have theirs.
const READS_PER_TURN: usize = 16;
/// Reads of what comes for a side that is gone, as for a closed session.
pub(crate) const DISCARDED_READS: u8 = 16;
/// Bytes that are read at once while the memory limit is near: so much may have to be kept.
const READ_NEAR_LIMIT: usize = 4 * 1024;

/// Why a way has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// One of its sockets will report when it can go on, or it is over.
    Waits,
    /// Its turn is over.
    More,
}

impl Flow {
    /// Where both ways have got to.
    pub(crate) fn and(self, other: Self) -> Self {
        match self {
            Flow::More => Flow::More,
            Flow::Waits => other,
        }
    }
}

/// Moves what this side has sent.
///
/// # Errors
/// One side is gone.
pub(crate) fn pump(relay: &mut Relay, from: Side, tools: &mut Tools) -> Result<Flow, Fault> {
    for _ in 0..READS_PER_TURN {
        if relay.way(from).has_kept() && !deliver_kept(relay, from, tools)? {
            return Ok(Flow::Waits);
        }
        let is_last = relay.way(from.other()).is_over();
        let (source, way, sink) = relay.parts(from);
        match (way.phase, &sink.socket) {
            (WayPhase::Over, _) => return Ok(Flow::Waits),
            // As the last of both ways: closing tells the end, too.
            (WayPhase::Ending, Some(socket)) if !is_last => {
                way.tell_end(socket);
                return Ok(Flow::Waits);
            }
            (WayPhase::Ending, _) => {
                way.phase = WayPhase::Over;
                return Ok(Flow::Waits);
            }
            (WayPhase::Discarding(0), _) => {
                way.phase = WayPhase::Over;
                return Ok(Flow::Waits);
            }
            (WayPhase::Discarding(left), _) => way.phase = WayPhase::Discarding(left - 1),
            (WayPhase::Open, _) => {}
        }
        if !source.is_readable {
            return Ok(Flow::Waits);
        }
        if way.is_bulk() && tools.budget.is_spent() {
            return Ok(Flow::More);
        }
        let Some(most) = allowance(relay, from, tools) else {
            return Ok(Flow::Waits);
        };
        match take_in(relay, from, most, tools)? {
            Inflow::Nothing => return Ok(Flow::Waits),
            Inflow::Moved => {}
            Inflow::End if from == Side::Upstream && relay.may_retry(tools.cx.clock.ns) => {
                let cause = Cause::EndedAtOnce;
                return Err(Fault { side: from, cause });
            }
            Inflow::End => end(relay, from, tools),
            Inflow::Bytes(bytes) => pass(relay, from, bytes, tools)?,
        }
    }
    Ok(Flow::More)
}

/// Delivers what is kept. False: some is left.
fn deliver_kept(relay: &mut Relay, from: Side, tools: &mut Tools) -> Result<bool, Fault> {
    let (name, listener) = (relay.name, relay.listener);
    let (_, way, sink) = relay.parts(from);
    let left = way.left();
    let (before, counted) = (way.held(), way.bytes);
    let taken = match &sink.socket {
        Some(socket) => {
            let sent = way.send_kept(socket, &mut tools.scratch.pipes);
            sent.map_err(|error| Fault::broken(from.other(), error))?
        }
        None => Delivery::Part,
    };
    tools.memory.change(Class::Queued, before, way.held());
    count((listener, from), (way.bytes - counted) as usize, tools);
    if way.left() < left {
        way.note_moved(name, from, tools.cx.clock.ms);
        relay.meters.active_at = tools.cx.clock.ms;
    }
    Ok(taken == Delivery::All)
}

/// Takes what a side has sent, at most this number of bytes: moves it on if it is much, or else reads it.
fn take_in(relay: &mut Relay, from: Side, most: usize, tools: &mut Tools) -> Result<Inflow, Fault> {
    if relay.way(from).is_bulk()
        && let Some(moved) = splice(relay, from, most, tools)?
    {
        return Ok(moved);
    }
    read(relay, from, most, tools).map_err(|error| Fault::broken(from, error))
}

/// Reads from a side into the loop's buffer, at most this number of bytes.
fn read(relay: &mut Relay, from: Side, most: usize, tools: &mut Tools) -> Result<Inflow, Errno> {
    let most = most.min(match tools.memory.is_tight(&tools.cx) {
        true => READ_NEAR_LIMIT,
        false => SCRATCH,
    });
    if relay.side(from).tls.is_some() {
        return open_received(relay, from, most, tools);
    }
    let source = relay.side_mut(from);
    let Some(socket) = &source.socket else {
        return Ok(Inflow::End);
    };
    match receive(socket, &mut tools.scratch.received[..most]) {
        Ok(0) => Ok(Inflow::End),
        Ok(bytes) => {
            source.is_readable = bytes == most || source.may_have_more();
            Ok(Inflow::Bytes(bytes))
        }
        Err(Errno::AGAIN) => {
            source.is_readable = false;
            Ok(Inflow::Nothing)
        }
        Err(error) => Err(error),
    }
}

/// A side has ended.
pub(crate) fn end(relay: &mut Relay, from: Side, tools: &mut Tools) {
    let (source, way, _) = relay.parts(from);
    source.is_readable = false;
    way.phase = match way.phase {
        WayPhase::Open => WayPhase::Ending,
        _ => WayPhase::Over,
    };
    if way.phase == WayPhase::Ending {
        say_farewell(relay, from.other(), tools);
    }
}

/// Passes bytes at the front of the loop's buffer on to the other side.
pub(crate) fn pass(
    relay: &mut Relay,
    from: Side,
    bytes: usize,
    tools: &mut Tools,
) -> Result<(), Fault> {
    note_activity(relay, from, bytes, tools);
    tools.budget.spend(bytes);
    relay.way_mut(from).note_read(bytes);
    let to = from.other();
    if relay.side(to).tls.is_some() {
        return seal(relay, to, bytes, tools);
    }
    let (_, way, sink) = relay.parts(from);
    let Some(socket) = sink.socket.as_ref().filter(|_| way.phase == WayPhase::Open) else {
        return Ok(());
    };
    let plaintext = &tools.scratch.received[..bytes];
    match way.send(socket, plaintext) {
        Ok(_) => {
            way.bytes += bytes as u64;
            tools.memory.hold(Class::Queued, way.held());
        }
        Err(error) => {
            if way.bytes == 0 {
                // Another peer may get them.
                way.keep_uncounted(plaintext);
                tools.memory.hold(Class::Queued, way.held());
            }
            return Err(Fault::broken(to, error));
        }
    }
    count((relay.listener, from), bytes, tools);
    Ok(())
}

/// Whether all that a side which is gone had sent was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastWords {
    Read,
    /// Its socket may have more, which is read as the other side takes it.
    Left,
}

/// A side is gone: what it has sent is still delivered, and nothing goes there any more.
pub(crate) fn break_off(relay: &mut Relay, gone: Side, words: LastWords, tools: &mut Tools) {
    let (source, ahead, _) = relay.parts(gone);
    source.is_readable = words == LastWords::Left;
    if ahead.phase == WayPhase::Open && words == LastWords::Left {
        // Its end follows.
    } else if ahead.phase == WayPhase::Open {
        // Without a farewell: what was cut off must not look complete.
        ahead.phase = WayPhase::Ending;
    } else if let WayPhase::Discarding(_) = ahead.phase {
        ahead.phase = WayPhase::Over;
    }
    let back = relay.way_mut(gone.other());
    tools.memory.release(Class::Queued, back.held());
    back.drop_kept();
    back.phase = match back.phase {
        WayPhase::Open => WayPhase::Discarding(DISCARDED_READS),
        _ => WayPhase::Over,
    };
}
