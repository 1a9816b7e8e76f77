//! How messages look on the wire, as a client writes and reads them.

/// A framing, from the client's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Bytes as they come.
    Raw,
    /// A length field of `width` bytes, then the number of bytes that it says.
    Length { width: usize, little_endian: bool },
    /// A delimiter after each message.
    Delimiter(&'static [u8]),
    /// A line feed after each message.
    Line,
    /// RFC 6455, binary messages, after the handshake.
    WebSocket,
}

impl Wire {
    /// The usual length framing: four bytes, big-endian, counting what follows.
    pub const LENGTH: Wire = Wire::Length {
        width: 4,
        little_endian: false,
    };

    /// The message as it is sent.
    pub fn encode(&self, message: &[u8]) -> Vec<u8> {
        match *self {
            Wire::Raw => message.to_vec(),
            Wire::Length {
                width,
                little_endian,
            } => {
                let length = message.len() as u64;
                let mut bytes = match little_endian {
                    true => length.to_le_bytes()[..width].to_vec(),
                    false => length.to_be_bytes()[8 - width..].to_vec(),
                };
                bytes.extend_from_slice(message);
                bytes
            }
            Wire::Delimiter(delimiter) => [message, delimiter].concat(),
            Wire::Line => [message, b"\n"].concat(),
            Wire::WebSocket => frame(0x82, message),
        }
    }

    /// Takes the first whole message off `bytes`. WebSocket control frames are passed over.
    pub fn decode(&self, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
        match *self {
            Wire::Raw => match bytes.is_empty() {
                true => None,
                false => Some(std::mem::take(bytes)),
            },
            Wire::Length {
                width,
                little_endian,
            } => {
                let head = bytes.get(..width)?;
                let mut number = [0; 8];
                let length = match little_endian {
                    true => {
                        number[..width].copy_from_slice(head);
                        u64::from_le_bytes(number)
                    }
                    false => {
                        number[8 - width..].copy_from_slice(head);
                        u64::from_be_bytes(number)
                    }
                };
                take(bytes, width, length as usize, 0)
            }
            Wire::Delimiter(delimiter) => {
                let at = bytes
                    .windows(delimiter.len())
                    .position(|window| window == delimiter)?;
                take(bytes, 0, at, delimiter.len())
            }
            Wire::Line => {
                let at = bytes.iter().position(|&byte| byte == b'\n')?;
                take(bytes, 0, at, 1)
            }
            Wire::WebSocket => loop {
                let (opcode, payload) = take_frame(bytes)?;
                if opcode < 8 {
                    return Some(payload);
                }
            },
        }
    }
}

/// A masked frame with this first byte. The mask is fixed: its value matters to nobody here.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// Takes one unmasked frame off `bytes`: its opcode, with the reserved bits, and its payload.
pub(crate) fn take_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (opcode, second) = (*bytes.first()? & 0x7f, *bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server's frames are not masked");
    let (head, length) = match second {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (
            10,
            u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
        ),
        length => (2, usize::from(length)),
    };
    Some((opcode, take(bytes, head, length, 0)?))
}

/// Takes `length` bytes after `head` off `bytes`, and `tail` behind them.
fn take(bytes: &mut Vec<u8>, head: usize, length: usize, tail: usize) -> Option<Vec<u8>> {
    let message = bytes.get(head..head + length)?.to_vec();
    if bytes.len() < head + length + tail {
        return None;
    }
    bytes.drain(..head + length + tail);
    Some(message)
}
