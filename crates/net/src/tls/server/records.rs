//! The TLS of one accepted connection, without its socket.
//!
//! It uses rustls's unbuffered interface: an idle connection keeps its keys and nothing else. The received part of an
//! unfinished record stays here; plaintext and bytes to send never do.

use std::fmt;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, ReadTraffic, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{AlertDescription, CertificateError, Error, HandshakeKind, ProtocolVersion};

use super::super::session::TlsVersion;
use super::config::ServerTls;

/// The most plaintext in one record, in bytes (RFC 8446 §5.1).
pub const MAX_PLAINTEXT: usize = 16 * 1024;
/// The most bytes that a record adds to its plaintext: header, explicit nonce, content type, tag.
const OVERHEAD: usize = 5 + 8 + 1 + 16;
/// The assumed size of a message of the handshake before its size is known.
const FLIGHT: usize = 2 * 1024;

/// The TLS of one accepted connection, without its socket.
pub struct ServerRecords {
    connection: UnbufferedServerConnection,
    /// The received part of an unfinished record, or of an unfinished message of the handshake.
    unfinished: Vec<u8>,
    phase: RecordsPhase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordsPhase {
    Handshake,
    Open,
    /// The peer has said that it sends nothing more.
    PeerClosed,
    Failed,
}

/// The result of [`ServerRecords::open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// Bytes of plaintext.
    pub plaintext: usize,
    /// The peer has said that it sends nothing more.
    pub is_over: bool,
}

impl ServerRecords {
    /// A connection whose handshake has not begun.
    ///
    /// # Errors
    /// The system has no randomness left.
    pub fn new(tls: &ServerTls) -> Result<Self, RecordsError> {
        let connection = UnbufferedServerConnection::new(tls.0.clone()).map_err(RecordsError)?;
        Ok(Self {
            connection,
            unfinished: Vec::new(),
            phase: RecordsPhase::Handshake,
        })
    }

    /// Whether the handshake has not ended.
    pub fn is_handshaking(&self) -> bool {
        self.phase == RecordsPhase::Handshake
    }

    /// Whether the peer has said that it sends nothing more.
    pub fn is_over(&self) -> bool {
        self.phase == RecordsPhase::PeerClosed
    }

    /// Bytes that it holds of a record that is not whole.
    pub fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    /// Copies the [unfinished](Self::unfinished) record to the front of `buffer`, where the next received bytes must
    /// follow it. Returns its length, or `None` if it leaves no room there.
    pub fn lend(&self, buffer: &mut [u8]) -> Option<usize> {
        let length = self.unfinished.len();
        if length >= buffer.len() {
            return None;
        }
        buffer[..length].copy_from_slice(&self.unfinished);
        Some(length)
    }

