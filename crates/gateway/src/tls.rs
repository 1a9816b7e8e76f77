//! Input over TLS: reading and decrypting, and the steps of a handshake.

use std::os::fd::OwnedFd;

use moorline_net::tls::TlsRecords;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::memory::{Class, Memory};
use crate::scratch::Scratch;
use crate::session::{Session, Transport};
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::SessionTls;

/// Reads from one session without a message to show for it, before others have their turn.
pub(crate) const READS: usize = 4;
/// The largest certificate of a session's peer that is accepted, in bytes. It travels with each opening of its session,
/// which must fit into the smallest ring twice.
pub(crate) const MAX_CERTIFICATE: usize = 4 * 1024;

/// The result of a read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Read {
    /// These bytes; with `has_more` the socket has more, or its end.
    Bytes {
        bytes: usize,
        has_more: bool,
    },
    End,
    Nothing,
    Broken(Errno),
}

/// Receives what is encrypted; its plaintext goes into `buffer`, and what TLS itself answers into `answer`.
pub(crate) fn open_received(
    session: &mut Session,
    buffer: &mut [u8],
    answer: &mut Vec<u8>,
    scratch: &mut Scratch,
    memory: &mut Memory,
) -> Read {
    // Plaintext is shorter than its records, so that what is received here fits there.
    let room = buffer.len().min(scratch.cipher.len());
    let cipher = &mut scratch.cipher[..room];
    for _ in 0..READS {
        if !session.is_read() {
            return Read::Nothing;
        }
        let transport = &mut session.transport;
        let (Some(tls), Some(socket)) = (&mut transport.tls, &transport.socket) else {
            return Read::End;
        };
        if tls.is_over() {
            return Read::End;
        }
        let before = tls.unfinished();
        let Some(lent) = tls.lend(cipher) else {
            return Read::Broken(Errno::MSGSIZE);
        };
        let received = match receive(socket, &mut cipher[lent..]) {
            // Without a farewell, as many peers do: what is not whole is dropped by the framing.
            Ok(0) => return Read::End,
            Ok(bytes) => bytes,
            Err(Errno::AGAIN) => return Read::Nothing,
            Err(error) => return Read::Broken(error),
        };
        let opened = tls.open(&mut cipher[..lent + received], buffer, answer);
        let has_more = lent + received == room || transport.link.is_hung_up() || tls.is_over();
        memory.change(Class::Received, before, tls.unfinished());
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
                tracing::debug!(session = %SessionId::from(session.id), %error, "tls failed");
                return Read::Broken(Errno::PROTO);
            }
        }
    }
    Read::Bytes {
        bytes: 0,
        has_more: true,
    }
}

/// Where a handshake has got to.
pub(crate) enum Handshake {
    /// There may be more to read.
    More,
    /// The socket has nothing more for now.
    Waits,
    /// It is over. With its end came this number of bytes of plaintext, in the scratch buffer.
    Done(usize),
    /// The peer has gone.
    Left,
    Failed(String),
}

/// Does one step of a handshake. `most`: the most bytes that the peer's certificate may have. The bytes to send go into `answer`.
pub(crate) fn handshake_step(
    transport: &mut Transport,
    most: usize,
    answer: &mut Vec<u8>,
    scratch: &mut Scratch,
    memory: &mut Memory,
) -> Handshake {
    let (Some(tls), Some(socket)) = (&mut transport.tls, &transport.socket) else {
        return Handshake::Left;
    };
    let before = tls.unfinished();
    let Some(lent) = tls.lend(&mut scratch.cipher) else {
        return Handshake::Failed("the handshake is too large".to_owned());
    };
    let received = match receive(socket, &mut scratch.cipher[lent..]) {
        Ok(0) => return Handshake::Left,
        Ok(bytes) => bytes,
        Err(Errno::AGAIN) => return Handshake::Waits,
        Err(_) => return Handshake::Left,
    };
    let records = &mut scratch.cipher[..lent + received];
    let opened = tls.open(records, &mut scratch.received, answer);
    memory.change(Class::Received, before, tls.unfinished());
    match opened {
        Err(error) => Handshake::Failed(error.to_string()),
        Ok(_) if tls.is_handshaking() => Handshake::More,
        Ok(opened) => match tls.peer_certificate() {
            Some(certificate) if certificate.len() > most => {
                Handshake::Failed(format!("the client's certificate has over {most} bytes"))
            }
            _ => Handshake::Done(opened.plaintext),
        },
    }
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((bytes, _)) => return Ok(bytes),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The TLS facts of a session, for the app.
pub(crate) fn facts(tls: &TlsRecords) -> Box<SessionTls> {
    let mut facts = SessionTls::default();
    facts.version = tls
        .version()
        .map_or_else(String::new, |version| version.to_string());
    facts.alpn = tls
        .alpn()
        .map(|name| String::from_utf8_lossy(name).into_owned());
    facts.certificate = tls.peer_certificate().map(<[u8]>::to_vec);
    facts.is_resumed = tls.is_resumed();
    Box::new(facts)
}
