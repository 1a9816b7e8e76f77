//! How parts of a loop's state look on their way to another process.
//!
//! Each part derives its form where it is; here are the forms of what others define. The bytes are believed by nobody: what
//! they mean is checked when it is taken up.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes in one piece.
pub(crate) mod bytes {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_bytes(Bytes)
    }

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
}

/// How far a stream is cut.
pub(crate) mod decoder {
    use moorline_net::Decoder;
    use moorline_net::framing::KeptDecoder;

    use super::*;

    pub(crate) fn serialize<S: Serializer>(decoder: &Decoder, to: S) -> Result<S::Ok, S::Error> {
        decoder.keep().serialize(to)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Decoder, D::Error> {
        let kept = Option::<KeptDecoder>::deserialize(from)?;
        let resumed = kept.and_then(Decoder::resume);
        resumed.ok_or_else(|| D::Error::custom("a decoder"))
    }
}

/// A list whose entries keep their places.
pub(crate) mod slab {
    use ::slab::Slab;

    use super::*;

    /// No list has more places: an entry costs memory for all before it.
    const MOST_PLACES: u32 = 1 << 20;

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        list: &Slab<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let entries = list.iter();
        let entries: Vec<_> = entries
            .map(|(place, entry)| (place as u32, entry))
            .collect();
        entries.serialize(to)
    }

    pub(crate) fn deserialize<'a, T: Deserialize<'a>, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Slab<T>, D::Error> {
        let entries = Vec::<(u32, T)>::deserialize(from)?;
        let is_sound = entries.is_sorted_by(|one, next| one.0 < next.0)
            && entries.last().is_none_or(|last| last.0 < MOST_PLACES);
        if !is_sound {
            return Err(D::Error::custom("places twice, or too many"));
        }
        let entries = entries.into_iter();
        Ok(entries
            .map(|(place, entry)| (place as usize, entry))
            .collect())
    }
}
