//! WebSocket frames, the server's side (RFC 6455 §5 to §7).
//!
//! The handshake is HTTP's matter; here is only [`accept_key`], which answers it.

pub(in crate::framing) mod assembly;
pub mod deflate;
pub(in crate::framing) mod frame;
pub(in crate::framing) mod violation;

use data_encoding::BASE64;

use super::control_frame::ControlFrame;
use super::decoded::{Decoded, DecoderState};
use super::envelope::Envelope;
use super::error::FramingError;
use assembly::{Assembly, MessageKind};
use deflate::{InflateError, Inflater};
use frame::{DEFLATED, FIN, MASKED, RESERVED_BITS, write_length};

pub use frame::{Opcode, client_frame, close_frame, is_close_code, unmask, whole_frame};
pub use violation::{MAX_CONTROL_BYTES, Violation};

/// A frame's header, checked.
struct Header {
    is_final: bool,
    /// The first frame of a compressed message.
    is_deflated: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Where the payload begins and ends in the input.
    start: usize,
    end: usize,
}

/// With an inflater, messages may be compressed.
pub(super) fn decode(
    state: &mut DecoderState,
    max: u64,
    input: &mut [u8],
    inflater: Option<&mut Inflater>,
) -> Result<Decoded, FramingError> {
    let header = match parse(state, max, input, inflater.is_some())? {
        Parsed::Header(header) if header.end <= input.len() => header,
        Parsed::Header(Header { end: need, .. }) | Parsed::Need(need) => {
            return Ok(Decoded::Incomplete { need });
        }
    };
    let Header { start, end, .. } = header;
    let payload = &mut input[start..end];
    unmask(payload, header.mask);
    match header.opcode {
        Opcode::Text | Opcode::Binary if header.is_final && header.is_deflated => {
            let text = header.opcode == Opcode::Text;
            *state = DecoderState::Assembled(inflate(payload, text, max, inflater)?);
            Ok(Decoded::Assembled {
                consumed: end,
                text,
            })
        }
        Opcode::Text | Opcode::Binary if header.is_final => {
            let text = header.opcode == Opcode::Text;
            if text && std::str::from_utf8(payload).is_err() {
                return Err(Violation::NotUtf8.into());
            }
            Ok(Decoded::Message {
                start,
                end,
                consumed: end,
                text,
            })
        }
        Opcode::Text | Opcode::Binary | Opcode::Continuation => {
            fragment(state, &header, payload, max, inflater)
        }
        Opcode::Ping => Ok(Decoded::Reply {
            consumed: end,
            bytes: ControlFrame::new(Opcode::Pong, payload),
        }),
        Opcode::Pong => Ok(Decoded::Nothing { consumed: end }),
        Opcode::Close => {
            let code = parse_close(payload)?;
            let code_bytes = payload.len().min(2);
            Ok(Decoded::Close {
                consumed: end,
                // The code alone is sent back, as §5.5.1 has it.
                reply: ControlFrame::new(Opcode::Close, &payload[..code_bytes]),
                code,
                start: start + code_bytes,
                end,
            })
        }
    }
}

/// The frame at the beginning of the input.
enum Parsed {
    Header(Header),
    /// Less than a header; the input must be so long, at least, to get further.
    Need(usize),
}

/// Reads the header that the input begins with, and refuses it at the first byte that breaks a rule.
fn parse(
    state: &DecoderState,
    max: u64,
    input: &[u8],
    may_deflate: bool,
) -> Result<Parsed, FramingError> {
    let Some(&first) = input.first() else {
        return Ok(Parsed::Need(2));
    };
    let begun = parse_first(state, max, first, may_deflate)?;
    let opcode = begun.opcode;
    let Some(&second) = input.get(1) else {
        return Ok(Parsed::Need(2));
    };
    if second & MASKED == 0 {
        return Err(Violation::Unmasked.into());
    }
    let short = second & !MASKED;
    if opcode.is_control() && usize::from(short) > MAX_CONTROL_BYTES {
        return Err(Violation::ControlTooLong.into());
    }
    let rest = &input[2..];
    let field = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(len) = parse_length(short, rest)? else {
        return Ok(Parsed::Need(2 + field));
    };
    // Control frames do not count: they are bounded by themselves.
    let size = len.saturating_add(begun.kept as u64);
    if size > begun.most && !opcode.is_control() {
        return Err(FramingError::TooLarge { size, max });
    }
    let start = 2 + field + 4;
    let Some(mask) = rest[field..].first_chunk() else {
        return Ok(Parsed::Need(start));
    };
    Ok(Parsed::Header(Header {
        is_final: begun.is_final,
        is_deflated: begun.is_deflated,
        opcode,
        mask: *mask,
        start,
        // On a machine whose memory cannot hold it, it never becomes complete.
        end: usize::try_from(len)
            .unwrap_or(usize::MAX)
            .saturating_add(start),
    }))
}

/// What the first byte of a frame says.
struct FirstByte {
    is_final: bool,
    is_deflated: bool,
    opcode: Opcode,
    /// How long the fragments are that it continues.
    kept: usize,
    /// How long its message may be, as it is sent.
    most: u64,
}

