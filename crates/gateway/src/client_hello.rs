//! The hello with which a TLS client begins (RFC 8446 §4.1.2), read without its keys and without a socket: what it asks for
//! decides where its connection goes, and the connection is passed on as it came.

use std::fmt::Write;

#[cfg(any(test, fuzzing))]
pub mod invariants;
mod names;
#[cfg(test)]
mod tests;

/// A record's header in bytes: kind, version, length.
const RECORD_HEADER: usize = 5;
/// The header of a message of the handshake in bytes: kind, length.
const MESSAGE_HEADER: usize = 4;
/// Kinds of records and messages.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Extensions (RFC 6066 §3, RFC 7301 §3.1, RFC 8446 §4.2.1).
const SERVER_NAME: u16 = 0;
const PROTOCOLS: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const SUPPORTED_GROUPS: u16 = 10;
/// The only kind of name that there is.
const HOST_NAME: u8 = 0;
/// Names of protocols after this number of bytes are left out: real lists have some dozens of bytes, and relays keep them.
const LONGEST_LIST: usize = 1024;
/// Suites and groups behind this number are left out.
const MOST_OFFERED: usize = 256;
/// The longest name of a host in bytes.
const LONGEST_NAME: usize = 255;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstBytes {
    /// A hello that goes on: it has at least this number of bytes in all.
    Unfinished(usize),
    /// A whole hello.
    Hello(ClientHello),
    /// Something else.
    Other,
}

/// What a TLS client asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// The host, as it is written there; empty if it names none that a host could be.
    pub(crate) sni: Box<str>,
    /// The protocols that it offers, with commas between them.
    pub(crate) alpn: Box<str>,
    /// The newest version that it offers, as OpenSSL writes it; empty if it is unknown.
    pub(crate) version: &'static str,
    /// The suites and groups that it offers.
    pub(crate) offer: Offer,
}

/// What a client offers to choose from, by the numbers of IANA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) suites: Box<[u16]>,
    pub(crate) groups: Box<[u16]>,
}

/// It breaks the protocol.
struct Malformed;

/// Reads the hello at the front of these bytes.
pub(crate) fn read(received: &[u8]) -> FirstBytes {
    match received {
        [HANDSHAKE, ..] => read_records(received),
        [first, ..] if *first >= 0x80 => read_old(received),
        [] => FirstBytes::Unfinished(RECORD_HEADER),
        _ => FirstBytes::Other,
    }
}

/// The hello of SSL 2, in which clients of newer versions were once packed. It has neither names nor protocols.
fn read_old(received: &[u8]) -> FirstBytes {
    match received {
        [_, _, CLIENT_HELLO, major @ (0 | 3), minor, ..] => FirstBytes::Hello(ClientHello {
            version: version_name([*major, *minor]),
            ..ClientHello::default()
        }),
        [_] | [_, _] | [_, _, CLIENT_HELLO] | [_, _, CLIENT_HELLO, 0 | 3] => {
            FirstBytes::Unfinished(RECORD_HEADER)
        }
        _ => FirstBytes::Other,
    }
}

/// A message in records of its own.
fn read_records(received: &[u8]) -> FirstBytes {
    let mut message = Vec::new();
    let mut missing = MESSAGE_HEADER;
    let mut rest = received;
    loop {
        match rest {
            [] | [HANDSHAKE] | [HANDSHAKE, 3, ..] => {}
            _ => return FirstBytes::Other,
        }
        let before = received.len() - rest.len();
        let Some((header, behind)) = rest.split_first_chunk::<RECORD_HEADER>() else {
            return FirstBytes::Unfinished(before + RECORD_HEADER + missing);
        };
        let [.., high, low] = *header;
        let of_record = usize::from(u16::from_be_bytes([high, low]));
        let part = &behind[..of_record.min(behind.len())];
        message.extend_from_slice(part);
        missing = match message_length(&message) {
            Err(Malformed) => return FirstBytes::Other,
            Ok(length) if length <= message.len() => {
                return match read_message(&message[MESSAGE_HEADER..length]) {
                    Ok(hello) => FirstBytes::Hello(hello),
                    Err(Malformed) => FirstBytes::Other,
                };
            }
            Ok(length) => length - message.len(),
        };
        let coming = of_record - part.len();
        if coming > 0 {
            // What does not fit into this record needs another one at least.
            let headers = if missing > coming { RECORD_HEADER } else { 0 };
            return FirstBytes::Unfinished(received.len() + headers + missing);
        }
        rest = &behind[of_record..];
    }
}

