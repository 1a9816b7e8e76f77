//! The keys of access logs.

use super::Default::{Required, Value, Words};
use super::Reload::Yes;
use super::{SectionReference, key};

pub(super) const ACCESS_LOG: SectionReference = SectionReference {
    title: "[access_log.NAME]",
    heading: "`[access_log.NAME]`",
    about: "A line for each relayed connection of the listeners with `access_log = [\"NAME\", …]`, written at its end. Refused \
            connections leave one, too. A thread of its own writes the lines; what it cannot write in time is lost, counted in `status` and \
            told in the engine's log. A reload, and the signal `RTMIN` to the supervisor, open the files again.",
    keys: &[
        key(
            "path",
            "path with variables, `\"stdout\"` or `\"stderr\"`",
            Required,
            r#""/var/log/${listener}.log""#,
            Yes,
            "The file that lines are appended to, by the gateway with its rights (and within its `chroot`). A new one is readable for \
             its user and group. In the value of a variable `/` and control characters become `_`, and an empty one is `-`. \
             64 files whose names have variables are open at the same time. `\"stdout\"`, `\"stderr\"`: the engine's.",
        ),
        key(
            "format",
            "text with variables",
            Words("`fields`"),
            r#"'${client.address} [${time.local}] ${status} "${upstream.address}"'"#,
            Yes,
            "What a line says.",
        ),
        key(
            "fields",
            "list of variables",
            Words("the most common ones"),
            r#"["client.address", "status"]"#,
            Yes,
            "Instead of `format`: each line is a JSON object with these variables.",
        ),
        key(
            "escape",
            r#"`"default"`, `"json"` or `"none"`"#,
            Value(r#""default""#),
            r#""json""#,
            Yes,
            "How values are written into a `format`, as in nginx: `\\xHH` for quotes, backslashes and what is not printable ASCII, and \
             `-` for what is not known; as within a string of JSON; or as they are.",
        ),
        key(
            "if",
            "text with variables",
            Words("none"),
            r#""${upstream.name}""#,
            Yes,
            "A connection for which it is empty or `0` leaves no line.",
        ),
        key(
            "buffer",
            "size",
            Words("none, with `gzip` 64 KiB"),
            r#""32KiB""#,
            Yes,
            "Lines are kept until there are this many bytes, at most 16 MiB. Without it they are written at once.",
        ),
        key(
            "flush",
            "duration",
            Words("none"),
            r#""5s""#,
            Yes,
            "Lines are not kept for longer than this.",
        ),
        key(
            "gzip",
            "number, 1 to 9",
            Words("none"),
            "6",
            Yes,
            "Each full buffer is compressed, 1: fast, 9: small. The file is one that `zcat` reads.",
        ),
    ],
};
