//! The types of BSON, by their numbers in documents.

use crate::module::failure;

/// A type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(pub(super) u8);

impl Kind {
    pub(super) const REAL: Self = Self(1);
    pub(super) const TEXT: Self = Self(2);
    pub(super) const DOCUMENT: Self = Self(3);
    pub(super) const LIST: Self = Self(4);
    pub(super) const BINARY: Self = Self(5);
    pub(super) const OBJECTID: Self = Self(7);
    pub(super) const BOOLEAN: Self = Self(8);
    pub(super) const DATE: Self = Self(9);
    pub(super) const NULL: Self = Self(10);
    pub(super) const REGEX: Self = Self(11);
    pub(super) const POINTER: Self = Self(12);
    pub(super) const CODE: Self = Self(13);
    pub(super) const SYMBOL: Self = Self(14);
    pub(super) const SCOPED_CODE: Self = Self(15);
    pub(super) const INT32: Self = Self(16);
    pub(super) const TIMESTAMP: Self = Self(17);
    pub(super) const INT64: Self = Self(18);
    pub(super) const MAXKEY: Self = Self(127);
    pub(super) const MINKEY: Self = Self(255);

    /// The string that stands for a value of this type in Lua.
    pub(super) fn object(self, bytes: &[u8]) -> Vec<u8> {
        let mut object = vec![0, self.0];
        object.extend_from_slice(bytes);
        object
    }

    /// The type and the bytes of such a string. None for a text.
    pub(super) fn split(object: &[u8]) -> Option<(Self, &[u8])> {
        match object {
            [0, kind, bytes @ ..] => Some((Self(*kind), bytes)),
            _ => None,
        }
    }

    /// Refuses an object that a script has put together wrongly.
    pub(super) fn check(self, bytes: &[u8]) -> mlua::Result<()> {
        let (is_right, name) = match self {
            Self::OBJECTID => (bytes.len() == 12, "object id"),
            Self::DATE => (bytes.len() == 4, "date"),
            Self::TIMESTAMP => (bytes.len() == 8, "timestamp"),
            Self::INT64 => (bytes.len() == 8, "int64"),
            Self::BINARY => (!bytes.is_empty(), "binary"),
            Self::MINKEY | Self::MAXKEY | Self::NULL => (bytes.is_empty(), "key"),
            Self::REGEX => return regex(bytes).map(|_| ()),
            Self::CODE | Self::SYMBOL => (is_sized(bytes, 4), "code"),
            Self::SCOPED_CODE => (is_sized(bytes, 0), "code"),
            Self::POINTER => (is_sized(bytes, 16), "pointer"),
            Self(kind) => return Err(failure(format!("Invalid subtype {kind}"))),
        };
        match is_right {
            true => Ok(()),
            false => Err(failure(format!("Invalid {name}"))),
        }
    }
}

/// The length before the bytes is theirs, without `more`.
fn is_sized(bytes: &[u8], more: usize) -> bool {
    bytes.len() >= 4 && usize::try_from(int32_at(bytes, 0)).ok() == bytes.len().checked_sub(more)
}

/// The pattern and the options of a regular expression: texts with a zero behind each.
pub(super) fn regex(bytes: &[u8]) -> mlua::Result<(&[u8], &[u8])> {
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    match parts[..] {
        [pattern, options, b""] => Ok((pattern, options)),
        _ => Err(failure("Invalid regex")),
    }
}

/// The number at a place that is there.
pub(super) fn int32_at(bytes: &[u8], place: usize) -> i32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[place..place + 4]);
    i32::from_le_bytes(word)
}

/// The number in eight bytes.
pub(super) fn int64_at(bytes: &[u8]) -> i64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[..8]);
    i64::from_le_bytes(word)
}