    /// Takes received bytes: `records` begins with the [lent](Self::lend) part. Their plaintext goes to the front of
    /// `plaintext`, which must not be shorter. Bytes to send in answer are appended to `answer`, also if this fails:
    /// then they are the alert.
    ///
    /// # Errors
    /// The peer broke the protocol, or is refused. Nothing more may be taken from it.
    pub fn open(
        &mut self,
        records: &mut [u8],
        plaintext: &mut [u8],
        answer: &mut Vec<u8>,
    ) -> Result<Opened, RecordsError> {
        self.check_phase()?;
        let mut at = 0;
        let mut opened = 0;
        let result = loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut records[at..]);
            let next = match state {
                Ok(state) => {
                    let phase = &mut self.phase;
                    take(state, phase, plaintext, &mut opened, &mut discard, answer)
                }
                Err(error) => RecordsStep::Stop(Err(error)),
            };
            at += discard;
            if let RecordsStep::Stop(result) = next {
                break result;
            }
            // Everything is opened, and there is nothing to send: rustls need not be asked again.
            if at == records.len()
                && self.phase == RecordsPhase::Open
                && !self.connection.wants_write()
            {
                break Ok(());
            }
        };
        match result {
            Ok(()) => {
                let rest = &records[at.min(records.len())..];
                self.keep(rest);
                Ok(Opened {
                    plaintext: opened,
                    is_over: self.is_over(),
                })
            }
            Err(error) => {
                self.phase = RecordsPhase::Failed;
                self.unfinished = Vec::new();
                self.last_words(&mut records[at..], answer);
                Err(RecordsError(error))
            }
        }
    }

    /// Encrypts `plaintext` and puts the records behind `out`.
    ///
    /// # Errors
    /// The handshake has not ended, the connection has failed, or its keys are used up.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), RecordsError> {
        let records = plaintext.len() / MAX_PLAINTEXT + 1;
        let room = plaintext.len() + records * OVERHEAD;
        self.write(out, |mut traffic, out| {
            fill(out, room, |out| traffic.encrypt(plaintext, out))
        })
    }

    /// Says that nothing more will be sent, and puts that behind `out`. Says nothing where nothing can be said.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if matches!(self.phase, RecordsPhase::Open | RecordsPhase::PeerClosed) {
            let said = self.write(out, |mut traffic, out| {
                fill(out, FLIGHT, |out| traffic.queue_close_notify(out))
            });
            if said.is_err() {
                self.phase = RecordsPhase::Failed;
            }
        }
    }

    /// The version that was agreed on; `None` before the handshake has ended.
    pub fn version(&self) -> Option<TlsVersion> {
        match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some(TlsVersion::Tls12),
            ProtocolVersion::TLSv1_3 => Some(TlsVersion::Tls13),
            _ => None,
        }
    }

    /// The protocol that was agreed on (ALPN).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// The client's certificate, in DER, if it was asked for one and has one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(AsRef::as_ref)
    }

    /// Whether an earlier session was resumed; the client was verified then.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends through the connection as soon as it lets us.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        mut encrypt: impl FnMut(
            WriteTraffic<'_, ServerConnectionData>,
            &mut Vec<u8>,
        ) -> Result<(), Error>,
    ) -> Result<(), RecordsError> {
        self.check_phase()?;
        // It looks at what it has of the next record, and that must be what it saw last.
        let mut unfinished = std::mem::take(&mut self.unfinished);
        let mut at = 0;
        let result = loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut unfinished[at..]);
            let next = match state {
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    RecordsStep::Stop(encrypt(traffic, out))
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, out);
                    RecordsStep::More
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    RecordsStep::More
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.phase = RecordsPhase::PeerClosed;
                    RecordsStep::More
                }
                Ok(_) => RecordsStep::Stop(Err(Error::HandshakeNotComplete)),
                Err(error) => RecordsStep::Stop(Err(error)),
            };
            at += discard;
            if let RecordsStep::Stop(result) = next {
                break result;
            }
        };
        unfinished.drain(..at.min(unfinished.len()));
        self.unfinished = unfinished;
        result.map_err(RecordsError)
    }

    /// A connection that has failed is asked for nothing.
    fn check_phase(&self) -> Result<(), RecordsError> {
        match self.phase {
            RecordsPhase::Failed => {
                Err(RecordsError(Error::General("it has failed before".into())))
            }
            _ => Ok(()),
        }
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.unfinished = Vec::new();
        } else {
            self.unfinished.clear();
            self.unfinished.extend_from_slice(rest);
        }
    }

    /// The last bytes that a failed connection must send.
    fn last_words(&mut self, records: &mut [u8], answer: &mut Vec<u8>) {
        // Asked first: with nothing to say it would look at the same records again, and fail again.
        while self.connection.wants_write() {
            match self.connection.process_tls_records(records).state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, answer),
                _ => return,
            }
        }
    }
}

impl fmt::Debug for ServerRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerRecords")
            .field("phase", &self.phase)
            .field("unfinished", &self.unfinished.len())
            .finish()
    }
}

enum RecordsStep {
    More,
    Stop(Result<(), Error>),
}

