//! Reads DER (X.690 §8, §10), as much of it as certificates need.

/// Values one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

/// One value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag and length included.
    pub(super) whole: &'a [u8],
}

/// Bytes that are not DER, or not the expected value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next value.
    pub(super) fn next(&mut self) -> Result<Value<'a>, Malformed> {
        let [tag, first, rest @ ..] = self.0 else {
            return Err(Malformed);
        };
        // Tags over 30 have more bytes; certificates have none.
        if tag & 0x1f == 0x1f {
            return Err(Malformed);
        }
        let (length, rest) = match *first {
            short @ ..0x80 => (usize::from(short), rest),
            long => long_length(long & 0x7f, rest)?,
        };
        let (content, after) = rest.split_at_checked(length).ok_or(Malformed)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Ok(Value {
            tag: *tag,
            content,
            whole,
        })
    }

    /// The next value, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Value<'a>, Malformed> {
        self.next_if(tag)?.ok_or(Malformed)
    }

    /// The tag of the next value.
    pub(super) fn next_tag(self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value if it has this tag.
    pub(super) fn next_if(&mut self, tag: u8) -> Result<Option<Value<'a>>, Malformed> {
        match self.0.first() {
            Some(first) if *first == tag => self.next().map(Some),
            _ => Ok(None),
        }
    }
}

impl<'a> Value<'a> {
    /// The values in it.
    pub(super) fn reader(self) -> Reader<'a> {
        Reader(self.content)
    }

    /// The bytes of a bit string of whole bytes.
    pub(super) fn bits(self) -> Result<&'a [u8], Malformed> {
        match self.content {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(Malformed),
        }
    }
}

/// A length in the long form: in this many bytes, none too many.
fn long_length(bytes: u8, rest: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (field, rest) = rest.split_at_checked(usize::from(bytes)).ok_or(Malformed)?;
    if field.len() > 4 || field.first().is_none_or(|first| *first == 0) {
        return Err(Malformed);
    }
    let length = field
        .iter()
        .fold(0, |length: u32, byte| length << 8 | u32::from(*byte));
    match usize::try_from(length) {
        Ok(length) if length >= 0x80 => Ok((length, rest)),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_tags_and_lengths() {
        let long = [&[0x04, 0x81, 0x80][..], &[7; 0x80]].concat();
        let bytes = [&[0x02, 0x01, 0x05][..], &long, &[0x05, 0x00]].concat();
        let mut reader = Reader::new(&bytes);
        let number = reader.expect(INTEGER).unwrap();
        assert_eq!((number.content, number.whole), (&[5][..], &bytes[..3]));
        assert_eq!(
            reader.next_if(INTEGER).map(|found| found.is_none()),
            Ok(true)
        );
        let octets = reader.next().unwrap();
        assert_eq!((octets.tag, octets.whole), (OCTET_STRING, &long[..]));
        assert_eq!(reader.next().unwrap().content, b"");
        assert!(reader.is_empty());
        assert!(reader.next().is_err());
    }

    #[test]
    fn cut_off_or_non_minimal_lengths_are_malformed() {
        for bytes in [
            &b"\x02"[..],
            b"\x02\x02\x05",
            b"\x02\x80\x05",
            b"\x02\x81\x01\x05",
            b"\x02\x82\x00\x80",
            b"\x02\x85\x01\x00\x00\x00\x00",
            b"\x1f\x81\x01\x00",
        ] {
            assert!(Reader::new(bytes).next().is_err(), "{bytes:?}");
        }
    }
}
