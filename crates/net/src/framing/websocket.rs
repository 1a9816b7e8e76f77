//! WebSocket frames, the server's side (RFC 6455 §5 to §7).
//!
//! The handshake is HTTP's matter; here is only [`accept_key`], which answers it.

use std::fmt;

use data_encoding::BASE64;

use super::{Decoded, Envelope, FramingError, State};

/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL_BYTES: usize = 125;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const MASKED: u8 = 0x80;

/// What a frame is (RFC 6455 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment.
    Continuation = 0x0,
    /// UTF-8.
    Text = 0x1,
    /// Any bytes.
    Binary = 0x2,
    /// The peer closes.
    Close = 0x8,
    /// To be answered with a pong.
    Ping = 0x9,
    /// The answer.
    Pong = 0xa,
}

impl Opcode {
    fn of(first: u8) -> Result<Self, Violation> {
        match first & 0x0f {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xa => Ok(Self::Pong),
            reserved => Err(Violation::ReservedOpcode(reserved)),
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// How a frame breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit is set, and no extension was agreed on (§5.2).
    ReservedBits,
    /// An opcode without meaning (§5.2).
    ReservedOpcode(u8),
    /// A client's frame must be masked (§5.1).
    Unmasked,
    /// A length written in more bytes than it needs (§5.2).
    LengthNotMinimal,
    /// A length whose highest bit is set (§5.2).
    LengthNegative,
    /// A control frame in fragments (§5.5).
    ControlFragmented,
    /// A control frame of more than 125 bytes (§5.5).
    ControlTooLong,
    /// A continuation, and nothing to continue (§5.4).
    NothingToContinue,
    /// A new message before the fragments of the last one ended (§5.4).
    FragmentsUnfinished,
    /// A close frame with half a status code (§5.5.1).
    CloseTruncated,
    /// A status code that must not be sent (§7.4).
    CloseCode(u16),
    /// Text that is not UTF-8 (§8.1).
    NotUtf8,
}

impl Violation {
    /// The status code to close with (§7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::NotUtf8 => 1007,
            _ => 1002,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("websocket: ")?;
        match self {
            Self::ReservedBits => f.write_str("a reserved bit is set"),
            Self::ReservedOpcode(opcode) => write!(f, "opcode {opcode:#x} has no meaning"),
            Self::Unmasked => f.write_str("a frame is not masked"),
            Self::LengthNotMinimal => f.write_str("a length has more bytes than it needs"),
            Self::LengthNegative => f.write_str("a length has its highest bit set"),
            Self::ControlFragmented => f.write_str("a control frame is fragmented"),
            Self::ControlTooLong => {
                write!(f, "a control frame has more than {MAX_CONTROL_BYTES} bytes")
            }
            Self::NothingToContinue => f.write_str("a continuation has nothing to continue"),
            Self::FragmentsUnfinished => {
                f.write_str("a message begins before the fragments of the last one ended")
            }
            Self::CloseTruncated => f.write_str("a close frame has half a status code"),
            Self::CloseCode(code) => write!(f, "status code {code} must not be sent"),
            Self::NotUtf8 => f.write_str("text is not UTF-8"),
        }
    }
}

impl std::error::Error for Violation {}

impl From<Violation> for FramingError {
    fn from(violation: Violation) -> Self {
        Self::WebSocket(violation)
    }
}

/// The fragments of a message that have arrived.
#[derive(Debug)]
pub(super) struct Assembly {
    payload: Vec<u8>,
    kind: Kind,
}

/// What the fragments are to become.
#[derive(Debug)]
enum Kind {
    Binary,
    /// So many bytes are known to be UTF-8; at most three more may begin a character.
    Text {
        checked: usize,
    },
}

impl Assembly {
    pub(super) fn buffered(&self) -> usize {
        self.payload.capacity()
    }

    /// Appends a fragment. Text is checked as it grows, so that nobody sends much of what is refused.
    fn append(&mut self, fragment: &[u8]) -> Result<(), Violation> {
        self.payload.extend_from_slice(fragment);
        if let Kind::Text { checked } = &mut self.kind {
            match std::str::from_utf8(&self.payload[*checked..]) {
                Ok(valid) => *checked += valid.len(),
                Err(error) if error.error_len().is_none() => *checked += error.valid_up_to(),
                Err(_) => return Err(Violation::NotUtf8),
            }
        }
        Ok(())
    }