/// The length of the message with its header, as far as it is known.
fn message_length(message: &[u8]) -> Result<usize, Malformed> {
    match message {
        [] => Ok(MESSAGE_HEADER),
        [CLIENT_HELLO, high, middle, low, ..] => {
            let length = u32::from_be_bytes([0, *high, *middle, *low]);
            Ok(MESSAGE_HEADER + length as usize)
        }
        [CLIENT_HELLO, ..] => Ok(MESSAGE_HEADER),
        _ => Err(Malformed),
    }
}

fn read_message(message: &[u8]) -> Result<ClientHello, Malformed> {
    let mut rest = HelloFields(message);
    let [major, minor] = *rest.chunk::<2>()?;
    let mut version = [major, minor];
    rest.chunk::<32>()?;
    rest.short_field()?;
    let suites = rest.long_field()?;
    rest.short_field()?;
    let mut hello = ClientHello::default();
    hello.offer.suites = numbers(suites);
    if !rest.is_empty() {
        let mut extensions = HelloFields(rest.long_field()?);
        while !extensions.is_empty() {
            let kind = u16::from_be_bytes(*extensions.chunk::<2>()?);
            let content = HelloFields(extensions.long_field()?);
            match kind {
                SERVER_NAME => hello.sni = host(content)?,
                PROTOCOLS => hello.alpn = protocols(content)?,
                SUPPORTED_GROUPS => hello.offer.groups = groups(content)?,
                SUPPORTED_VERSIONS => version = newest(content, version)?,
                _ => {}
            }
        }
    }
    hello.version = version_name(version);
    Ok(hello)
}

fn host(mut content: HelloFields<'_>) -> Result<Box<str>, Malformed> {
    let mut names = HelloFields(content.long_field()?);
    while !names.is_empty() {
        let [kind] = *names.chunk::<1>()?;
        let name = names.long_field()?;
        // It may become part of an address or of a line in a log.
        let is_host = name.len() <= LONGEST_NAME && name.iter().all(u8::is_ascii_graphic);
        if kind == HOST_NAME && is_host {
            return Ok(String::from_utf8_lossy(name).into());
        }
    }
    Ok(Box::default())
}

fn protocols(mut content: HelloFields<'_>) -> Result<Box<str>, Malformed> {
    let mut names = HelloFields(content.long_field()?);
    let mut list = String::new();
    let mut is_first = true;
    while !names.is_empty() {
        let name = names.short_field()?;
        if list.len() >= LONGEST_LIST {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            list.push(',');
        }
        // A string takes every write.
        let _ = write!(list, "{}", name.escape_ascii());
    }
    Ok(list.into())
}

fn groups(mut content: HelloFields<'_>) -> Result<Box<[u16]>, Malformed> {
    content.long_field().map(numbers)
}

fn numbers(list: &[u8]) -> Box<[u16]> {
    let (pairs, _) = list.as_chunks();
    let pairs = pairs.iter().take(MOST_OFFERED);
    pairs.map(|pair| u16::from_be_bytes(*pair)).collect()
}

/// The newest of the versions that are known: clients put others in between, to keep servers tolerant (RFC 8701).
fn newest(mut content: HelloFields<'_>, offered: [u8; 2]) -> Result<[u8; 2], Malformed> {
    let mut versions = HelloFields(content.short_field()?);
    let mut newest = offered;
    while !versions.is_empty() {
        let version = *versions.chunk::<2>()?;
        if !version_name(version).is_empty() && version > newest {
            newest = version;
        }
    }
    Ok(newest)
}

fn version_name(version: [u8; 2]) -> &'static str {
    match version {
        [0, 2] => "SSLv2",
        [3, 0] => "SSLv3",
        [3, 1] => "TLSv1",
        [3, 2] => "TLSv1.1",
        [3, 3] => "TLSv1.2",
        [3, 4] => "TLSv1.3",
        _ => "",
    }
}

/// Fields one after the other.
struct HelloFields<'a>(&'a [u8]);

impl<'a> HelloFields<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(chunk)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// One whose length is in one byte.
    fn short_field(&mut self) -> Result<&'a [u8], Malformed> {
        let [length] = *self.chunk::<1>()?;
        self.bytes(usize::from(length))
    }

    /// One whose length is in two bytes.
    fn long_field(&mut self) -> Result<&'a [u8], Malformed> {
        let length = u16::from_be_bytes(*self.chunk::<2>()?);
        self.bytes(usize::from(length))
    }
}
