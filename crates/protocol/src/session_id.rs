//! A session's id, and its one written form.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A session's id. No other session of the engine, or of the cluster, ever has it.
///
/// From the top: a bit that is never set, so that the number is positive in languages without unsigned ones; 9 bits for the
/// node, 0 for an engine that is in no cluster; 6 bits for the event loop; 48 bits that rise.
///
/// It is written as 16 hexadecimal digits everywhere: by `Display` and `Debug`, in logs, in JSON, by the
/// commands. [`FromStr`] reads that back. As a number it would not survive JavaScript, which rounds above 2⁵³.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

/// The bits that rise.
const SERIAL_BITS: u32 = 48;
const LOOP_BITS: u32 = 6;

impl SessionId {
    /// The highest number of a node.
    pub const MOST_NODES: u16 = 511;
    /// The part that rises from session to session.
    pub const SERIAL: u64 = (1 << SERIAL_BITS) - 1;

    /// The id of the session with this serial, of an event loop of a node.
    ///
    /// What is too large for its part is cut off.
    pub const fn new(node: u16, event_loop: u8, serial: u64) -> Self {
        let node = (node & Self::MOST_NODES) as u64;
        let event_loop = event_loop as u64 & ((1 << LOOP_BITS) - 1);
        let prefix = (node << LOOP_BITS | event_loop) << SERIAL_BITS;
        Self(prefix | (serial & Self::SERIAL))
    }

    /// The number of its node; 0 for a session of an engine that is in no cluster. An id that no session can have is of none:
    /// its number is over [`MOST_NODES`](Self::MOST_NODES).
    pub const fn node(self) -> u16 {
        (self.0 >> (SERIAL_BITS + LOOP_BITS)) as u16
    }

    /// The event loop that holds it in its engine.
    pub const fn event_loop(self) -> usize {
        (self.0 >> SERIAL_BITS) as usize & ((1 << LOOP_BITS) - 1)
    }

    /// The id as a number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl From<u64> for SessionId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl From<SessionId> for u64 {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no session id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionIdError {
    /// It is no hexadecimal number of at most 64 bits.
    NotHexadecimal(ParseIntError),
}

impl fmt::Display for SessionIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHexadecimal(error) => {
                write!(f, "a session id has up to 16 hexadecimal digits: {error}")
            }
        }
    }
}

impl std::error::Error for SessionIdError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotHexadecimal(error) => Some(error),
        }
    }
}

impl FromStr for SessionId {
    type Err = SessionIdError;

    fn from_str(text: &str) -> Result<Self, SessionIdError> {
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(SessionIdError::NotHexadecimal)
    }
}

/// A text for people and programs; a number between processes of the engine.
impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            to.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?
                .parse()
                .map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(from).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling_and_is_read_back() {
        let id = SessionId::new(0, 3, 4711);
        let text = "0003000000001267";
        assert_eq!(
            (id.to_string(), format!("{id:?}")),
            (text.into(), text.into())
        );
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(
            serde_json::from_str::<SessionId>(&format!("\"{text}\"")).unwrap(),
            id
        );
        let bytes = postcard::to_stdvec(&id).unwrap();
        assert_eq!(postcard::from_bytes::<SessionId>(&bytes).unwrap(), id);
    }

    #[test]
    fn an_id_tells_its_node_and_its_loop_and_is_positive() {
        for (node, event_loop) in [(0, 0), (1, 63), (511, 0), (511, 63)] {
            let id = SessionId::new(node, event_loop, u64::MAX);
            assert_eq!(
                (id.node(), id.event_loop()),
                (node, usize::from(event_loop))
            );
            assert!(id.as_u64().cast_signed() > 0);
        }
        assert!(SessionId::from(u64::MAX).node() > SessionId::MOST_NODES);
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in ["", "x", "00000000000000001", "-1", "12 "] {
            let parsed = text.parse::<SessionId>();
            assert_eq!(parsed.is_ok(), text == "00000000000000001", "{text:?}");
        }
    }
}
