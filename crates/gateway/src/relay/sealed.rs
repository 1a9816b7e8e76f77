//! A side of a relay that is encrypted.

use rustix::io::Errno;

use crate::ids::Side;
use crate::memory::Class;
use crate::relay::inflow::{Inflow, count, receive};
use crate::relay::way::WayPhase;
use crate::relay::{Fault, Relay, RelayPhase};
use crate::scratch::SCRATCH;
use crate::tools::Tools;

/// Reads without plaintext to show for it, before others have their turn.
const READS: usize = 4;
/// More is never kept for a side that takes what it is sent, in bytes: a buffer's worth of records, and answers of TLS.
const MOST_KEPT: usize = 4 * SCRATCH;

/// Receives from an encrypted side. Its plaintext goes into the loop's buffer, and what TLS itself answers back to it.
///
/// # Errors
/// The connection is broken, or its peer broke the protocol.
pub(crate) fn open_received(
    relay: &mut Relay,
    from: Side,
    most: usize,
    tools: &mut Tools,
) -> Result<Inflow, Errno> {
    for _ in 0..READS {
        let source = relay.side_mut(from);
        let (Some(tls), Some(socket)) = (&mut source.tls, &source.socket) else {
            return Ok(Inflow::End);
        };
        if tls.is_over() {
            return Ok(Inflow::End);
        }
        let (scratch, memory) = (&mut tools.scratch, &mut tools.memory);
        let before = tls.unfinished();
        let room = (before + most).min(scratch.cipher.len());
        let cipher = &mut scratch.cipher[..room];
        let lent = tls.lend(cipher).ok_or(Errno::MSGSIZE)?;
        let received = match receive(socket, &mut cipher[lent..]) {
            // Without a farewell, as many peers do.
            Ok(0) => return Ok(Inflow::End),
            Ok(bytes) => bytes,
            Err(Errno::AGAIN) => {
                source.is_readable = false;
                return Ok(Inflow::Nothing);
            }
            Err(error) => return Err(error),
        };
        let mut answer = std::mem::take(&mut scratch.sealed);
        answer.clear();
        let records = &mut cipher[..lent + received];
        let opened = tls.open(records, &mut scratch.received, &mut answer);
        memory.change(Class::Received, before, tls.unfinished());
        let is_over = tls.is_over();
        source.is_readable = lent + received == room || source.may_have_more() || is_over;
        let answered = send_sealed(relay, from, &answer, tools);
        tools.scratch.sealed = answer;
        match opened {
            Ok(opened) if opened.plaintext > 0 => {
                if answered == Err(Errno::NOBUFS) {
                    return Err(Errno::NOBUFS);
                }
                // A side that is gone is found by its next read. What it has said before counts.
                return Ok(Inflow::Bytes(opened.plaintext));
            }
            Ok(_) => answered?,
            Err(error) => {
                tracing::debug!(relay = relay.name.serial, %error, "tls failed");
                return Err(Errno::PROTO);
            }
        }
        if !relay.side(from).is_readable {
            return Ok(Inflow::Nothing);
        }
    }
    // The rest is read when its turn comes again.
    Ok(Inflow::Bytes(0))
}

/// Encrypts bytes at the front of the loop's buffer, and sends them to a side.
///
/// # Errors
/// That side is gone.
pub(crate) fn seal(
    relay: &mut Relay,
    to: Side,
    bytes: usize,
    tools: &mut Tools,
) -> Result<(), Fault> {
    let from = to.other();
    if relay.way(from).phase != WayPhase::Open {
        return Ok(());
    }
    let mut sealed = std::mem::take(&mut tools.scratch.sealed);
    sealed.clear();
    let tls = &mut relay.side_mut(to).tls;
    let plaintext = &tools.scratch.received[..bytes];
    let result = tls.as_mut().map(|tls| tls.seal(plaintext, &mut sealed));
    let sent = match result {
        Some(Err(error)) => {
            tracing::debug!(relay = relay.name.serial, %error, "tls failed");
            Err(Errno::PROTO)
        }
        _ => send_sealed(relay, to, &sealed, tools),
    };
    tools.scratch.sealed = sealed;
    if let Err(error) = sent {
        let way = relay.way_mut(from);
        if to == Side::Upstream && way.bytes == 0 && !way.has_kept() {
            // Another peer may get them.
            way.keep_uncounted(&tools.scratch.received[..bytes]);
            tools.memory.hold(Class::Queued, way.held());
        }
        return Err(Fault::broken(to, error));
    }
    relay.way_mut(from).bytes += bytes as u64;
    count((relay.listener, from), bytes, tools);
    Ok(())
}

/// Says to a side, if it is encrypted, that nothing more comes: behind everything that is kept for it.
pub(crate) fn say_farewell(relay: &mut Relay, to: Side, tools: &mut Tools) {
    if relay.phase == RelayPhase::CutOff {
        return;
    }
    let side = relay.side_mut(to);
    let Some(tls) = side.tls.as_mut().filter(|_| side.socket.is_some()) else {
        return;
    };
    let mut farewell = Vec::new();
    tls.close(&mut farewell);
    // A side that is gone is found by the end of its way.
    let _ = send_sealed(relay, to, &farewell, tools);
}

/// Sends records to a side, behind everything that is kept for it.
fn send_sealed(
    relay: &mut Relay,
    to: Side,
    records: &[u8],
    tools: &mut Tools,
) -> Result<(), Errno> {
    if records.is_empty() {
        return Ok(());
    }
    let (_, way, sink) = relay.parts(to.other());
    let Some(socket) = sink.socket.as_ref().filter(|_| !way.is_over()) else {
        return Ok(());
    };
    let before = way.held();
    if before > MOST_KEPT {
        // It asks for answers without end, and takes none.
        return Err(Errno::NOBUFS);
    }
    match way.has_kept() {
        true => way.keep(records),
        false => {
            way.send(socket, records)?;
        }
    }
    tools.memory.change(Class::Queued, before, way.held());
    Ok(())
}
