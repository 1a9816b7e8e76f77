//! The keys of maps.

use super::Default::{Required, Value, Words};
use super::Reload::NewConnections;
use super::{SectionReference, key};

pub(super) const MAP: SectionReference = SectionReference {
    title: "[map.NAME]",
    heading: "`[map.NAME]`",
    about: "From one text to another: `${map.NAME}` in any text with variables. See [maps](../guide/proxy.md#maps).",
    keys: &[
        key(
            "from",
            "text with variables",
            Words("required; with kind `network` the client's address"),
            r#""${listener}""#,
            NewConnections,
            "What is looked up.",
        ),
        key(
            "kind",
            "`\"text\"`, `\"network\"` or `\"share\"`",
            Value(r#""text""#),
            r#""network""#,
            NewConnections,
            "How it is looked up: as a text; as an IP address; by a hash, which divides all texts into shares.",
        ),
        key(
            "values",
            "table, or list of pairs",
            Required,
            r#"{ "192.0.2.1" = "web" }"#,
            NewConnections,
            "Keys and their values, at most 1,048,576. A value may have variables and other maps. \
             `text`: the key itself, in any case, else the first pattern (`~…`, `~*…` in any case) that finds something; a backslash in \
             front of a key is left out. `network`: the narrowest of `10.0.0.0/8`, `10.0.0.1-10.0.0.9`, `::1` that has the address. \
             `share`: `12.5%`, and `*` for the rest.",
        ),
        key(
            "default",
            "text with variables",
            Value(r#""""#),
            r#""other""#,
            NewConnections,
            "The value of what has no key.",
        ),
        key(
            "hostnames",
            "true or false",
            Value("false"),
            "true",
            NewConnections,
            "With kind `text`: keys may be `*.a.example`, `.a.example` and `a.*`, and a dot at the end of what is looked up is left \
             out. The order is exact, longest at the end, longest at the beginning, patterns.",
        ),
    ],
};
