//! The keys of upstreams.

use super::Default::{Required, Value, Words};
use super::Reload::NewConnections;
use super::{SectionReference, key};

pub(super) const UPSTREAM: SectionReference = SectionReference {
    title: "[upstream.NAME]",
    heading: "`[upstream.NAME]`",
    about: "Peers that listeners with `upstream = \"NAME\"` relay to. A connection that fails to reach a peer tries the next one. \
            A reload compares upstreams by name and peers by address: health, counters and open connections stay.",
    keys: &[
        key(
            "peers",
            "list of addresses or tables",
            Required,
            r#"["tcp://127.0.0.1:1", { address = "tcp://127.0.0.2:1", weight = 2 }]"#,
            NewConnections,
            "The peers, at most 1024: see [a peer](#a-peer).",
        ),
        key(
            "balance",
            "`\"round-robin\"`, `\"least-connections\"`, `\"random-two\"`, `\"least-time\"`, or a table",
            Value(r#""round-robin""#),
            r#"{ kind = "hash", key = "${client.address}" }"#,
            NewConnections,
            "How a connection gets its peer: see [`balance`](#balance).",
        ),
        key(
            "connect_timeout",
            "duration",
            Value(r#""5s""#),
            r#""1s""#,
            NewConnections,
            "How long one attempt to connect to a peer may take. With `udp://` peers: for how long a session whose peer cannot be \
             reached and has not answered may still get another one.",
        ),
        key(
            "next",
            "table",
            Value(r#"{ timeout = "30s" }"#),
            r#"{ tries = 3 }"#,
            NewConnections,
            "When a connection stops trying other peers: see [`next`](#next).",
        ),
        key(
            "max_fails",
            "number",
            Value("1"),
            "3",
            NewConnections,
            "Failed attempts within `fail_timeout` that take a peer out for `fail_timeout`. After it, one connection tries the \
             peer again; the others wait until that one has succeeded. 0: failures take no peer out. The only peer of an \
             upstream is never taken out. If all peers are out, a connection tries them all the same.",
        ),
        key(
            "fail_timeout",
            "duration",
            Value(r#""10s""#),
            r#""30s""#,
            NewConnections,
            "See `max_fails`.",
        ),
        key(
            "slow_start",
            "duration",
            Words("none"),
            r#""30s""#,
            NewConnections,
            "A peer that comes back or is new begins with a small weight, which grows to its own over this time. Not with \
             `hash`.",
        ),
        key(
            "check",
            "table",
            Words("none"),
            r#"{ kind = "connect" }"#,
            NewConnections,
            "Checks every peer again and again: see [`check`](#check).",
        ),
        key(
            "resolver",
            "table",
            Words("the system's"),
            r#"{ servers = ["127.0.0.1:53"], valid = "10s" }"#,
            NewConnections,
            "The servers that know the names of peers: see [`resolver`](#resolver). Without it the system's resolver is asked, again when \
             the time to live is over (1 s to 5 min; 30 s where no DNS server knows the name).",
        ),
        key(
            "bind",
            "text, or table",
            Words("the kernel's choice"),
            r#""127.0.0.1""#,
            NewConnections,
            "The local address of connections to TCP peers, and of datagrams to UDP peers: see [`bind`](#bind).",
        ),
        key(
            "tls",
            "table",
            Words("none"),
            r#"{ verify = false }"#,
            NewConnections,
            "Encrypts connections to the peers: see [`tls` of an upstream](#tls-of-an-upstream). Peers at `tls://` addresses have it \
             without the table, too. A reload reads the files again.",
        ),
        key(
            "proxy_protocol",
            "1 or 2",
            Words("none"),
            "2",
            NewConnections,
            "The header of the PROXY protocol, in this version, goes to each peer before the client's bytes. It has the client's \
             address, and the one that the client has connected to, both as a trusted proxy in front names them. For a client on a Unix socket it is `UNKNOWN` (1) or `LOCAL` \
             (2), as for checks. It is not part of the bytes that are counted.",
        ),
    ],
};

pub(super) const BIND: SectionReference = SectionReference {
    title: "`bind`",
    heading: "`bind`",
    about: "The address alone, or a table.",
    keys: &[
        key(
            "address",
            "text",
            Required,
            r#""${client.address}""#,
            NewConnections,
            "An IP address, with or without a port. A connection fills in its variables: an empty text is the kernel's choice, and so \
             is one that is no address, which the log tells. Checks use the address if it has no variables, and any port.",
        ),
        key(
            "transparent",
            "true or false",
            Value("false"),
            "true",
            NewConnections,
            "The address may be one of another machine, such as the client's. The gateway needs CAP_NET_ADMIN or CAP_NET_RAW, and the \
             system routes that bring the answers back: see [the guide](../guide/proxy.md#who-the-client-is).",
        ),
    ],
};

pub(super) const RESOLVER: SectionReference = SectionReference {
    title: "`resolver`",
    heading: "`resolver`",
    about: "Names are looked up again when their answers are no longer valid. If that fails, what was known stays, also over \
            reloads; connections wait only for a name's first answer. A name that does not exist any more has no peers.",
    keys: &[
        key(
            "servers",
            "list of IP addresses, with or without a port",
            Words("those of `/etc/resolv.conf`, after `/etc/hosts`"),
            r#"["10.0.0.1", "[::1]:5353"]"#,
            NewConnections,
            "DNS servers, at most 16. They are asked over UDP, and over TCP if an answer is too long for that.",
        ),
        key(
            "valid",
            "duration",
            Words("the time to live of the answer, from 1 s to 5 min"),
            r#""10s""#,
            NewConnections,
            "How long an answer holds.",
        ),
        key(
            "timeout",
            "duration",
            Value(r#""30s""#),
            r#""5s""#,
            NewConnections,
            "How long a look-up may take.",
        ),
        key(
            "ipv4",
            "true or false",
            Value("true"),
            "false",
            NewConnections,
            "Whether IPv4 addresses are looked up.",
        ),
        key(
            "ipv6",
            "true or false",
            Value("true"),
            "false",
            NewConnections,
            "Whether IPv6 addresses are looked up.",
        ),
    ],
};

pub(super) const PEER: SectionReference = SectionReference {
    title: "an entry of `peers`",
    heading: "A peer",
    about: "An address alone, or a table. A name may have several addresses: each of them is a peer with these settings. A name \
            that cannot be resolved does not prevent the start.",
    keys: &[
        key(
            "address",
            "address",
            Required,
            r#""tcp://db.example:3306""#,
            NewConnections,
            "`tcp://host:port` or `unix:///path`; for `udp://` listeners `udp://host:port`. The peers of one upstream all take \
             datagrams, or none does.",
        ),
        key(
            "service",
            "name",
            Words("none"),
            r#""_http._tcp.example.com""#,
            NewConnections,
            "In place of `address`: each server of this service in the DNS (SRV, RFC 2782) is a peer, with its port and weight. Those \
             with the lowest priority are used, the others are backups. The protocol `_udp` means UDP.",
        ),
        key(
            "weight",
            "number",
            Value("1"),
            "5",
            NewConnections,
            "Its share of the connections, in proportion to those of the others.",
        ),
        key(
            "max_connections",
            "number",
            Words("no limit"),
            "100",
            NewConnections,
            "It gets no more connections while it has this number. Entries with one address share the count.",
        ),
        key(
            "backup",
            "true or false",
            Value("false"),
            "true",
            NewConnections,
            "It is used only while no peer that is no backup can be.",
        ),
        key(
            "down",
            "true or false",
            Value("false"),
            "true",
            NewConnections,
            "It gets no connections. With `plain` hashing it keeps its share of the keys, which others serve meanwhile.",
        ),
        key(
            "max_fails",
            "number",
            Words("the upstream's"),
            "3",
            NewConnections,
            "As for the upstream.",
        ),
        key(
            "fail_timeout",
            "duration",
            Words("the upstream's"),
            r#""30s""#,
            NewConnections,
            "As for the upstream.",
        ),
    ],
};

pub(super) const BALANCE: SectionReference = SectionReference {
    title: "`balance`",
    heading: "`balance`",
    about: "A table, or the kind alone where it needs no other key.\n\n\
            - `round-robin`: each peer in turn, as often as it weighs, spread evenly. The order is nginx's.\n\
            - `least-connections`: the peer with the fewest open connections for its weight. The choice is nginx's.\n\
            - `random-two`: of two random peers, the one with less load.\n\
            - `least-time`: the peer with the least product of its average time and its open connections, for its weight. \
            Old times count ever less.\n\
            - `hash`: the peer that the key means. If it cannot be used, another one.",
    keys: &[
        key(
            "kind",
            "a word from above",
            Required,
            r#""least-time""#,
            NewConnections,
            "The rule.",
        ),
        key(
            "by",
            "`\"connections\"`, `\"connect\"`, `\"first-byte\"` or `\"last-byte\"`",
            Words("`\"connections\"` with `random-two`, `\"connect\"` with `least-time`"),
            r#""first-byte""#,
            NewConnections,
            "What load is: open connections, the time to connect, from then to the first byte, or from then to the end. With \
             `random-two` and `least-time`.",
        ),
        key(
            "key",
            "text with variables",
            Words("required with `hash`"),
            r#""${client.address} ${listener}""#,
            NewConnections,
            "Connections with equal keys get the same peer. See [variables](../guide/proxy.md#variables). \
             `$$` is a dollar sign.",
        ),
        key(
            "method",
            "`\"ketama\"`, `\"maglev\"` or `\"plain\"`",
            Value(r#""ketama""#),
            r#""plain""#,
            NewConnections,
            "How a key means a peer. `ketama`: 160 points a weight on a ring, as nginx's `hash … consistent`; a peer more or less \
             moves its own keys. `maglev`: spreads keys more evenly and moves a few more. `plain`: CRC-32 modulo the weights, as \
             nginx's `hash`; a peer more or less moves most keys.",
        ),
    ],
};

pub(super) const NEXT: SectionReference = SectionReference {
    title: "`next`",
    heading: "`next`",
    about: "Only a connection that has sent nothing yet tries another peer.",
    keys: &[
        key(
            "tries",
            "number",
            Words("the number of peers"),
            "3",
            NewConnections,
            "The attempts in all.",
        ),
        key(
            "timeout",
            "duration",
            Value(r#""30s""#),
            r#""10s""#,
            NewConnections,
            "The time for all attempts together.",
        ),
    ],
};

pub(super) const CHECK: SectionReference = SectionReference {
    title: "`check`",
    heading: "`check`",
    about: "A peer that fails its checks gets no connections until it succeeds again. A new peer counts as healthy.",
    keys: &[
        key(
            "kind",
            "`\"connect\"`, `\"tls\"` or `\"expect\"`",
            Required,
            r#""connect""#,
            NewConnections,
            "What a check does. `connect`: it connects and closes the connection. A peer that hangs still passes, because the \
             kernel connects for it. `tls`: it shakes hands, too. `expect`: it connects, sends `send`, and waits until the answer \
             has `expect` in it; over TLS, if the upstream has it. `udp://` peers have `expect` only: `send` is one datagram, and \
             so is the answer.",
        ),
        key(
            "send",
            "text, or a list of bytes",
            Words("nothing"),
            r#""PING\r\n""#,
            NewConnections,
            "What `expect` sends first, at most 4096 bytes.",
        ),
        key(
            "expect",
            "text, or a list of bytes",
            Words("required with `expect`"),
            r#""+PONG""#,
            NewConnections,
            "What the first 16 KiB of the answer must have in them, at most 1024 bytes.",
        ),
        key(
            "interval",
            "duration",
            Value(r#""5s""#),
            r#""2s""#,
            NewConnections,
            "The time between two checks of a peer, up to a tenth more or less.",
        ),
        key(
            "rise",
            "number",
            Value("2"),
            "3",
            NewConnections,
            "Checks in a row that must succeed until the peer is used again.",
        ),
        key(
            "fall",
            "number",
            Value("3"),
            "2",
            NewConnections,
            "Checks in a row that must fail until it is not used any more.",
        ),
        key(
            "timeout",
            "duration",
            Words("the lesser of 1 s and `interval`"),
            r#""500ms""#,
            NewConnections,
            "How long a check may take.",
        ),
    ],
};
