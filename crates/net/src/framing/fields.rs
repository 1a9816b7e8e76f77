//! A framing as it is written in the options of any client: the names that a listener's has.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::delimiter::Delimiter;
use super::kinds::Framing;
use super::length::{Counts, Endian, Length};

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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counts: Option<CountsName>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<u32>,
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

/// The name of what a length counts, if it has one.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CountsName {
    Payload,
    Message,
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

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Framing, D::Error> {
    let framing = match Fields::deserialize(from)? {
        Fields::Raw {} => Framing::Raw,
        Fields::Length {
            width,
            endian,
            offset,
            counts,
            body,
            max,
            keep_header,
        } => {
            let counts = match (counts, body) {
                (Some(_), Some(_)) => {
                    return Err(D::Error::custom(
                        "`counts` and `body` both say what the length counts: keep one of them",
                    ));
                }
                (Some(CountsName::Message), None) => Counts::Message,
                (Some(CountsName::Payload) | None, None) => Counts::Payload,
                (None, Some(from)) => Counts::From(from),
            };
            let mut length = Length {
                width,
                endian,
                offset,
                counts,
                max,
                keep_header: false,
            };
            // A header that holds more than the length cannot be built, so it is the app's.
            length.keep_header = keep_header.unwrap_or(!length.is_length_alone());
            Framing::Length(length)
        }
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

pub(crate) fn serialize<S: Serializer>(framing: &Framing, to: S) -> Result<S::Ok, S::Error> {
    let fields = match framing {
        // A client refuses the WebSocket framing, so nothing is lost.
        Framing::Raw => Fields::Raw {},
        #[cfg(feature = "websocket")]
        Framing::WebSocket { .. } => Fields::Raw {},
        Framing::Length(length) => Fields::Length {
            width: length.width,
            endian: length.endian,
            offset: length.offset,
            counts: match length.counts {
                Counts::Payload => Some(CountsName::Payload),
                Counts::Message => Some(CountsName::Message),
                Counts::From(_) => None,
            },
            body: match length.counts {
                Counts::From(from) => Some(from),
                Counts::Payload | Counts::Message => None,
            },
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
