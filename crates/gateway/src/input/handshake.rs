//! TLS handshakes of sessions. One costs a thousand times what a message does, so only a few are served in one turn.

use crate::input::failed_handshake::refused;
use crate::input::server::{decide, is_undecided};
use crate::memory::Class;
use crate::output::sealing::send_sealed;
use crate::session::{End, Phase, Session};
use crate::timeouts::watch_idle;
use crate::tls::{Handshake, MAX_CERTIFICATE, READS, handshake_step};
use crate::tools::Tools;

/// Handshakes that are served in one turn: a signature takes some 100 µs with an elliptic curve, 1 ms with RSA.
pub(crate) const HANDSHAKES_PER_TURN: usize = 4;

/// Goes on with a handshake as far as its peer has. True: it is over, and the session begins, with what came along.
///
/// # Errors
/// It has failed.
pub(crate) fn shake_hands(session: &mut Session, tools: &mut Tools) -> Result<bool, End> {
    for _ in 0..READS {
        if !session.input.readable {
            return Ok(false);
        }
        if is_undecided(session, tools) && !decide(session, tools)? {
            return Ok(false);
        }
        let mut answer = std::mem::take(&mut tools.scratch.sealed);
        answer.clear();
        let Tools {
            cx,
            scratch,
            memory,
            ..
        } = tools;
        let most = match cx.listener(session.listener).is_relay() {
            true => usize::MAX,
            false => MAX_CERTIFICATE,
        };
        let transport = &mut session.transport;
        let step = handshake_step(transport, most, &mut answer, scratch, memory);
        let answered = match answer.is_empty() {
            true => Ok(()),
            false => send_sealed(session, &answer, tools),
        };
        tools.scratch.sealed = answer;
        answered?;
        match step {
            Handshake::More => {}
            Handshake::Waits => {
                session.input.readable = false;
                return Ok(false);
            }
            Handshake::Done(plaintext) => {
                begin(session, plaintext, tools);
                return Ok(true);
            }
            Handshake::Left => return Err(refused(session, "the peer has left", tools)),
            Handshake::Failed(reason) => return Err(refused(session, &reason, tools)),
        }
    }
    tools.agenda.await_handshake(session, &tools.cx.shared);
    Ok(false)
}

fn begin(session: &mut Session, plaintext: usize, tools: &mut Tools) {
    let now = tools.cx.clock.ms;
    session.phase = Phase::first(tools.cx.listener(session.listener));
    session.take_received(tools.scratch.received[..plaintext].to_vec());
    session.meters.received_at = now;
    session.meters.sent_at = now;
    tools.memory.hold(Class::Received, plaintext);
    if session.phase == Phase::Open {
        watch_idle(session, tools);
    }
}
