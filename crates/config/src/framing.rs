//! `framing = { … }` of a listener.

use moorline_net::framing::{MAX_DELIMITER_BYTES, MAX_HEADER_BYTES};
use moorline_net::{Counts, Delimiter, Endian, Framing, Length};

use super::error::Reported;
use super::walk::{Field, Section};

/// The largest message unless the listener says otherwise, in bytes.
pub(super) const DEFAULT_MAX: u64 = 2 << 20;
const MAX_HEADER: u64 = MAX_HEADER_BYTES as u64;

const KIND_HINT: &str = r#"write framing = { kind = "raw" }, or "length", "delimiter" or "line""#;

#[derive(Clone, Copy)]
enum Kind {
    Raw,
    Length,
    Delimiter,
    Line,
}

pub(super) fn framing(field: &Field<'_>) -> Result<Framing, Reported> {
    let mut section = field.section("`framing`", KIND_HINT)?;
    let kind = section.require("kind", KIND_HINT, |field| {
        field.choice(&[
            ("raw", Kind::Raw),
            ("length", Kind::Length),
            ("delimiter", Kind::Delimiter),
            ("line", Kind::Line),
        ])
    })?;
    section.title = match kind {
        Kind::Raw => "`raw` framing",
        Kind::Length => "`length` framing",
        Kind::Delimiter => "`delimiter` framing",
        Kind::Line => "`line` framing",
    };
    let framing = match kind {
        Kind::Raw => Ok(Framing::Raw),
        Kind::Length => length(&section).map(Framing::Length),
        Kind::Delimiter => delimiter(&section).map(Framing::Delimiter),
        Kind::Line => max(&section).map(|max| Framing::Line { max }),
    };
    section.finish()?;
    let framing = framing?;
    // The rules above give better messages; this one is complete.
    framing
        .validate()
        .map_err(|error| field.refuse(format!("`framing`: {error}"), KIND_HINT))?;
    Ok(framing)
}

fn max(section: &Section<'_>) -> Result<u64, Reported> {
    Ok(section
        .read("max", |field| field.size())?
        .unwrap_or(DEFAULT_MAX))
}

fn length(section: &Section<'_>) -> Result<Length, Reported> {
    let width = section.read("width", width);
    let endian = section.read("endian", |field| {
        field.choice(&[("big", Endian::Big), ("little", Endian::Little)])
    });
    let offset = section.read("offset", |field| field.number(0..=MAX_HEADER));
    let counts = counts(section);
    let max = max(section);
    let keep_header = section.read("keep_header", |field| field.flag());

    let (width, offset, counts) = (width?.unwrap_or(4), offset?.unwrap_or(0), counts?);
    let field_end = offset + u32::from(width);
    let header = match counts {
        Counts::From(from) => field_end.max(from),
        _ => field_end,
    };
    let report = section.report;
    if u64::from(header) > MAX_HEADER {
        let message = format!("the header has {header} bytes, and it may have {MAX_HEADER}");
        return Err(report.error(section.place("offset"), message, "write a smaller `offset`"));
    }
    let max = max?;
    if max < u64::from(header) {
        let message = format!("`max` is {max} bytes, less than the header's {header}");
        return Err(report.error(
            section.place("max"),
            message,
            "`max` counts the whole packet, header included",
        ));
    }
    let length = Length::default()
        .width(width)
        .endian(endian?.unwrap_or(Endian::Big))
        .offset(offset)
        .counts(counts)
        .max(max);
    let keep_header = keep_header?;
    if keep_header == Some(false) && !length.is_length_alone() {
        let message = "`keep_header` is false, and this header holds more than the length: the engine could not write one";
        let hint = "remove it: the app then sees and sends whole packets, and the engine fills in the length";
        return Err(report.error(section.place("keep_header"), message, hint));
    }
    let keep_header = keep_header.unwrap_or(!length.is_length_alone());
    Ok(length.keep_header(keep_header))
}

/// `counts` says it by name, `body` by the first byte that is counted.
fn counts(section: &Section<'_>) -> Result<Counts, Reported> {
    let named = section.read("counts", |field| {
        field.choice(&[("payload", Counts::Payload), ("message", Counts::Message)])
    });
    let from = section.read("body", |field| field.number(0..=MAX_HEADER));
    match (named?, from?) {
        (Some(_), Some(_)) => Err(section.report.error(
            section.place("body"),
            "`counts` and `body` both say what the length counts",
            "remove one: `body` is for headers that `counts` cannot describe",
        )),
        (Some(counts), None) => Ok(counts),
        (None, Some(from)) => Ok(Counts::From(from)),
        (None, None) => Ok(Counts::Payload),
    }
}

fn width(field: Field<'_>) -> Result<u8, Reported> {
    let width = field.number(1..=8)?;
    if !matches!(width, 1 | 2 | 4 | 8) {
        return Err(field.refuse(
            format!("`width` is {width}, and a length has 1, 2, 4 or 8 bytes"),
            "write 1, 2, 4 or 8",
        ));
    }
    Ok(width)
}

const DELIMITER_HINT: &str = r#"write a string such as "\r\n", or the bytes such as [0x0d, 0x0a]"#;

fn delimiter(section: &Section<'_>) -> Result<Delimiter, Reported> {
    let delimiter = section.require("delimiter", DELIMITER_HINT, |field| delimiter_bytes(&field));
    let keep = section.read("keep", |field| field.flag());
    let max = max(section);
    let (delimiter, keep, max) = (delimiter?, keep?.unwrap_or(false), max?);
    if max < delimiter.len() as u64 {
        let message = format!(
            "`max` is {max} bytes, less than the delimiter's {}",
            delimiter.len()
        );
        return Err(section
            .report
            .error(section.place("max"), message, "write a larger `max`"));
    }
    Ok(Delimiter::new(delimiter, max).keep(keep))
}

fn delimiter_bytes(field: &Field<'_>) -> Result<Vec<u8>, Reported> {
    let bytes = field.bytes(DELIMITER_HINT)?;
    if bytes.is_empty() || bytes.len() > MAX_DELIMITER_BYTES {
        let message = format!(
            "`delimiter` has {} bytes, and it may have 1 to {MAX_DELIMITER_BYTES}",
            bytes.len()
        );
        return Err(field.refuse(message, DELIMITER_HINT));
    }
    Ok(bytes)
}
