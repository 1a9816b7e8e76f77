//! The TLS of one connection, without its socket: as its server or as its client.
//!
//! It uses rustls's unbuffered interface: an idle connection keeps its keys and nothing else. The received part of an
//! unfinished record stays here; plaintext and bytes to send never do.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, ReadTraffic, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CommonState, Error, HandshakeKind, ProtocolVersion};

use super::asked;
use super::facts::openssl_name;
use super::records_error::RecordsError;
use super::server::{ClientVerifier, ServerTls};
use super::session::TlsVersion;

/// The most plaintext in one record, in bytes (RFC 8446 §5.1).
pub const MAX_PLAINTEXT: usize = 16 * 1024;
/// The most bytes that a record adds to its plaintext: header, explicit nonce, content type, tag.
const OVERHEAD: usize = 5 + 8 + 1 + 16;
/// The assumed size of a message of the handshake before its size is known.
const FLIGHT: usize = 2 * 1024;

/// The TLS of one connection, without its socket.
pub struct TlsRecords {
    connection: RecordsConnection,
    /// The received part of an unfinished record, or of an unfinished message of the handshake.
    unfinished: Vec<u8>,
    phase: RecordsPhase,
    /// Of a server's: what its client has shown and asked for.
    client: Option<Box<ClientSeen>>,
}

/// What a client has asked for, and who judges what it has shown.
struct ClientSeen {
    server_name: Option<Box<str>>,
    judge: Option<Arc<ClientVerifier>>,
    /// Nothing was received so far.
    is_new: bool,
    /// What the judge has said, once it was asked.
    verdict: OnceLock<Box<ClientVerdict>>,
}

/// What has come of the certificate that a client was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientVerdict {
    /// It has shown none, or was not asked.
    None,
    /// It is good.
    Success,
    /// It is not, for this reason.
    Failed(String),
}

/// The side that this is.
enum RecordsConnection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl RecordsConnection {
    fn common(&self) -> &CommonState {
        match self {
            Self::Server(server) => server,
            Self::Client(client) => client,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordsPhase {
    Handshake,
    Open,
    /// The peer has said that it sends nothing more.
    PeerClosed,
    Failed,
}

/// The result of [`TlsRecords::open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// Bytes of plaintext.
    pub plaintext: usize,
    /// The peer has said that it sends nothing more.
    pub is_over: bool,
}

impl TlsRecords {
    /// An accepted connection whose handshake has not begun.
    ///
    /// # Errors
    /// The system has no randomness left.
    pub fn server(tls: &ServerTls) -> Result<Self, RecordsError> {
        let connection = UnbufferedServerConnection::new(tls.config.clone());
        let connection = connection.map_err(RecordsError::of_client)?;
        let client = ClientSeen {
            server_name: None,
            judge: tls.judge.clone(),
            is_new: true,
            verdict: OnceLock::new(),
        };
        Ok(Self {
            client: Some(Box::new(client)),
            ..Self::new(RecordsConnection::Server(connection))
        })
    }

    /// A connection to a server whose handshake has not begun. [`open`](Self::open) of no bytes gives what must be sent first.
    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        Self::new(RecordsConnection::Client(connection))
    }

    fn new(connection: RecordsConnection) -> Self {
        Self {
            connection,
            unfinished: Vec::new(),
            phase: RecordsPhase::Handshake,
            client: None,
        }
    }

    /// Whether the handshake has not ended.
    pub fn is_handshaking(&self) -> bool {
        self.phase == RecordsPhase::Handshake
    }

    /// Whether this is a server's that has received nothing so far: another one may still take its place.
    pub fn is_new(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.is_new)
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
        if let Some(client) = &mut self.client {
            client.is_new = false;
        }
        if self.is_handshaking() {
            // What another handshake has left on this thread.
            asked::forget();
        }
        let mut at = 0;
        let mut opened = 0;
        let result = loop {
            let (rest, phase) = (&mut records[at..], &mut self.phase);
            let (discard, next) = match &mut self.connection {
                RecordsConnection::Server(server) => {
                    let status = server.process_tls_records(rest);
                    take(status, phase, plaintext, &mut opened, answer)
                }
                RecordsConnection::Client(client) => {
                    let status = client.process_tls_records(rest);
                    take(status, phase, plaintext, &mut opened, answer)
                }
            };
            at += discard;
            if let RecordsStep::Stop(result) = next {
                break result;
            }
            // Everything is opened, and there is nothing to send: rustls need not be asked again.
            if at == records.len()
                && self.phase == RecordsPhase::Open
                && !self.connection.common().wants_write()
            {
                break Ok(());
            }
        };
        if let Some(client) = &mut self.client
            && let Some(name) = asked::take_name()
        {
            client.server_name = Some(name);
        }
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
                asked::correct(answer);
                Err(self.failure(error))
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
        self.write(out, room, Words::Plaintext(plaintext))
    }

