//! Code points as bytes. Surrogates count as code points, as they do in LPeg.

/// The last code point.
pub(crate) const LAST: u32 = 0x10_ffff;

/// The code point that the bytes begin with, and the number of its bytes.
pub(crate) fn decode(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    let (count, least) = match first {
        0..=0x7f => return Some((first.into(), 1)),
        0xc0..=0xdf => (1, 0x80),
        0xe0..=0xef => (2, 0x800),
        0xf0..=0xf7 => (3, 0x1_0000),
        _ => return None,
    };
    let mut point = u32::from(first) & (0x3f >> count);
    for byte in bytes.get(1..=count)? {
        if byte & 0xc0 != 0x80 {
            return None;
        }
        point = point << 6 | u32::from(byte & 0x3f);
    }
    (least..=LAST)
        .contains(&point)
        .then_some((point, count + 1))
}

/// The first byte of a code point.
pub(crate) fn first_byte(point: u32) -> u8 {
    let byte = match point {
        0..=0x7f => point,
        0x80..=0x7ff => 0xc0 | point >> 6,
        0x800..=0xffff => 0xe0 | point >> 12,
        _ => 0xf0 | point >> 18,
    };
    // Up to `LAST` it is below 256.
    byte as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_standard_library_encodes_is_decoded() {
        for point in ('\0'..=char::MAX).step_by(13) {
            let mut bytes = [0; 4];
            let text = point.encode_utf8(&mut bytes).as_bytes();
            assert_eq!(decode(text), Some((point.into(), text.len())));
            assert_eq!(first_byte(point.into()), text[0]);
        }
    }

    #[test]
    fn what_is_too_long_too_high_or_cut_is_refused() {
        let wrong: [&[u8]; 9] = [
            b"",
            b"\x80",
            b"\xc1\xbf",
            b"\xe0\x9f\xbf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\xe2\x82",
            b"\xe2\x82a",
        ];
        for bytes in wrong {
            assert_eq!(decode(bytes), None, "{bytes:x?}");
        }
        assert_eq!(decode(b"\xed\xa0\x80"), Some((0xd800, 3)));
    }
}
