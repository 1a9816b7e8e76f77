//! What happens to a socket.

use std::net::SocketAddr;

/// How the owner learns what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketMode {
    /// What is received is kept until a coroutine reads it.
    Buffered,
    /// All that is received is a message.
    Raw,
}

/// A message of the kind that skynet calls `PTYPE_SOCKET`. Its variants have the numbers of that protocol.
#[derive(Debug)]
pub(crate) enum SocketEvent {
    /// 1
    Data(Vec<u8>),
    /// 2: connected, listening, or taken over; a number and a text with it.
    Connected(u32, String),
    /// 3: the peer has ended its stream, or this side has closed the socket.
    Closed,
    /// 4: a listening socket has a new one.
    Accepted(u32, String),
    /// 5
    Failed(String),
    /// 6
    Datagram(Vec<u8>, SocketAddr),
    /// 7: the KiB that wait to be sent; 0 when all are sent.
    Warning(usize),
}

/// The number of the event, id, number, size of the text.
const HEAD: usize = 1 + 4 + 4 + 4;

impl SocketEvent {
    /// The number of its kind.
    pub(crate) fn number(&self) -> u8 {
        match self {
            Self::Data(_) => 1,
            Self::Connected(..) => 2,
            Self::Closed => 3,
            Self::Accepted(..) => 4,
            Self::Failed(_) => 5,
            Self::Datagram(..) => 6,
            Self::Warning(_) => 7,
        }
    }

    /// The number that it carries.
    pub(crate) fn detail(&self) -> u32 {
        let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        match self {
            Self::Data(bytes) | Self::Datagram(bytes, _) => size(bytes.len()),
            Self::Connected(number, _) | Self::Accepted(number, _) => *number,
            Self::Closed | Self::Failed(_) => 0,
            Self::Warning(kibibytes) => size(*kibibytes),
        }
    }

    /// The bytes that it carries.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Data(bytes) | Self::Datagram(bytes, _) => bytes,
            Self::Connected(_, text) | Self::Accepted(_, text) | Self::Failed(text) => {
                text.as_bytes()
            }
            Self::Closed | Self::Warning(_) => &[],
        }
    }

    /// It as a message that a script's own protocol unpacks.
    pub(crate) fn encode(&self, id: u32) -> Vec<u8> {
        let bytes = self.bytes();
        let mut message = Vec::with_capacity(HEAD + bytes.len() + 20);
        message.push(self.number());
        message.extend(id.to_le_bytes());
        message.extend(self.detail().to_le_bytes());
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        message.extend(length.to_le_bytes());
        message.extend_from_slice(bytes);
        if let Self::Datagram(_, from) = self {
            message.extend(super::text::address_bytes(*from));
        }
        message
    }
}

/// A message that was encoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DecodedEvent<'a> {
    pub(crate) number: u8,
    pub(crate) id: u32,
    pub(crate) detail: u32,
    pub(crate) bytes: &'a [u8],
    /// The sender of a datagram.
    pub(crate) from: &'a [u8],
}

impl<'a> DecodedEvent<'a> {
    /// None if the bytes are no such message: a script may hand over any.
    pub(crate) fn new(message: &'a [u8]) -> Option<Self> {
        let (head, rest) = message.split_at_checked(HEAD)?;
        let number = |at: usize| {
            let bytes = head[at..].first_chunk::<4>();
            bytes.map(|bytes| u32::from_le_bytes(*bytes))
        };
        let (bytes, from) = rest.split_at_checked(number(9)? as usize)?;
        Some(Self {
            number: head[0],
            id: number(1)?,
            detail: number(5)?,
            bytes,
            from,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_message_and_back() {
        let message = SocketEvent::Accepted(9, "1.2.3.4:5".to_owned()).encode(7);
        let expected = DecodedEvent {
            number: 4,
            id: 7,
            detail: 9,
            bytes: b"1.2.3.4:5",
            from: b"",
        };
        assert_eq!(DecodedEvent::new(&message), Some(expected));
        for length in 0..message.len() {
            assert_eq!(DecodedEvent::new(&message[..length]), None);
        }
    }
}
