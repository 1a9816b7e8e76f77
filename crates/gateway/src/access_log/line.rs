//! A line of an access log.

use moorline_config::{AccessLogLine, Escape, Template, TemplatePart, TlsVariable, Variable};
use moorline_proxy::{Facts, Text};

/// A line is cut off at this number of bytes.
const LONGEST: usize = 64 * 1024;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The line of a connection, with its end.
pub(super) fn make_line(line: &AccessLogLine, facts: &dyn Facts) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    match line {
        AccessLogLine::Text(format, escape) => write_text(format, *escape, facts, &mut bytes),
        AccessLogLine::Fields(fields) => write_object(fields, facts, &mut bytes),
    }
    bytes.push(b'\n');
    bytes
}

fn write_text(format: &Template, escape: Escape, facts: &dyn Facts, line: &mut Vec<u8>) {
    for part in format.parts() {
        match part {
            TemplatePart::Text(text) => line.extend_from_slice(text.as_bytes()),
            part => {
                let mut value = Text::default();
                value.fill_part(part, facts);
                match value.as_bytes() {
                    [] if escape == Escape::Default && may_be_empty(part, facts) => {}
                    value => write_escaped(value, escape, line),
                }
            }
        }
        if line.len() > LONGEST {
            line.truncate(LONGEST);
            return;
        }
    }
}

/// Whether an empty value is a value: nginx writes `-` only for what there is not.
fn may_be_empty(part: &TemplatePart, facts: &dyn Facts) -> bool {
    match part {
        TemplatePart::Map(_) | TemplatePart::Set(_) => true,
        TemplatePart::Variable(Variable::Tls(TlsVariable::Sni | TlsVariable::Alpn)) => {
            // A hello that says nothing of it. Each has a version.
            let mut version = Text::default();
            facts.write(Variable::Tls(TlsVariable::HelloVersion), &mut version);
            !version.as_bytes().is_empty()
        }
        TemplatePart::Variable(variable) => matches!(
            variable,
            Variable::ClientPort | Variable::ConnectionPort | Variable::ServerPort
        ),
        _ => false,
    }
}

/// As nginx's `log_format` does.
fn write_escaped(value: &[u8], escape: Escape, line: &mut Vec<u8>) {
    match escape {
        Escape::None => line.extend_from_slice(value),
        Escape::Json => write_json(value, line),
        Escape::Default if value.is_empty() => line.push(b'-'),
        Escape::Default => {
            for byte in value {
                match byte {
                    b'"' | b'\\' | ..=0x1f | 0x7f.. => line.extend_from_slice(&[
                        b'\\',
                        b'x',
                        HEX[usize::from(byte >> 4)],
                        HEX[usize::from(byte & 0xf)],
                    ]),
                    byte => line.push(*byte),
                }
            }
        }
    }
}

/// The inside of a string of JSON. Bytes that are no UTF-8 stay as they are.
fn write_json(value: &[u8], line: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0x08 => line.extend_from_slice(b"\\b"),
            0x0c => line.extend_from_slice(b"\\f"),
            ..=0x1f => line.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 0xf)],
            ]),
            byte => line.push(*byte),
        }
    }
}

/// One object with valid JSON, whatever the values are. Fields that do not fit any more are left out.
fn write_object(fields: &[(String, Template)], facts: &dyn Facts, line: &mut Vec<u8>) {
    line.push(b'{');
    for (name, template) in fields {
        let before = line.len();
        if before > 1 {
            line.push(b',');
        }
        line.push(b'"');
        write_json(name.as_bytes(), line);
        line.extend_from_slice(b"\":");
        let mut value = Text::default();
        value.fill(template, facts);
        write_value(template, value.as_bytes(), line);
        if line.len() >= LONGEST {
            line.truncate(before);
            break;
        }
    }
    line.push(b'}');
}

