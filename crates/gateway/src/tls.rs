//! TLS between the socket and everything else: handshakes, what is received and what is sent encrypted.
//!
//! A session's queue holds plaintext, so that watermarks mean what they say and a file can stand in it; what was
//! encrypted and not taken by the socket goes ahead of it. A handshake costs a thousand times what a message
//! does, so only a few are served in one turn.

use moorline_net::tls::server::{MAX_PLAINTEXT, RecordsError, ServerRecords};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::event_loop::Loop;
use super::files::Copied;
use super::inbound::Read;
use super::memory::Class;
use super::outqueue::Piece;
use super::session::{Phase, Session};
use super::table::Key;
use crate::control::Limit;
use crate::session_id::SessionId;
use crate::wire::{CloseReason, SessionTls};

/// Handshakes that are served in one turn: a signature takes some 100 µs with an elliptic curve, 1 ms with RSA.
const HANDSHAKES_PER_TURN: usize = 4;
/// Reads from one session without a message to show for it, before others have their turn.
const READS: usize = 4;
/// Plaintext that is encrypted before the socket is asked whether it takes any.
const SEALED_AT_ONCE: usize = 4 * MAX_PLAINTEXT;
/// … at the least, in bytes, so that a record's own bytes and a call to the kernel remain worth it.
const LEAST_SEALED: usize = 1024;
/// The largest certificate of a peer's that is accepted, in bytes. It travels with each opening of its session,
/// which must fit into the smallest ring twice.
const MAX_CERTIFICATE: usize = 4 * 1024;

/// Where a handshake has got to.
enum Handshake {
    /// There may be more to read.
    More,
    /// The socket has nothing more for now.
    Waits,
    /// It is over. So many bytes of plaintext came with its end, in the scratch buffer.
    Done(usize),
    /// The peer has gone.
    Left,
    Failed(String),
}

impl Loop {
    /// Queues a session for the next step of its handshake.
    pub(super) fn await_handshake(&mut self, key: Key) {
        let session = &mut self.table[key];
        if !session.scheduled {
            session.scheduled = true;
            self.handshakes.push_back((key, session.id));
        }
    }

