//! The keys of rules for clients.

use super::Default::{Required, Value, Words};
use super::Reload::NewConnections;
use super::{SectionReference, key};

pub(super) const ACCESS: SectionReference = SectionReference {
    title: "a rule of `access`",
    heading: "`access`",
    about: "An entry of the list, with one of these keys. The first rule that is of a client decides; a client without one may \
            connect. The client is that of the connection, or the one that a believed PROXY header names. A refused one is closed \
            before TLS, and before any peer is asked.",
    keys: &[
        key(
            "allow",
            "address, network, `\"unix:\"` or `\"all\"`",
            Words("none"),
            r#""10.0.0.0/8""#,
            NewConnections,
            "These clients may connect. `\"unix:\"`: those of a Unix socket. An IPv4 address within IPv6 counts as IPv4.",
        ),
        key(
            "deny",
            "address, network, `\"unix:\"` or `\"all\"`",
            Words("none"),
            r#""all""#,
            NewConnections,
            "These may not.",
        ),
    ],
};

pub(super) const LIMIT: SectionReference = SectionReference {
    title: "[limit.NAME]",
    heading: "`[limit.NAME]`",
    about: "Connections that are counted by a key, together for all listeners with `limits = [{ limit = \"NAME\", … }]`. A reload \
            keeps the counts, unless it changes the key.",
    keys: &[
        key(
            "key",
            "text with variables",
            Required,
            r#""${client.address}""#,
            NewConnections,
            "Connections for which it is the same text count together; one for which it is empty does not count. Only its first 255 \
             bytes count.",
        ),
        key(
            "max_keys",
            "number, 1 to 10000000",
            Value("100000"),
            "1000",
            NewConnections,
            "Keys that have connections at the same time. While there are this many, a connection with another key is refused.",
        ),
    ],
};

pub(super) const LIMITS: SectionReference = SectionReference {
    title: "an entry of `limits`",
    heading: "`limits`",
    about: "An entry of the list. A connection over a limit is closed before TLS, and before any peer is asked.",
    keys: &[
        key(
            "limit",
            "name",
            Required,
            r#""per_client""#,
            NewConnections,
            "The limit: see [`[limit.NAME]`](#limitname).",
        ),
        key(
            "most",
            "number, 1 to 10000000",
            Required,
            "10",
            NewConnections,
            "The most connections with the same key at the same time, with those of other listeners that have this limit.",
        ),
        key(
            "dry_run",
            "flag",
            Value("false"),
            "true",
            NewConnections,
            "A connection over the limit goes on, is not counted for it, and is told in the log and counted in `status`.",
        ),
    ],
};

pub(super) const RATE: SectionReference = SectionReference {
    title: "`rate`",
    heading: "`rate`",
    about: "In bytes a second, for each connection: a size, or a number, also with `k`, `m` or `g` behind it. `\"0\"` or an empty text is \
            no limit. The first second's bytes pass at once. Datagrams are never held up.",
    keys: &[
        key(
            "up",
            "text with variables",
            Words("no limit"),
            r#""64KiB""#,
            NewConnections,
            "From the client to the peer.",
        ),
        key(
            "down",
            "text with variables",
            Words("no limit"),
            r#""${listener}""#,
            NewConnections,
            "From the peer to the client.",
        ),
    ],
};
