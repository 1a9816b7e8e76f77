//! The keys of framings.

use super::Default::{Required, Value, Words};
use super::Reload::NewConnections;
use super::{Key, SectionReference, key};

const MAX: Key = key(
    "max",
    "size",
    Value(r#""2MiB""#),
    r#""64KiB""#,
    NewConnections,
    "The largest message, header included.",
);

pub(super) const FRAMING: SectionReference = SectionReference {
    title: "`framing`",
    heading: "`framing`",
    about: "How a byte stream is cut into messages. Input that breaks the framing closes the session. The log shows its first \
            bytes and a guess: \"looks like an HTTP request\", \"looks like a TLS hello\", \"looks like a length that counts \
            the other way\".",
    keys: &[key(
        "kind",
        r#"`"raw"`, `"length"`, `"delimiter"` or `"line"`"#,
        Required,
        r#""length""#,
        NewConnections,
        "The framing. Each has keys of its own.",
    )],
};

pub(super) const RAW: SectionReference = SectionReference {
    title: "`raw` framing",
    heading: "`framing = { kind = \"raw\" }`",
    about: "Every read is a message. It has no keys.",
    keys: &[],
};

pub(super) const LENGTH: SectionReference = SectionReference {
    title: "`length` framing",
    heading: "`framing = { kind = \"length\" }`",
    about: "A header with a length, then the message.",
    keys: &[
        key(
            "width",
            "number of bytes, 1, 2, 4 or 8",
            Value("4"),
            "2",
            NewConnections,
            "The size of the length.",
        ),
        key(
            "endian",
            r#"`"big"` or `"little"`"#,
            Value(r#""big""#),
            r#""little""#,
            NewConnections,
            "The byte order of the length.",
        ),
        key(
            "counts",
            r#"`"payload"` or `"message"`"#,
            Value(r#""payload""#),
            r#""message""#,
            NewConnections,
            "What the length counts: the bytes after it, or itself too.",
        ),
        key(
            "body",
            "number of bytes",
            Words("none"),
            "6",
            NewConnections,
            "Instead of `counts`, for other headers: the first byte that the length counts.",
        ),
        key(
            "offset",
            "number of bytes",
            Value("0"),
            "2",
            NewConnections,
            "The place of the length in the header.",
        ),
        key(
            "keep_header",
            "`true` or `false`",
            Words("`false`, or `true` for a header that holds more than the length"),
            "true",
            NewConnections,
            "The app receives and sends the header too.",
        ),
        MAX,
    ],
};

pub(super) const DELIMITER: SectionReference = SectionReference {
    title: "`delimiter` framing",
    heading: "`framing = { kind = \"delimiter\" }`",
    about: "A message ends at a delimiter.",
    keys: &[
        key(
            "delimiter",
            "text, or a list of bytes",
            Required,
            r#""\r\n""#,
            NewConnections,
            "The delimiter.",
        ),
        key(
            "keep",
            "`true` or `false`",
            Value("false"),
            "true",
            NewConnections,
            "The app receives the delimiter too.",
        ),
        MAX,
    ],
};

pub(super) const LINE: SectionReference = SectionReference {
    title: "`line` framing",
    heading: "`framing = { kind = \"line\" }`",
    about: "A message ends with LF or CR LF.",
    keys: &[MAX],
};