fn write_value(template: &Template, value: &[u8], line: &mut Vec<u8>) {
    let is_number = template.variables().all(is_number) && is_json_number(value);
    if is_number {
        line.extend_from_slice(value);
        return;
    }
    line.push(b'"');
    write_json(String::from_utf8_lossy(value).as_bytes(), line);
    line.push(b'"');
}

/// Whether its values are numbers, if they are known.
fn is_number(variable: Variable) -> bool {
    matches!(
        variable,
        Variable::ClientPort
            | Variable::ConnectionPort
            | Variable::Connection
            | Variable::ServerPort
            | Variable::Status
            | Variable::BytesSent
            | Variable::BytesReceived
            | Variable::SessionTime
            | Variable::TimeMsec
            | Variable::Pid
    )
}

/// Digits with at most one point, as JSON allows them.
fn is_json_number(value: &[u8]) -> bool {
    let (whole, part) = match value.iter().position(|byte| *byte == b'.') {
        Some(at) => (&value[..at], Some(&value[at + 1..])),
        None => (value, None),
    };
    let are_digits = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    are_digits(whole) && (whole == b"0" || whole[0] != b'0') && part.is_none_or(are_digits)
}

#[cfg(test)]
mod tests {
    use moorline_config::NameId;
    use moorline_proxy::Maps;

    use super::*;

    fn escaped(value: &[u8], escape: Escape) -> Vec<u8> {
        let mut line = Vec::new();
        write_escaped(value, escape, &mut line);
        line
    }

    #[test]
    fn values_are_escaped_as_nginx_does() {
        let value = b"a\"b\\c\n\x01\x7f\xc3\xa9";
        let default = escaped(value, Escape::Default);
        assert_eq!(default, br"a\x22b\x5Cc\x0A\x01\x7F\xC3\xA9");
        let json = escaped(value, Escape::Json);
        assert_eq!(json, b"a\\\"b\\\\c\\n\\u0001\x7f\xc3\xa9");
        assert_eq!(escaped(value, Escape::None), value);
        assert_eq!(escaped(b"", Escape::Default), b"-");
        assert_eq!(escaped(b"", Escape::Json), b"");
        assert_eq!(
            escaped(b"\t\r\x08\x0c\x1f", Escape::Json),
            br"\t\r\b\f\u001F"
        );
    }

    /// A connection that knows the version of a hello, or nothing.
    struct Known(Maps, &'static str);

    impl Facts for Known {
        fn write(&self, variable: Variable, text: &mut Text) {
            if variable == Variable::Tls(TlsVariable::HelloVersion) {
                text.push(self.1.as_bytes());
            }
        }

        fn maps(&self) -> &Maps {
            &self.0
        }

        fn set(&self, _: NameId) -> Option<&Template> {
            None
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_an_empty_value_is_not() {
        let sni = TemplatePart::Variable(Variable::Tls(TlsVariable::Sni));
        for (part, of_none, of_hello) in [
            (TemplatePart::Map(NameId::of("a")), true, true),
            (TemplatePart::Set(NameId::of("a")), true, true),
            (TemplatePart::Variable(Variable::ClientPort), true, true),
            (sni, false, true),
            (
                TemplatePart::Variable(Variable::UpstreamAddress),
                false,
                false,
            ),
        ] {
            for (version, expected) in [("", of_none), ("TLSv1.3", of_hello)] {
                let facts = Known(Maps::default(), version);
                assert_eq!(may_be_empty(&part, &facts), expected, "{part:?} {version}");
            }
        }
    }

    #[test]
    fn numbers_of_json_are_those_that_it_allows() {
        for number in ["0", "200", "0.003", "12.500"] {
            assert!(is_json_number(number.as_bytes()), "{number}");
        }
        for other in ["", "007", "1.", ".5", "1e3", "-1", "1.2.3", "0.1, 0.2"] {
            assert!(!is_json_number(other.as_bytes()), "{other}");
        }
    }
}
