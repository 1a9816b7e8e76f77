//! WebSocket frames, the server's side (RFC 6455 §5 to §7).
//!
//! The handshake is HTTP's matter; here is only [`accept_key`], which answers it.

pub(in crate::framing) mod assembly;
pub(in crate::framing) mod frame;
pub(in crate::framing) mod violation;

use data_encoding::BASE64;

use super::control_frame::ControlFrame;
use super::decoded::{Decoded, DecoderState};
use super::envelope::Envelope;
use super::error::FramingError;
use assembly::{Assembly, MessageKind};
use frame::{FIN, MASKED, RESERVED_BITS, unmask, write_length};

pub use frame::{Opcode, client_frame, close_frame, is_close_code};
pub use violation::{MAX_CONTROL_BYTES, Violation};

/// A frame's header, checked.
struct Header {
    is_final: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Where the payload begins and ends in the input.
    start: usize,
    end: usize,
}

pub(super) fn decode(
    state: &mut DecoderState,
    max: u64,
    input: &mut [u8],
) -> Result<Decoded, FramingError> {
    let header = match parse(state, max, input)? {
        Parsed::Header(header) if header.end <= input.len() => header,
        Parsed::Header(Header { end: need, .. }) | Parsed::Need(need) => {
            return Ok(Decoded::Incomplete { need });
        }
    };
    let Header { start, end, .. } = header;
    let payload = &mut input[start..end];
    unmask(payload, header.mask);
    match header.opcode {
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
            fragment(state, &header, payload).map_err(FramingError::from)
        }
        Opcode::Ping => Ok(Decoded::Reply {
            consumed: end,
            bytes: ControlFrame::new(Opcode::Pong, payload),
        }),
        Opcode::Pong => Ok(Decoded::Nothing { consumed: end }),
        Opcode::Close => {
            let code = parse_close(payload)?;
            Ok(Decoded::Close {
                consumed: end,
                // The code alone is sent back, as §5.5.1 has it.
                reply: ControlFrame::new(Opcode::Close, &payload[..payload.len().min(2)]),
                code,
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
fn parse(state: &DecoderState, max: u64, input: &[u8]) -> Result<Parsed, FramingError> {
    let Some(&first) = input.first() else {
        return Ok(Parsed::Need(2));
    };
    if first & RESERVED_BITS != 0 {
        return Err(Violation::ReservedBits.into());
    }
    let is_final = first & FIN != 0;
    let opcode = Opcode::of(first)?;
    let kept = match (opcode, state) {
        _ if opcode.is_control() => {
            if !is_final {
                return Err(Violation::ControlFragmented.into());
            }
            0
        }
        (Opcode::Continuation, DecoderState::Fragments(assembly)) => assembly.payload.len(),
        (Opcode::Continuation, _) => return Err(Violation::NothingToContinue.into()),
        (_, DecoderState::Fragments(_)) => return Err(Violation::FragmentsUnfinished.into()),
        _ => 0,
    };
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
    let size = len.saturating_add(kept as u64);
    if size > max && !opcode.is_control() {
        return Err(FramingError::TooLarge { size, max });
    }
    let start = 2 + field + 4;
    let Some(mask) = rest[field..].first_chunk() else {
        return Ok(Parsed::Need(start));
    };
    Ok(Parsed::Header(Header {
        is_final,
        opcode,
        mask: *mask,
        start,
        // On a machine whose memory cannot hold it, it never becomes complete.
        end: usize::try_from(len)
            .unwrap_or(usize::MAX)
            .saturating_add(start),
    }))
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

/// Keeps a fragment; the state is known to fit it.
fn fragment(
    state: &mut DecoderState,
    header: &Header,
    payload: &[u8],
) -> Result<Decoded, Violation> {
    let consumed = header.end;
    let mut assembly = match std::mem::take(state) {
        DecoderState::Fragments(assembly) => assembly,
        _ => Box::new(Assembly {
            payload: Vec::new(),
            kind: match header.opcode {
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
    let (payload, text) = assembly.finish()?;
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

#[inline]
pub(super) fn envelope<'a>(len: usize, text: bool) -> Envelope<'a> {
    let opcode = if text { Opcode::Text } else { Opcode::Binary };
    let mut envelope = Envelope::empty();
    envelope.prefix[0] = FIN | opcode as u8;
    envelope.prefix_len = 1 + write_length(len, 0, &mut envelope.prefix[1..]) as u8;
    envelope
}