    /// Serves a few handshakes. True: others wait.
    pub(super) fn run_handshakes(&mut self) -> bool {
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some((key, id)) = self.handshakes.pop_front() else {
                return false;
            };
            let Some(phase) = self
                .table
                .at(key)
                .filter(|session| session.id == id)
                .map(|session| session.phase)
            else {
                continue;
            };
            self.table[key].scheduled = false;
            if phase == Phase::Handshake {
                self.shake_hands(key);
            } else {
                self.service(key);
            }
        }
        !self.handshakes.is_empty()
    }

    /// Goes on with a handshake as far as its peer has.
    fn shake_hands(&mut self, key: Key) {
        for _ in 0..READS {
            if !self.table[key].readable {
                return;
            }
            let mut answer = std::mem::take(&mut self.sealed);
            answer.clear();
            let step = self.handshake_step(key, &mut answer);
            let is_alive = answer.is_empty() || self.send_sealed(key, &answer);
            self.sealed = answer;
            match step {
                _ if !is_alive => return,
                Handshake::More => {}
                Handshake::Waits => {
                    self.table[key].readable = false;
                    return;
                }
                Handshake::Done(plaintext) => return self.begin(key, plaintext),
                Handshake::Left => return self.refuse(key, "the peer has left"),
                Handshake::Failed(reason) => return self.refuse(key, &reason),
            }
        }
        self.await_handshake(key);
    }

    fn handshake_step(&mut self, key: Key, answer: &mut Vec<u8>) -> Handshake {
        let session = &mut self.table[key];
        let (Some(tls), Some(socket)) = (&mut session.tls, &session.socket) else {
            return Handshake::Left;
        };
        let before = tls.unfinished();
        let Some(lent) = tls.lend(&mut self.cipher) else {
            return Handshake::Failed("the handshake is too large".to_owned());
        };
        let received = match receive(socket, &mut self.cipher[lent..]) {
            Ok(0) => return Handshake::Left,
            Ok(bytes) => bytes,
            Err(Errno::AGAIN) => return Handshake::Waits,
            Err(_) => return Handshake::Left,
        };
        let records = &mut self.cipher[..lent + received];
        let opened = tls.open(records, &mut self.scratch, answer);
        let after = tls.unfinished();
        let step = match opened {
            Err(error) => Handshake::Failed(error.to_string()),
            Ok(_) if tls.is_handshaking() => Handshake::More,
            Ok(opened) => match tls.peer_certificate() {
                Some(certificate) if certificate.len() > MAX_CERTIFICATE => Handshake::Failed(
                    format!("the client's certificate has over {MAX_CERTIFICATE} bytes"),
                ),
                _ => Handshake::Done(opened.plaintext),
            },
        };
        self.memory.change(Class::Received, before, after);
        step
    }

    /// The handshake is over: a session begins, with what came along.
    fn begin(&mut self, key: Key, plaintext: usize) {
        let now = self.clock.ms;
        let session = &mut self.table[key];
        session.phase = Phase::Open;
        session.tail = self.scratch[..plaintext].to_vec();
        session.starved = plaintext == 0;
        session.bytes_in = plaintext as u64;
        session.received_at = now;
        session.sent_at = now;
        self.memory.change(Class::Received, 0, plaintext);
        self.start_timer(key);
        self.service(key);
    }

    fn refuse(&mut self, key: Key, reason: &str) {
        let session = &self.table[key];
        let listener = &self.config.listeners[usize::from(session.listener)];
        tracing::info!(
            session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer, error = reason,
            reason = %CloseReason::Handshake, "tls handshake failed"
        );
        self.finish(key, CloseReason::Handshake);
    }

    /// The handshake has taken too long.
    pub(super) fn check_handshake(&mut self, key: Key, id: u64) {
        let is_late = self
            .table
            .at(key)
            .is_some_and(|session| session.id == id && session.phase == Phase::Handshake);
        if is_late {
            self.count_limit(Limit::HandshakeTimeout);
            self.refuse(key, "it has taken longer than handshake_timeout");
        }
    }

    /// Receives what is encrypted; its plaintext goes into `buffer`.
    pub(super) fn receive_sealed(&mut self, key: Key, buffer: &mut [u8]) -> Read {
        let mut answer = std::mem::take(&mut self.sealed);
        answer.clear();
        let read = self.open_received(key, buffer, &mut answer);
        if !answer.is_empty() {
            self.send_sealed(key, &answer);
        }
        self.sealed = answer;
        read
    }

    fn open_received(&mut self, key: Key, buffer: &mut [u8], answer: &mut Vec<u8>) -> Read {
        // Plaintext is shorter than its records, so that what is received here fits there.
        let room = buffer.len().min(self.cipher.len());
        for _ in 0..READS {
            let session = &mut self.table[key];
            let (Some(tls), Some(socket)) = (&mut session.tls, &session.socket) else {
                return Read::End;
            };
            if session.phase != Phase::Open {
                return Read::Nothing;
            }
            if tls.is_over() {
                return Read::End;
            }
            let before = tls.unfinished();
            let Some(lent) = tls.lend(&mut self.cipher[..room]) else {
                return Read::Broken(Errno::MSGSIZE);
            };
            let received = match receive(socket, &mut self.cipher[lent..room]) {
                // Without a farewell, as many peers do: what is not whole is dropped by the framing.
                Ok(0) => return Read::End,
                Ok(bytes) => bytes,
                Err(Errno::AGAIN) => return Read::Nothing,
                Err(error) => return Read::Broken(error),
            };
            let opened = tls.open(&mut self.cipher[..lent + received], buffer, answer);
            let after = tls.unfinished();
            let has_more = lent + received == room || session.hangup || tls.is_over();
            let id = session.id;
            self.memory.change(Class::Received, before, after);
            match opened {
                Ok(opened) if opened.plaintext > 0 => {
                    return Read::Bytes {
                        bytes: opened.plaintext,
                        has_more,
                    };
                }
                Ok(_) if has_more => {}
                Ok(_) => return Read::Nothing,
                Err(error) => {
                    tracing::debug!(session = %SessionId::from(id), %error, "tls failed");
                    return Read::Broken(Errno::PROTO);
                }
            }
        }
        Read::Bytes {
            bytes: 0,
            has_more: true,
        }
    }

    /// Sends plaintext, or queues it: all of it where something is queued already.
    pub(super) fn write_plaintext(&mut self, key: Key, bytes: &[u8]) {
        let Some(sealed) = self.seal_now(key, bytes) else {
            return;
        };
        let rest = &bytes[sealed..];
        if !rest.is_empty() {
            let outbound = self.table[key].outbound.get_or_insert_default();
            outbound.piece(rest.len()).extend_from_slice(rest);
            self.memory.change(Class::Queued, 0, rest.len());
            self.weigh(key);
        }
    }

    /// Encrypts and sends plaintext until the socket takes no more, or none where something is queued already. Returns how
    /// much was encrypted, or `None` if the session is over.
    pub(super) fn seal_now(&mut self, key: Key, bytes: &[u8]) -> Option<usize> {
        let (mut done, most) = (0, self.sealed_at_once());
        while self.table[key].outbound.is_none() && done < bytes.len() {
            let chunk = &bytes[done..bytes.len().min(done + most)];
            if !self.seal(key, chunk) {
                return None;
            }
            done += chunk.len();
        }
        Some(done)
    }

    /// Plaintext that is encrypted at once: near the memory limit so little that no session passes its share by it.
    fn sealed_at_once(&mut self) -> usize {
        if self.is_tight() {
            let share = usize::try_from(self.budget.share() / 8 * 7).unwrap_or(usize::MAX);
            share.clamp(LEAST_SEALED, SEALED_AT_ONCE)
        } else {
            SEALED_AT_ONCE
        }
    }

    /// Encrypts and sends. False: the session is over.
    fn seal(&mut self, key: Key, plaintext: &[u8]) -> bool {
        let now = self.clock.ms;
        let mut sealed = std::mem::take(&mut self.sealed);
        sealed.clear();
        let session = &mut self.table[key];
        session.sent_at = now;
        session.bytes_out += plaintext.len() as u64;
        let result = session
            .tls
            .as_mut()
            .map(|tls| tls.seal(plaintext, &mut sealed));
        let is_alive = match result {
            Some(Err(error)) => {
                self.fail(key, &error);
                false
            }
            _ => self.send_sealed(key, &sealed),
        };
        self.sealed = sealed;
        is_alive
    }

    fn fail(&mut self, key: Key, error: &RecordsError) {
        tracing::debug!(session = %SessionId::from(self.table[key].id), %error, "tls failed");
        self.break_off(key, Errno::PROTO);
    }

    /// Sends what is encrypted, behind what was encrypted before. False: the session is over.
    fn send_sealed(&mut self, key: Key, bytes: &[u8]) -> bool {
        let session = &mut self.table[key];
        if session.deaf {
            return true;
        }
        let mut sent = 0;
        if session.outbound.is_none()
            && let Some(socket) = &session.socket
        {
            match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => sent = count,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => {
                    self.break_off(key, error);
                    return false;
                }
            }
        }
        let rest = &bytes[sent..];
        if !rest.is_empty() {
            session.outbound.get_or_insert_default().push_sealed(rest);
            self.memory.change(Class::Queued, 0, rest.len());
            self.weigh(key);
        }
        !matches!(self.table[key].phase, Phase::Ended(_))
    }

    /// Encrypts what is next in the queue. False: the session is over.
    pub(super) fn seal_queued(&mut self, key: Key) -> bool {
        let mut plaintext = std::mem::take(&mut self.frame);
        let mut sealed = std::mem::take(&mut self.sealed);
        plaintext.clear();
        sealed.clear();
        let most = self.sealed_at_once();
        let session = &mut self.table[key];
        let own = |session: &Session| session.outbound.as_ref().map_or(0, |queued| queued.own);
        let before = own(session);
        let result = seal_next(session, most, &mut plaintext, &mut sealed);
        let after = own(session);
        self.memory
            .change(Class::Queued, before as usize, after as usize);
        self.frame = plaintext;
        self.sealed = sealed;
        match result {
            Ok(()) => return true,
            Err(Unsealed::File(problem)) => self.give_up_file(key, &problem),
            Err(Unsealed::Tls(error)) => self.fail(key, &error),
        }
        false
    }

    /// Says that nothing more comes, if everything before it has gone.
    pub(super) fn close_sealed(&mut self, key: Key) {
        let session = &mut self.table[key];
        if let (None, false, Some(tls), Some(socket)) = (
            &session.outbound,
            session.deaf,
            &mut session.tls,
            &session.socket,
        ) {
            let mut farewell = Vec::new();
            tls.close(&mut farewell);
            // Whoever does not take it sees the end of the stream instead.
            let _ = rustix::net::send(socket, &farewell, SendFlags::NOSIGNAL);
        }
    }
}