    /// Says that nothing more will be sent, and puts that behind `out`. Says nothing where nothing can be said.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if matches!(self.phase, RecordsPhase::Open | RecordsPhase::PeerClosed)
            && self.write(out, FLIGHT, Words::Farewell).is_err()
        {
            self.phase = RecordsPhase::Failed;
        }
    }

    /// The version that was agreed on; `None` before the handshake has ended.
    pub fn version(&self) -> Option<TlsVersion> {
        match self.connection.common().protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some(TlsVersion::Tls12),
            ProtocolVersion::TLSv1_3 => Some(TlsVersion::Tls13),
            _ => None,
        }
    }

    /// The protocol that was agreed on (ALPN).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.connection.common().alpn_protocol()
    }

    /// The client's certificate, in DER, if it was asked for one and has one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.connection
            .common()
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(AsRef::as_ref)
    }

    /// The host that the client has asked for (SNI); `None` on a client's side, too.
    pub fn server_name(&self) -> Option<&str> {
        self.client.as_ref()?.server_name.as_deref()
    }

    /// The cipher suite that was agreed on, as OpenSSL names it.
    pub fn cipher(&self) -> Option<String> {
        let suite = self.connection.common().negotiated_cipher_suite()?;
        Some(openssl_name(suite.suite()))
    }

    /// The group of the key exchange.
    pub fn curve(&self) -> Option<String> {
        let group = self.connection.common().negotiated_key_exchange_group()?;
        Some(format!("{:?}", group.name()))
    }

    /// What has come of the certificate that the client was asked for. It is verified again for that, once.
    pub fn client_verdict(&self) -> ClientVerdict {
        let chain = self.connection.common().peer_certificates();
        let (Some([leaf, intermediates @ ..]), Some(client)) = (chain, &self.client) else {
            return ClientVerdict::None;
        };
        let Some(judge) = &client.judge else {
            return ClientVerdict::None;
        };
        let verdict = client.verdict.get_or_init(|| {
            let judged = judge.judge(leaf, intermediates);
            Box::new(match judged {
                Ok(()) => ClientVerdict::Success,
                Err(why) => ClientVerdict::Failed(why),
            })
        });
        (**verdict).clone()
    }

    /// Whether an earlier session was resumed; the client was verified then.
    pub fn is_resumed(&self) -> bool {
        self.connection.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends through the connection as soon as it lets us.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        words: Words<'_>,
    ) -> Result<(), RecordsError> {
        self.check_phase()?;
        // It looks at what it has of the next record, and that must be what it saw last.
        let mut unfinished = std::mem::take(&mut self.unfinished);
        let mut at = 0;
        let result = loop {
            let (records, phase) = (&mut unfinished[at..], &mut self.phase);
            let (discard, next) = match &mut self.connection {
                RecordsConnection::Server(server) => {
                    let status = server.process_tls_records(records);
                    say(status, phase, out, room, words)
                }
                RecordsConnection::Client(client) => {
                    let status = client.process_tls_records(records);
                    say(status, phase, out, room, words)
                }
            };
            at += discard;
            if let RecordsStep::Stop(result) = next {
                break result;
            }
        };
        unfinished.drain(..at.min(unfinished.len()));
        self.unfinished = unfinished;
        result.map_err(|error| self.failure(error))
    }

    /// A connection that has failed is asked for nothing.
    fn check_phase(&self) -> Result<(), RecordsError> {
        match self.phase {
            RecordsPhase::Failed => {
                Err(self.failure(Error::General("it has failed before".into())))
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
        while self.connection.common().wants_write() {
            let has_said = match &mut self.connection {
                RecordsConnection::Server(server) => {
                    encode_if_any(server.process_tls_records(records), answer)
                }
                RecordsConnection::Client(client) => {
                    encode_if_any(client.process_tls_records(records), answer)
                }
            };
            if !has_said {
                return;
            }
        }
    }

    fn failure(&self, error: Error) -> RecordsError {
        match self.connection {
            RecordsConnection::Server(_) => RecordsError::of_client(error),
            RecordsConnection::Client(_) => RecordsError::of_server(error),
        }
    }
}

impl fmt::Debug for TlsRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsRecords")
            .field("phase", &self.phase)
            .field("unfinished", &self.unfinished.len())
            .finish()
    }
}

