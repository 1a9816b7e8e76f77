//! Names of subjects and issuers (RFC 5280 §4.1.2.4).

use std::fmt;

use super::der::{OBJECT_IDENTIFIER, Reader, SEQUENCE, Value};

/// A name, without the tag and length of its sequence. Written as RFC 2253 has it: the last part first.
#[derive(Debug, Clone, Copy)]
pub(super) struct DistinguishedName<'a>(pub(super) &'a [u8]);

const SET: u8 = 0x31;
/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// Kinds of attributes and their names (RFC 4519), as OpenSSL has them.
const KINDS: &[(&[u8], &str)] = &[
    (COMMON_NAME, "CN"),
    (&[0x55, 0x04, 0x04], "SN"),
    (&[0x55, 0x04, 0x05], "serialNumber"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x09], "street"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x55, 0x04, 0x0c], "title"),
    (&[0x55, 0x04, 0x2a], "GN"),
    // 1.2.840.113549.1.9.1.
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01", "emailAddress"),
    // 0.9.2342.19200300.100.1.1 and .25.
    (b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01", "UID"),
    (b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19", "DC"),
];
/// Strings whose bytes are those of UTF-8, as far as they are used: UTF-8, printable, IA5.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

impl<'a> DistinguishedName<'a> {
    /// Its common name, the last one of several.
    pub(super) fn common_name(self) -> Option<&'a str> {
        let mut found = None;
        self.each(|_, kind, value| {
            if kind == COMMON_NAME {
                found = std::str::from_utf8(value.content).ok();
            }
        });
        found
    }

    /// Looks at each attribute, in the order of the certificate, as far as they can be read: whether it is the first one of
    /// its part, its kind and its value.
    fn each(self, mut look: impl FnMut(bool, &'a [u8], Value<'a>)) {
        let mut sets = Reader::new(self.0);
        while let Ok(Some(set)) = sets.next_if(SET) {
            let mut attributes = set.reader();
            let mut is_first = true;
            while let Ok(Some(attribute)) = attributes.next_if(SEQUENCE) {
                let mut fields = attribute.reader();
                let (Ok(kind), Ok(value)) = (fields.expect(OBJECT_IDENTIFIER), fields.next())
                else {
                    return;
                };
                look(is_first, kind.content, value);
                is_first = false;
            }
        }
    }
}

impl fmt::Display for DistinguishedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        self.each(|is_first, kind, value| {
            let text = attribute(kind, value);
            match parts.last_mut() {
                Some(part) if !is_first => {
                    part.push('+');
                    part.push_str(&text);
                }
                _ => parts.push(text),
            }
        });
        parts.reverse();
        f.write_str(&parts.join(","))
    }
}

fn attribute(kind: &[u8], value: Value<'_>) -> String {
    let name = KINDS.iter().find(|(known, _)| *known == kind);
    match name {
        Some((_, name)) if TEXTS.contains(&value.tag) => {
            format!("{name}={}", escaped(value.content))
        }
        Some((_, name)) => format!("{name}=#{}", hex(value.whole)),
        None => format!("{}=#{}", dotted(kind), hex(value.whole)),
    }
}

/// As OpenSSL escapes it: bytes that are not ASCII in hex.
fn escaped(content: &[u8]) -> String {
    let mut text = String::new();
    for (at, byte) in content.iter().enumerate() {
        let is_edge = at == 0 || at + 1 == content.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b' ' if is_edge => text.push_str("\\ "),
            b'#' if at == 0 => text.push_str("\\#"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\{byte:02X}")),
        }
    }
    text
}

/// The numbers of an object identifier (X.690 §8.19).
fn dotted(kind: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0_u64;
    for byte in kind {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            match numbers.is_empty() {
                true => {
                    let first = (number / 40).min(2);
                    numbers.extend([first, number - 40 * first]);
                }
                false => numbers.push(number),
            }
            number = 0;
        }
    }
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    numbers.join(".")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_backwards_and_escaped() {
        // C=DE, O=a\, b, CN=λ#+OU=x, 1.2.3=y
        let name = b"\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02DE\
            \x31\x0d\x30\x0b\x06\x03\x55\x04\x0a\x0c\x04a, b\
            \x31\x16\x30\x0a\x06\x03\x55\x04\x03\x0c\x03\xce\xbb#\x30\x08\x06\x03\x55\x04\x0b\x0c\x01x\
            \x31\x09\x30\x07\x06\x02\x2a\x03\x0c\x01y";
        let name = DistinguishedName(name);
        assert_eq!(
            name.to_string(),
            "1.2.3=#0C0179,CN=\\CE\\BB#+OU=x,O=a\\, b,C=DE"
        );
        assert_eq!(name.common_name(), Some("λ#"));
    }
}