/// Why something that is queued could not be encrypted.
enum Unsealed {
    File(String),
    Tls(RecordsError),
}

/// Moves what is next in a session's queue, `most` bytes of it, encrypted to the front of it: bytes, or a part of a file.
fn seal_next(
    session: &mut Session,
    most: usize,
    plaintext: &mut Vec<u8>,
    sealed: &mut Vec<u8>,
) -> Result<(), Unsealed> {
    let (Some(outbound), Some(tls)) = (&mut session.outbound, &mut session.tls) else {
        return Ok(());
    };
    let mut is_file = false;
    if let Some(Piece::File(piece)) = outbound.queue.front_mut() {
        is_file = true;
        match piece.read(plaintext, most) {
            Ok(()) => {}
            Err(Copied::File(problem)) => return Err(Unsealed::File(problem)),
            Err(Copied::Socket(error)) => return Err(Unsealed::File(error.to_string())),
        }
    } else {
        outbound.take(plaintext, most);
    }
    tls.seal(plaintext, sealed).map_err(Unsealed::Tls)?;
    if is_file {
        outbound.push_sealed_file(sealed);
    } else {
        outbound.push_sealed(sealed);
    }
    session.bytes_out += plaintext.len() as u64;
    Ok(())
}

fn receive(socket: &std::os::fd::OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((bytes, _)) => return Ok(bytes),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What an app is told of a session's TLS.
pub(super) fn facts(tls: &ServerRecords) -> Box<SessionTls> {
    Box::new(SessionTls {
        version: tls
            .version()
            .map_or_else(String::new, |version| version.to_string()),
        alpn: tls
            .alpn()
            .map(|name| String::from_utf8_lossy(name).into_owned()),
        certificate: tls.peer_certificate().map(<[u8]>::to_vec),
        is_resumed: tls.is_resumed(),
    })
}
