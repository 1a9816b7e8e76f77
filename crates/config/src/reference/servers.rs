//! The keys of servers behind one address.

use super::Default::{Required, Value, Words};
use super::Reload::{NewConnections, Yes};
use super::{SectionReference, key};

pub(super) const SERVER: SectionReference = SectionReference {
    title: "[[listen.server]]",
    heading: "`[[listen.server]]`",
    about: "A server behind the listener above it: connections of TLS clients that ask for one of its names go on there. With `tls` \
            the listener ends TLS, else TLS passes through, and the listener reads its first message as with `preread`. All other \
            connections stay with the listener. A key that is missing has its default. Only `tls` is taken from the \
            listener. A listener has at most 256 servers, with 1000 names each and 1000 patterns in all. Proxies, timeouts of handshakes, TCP options and limits of sessions are those of the listener.",
    keys: &[
        key(
            "names",
            "list of hosts",
            Required,
            r#"["a.example", "*.b.example", ".c.example", "mail.*", "~^(?<n>x+)\\.d$"]"#,
            NewConnections,
            "The hosts: an exact one, `*.b.example` (all below it), `.c.example` (this and all below it), `mail.*`, or a pattern \
             behind `~`, whose groups are `${match.1}` or `${match.name}` in texts. The exact name comes first, then the longest \
             that begins with a wildcard, then the longest that ends with one, then the first pattern. Case does not matter. \
             `${hostname}`, as a whole entry, is the name of this machine.",
        ),
        key(
            "name",
            "text, unique",
            Words("the listener's name, a slash, and the first of `names`"),
            r#""front-a""#,
            NewConnections,
            "The name in the log, in `status`, and as `${listener}`.",
        ),
        key(
            "upstream",
            "name of an upstream, or text with variables",
            Words("none"),
            r#""mysql""#,
            NewConnections,
            "As for a listener. Each server has `upstream` or `return`.",
        ),
        key(
            "upstream_like",
            "name of an upstream",
            Words("the defaults of an upstream"),
            r#""settings""#,
            NewConnections,
            "As for a listener.",
        ),
        key(
            "return",
            "text with variables",
            Words("none"),
            r#""${match.1}""#,
            NewConnections,
            "As for a listener.",
        ),
        key(
            "set",
            "table of texts with variables",
            Words("none"),
            r#"{ where = "${client.address}" }"#,
            Yes,
            "As for a listener.",
        ),
        key(
            "tls",
            "table",
            Words("that of the listener"),
            r#"{ certificate = "cert.pem", key = "key.pem" }"#,
            NewConnections,
            "Certificates, what clients must show, versions and protocols of this server alone: see [`tls`](#tls). It is required \
             where that of the listener has `reject`. A session that was begun with one server is not resumed with another that has a `tls` of its own.",
        ),
        key(
            "access",
            "list of rules",
            Words("none"),
            r#"[{ allow = "127.0.0.0/8" }, { deny = "all" }]"#,
            NewConnections,
            "Which clients may go on there, beside the `access` of the listener: see [`access`](#access).",
        ),
        key(
            "limits",
            "list of tables",
            Words("none"),
            r#"[{ limit = "one", most = 10 }]"#,
            NewConnections,
            "How many connections may go on there, beside the `limits` of the listener: see [`limits`](#limits).",
        ),
        key(
            "rate",
            "table",
            Words("no limit"),
            r#"{ up = "1MiB" }"#,
            NewConnections,
            "As for a listener: see [`rate`](#rate).",
        ),
        key(
            "access_log",
            "list of names",
            Words("the engine's log"),
            r#"["main"]"#,
            Yes,
            "As for a listener.",
        ),
        key(
            "idle_timeout",
            "duration",
            Value(r#""10m""#),
            r#""1m""#,
            Yes,
            "As for a listener.",
        ),
    ],
};