enum RecordsStep {
    More,
    Stop(Result<(), Error>),
}

/// What is sent.
#[derive(Clone, Copy)]
enum Words<'a> {
    Plaintext(&'a [u8]),
    Farewell,
}

/// Does what a state asks for that has come of received bytes. Returns how many of them are done with.
#[inline]
fn take<Data>(
    UnbufferedStatus { mut discard, state }: UnbufferedStatus<'_, '_, Data>,
    phase: &mut RecordsPhase,
    plaintext: &mut [u8],
    opened: &mut usize,
    answer: &mut Vec<u8>,
) -> (usize, RecordsStep) {
    let step = match state {
        Err(error) => RecordsStep::Stop(Err(error)),
        Ok(ConnectionState::ReadTraffic(traffic)) => {
            match read(traffic, plaintext, opened, &mut discard) {
                Ok(()) => RecordsStep::More,
                Err(error) => RecordsStep::Stop(Err(error)),
            }
        }
        Ok(ConnectionState::EncodeTlsData(data)) => {
            encode(data, answer);
            RecordsStep::More
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            RecordsStep::More
        }
        Ok(ConnectionState::PeerClosed) => {
            *phase = RecordsPhase::PeerClosed;
            RecordsStep::More
        }
        Ok(ConnectionState::WriteTraffic(_)) => {
            if *phase == RecordsPhase::Handshake {
                *phase = RecordsPhase::Open;
            }
            RecordsStep::Stop(Ok(()))
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
            RecordsStep::Stop(Ok(()))
        }
        // Early data is never allowed, so it never comes.
        Ok(_) => RecordsStep::Stop(Err(Error::General("a state that was not asked for".into()))),
    };
    (discard, step)
}

/// Sends these words if the state allows it, and else does what it asks for. Returns how many received bytes are done with.
#[inline]
fn say<Data>(
    UnbufferedStatus { discard, state }: UnbufferedStatus<'_, '_, Data>,
    phase: &mut RecordsPhase,
    out: &mut Vec<u8>,
    room: usize,
    words: Words<'_>,
) -> (usize, RecordsStep) {
    let step = match state {
        Ok(ConnectionState::WriteTraffic(traffic)) => {
            RecordsStep::Stop(write(traffic, out, room, words))
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
            *phase = RecordsPhase::PeerClosed;
            RecordsStep::More
        }
        Ok(_) => RecordsStep::Stop(Err(Error::HandshakeNotComplete)),
        Err(error) => RecordsStep::Stop(Err(error)),
    };
    (discard, step)
}

fn write<Data>(
    mut traffic: WriteTraffic<'_, Data>,
    out: &mut Vec<u8>,
    room: usize,
    words: Words<'_>,
) -> Result<(), Error> {
    fill(out, room, |out| match words {
        Words::Plaintext(plaintext) => traffic.encrypt(plaintext, out),
        Words::Farewell => traffic.queue_close_notify(out),
    })
}

/// Puts an alert behind `out`, if there is one to send.
fn encode_if_any<Data>(status: UnbufferedStatus<'_, '_, Data>, out: &mut Vec<u8>) -> bool {
    match status.state {
        Ok(ConnectionState::EncodeTlsData(data)) => {
            encode(data, out);
            true
        }
        _ => false,
    }
}

/// Copies the plaintext of all records that are here behind `opened` bytes, and adds to `discard` what they took.
#[inline]
fn read<Data>(
    mut traffic: ReadTraffic<'_, '_, Data>,
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

/// Puts a message of the handshake behind `out`.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
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
