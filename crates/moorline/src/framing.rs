//! How `--framing` is written: a kind and its settings, as in `length:width=2,counts=message`.

use moorline_net::{Counts, Delimiter, Endian, Framing, Length, unit};

/// The largest message unless it is said, in bytes; the same as a listener's.
const DEFAULT_MAX: u64 = 2 << 20;

const KINDS: &str = "write raw, line, length, length:width=2,endian=little,… or delimiter=TEXT";

pub(crate) fn parse(text: &str) -> Result<Framing, String> {
    // A delimiter may hold whatever separates elsewhere.
    let framing = if let Some(delimiter) = text.strip_prefix("delimiter=") {
        Framing::Delimiter(Delimiter::new(unescape(delimiter)?, DEFAULT_MAX))
    } else {
        let (kind, settings) = text.split_once(':').unwrap_or((text, ""));
        let settings = settings.split(',').filter(|setting| !setting.is_empty());
        match kind {
            "raw" if text == "raw" => Framing::Raw,
            "line" => line(settings)?,
            "length" => length(settings)?,
            _ => return Err(format!("`{text}` is no framing: {KINDS}")),
        }
    };
    framing.validate().map_err(|error| error.to_string())?;
    Ok(framing)
}

fn line<'a>(settings: impl Iterator<Item = &'a str>) -> Result<Framing, String> {
    let mut max = DEFAULT_MAX;
    for setting in settings {
        match setting.split_once('=') {
            Some(("max", value)) => max = size(value)?,
            _ => return Err(format!("`{setting}`: a line is told max=SIZE only")),
        }
    }
    Ok(Framing::Line { max })
}

/// The defaults are a listener's: four bytes, most significant first, that count what follows them.
fn length<'a>(settings: impl Iterator<Item = &'a str>) -> Result<Framing, String> {
    let mut length = Length::default().max(DEFAULT_MAX);
    let mut counted_by = None;
    for setting in settings {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        match (name, value) {
            ("width", _) => length.width = number(setting, value)?,
            ("endian", "big") => length.endian = Endian::Big,
            ("endian", "little") => length.endian = Endian::Little,
            ("endian", _) => return Err(format!("`{setting}`: write endian=big or endian=little")),
            ("offset", _) => length.offset = number(setting, value)?,
            ("counts" | "body", _) if counted_by.is_some_and(|by| by != name) => {
                return Err(format!(
                    "`{setting}`: counts and body both say what the length counts: keep one of them"
                ));
            }
            ("counts", "payload") => length.counts = Counts::Payload,
            ("counts", "message") => length.counts = Counts::Message,
            ("counts", _) => {
                return Err(format!(
                    "`{setting}`: write counts=payload or counts=message"
                ));
            }
            ("body", _) => length.counts = Counts::From(number(setting, value)?),
            ("max", _) => length.max = size(value)?,
            _ => {
                return Err(format!(
                    "`{setting}`: a length is told width, endian, counts, offset, body and max"
                ));
            }
        }
        if let "counts" | "body" = name {
            counted_by = Some(name);
        }
    }
    // A header that holds more than the length comes from the input and is shown with the message.
    length.keep_header = !length.is_length_alone();
    Ok(Framing::Length(length))
}

fn number<T: std::str::FromStr>(setting: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("`{setting}`: write a small whole number"))
}

fn size(value: &str) -> Result<u64, String> {
    unit::size(value).map_err(|error| error.to_string())
}

/// `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` stand for one byte each: shells pass them on as they are.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, used) = match rest {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => return Err("`\\x` wants two hexadecimal digits".to_owned()),
            },
            _ => return Err("after a `\\` stands r, n, t, 0, \\ or xHH".to_owned()),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    Ok(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framings_are_read() {
        let plain = Length::default()
            .width(4)
            .endian(Endian::Big)
            .offset(0)
            .counts(Counts::Payload)
            .max(DEFAULT_MAX)
            .keep_header(false);
        assert_eq!(parse("raw"), Ok(Framing::Raw));
        assert_eq!(parse("line"), Ok(Framing::Line { max: DEFAULT_MAX }));
        assert_eq!(parse("line:max=1KiB"), Ok(Framing::Line { max: 1024 }));
        assert_eq!(parse("length"), Ok(Framing::Length(plain.clone())));
        let framing = parse("length:width=2,endian=little,offset=2,body=4,max=64KiB");
        let told = Length::default()
            .width(2)
            .endian(Endian::Little)
            .offset(2)
            .counts(Counts::From(4))
            .max(65_536)
            .keep_header(true);
        assert_eq!(framing, Ok(Framing::Length(told)));
        let counted = parse("length:counts=message");
        let message = plain.counts(Counts::Message);
        assert_eq!(counted, Ok(Framing::Length(message)));
        let delimiter =
            |delimiter: &[u8]| Ok(Framing::Delimiter(Delimiter::new(delimiter, DEFAULT_MAX)));
        assert_eq!(parse(r"delimiter=\r\n"), delimiter(b"\r\n"));
        assert_eq!(parse(r"delimiter=,\x00:\\"), delimiter(b",\0:\\"));
    }

    #[test]
    fn framings_that_make_no_sense_are_refused() {
        for wrong in [
            "",
            "lines",
            "raw:max=1B",
            "length:width=3",
            "length:width",
            "length:depth=2",
            "length:max=3B",
            "length:counts=header",
            "length:counts=payload,body=4",
            "length:body=4,counts=payload",
            "line:max=0B",
            "delimiter=",
            r"delimiter=\",
            r"delimiter=\x4",
            r"delimiter=\q",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
