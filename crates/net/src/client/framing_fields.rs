//! A client's framing as it is written: the names that a listener's has.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::framing::{Delimiter, Endian, Framing, Length};

/// The largest message unless another is given, in bytes.
const DEFAULT_MAX: u64 = 2 << 20;

/// Which kind, and its values; those not written have the defaults of [`Length`].
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Fields {
    Raw {},
    Length {
        #[serde(default = "width")]
        width: u8,
        #[serde(default = "endian")]
        endian: Endian,
        #[serde(default)]
        offset: u32,
        #[serde(default)]
        body: u32,
        #[serde(default = "max", with = "crate::unit::as_size")]
        max: u64,
        #[serde(default)]
        keep_header: Option<bool>,
    },
    Delimiter {
        delimiter: Text,
        #[serde(default)]
        keep: bool,
        #[serde(default = "max", with = "crate::unit::as_size")]
        max: u64,
    },
    Line {
        #[serde(default = "max", with = "crate::unit::as_size")]
        max: u64,
    },
}

/// A delimiter: text, or its bytes.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Bytes(Vec<u8>),
}

fn width() -> u8 {
    4
}

fn endian() -> Endian {
    Endian::Big
}

fn max() -> u64 {
    DEFAULT_MAX
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Framing, D::Error> {
    let framing = match Fields::deserialize(from)? {
        Fields::Raw {} => Framing::Raw,
        Fields::Length {
            width,
            endian,
            offset,
            body,
            max,
            keep_header,
        } => Framing::Length(Length {
            width,
            endian,
            offset,
            body,
            max,
            // A header that holds more than the length cannot be built, so it is the app's.
            keep_header: keep_header.unwrap_or(offset != 0 || body > u32::from(width)),
        }),
        Fields::Delimiter {
            delimiter,
            keep,
            max,
        } => Framing::Delimiter(Delimiter {
            delimiter: match delimiter {
                Text::Text(text) => text.into_bytes(),
                Text::Bytes(bytes) => bytes,
            },
            keep,
            max,
        }),
        Fields::Line { max } => Framing::Line { max },
    };
    framing.validate().map_err(D::Error::custom)?;
    Ok(framing)
}

pub(super) fn serialize<S: Serializer>(framing: &Framing, to: S) -> Result<S::Ok, S::Error> {
    let fields = match framing {
        // A client refuses the WebSocket framing, so nothing is lost.
        Framing::Raw | Framing::WebSocket { .. } => Fields::Raw {},
        Framing::Length(length) => Fields::Length {
            width: length.width,
            endian: length.endian,
            offset: length.offset,
            body: length.body,
            max: length.max,
            keep_header: Some(length.keep_header),
        },
        Framing::Delimiter(delimiter) => Fields::Delimiter {
            delimiter: Text::Bytes(delimiter.delimiter.clone()),
            keep: delimiter.keep,
            max: delimiter.max,
        },
        Framing::Line { max } => Fields::Line { max: *max },
    };
    fields.serialize(to)
}
