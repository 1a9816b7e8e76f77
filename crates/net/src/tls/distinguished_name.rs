//! Names of subjects and issuers (RFC 5280 §4.1.2.4).

use super::der::{OBJECT_IDENTIFIER, Reader, SEQUENCE, Value};

/// A name, without the tag and length of its sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct DistinguishedName<'a>(pub(super) &'a [u8]);

const SET: u8 = 0x31;
/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

impl<'a> DistinguishedName<'a> {
    /// Its common name, the last one of several.
    pub(super) fn common_name(self) -> Option<&'a str> {
        let mut found = None;
        self.each(|kind, value| {
            if kind == COMMON_NAME {
                found = std::str::from_utf8(value.content).ok();
            }
        });
        found
    }

    /// Looks at each attribute, in the order of the certificate, as far as they can be read.
    fn each(self, mut look: impl FnMut(&'a [u8], Value<'a>)) {
        let mut sets = Reader::new(self.0);
        while let Ok(Some(set)) = sets.next_if(SET) {
            let mut attributes = set.reader();
            while let Ok(Some(attribute)) = attributes.next_if(SEQUENCE) {
                let mut fields = attribute.reader();
                let (Ok(kind), Ok(value)) = (fields.expect(OBJECT_IDENTIFIER), fields.next())
                else {
                    return;
                };
                look(kind.content, value);
            }
        }
    }
}
