//! What may be the host of a request.

/// `host [":" port]` (RFC 3986 §3.2.2), with a host.
pub(crate) fn is_host_and_port(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) if is_ip_literal(&rest[..end]) => (&text[..end + 2], &rest[end + 1..]),
            _ => return false,
        },
        _ => {
            let end = text.iter().position(|byte| *byte == b':');
            let (host, port) = text.split_at(end.unwrap_or(text.len()));
            if !is_name(host) {
                return false;
            }
            (host, port)
        }
    };
    !host.is_empty() && is_port(port)
}

/// Empty, or a colon and a number of 16 bits, or of no digits at all.
fn is_port(text: &[u8]) -> bool {
    let Some(digits) = text.strip_prefix(b":") else {
        return text.is_empty();
    };
    let number = digits.iter().try_fold(0_u32, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        Some(number * 10 + digit).filter(|number| *number <= u32::from(u16::MAX))
    });
    number.is_some()
}

/// The inside of the brackets.
fn is_ip_literal(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Letters, digits, `-._~`, `!$&'()*+,;=` and escapes.
fn is_name(text: &[u8]) -> bool {
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        let is_legal = match byte {
            b'%' => {
                let mut is_digit = || rest.next().is_some_and(u8::is_ascii_hexdigit);
                is_digit() && is_digit()
            }
            byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte),
        };
        if !is_legal {
            return false;
        }
    }
    true
}