#[inline]
fn parse_first(
    state: &DecoderState,
    max: u64,
    first: u8,
    may_deflate: bool,
) -> Result<FirstByte, Violation> {
    let is_deflated = may_deflate && first & RESERVED_BITS == DEFLATED;
    if first & RESERVED_BITS != 0 && !is_deflated {
        return Err(Violation::ReservedBits);
    }
    let is_final = first & FIN != 0;
    let opcode = Opcode::of(first)?;
    // A message says so once, in its first frame (RFC 7692 §6.1).
    if is_deflated && !matches!(opcode, Opcode::Text | Opcode::Binary) {
        return Err(Violation::ReservedBits);
    }
    let (kept, is_deflated_before) = match (opcode, state) {
        _ if opcode.is_control() => {
            if !is_final {
                return Err(Violation::ControlFragmented);
            }
            (0, false)
        }
        (Opcode::Continuation, DecoderState::Fragments(assembly)) => {
            (assembly.payload.len(), assembly.is_deflated())
        }
        (Opcode::Continuation, _) => return Err(Violation::NothingToContinue),
        (_, DecoderState::Fragments(_)) => return Err(Violation::FragmentsUnfinished),
        _ => (0, false),
    };
    let most = match is_deflated || is_deflated_before {
        true => most_deflated(max),
        false => max,
    };
    Ok(FirstByte {
        is_final,
        is_deflated,
        opcode,
        kept,
        most,
    })
}

/// The length of the payload (§5.2), the seven bits of the second byte being `short` and `rest` following them. `None`:
/// not all of it is here.
#[inline]
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<u64>, Violation> {
    let (len, least) = match short {
        126 => match rest.first_chunk() {
            Some(field) => (u64::from(u16::from_be_bytes(*field)), 126),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(field) => (u64::from_be_bytes(*field), 1 << 16),
            None => return Ok(None),
        },
        _ => (u64::from(short), 0),
    };
    if len < least {
        return Err(Violation::LengthNotMinimal);
    }
    if len >> 63 != 0 {
        return Err(Violation::LengthNegative);
    }
    Ok(Some(len))
}

/// The longest that a message of up to `max` bytes may be when it is compressed: compression of random bytes adds a little
/// (zlib's `deflateBound`).
fn most_deflated(max: u64) -> u64 {
    max.saturating_add(max / 7).saturating_add(64)
}

/// Decompresses a message.
fn inflate(
    payload: &[u8],
    text: bool,
    max: u64,
    inflater: Option<&mut Inflater>,
) -> Result<Vec<u8>, FramingError> {
    // No message is marked as compressed without one.
    let inflater = inflater.ok_or(Violation::ReservedBits)?;
    let message = inflater
        .inflate(payload, max)
        .map_err(|error| match error {
            InflateError::Corrupt => Violation::Corrupt.into(),
            InflateError::TooLarge => FramingError::TooLarge {
                size: max.saturating_add(1),
                max,
            },
        })?;
    if text && std::str::from_utf8(&message).is_err() {
        return Err(Violation::NotUtf8.into());
    }
    Ok(message)
}

/// Keeps a fragment; the state is known to fit it. A compressed message is decompressed when it is whole.
fn fragment(
    state: &mut DecoderState,
    header: &Header,
    payload: &[u8],
    max: u64,
    inflater: Option<&mut Inflater>,
) -> Result<Decoded, FramingError> {
    let consumed = header.end;
    let mut assembly = match std::mem::take(state) {
        DecoderState::Fragments(assembly) => assembly,
        _ => Box::new(Assembly {
            payload: Vec::new(),
            kind: match header.opcode {
                opcode if header.is_deflated => MessageKind::Deflated {
                    text: opcode == Opcode::Text,
                },
                Opcode::Text => MessageKind::Text { checked: 0 },
                _ => MessageKind::Binary,
            },
        }),
    };
    assembly.append(payload)?;
    if !header.is_final {
        *state = DecoderState::Fragments(assembly);
        return Ok(Decoded::Nothing { consumed });
    }
    let (payload, text) = match assembly.kind {
        MessageKind::Deflated { text } => (inflate(&assembly.payload, text, max, inflater)?, text),
        _ => assembly.finish()?,
    };
    *state = DecoderState::Assembled(payload);
    Ok(Decoded::Assembled { consumed, text })
}

/// The status code of a close frame, if it has one.
fn parse_close(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Violation::CloseTruncated)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !is_close_code(code) {
        return Err(Violation::CloseCode(code));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::NotUtf8);
    }
    Ok(Some(code))
}

/// The answer to a client's `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
pub fn accept_key(key: &str) -> String {
    /// The text that every server appends to the key.
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

    let mut hash = sha1_smol::Sha1::from(key.as_bytes());
    hash.update(GUID);
    BASE64.encode(&hash.digest().bytes())
}

/// The header of a compressed message, whose payload is what a [`Deflater`](deflate::Deflater) makes of it.
pub fn deflated_envelope(len: usize, text: bool) -> Envelope<'static> {
    let mut envelope = envelope(len, text);
    envelope.prefix[0] |= DEFLATED;
    envelope
}

#[inline]
pub(super) fn envelope<'a>(len: usize, text: bool) -> Envelope<'a> {
    let opcode = if text { Opcode::Text } else { Opcode::Binary };
    let mut envelope = Envelope::empty();
    envelope.prefix[0] = FIN | opcode as u8;
    envelope.prefix_len = 1 + write_length(len, 0, &mut envelope.prefix[1..]) as u8;
    envelope
}