/// Puts a message of the handshake behind `out`.
/// Does what a state asks for.
#[inline]
fn take(
    state: ConnectionState<'_, '_, ServerConnectionData>,
    phase: &mut RecordsPhase,
    plaintext: &mut [u8],
    opened: &mut usize,
    discard: &mut usize,
    answer: &mut Vec<u8>,
) -> RecordsStep {
    match state {
        ConnectionState::ReadTraffic(traffic) => match read(traffic, plaintext, opened, discard) {
            Ok(()) => RecordsStep::More,
            Err(error) => RecordsStep::Stop(Err(error)),
        },
        ConnectionState::EncodeTlsData(data) => {
            encode(data, answer);
            RecordsStep::More
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            RecordsStep::More
        }
        ConnectionState::PeerClosed => {
            *phase = RecordsPhase::PeerClosed;
            RecordsStep::More
        }
        ConnectionState::WriteTraffic(_) => {
            if *phase == RecordsPhase::Handshake {
                *phase = RecordsPhase::Open;
            }
            RecordsStep::Stop(Ok(()))
        }
        ConnectionState::BlockedHandshake | ConnectionState::Closed => RecordsStep::Stop(Ok(())),
        // Early data is never allowed, so it never comes.
        _ => RecordsStep::Stop(Err(Error::General("a state that was not asked for".into()))),
    }
}

/// Copies the plaintext of all records that are here behind `opened` bytes, and adds to `discard` what they took.
#[inline]
fn read(
    mut traffic: ReadTraffic<'_, '_, ServerConnectionData>,
    plaintext: &mut [u8],
    opened: &mut usize,
    discard: &mut usize,
) -> Result<(), Error> {
    while let Some(record) = traffic.next_record() {
        let record = record?;
        *discard += record.discard;
        let end = *opened + record.payload.len();
        let Some(place) = plaintext.get_mut(*opened..end) else {
            return Err(Error::General("no room".into()));
        };
        place.copy_from_slice(record.payload);
        *opened = end;
    }
    Ok(())
}

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let start = out.len();
    let mut room = FLIGHT;
    loop {
        out.resize(start + room, 0);
        match data.encode(&mut out[start..]) {
            Ok(bytes) => return out.truncate(start + bytes),
            Err(EncodeError::InsufficientSize(needs)) => room = needs.required_size,
            Err(EncodeError::AlreadyEncoded) => return out.truncate(start),
        }
    }
}

/// Has `encrypt` write behind `out`, with `room` or as much as it asks for.
fn fill(
    out: &mut Vec<u8>,
    mut room: usize,
    mut encrypt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), Error> {
    let start = out.len();
    loop {
        out.resize(start + room, 0);
        match encrypt(&mut out[start..]) {
            Ok(bytes) => {
                out.truncate(start + bytes);
                return Ok(());
            }
            // It has just got that much: it would ask for ever.
            Err(EncryptError::InsufficientSize(needs)) if needs.required_size > room => {
                room = needs.required_size;
            }
            Err(_) => {
                out.truncate(start);
                return Err(Error::EncryptError);
            }
        }
    }
}

/// Why a connection's TLS cannot continue.
#[derive(Debug, Clone)]
pub struct RecordsError(Error);

impl RecordsError {
    /// The peer speaks no TLS at all: it is something else that has lost its way, not an attack on the keys.
    pub fn is_plain_text(&self) -> bool {
        matches!(self.0, Error::InvalidMessage(_))
    }
}

impl fmt::Display for RecordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Error::NoCertificatesPresented => f.write_str("the client has no certificate"),
            Error::InvalidCertificate(error) => match error {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    f.write_str("the client's certificate has expired")
                }
                CertificateError::UnknownIssuer => {
                    f.write_str("no trusted issuer has signed the client's certificate")
                }
                error => write!(f, "the client's certificate: {error}"),
            },
            Error::NoApplicationProtocol => {
                f.write_str("the client speaks none of the protocols spoken here (ALPN)")
            }
            Error::AlertReceived(AlertDescription::UnknownCA) => {
                f.write_str("the client does not trust the issuer of our certificate")
            }
            Error::AlertReceived(alert) => write!(f, "the client refused: {alert:?}"),
            Error::InvalidMessage(problem) => write!(f, "what came is no TLS: {problem:?}"),
            Error::HandshakeNotComplete => f.write_str("the handshake has not ended"),
            error => error.fmt(f),
        }
    }
}

impl std::error::Error for RecordsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