    /// The whole message, and whether it is text.
    fn finish(self) -> Result<(Vec<u8>, bool), Violation> {
        match self.kind {
            Kind::Binary => Ok((self.payload, false)),
            Kind::Text { checked } if checked == self.payload.len() => Ok((self.payload, true)),
            Kind::Text { .. } => Err(Violation::NotUtf8),
        }
    }
}

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
    state: &mut State,
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

/// What the input begins with.
enum Parsed {
    Header(Header),
    /// Less than a header; the input must be so long, at least, to get further.
    Need(usize),
}

/// Reads the header that the input begins with, and refuses it at the first byte that breaks a rule.
fn parse(state: &State, max: u64, input: &[u8]) -> Result<Parsed, FramingError> {
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
        (Opcode::Continuation, State::Fragments(assembly)) => assembly.payload.len(),
        (Opcode::Continuation, _) => return Err(Violation::NothingToContinue.into()),
        (_, State::Fragments(_)) => return Err(Violation::FragmentsUnfinished.into()),
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
    let (len, least, field) = match short {
        126 => match rest.first_chunk() {
            Some(field) => (u64::from(u16::from_be_bytes(*field)), 126, 2),
            None => return Ok(Parsed::Need(4)),
        },
        127 => match rest.first_chunk() {
            Some(field) => (u64::from_be_bytes(*field), 1 << 16, 8),
            None => return Ok(Parsed::Need(10)),
        },
        _ => (u64::from(short), 0, 0),
    };
    if len < least {
        return Err(Violation::LengthNotMinimal.into());
    }
    if len >> 63 != 0 {
        return Err(Violation::LengthNegative.into());
    }
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

/// Keeps a fragment; the state is known to fit it.
fn fragment(state: &mut State, header: &Header, payload: &[u8]) -> Result<Decoded, Violation> {
    let consumed = header.end;
    let mut assembly = match std::mem::take(state) {
        State::Fragments(assembly) => assembly,
        _ => Box::new(Assembly {
            payload: Vec::new(),
            kind: match header.opcode {
                Opcode::Text => Kind::Text { checked: 0 },
                _ => Kind::Binary,
            },
        }),
    };
    assembly.append(payload)?;
    if !header.is_final {
        *state = State::Fragments(assembly);
        return Ok(Decoded::Nothing { consumed });
    }
    let (payload, text) = assembly.finish()?;
    *state = State::Assembled(payload);
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

/// Whether a status code may stand in a close frame (RFC 6455 §7.4, and those registered since).
pub fn is_close_code(code: u16) -> bool {
    // 1004 has no meaning; 1005, 1006 and 1015 tell an application what no frame told.
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// A frame to be sent as it is: a pong or a close.
#[derive(Clone, Copy)]
pub struct ControlFrame {
    bytes: [u8; 2 + MAX_CONTROL_BYTES],
    len: u8,
}

impl ControlFrame {
    /// What does not fit a control frame is cut off.
    fn new(opcode: Opcode, payload: &[u8]) -> Self {
        let len = payload.len().min(MAX_CONTROL_BYTES);
        let mut bytes = [0; 2 + MAX_CONTROL_BYTES];
        bytes[0] = FIN | opcode as u8;
        bytes[1] = len as u8;
        bytes[2..2 + len].copy_from_slice(&payload[..len]);
        Self {
            bytes,
            len: 2 + len as u8,
        }
    }

    /// Its bytes, header included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::ops::Deref for ControlFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for ControlFrame {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for ControlFrame {}

impl fmt::Debug for ControlFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlFrame({})", self.as_bytes().escape_ascii())
    }
}

/// The frame that closes a session with a status code and a reason.
///
/// A reason over 123 bytes is cut at a character. A code that may not stand in a frame, such as 1005,
/// gives a frame without code and reason.
pub fn close_frame(code: u16, reason: &str) -> ControlFrame {
    if !is_close_code(code) {
        return ControlFrame::new(Opcode::Close, &[]);
    }
    let reason = cut(reason, MAX_CONTROL_BYTES - 2);
    let mut payload = [0; MAX_CONTROL_BYTES];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    ControlFrame::new(Opcode::Close, &payload[..2 + reason.len()])
}

/// At most `bytes` bytes of `text`, in whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    // Ends at zero at the latest, which is a boundary.
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The answer to a client's `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
pub fn accept_key(key: &str) -> String {
    /// What every server appends to the key.
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

/// Writes a length in as few bytes as it needs, and says in how many; `out` has room for nine.
#[inline]
fn write_length(len: usize, mask_bit: u8, out: &mut [u8]) -> usize {
    match len {
        0..=125 => {
            out[0] = mask_bit | len as u8;
            1
        }
        126..=0xffff => {
            out[0] = mask_bit | 126;
            out[1..3].copy_from_slice(&(len as u16).to_be_bytes());
            3
        }
        _ => {
            out[0] = mask_bit | 127;
            out[1..9].copy_from_slice(&(len as u64).to_be_bytes());
            9
        }
    }
}

/// Appends a client's frame, whole and masked, to `out`: for load generators and tests.
pub fn client_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let mut length = [0; 9];
    let written = write_length(payload.len(), MASKED, &mut length);
    out.push(FIN | opcode as u8);
    out.extend_from_slice(&length[..written]);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask);
}

/// Masks or unmasks (RFC 6455 §5.3), eight bytes at a time.
#[inline]
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}
