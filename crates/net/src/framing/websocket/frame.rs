//! Frames, and the control frames that a server sends.

use super::violation::{MAX_CONTROL_BYTES, Violation};
use crate::framing::control_frame::ControlFrame;

pub(super) const FIN: u8 = 0x80;
pub(super) const RESERVED_BITS: u8 = 0x70;
/// The reserved bit that marks a compressed message (RFC 7692 §6).
pub(super) const DEFLATED: u8 = 0x40;
pub(super) const MASKED: u8 = 0x80;

/// The kinds of frame (RFC 6455 §5.2).
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
    /// It must be answered with a pong.
    Ping = 0x9,
    /// The answer.
    Pong = 0xa,
}

impl Opcode {
    /// The kind that a frame's first byte says.
    ///
    /// # Errors
    /// [`Violation::ReservedOpcode`]
    pub fn of(first: u8) -> Result<Self, Violation> {
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

    /// Whether it may stand between the fragments of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Whether a status code may stand in a close frame (RFC 6455 §7.4, and those registered since).
pub fn is_close_code(code: u16) -> bool {
    // 1004 has no meaning; 1005, 1006 and 1015 tell an application what no frame told.
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

impl ControlFrame {
    /// Text that does not fit a control frame is cut off.
    pub(super) fn new(opcode: Opcode, payload: &[u8]) -> Self {
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

/// Writes a length in as few bytes as it needs, and says in how many; `out` has room for nine.
#[inline]
pub(super) fn write_length(len: usize, mask_bit: u8, out: &mut [u8]) -> usize {
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
    whole_frame(opcode, payload, Some(mask), out);
}

/// Appends a frame that is the whole of its message to `out`. A client's has a mask.
pub fn whole_frame(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let mut length = [0; 9];
    let mask_bit = mask.map_or(0, |_| MASKED);
    let written = write_length(payload.len(), mask_bit, &mut length);
    out.push(FIN | opcode as u8);
    out.extend_from_slice(&length[..written]);
    if let Some(mask) = mask {
        out.extend_from_slice(&mask);
    }
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        unmask(&mut out[start..], mask);
    }
}

/// Masks or unmasks (RFC 6455 §5.3), eight bytes at a time.
#[inline]
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
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
