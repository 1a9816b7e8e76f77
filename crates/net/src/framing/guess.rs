//! Guesses the protocol of input that breaks a framing: usually a client that speaks something else.

use std::fmt;

use super::decoded::Decoded;
use super::kinds::Framing;
use super::length::{Counts, Endian, Length};

/// The likely protocol of input that breaks a framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guess {
    /// HTTP, from a client.
    HttpRequest,
    /// HTTP, from a server.
    HttpResponse,
    /// The first record of a TLS connection.
    TlsHello,
    /// The banner of SSH.
    Ssh,
    /// A PROXY protocol header, as load balancers send it.
    ProxyHeader,
    /// Another length field: what it counts, and its byte order.
    OtherLength {
        /// What it seems to count, if that differs from the framing.
        counts: Option<Counts>,
        /// Its byte order, if that differs from the framing.
        endian: Option<Endian>,
    },
    /// Printable characters.
    Text,
}

/// Guesses why `input` breaks `framing` at byte `at`, where a message should begin.
///
/// `input` is as much as is known of the stream, from the beginning of some message on. For logs and
/// errors only: a peer can make it say anything.
pub fn guess(framing: &Framing, input: &[u8], at: usize) -> Option<Guess> {
    let message = input.get(at..)?;
    foreign_protocol(input)
        .or_else(|| foreign_protocol(message))
        .or_else(|| match framing {
            Framing::Length(length) => other_length(length, input),
            _ => None,
        })
        .or_else(|| is_text(message).then_some(Guess::Text))
}

fn foreign_protocol(input: &[u8]) -> Option<Guess> {
    /// RFC 9110 §9 and RFC 5789; PRI opens HTTP/2 (RFC 9113 §3.4).
    const METHODS: [&[u8]; 10] = [
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"CONNECT ",
        b"TRACE ",
        b"PRI * HTTP/2",
    ];
    const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    if METHODS.iter().any(|method| input.starts_with(method)) {
        return Some(Guess::HttpRequest);
    }
    if input.starts_with(b"HTTP/1.") {
        return Some(Guess::HttpResponse);
    }
    if input.starts_with(b"SSH-") {
        return Some(Guess::Ssh);
    }
    if input.starts_with(b"PROXY ") || input.starts_with(PROXY_V2) {
        return Some(Guess::ProxyHeader);
    }
    match input {
        // A handshake record (RFC 8446 §5.1); behind its length a ClientHello or ServerHello, if so much is there.
        [22, 3, 0..=4, _, _, rest @ ..] if matches!(rest.first(), None | Some(1 | 2)) => {
            Some(Guess::TlsHello)
        }
        _ => None,
    }
}

/// Looks for the one setting, or the two, under which the input falls into whole messages.
fn other_length(length: &Length, input: &[u8]) -> Option<Guess> {
    let other_endian = match length.endian {
        Endian::Big => Endian::Little,
        Endian::Little => Endian::Big,
    };
    let other_counts: &[Counts] = match length.counts {
        Counts::Payload => &[Counts::Message],
        Counts::Message => &[Counts::Payload],
        Counts::From(_) => &[Counts::Payload, Counts::Message],
    };
    let endians: &[Option<Endian>] = match length.width {
        1 => &[None],
        _ => &[None, Some(other_endian)],
    };
    for &endian in endians {
        for counts in [None].into_iter().chain(other_counts.iter().map(Some)) {
            let other = Length {
                counts: counts.copied().unwrap_or(length.counts),
                endian: endian.unwrap_or(length.endian),
                ..length.clone()
            };
            if other != *length && falls_into_messages(&other, input) {
                return Some(Guess::OtherLength {
                    counts: counts.copied(),
                    endian,
                });
            }
        }
    }
    None
}

/// Whether the input is whole messages and nothing else; after two of them one may be unfinished.
fn falls_into_messages(length: &Length, input: &[u8]) -> bool {
    /// More would prove nothing more.
    const ENOUGH: usize = 16;
    let mut rest = input;
    let mut is_empty = true;
    for messages in 0..ENOUGH {
        match length.decode(rest) {
            Ok(Decoded::Message {
                start,
                end,
                consumed,
                ..
            }) => {
                is_empty &= start == end;
                rest = &rest[consumed..];
            }
            Ok(_) => return messages >= 1 && !is_empty && (rest.is_empty() || messages >= 2),
            Err(_) => return false,
        }
    }
    !is_empty
}

fn is_text(message: &[u8]) -> bool {
    /// Fewer could be anything.
    const LEAST: usize = 4;
    let head = &message[..message.len().min(16)];
    head.len() >= LEAST
        && head
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n'))
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HttpRequest => "looks like an HTTP request",
            Self::HttpResponse => "looks like an HTTP response",
            Self::TlsHello => "looks like a TLS hello",
            Self::Ssh => "looks like an SSH banner",
            Self::ProxyHeader => "looks like a PROXY protocol header",
            Self::Text => "looks like text",
            Self::OtherLength { counts, endian } => {
                f.write_str(match (counts, endian) {
                    (Some(_), _) => "looks like a length that counts the other way: ",
                    _ => "looks like a length in the other byte order: ",
                })?;
                return other_settings(f, *counts, *endian);
            }
        })
    }
}

/// The settings that would fit, as a configuration writes them.
fn other_settings(
    f: &mut fmt::Formatter<'_>,
    counts: Option<Counts>,
    endian: Option<Endian>,
) -> fmt::Result {
    f.write_str("try ")?;
    match counts {
        Some(Counts::Payload) => f.write_str("counts = \"payload\"")?,
        Some(Counts::Message) => f.write_str("counts = \"message\"")?,
        Some(Counts::From(from)) => write!(f, "body = {from}")?,
        None => {}
    }
    if counts.is_some() && endian.is_some() {
        f.write_str(" and ")?;
    }
    match endian {
        Some(Endian::Big) => f.write_str("endian = \"big\""),
        Some(Endian::Little) => f.write_str("endian = \"little\""),
        None => Ok(()),
    }
}
