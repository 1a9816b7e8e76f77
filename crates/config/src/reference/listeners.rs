//! The keys of listeners, and the app's own.

use super::Default::{Required, Value, Words};
use super::Reload::{NewConnections, Yes};
use super::{SectionReference, key};

pub(super) const LISTEN: SectionReference = SectionReference {
    title: "[[listen]]",
    heading: "`[[listen]]`",
    about: "A listener. A reload compares listeners by name. A new listener accepts. A removed one accepts no more, and its \
            sessions stay until they end. A listener with another address or framing is replaced in the same way: new \
            connections get the new one, at the same address without a gap. Answers to datagrams that came to the old one \
            may be lost.",
    keys: &[
        key(
            "address",
            "address",
            Required,
            r#""tcp://127.0.0.1:9501""#,
            NewConnections,
            "Where it accepts: `tcp://host:port`, `tls://…`, `udp://…`, `http://…`, `https://…`, `unix:///path`, \
             `unixgram:///path`. The file of a Unix socket has mode 0666: the rights of its folder decide who connects.",
        ),
        key(
            "name",
            "text, unique",
            Words("the address"),
            r#""game""#,
            NewConnections,
            "The name in the log, in `status` and for the app.",
        ),
        key(
            "tls",
            "table",
            Words("none"),
            r#"{ certificate = "cert.pem", key = "key.pem" }"#,
            NewConnections,
            "Encrypts a stream or HTTP listener: see [`tls`](#tls). A reload reads the files again.",
        ),
        key(
            "upstream",
            "name of an upstream, or text with variables",
            Words("none"),
            r#""mysql""#,
            NewConnections,
            "Relays each connection to a peer of this upstream: see [`[upstream.NAME]`](#upstreamname). No worker has a part in \
             it. Keys of sessions and messages do not belong to such a listener. `idle_timeout` is 10 min unless it is written. \
             A text such as `\"${map.backend}\"` gives the name of an upstream, or else an address: `host:port`, `tcp://host:port`, \
             `unix:///path`. The connection is closed if it gives neither. A \
             `udp://` listener relays datagrams to `udp://` peers: see [UDP](../guide/proxy.md#udp).",
        ),
        key(
            "requests",
            "number",
            Words("no limit"),
            "1",
            Yes,
            "`udp://` with `upstream`: after this number of datagrams from a client, its next one begins another session, perhaps \
             with another peer. 1 balances each datagram.",
        ),
        key(
            "responses",
            "number",
            Words("unknown"),
            "1",
            Yes,
            "`udp://` with `upstream`: the answers that a peer gives to each datagram. A session ends when they have come; with 0, \
             when its datagrams are passed on. Without it, only `idle_timeout` ends a session. If answers are missing when it \
             does, the peer has failed once.",
        ),
        key(
            "upstream_like",
            "name of an upstream",
            Words("the defaults of an upstream"),
            r#""settings""#,
            NewConnections,
            "The upstream whose settings hold for addresses that `upstream` gives. Its peers, balance and check do not: they may \
             be left out by `peers = []`.",
        ),
        key(
            "return",
            "text with variables",
            Words("none"),
            r#""${client.address}\n""#,
            NewConnections,
            "Takes the place of `upstream`: the gateway sends each client this text and closes the connection. It ignores what the \
             client sends. On `udp://` each datagram is answered with it. Source addresses can be forged: keep the text short, or limit clients by \
             `access`.",
        ),
        key(
            "set",
            "table",
            Words("none"),
            r#"{ shard = "${client.binary}-1" }"#,
            NewConnections,
            "With `upstream` or `return`: texts that others may have as `${set.NAME}`. Each is filled in where it is used.",
        ),
        key(
            "preread",
            "table",
            Words("none"),
            r#"{ buffer = "32KiB", timeout = "10s" }"#,
            NewConnections,
            "With `upstream` and without `tls`: reads what a TLS client asks for, and passes it on as it came: see \
             [`preread`](#preread).",
        ),
        key(
            "server",
            "tables",
            Words("none"),
            "[[listen.server]]",
            NewConnections,
            "Servers behind it for TLS clients that ask for certain names: see [`[[listen.server]]`](#listenserver).",
        ),
        key(
            "names",
            "list of hosts",
            Words("none"),
            r#"["a.example", "*.b.example"]"#,
            NewConnections,
            "Names that stay with the listener, even if a wildcard or pattern of a server matches them. All names that no server has stay \
             with it, too.",
        ),
        key(
            "framing",
            "table",
            Value(r#"{ kind = "raw" }"#),
            r#"{ kind = "line" }"#,
            NewConnections,
            "How a `tcp://`, `tls://` or `unix://` stream is cut into messages: see [`framing`](#framing).",
        ),
        key(
            "websocket",
            "path of requests",
            Words("none"),
            r#""/ws""#,
            NewConnections,
            "Requests for this path become WebSocket sessions (`http://`, `https://`, `unix://`). The app may decide about each: see \
             [the app's guide](../guide/app.md#requests).",
        ),
        key(
            "origins",
            "`\"same\"`, `\"any\"`, or a list of origins",
            Value(r#""same""#),
            r#"["https://example.org", "https://*.example.org"]"#,
            Yes,
            "The web pages that may open WebSocket sessions. `\"same\"`: those whose host and port are the request's own. A list \
             adds others. A request without `Origin`, as programs send it, is no web page. An app that decides itself may let in \
             any. Others get 403.",
        ),
        key(
            "hosts",
            "list of hosts",
            Words("any"),
            r#"["example.org", "*.example.org"]"#,
            Yes,
            "The hosts whose WebSocket requests are served. A host without a port stands for all its ports. Others get 421.",
        ),
        key(
            "subprotocols",
            "list of names",
            Words("none"),
            r#"["chat.v2", "chat.v1"]"#,
            Yes,
            "The WebSocket subprotocols that are spoken, the preferred one first. The first one that the client offers is agreed \
             on, unless the app chooses. Without a match none is; browsers that offered some close then.",
        ),
        key(
            "route",
            "tables",
            Words("none"),
            "[[listen.route]]",
            Yes,
            "Further paths and what becomes of their requests: see [`[[listen.route]]`](#listenroute).",
        ),
        key(
            "static",
            "path of a folder",
            Words("none"),
            r#""/usr""#,
            Yes,
            "Every other request gets a file from this folder (`http://`, `https://`, `unix://`). See [files](#files).",
        ),
        key(
            "static_cache",
            "directives of `Cache-Control`",
            Value(r#""no-cache""#),
            r#""public, max-age=3600""#,
            Yes,
            "How long clients and proxies keep a file without asking again.",
        ),
        key(
            "max_message",
            "size",
            Value(r#""2MiB""#),
            r#""1MiB""#,
            NewConnections,
            "The largest WebSocket message.",
        ),
        key(
            "compression",
            "table",
            Words("none"),
            "{ level = 3 }",
            NewConnections,
            "Compresses WebSocket messages (permessage-deflate, RFC 7692) for clients that offer it: see \
             [`compression`](#compression).",
        ),
        key(
            "handshake_timeout",
            "duration",
            Value(r#""10s""#),
            r#""5s""#,
            NewConnections,
            "The time for a TLS handshake, and for the head of an HTTP or WebSocket request.",
        ),
        key(
            "idle_timeout",
            "duration",
            Words("none"),
            r#""60s""#,
            Yes,
            "Closes a session that neither receives nor sends for this long. A handler that works holds it up.",
        ),
        key(
            "receive_timeout",
            "duration",
            Words("none"),
            r#""60s""#,
            Yes,
            "Closes a session that receives nothing for this long. A handler that works holds it up.",
        ),
        key(
            "send_timeout",
            "duration",
            Words("none"),
            r#""60s""#,
            Yes,
            "Closes a session that sends nothing for this long. A handler that works holds it up, unless the peer does not take \
             queued output: then the session is closed as `slow`. The same holds for a session that is closing; without this \
             key after 30 s, or after `idle_timeout` if that is shorter. An HTTP client that stops reading a file is disconnected after this time, or 30 s.",
        ),
        key(
            "half_close_timeout",
            "duration",
            Value(r#""5m""#),
            r#""1m""#,
            Yes,
            "After the peer half-closed, the session is closed when nothing is sent and no handler ends for this long, also \
             while the app pauses it.",
        ),
        key(
            "ping_interval",
            "duration, 1 s to 9 h, or `\"off\"`",
            Words("`\"25s\"` with `websocket`"),
            r#""40s""#,
            Yes,
            "A WebSocket session that has received nothing for this long is sent a ping. What it answers counts as received: a peer \
             that answers is not closed for `idle_timeout` or `receive_timeout`, unless these are shorter.",
        ),
        key(
            "pong_timeout",
            "duration, 1 s to 9 h",
            Words("`\"20s\"` with `websocket`"),
            r#""10s""#,
            Yes,
            "The time for the answer to a ping. Then the session is closed as `vanished`, unless its peer goes on taking queued \
             output, or has sent something that the engine has not read because the app or a limit holds it up.",
        ),
        key(
            "tcp_keepalive",
            "duration, 1 s to 9 h, or `\"off\"`",
            Words("`\"60s\"` with TCP"),
            r#""30s""#,
            Yes,
            "After this time of silence the kernel probes a TCP connection, from then on four times in the same time. A session whose \
             peer does not acknowledge that is closed as `vanished`: after `tcp_user_timeout`, or twice this time without it.",
        ),
        key(
            "tcp_user_timeout",
            "duration, 1 s to 9 h, or `\"off\"`",
            Words("`\"5m\"` with TCP"),
            r#""2m""#,
            Yes,
            "How long a TCP peer may acknowledge nothing of what it was sent, or have no room for it: then the session is closed as \
             `vanished`. With `off` the kernel gives up after about 15 minutes, and a peer that lives and reads nothing is kept.",
        ),
        key(
            "high_watermark",
            "size",
            Value(r#""1MiB""#),
            r#""4MiB""#,
            Yes,
            "From this many queued outbound bytes on, the app's `full` hook runs and `send` waits.",
        ),
        key(
            "low_watermark",
            "size",
            Words("a quarter of `high_watermark`"),
            r#""64KiB""#,
            Yes,
            "Below this many, the app's `drained` hook runs and `send` goes on.",
        ),
        key(
            "hard_limit",
            "size",
            Words("8 MiB, or twice `high_watermark` if that is more"),
            r#""32MiB""#,
            Yes,
            "Above this many, the session is closed as `slow`. What `send` and `try_send` have under way when the session becomes \
             full closes none.",
        ),
        key(
            "on_crash",
            r#"`"close"`, `"redeliver"` or `"drop"`"#,
            Value(r#""close""#),
            r#""redeliver""#,
            Yes,
            "When a worker dies with a message of the session in progress: `close` closes the session, `redeliver` gives the \
             message to the next worker, `drop` drops the message.",
        ),
        key(
            "on_error",
            r#"`"close"` or `"keep"`"#,
            Words(r#"`"close"`, or `"keep"` with `on_crash = "drop"`"#),
            r#""keep""#,
            Yes,
            "When a handler returns an error: `close` closes the session (reason `error`, WebSocket code 1011) after its output \
             is flushed, `keep` goes on. `SendError::Closed` and `NoSuchSession` do not count, also as the \
             cause of another error: a handler may return them with `?`.",
        ),
        key(
            "attempts",
            "number, 1 to 1000",
            Value("3"),
            "5",
            Yes,
            "How often a message is delivered at most with `redeliver`.",
        ),
        key(
            "trusted_proxies",
            "list of addresses, networks, names of hosts and `\"unix\"`",
            Words("none"),
            r#"["10.0.0.0/8", "::1", "proxy.example", "unix"]"#,
            Yes,
            "The proxies in front of this listener. The peer of a request, or of a session that began as one, that comes from one of them is the \
             client that it names: for the app, the log, `sessions`, `max_sessions_per_address` and `dispatch = \"ip-hash\"`. \
             That is the last address that is none of these, or the last that is readable. `\"unix\"`: the peers of a Unix \
             socket. A name (at most 64) has the addresses that the system finds for it, at the start, at a reload and when its time to live is over. A \
             start waits up to 1 s for them. A name without an answer is not trusted; if later look-ups fail, the old addresses \
             stay for up to an hour; if the name has no address any more, they go. What others say is ignored.",
        ),
        key(
            "forwarded_header",
            "`\"x-forwarded-for\"` or `\"forwarded\"`",
            Value(r#""x-forwarded-for""#),
            r#""forwarded""#,
            Yes,
            "The header in which these proxies name the client: `X-Forwarded-For` and, for the rules about origins, \
             `X-Forwarded-Proto`, whose last entry counts: that of the proxy in front; or `Forwarded` (RFC 7239) with `for`, \
             `proto` and `host`. The proxies must write it, or add to it. The other one is ignored, since a client could write \
             it. A request whose `Forwarded` has a quote without an end is answered with 400.",
        ),
        key(
            "proxy_protocol",
            "`true`, `false`, `\"trusted\"` or `\"any\"`",
            Value("false"),
            "true",
            NewConnections,
            "Each connection begins with a header of the PROXY protocol (version 1 or 2, at most 4096 bytes) that names the \
             client, before TLS. It must come within `handshake_timeout`. Only `trusted_proxies` can connect then. With `\"trusted\"` \
             others connect without a header; with `\"any\"` others send one, too, and it is read and not believed. A proxy that speaks for itself (`LOCAL`) or knows no address of its client (`UNKNOWN`, `UNSPEC`, `AF_UNIX`) is the peer; the \
             headers of a client without an address are ignored.",
        ),
        key(
            "access",
            "list of tables with `allow` or `deny`",
            Value("[]"),
            r#"[{ allow = "10.0.0.0/8" }, { allow = "unix:" }, { deny = "all" }]"#,
            NewConnections,
            "Which clients may connect: see [`access`](#access). Not on `http://`, and on `udp://` only with `upstream` or `return`.",
        ),
        key(
            "limits",
            "list of tables",
            Value("[]"),
            r#"[{ limit = "per_client", most = 10 }]"#,
            NewConnections,
            "Limits of connections by any key, shared between listeners: see [`limits`](#limits). On listeners as `access`.",
        ),
        key(
            "rate",
            "table",
            Words("none"),
            r#"{ down = "1MiB" }"#,
            NewConnections,
            "How fast the bytes of each relayed connection pass: see [`rate`](#rate). Only with `upstream`.",
        ),
        key(
            "access_log",
            "list of names",
            Words("the engine's log"),
            r#"["main"]"#,
            Yes,
            "The logs where each relayed connection leaves a line at its end: see [`[access_log.NAME]`](#access_logname). `[]`: none. \
             Only with `upstream`.",
        ),
        key(
            "max_sessions",
            "number, 1 to 10000000",
            Value("100000"),
            "5000",
            Yes,
            "Sessions at the same time. More connections are closed at once; on `http://` the client gets 503 with `Retry-After` (5 to \
             14 seconds), up to 64 of them at the same time. A closed session does not count, although its socket may stay for up to \
             two seconds.",
        ),
        key(
            "max_sessions_per_address",
            "number, 1 to 10000000",
            Words("none"),
            "20",
            Yes,
            "The same for one peer address; on `http://` the client gets 429. An IPv6 /64 counts as one address.",
        ),
        key(
            "accept_rate",
            "number, 1 to 1000000",
            Words("none"),
            "500",
            Yes,
            "Connections accepted in a second. More wait in the kernel's backlog.",
        ),
        key(
            "max_handshakes",
            "number, 1 to 10000000",
            Value("1024"),
            "256",
            Yes,
            "Connections that wait for the gateway to begin their session or to go on with their TLS handshake. With this many it \
             accepts no more; they wait in the kernel. Those that wait for their client do not count, nor those that the app \
             decides about.",
        ),
        key(
            "min_receive_rate",
            "size in a second",
            Words("none"),
            r#""1KiB""#,
            Yes,
            "The slowloris guard: an unfinished message must bring this many bytes a second, measured over 3 seconds. A slower session is closed.",
        ),
        key(
            "deliver_after_close",
            "`true` or `false`",
            Value("false"),
            "true",
            Yes,
            "Delivers what a peer sent before its connection broke.",
        ),
        key(
            "dispatch",
            "as for workers",
            Words("that of `[workers]`"),
            r#""ip-hash""#,
            Yes,
            "The worker of a message, for this listener.",
        ),
    ],
};

pub(super) const APP: SectionReference = SectionReference {
    title: "[app]",
    heading: "`[app]`",
    about: "The keys are those of your app. `check` and `serve` print what does not fit its type, with file, line and column: see \
            [writing an app](../guide/app.md).",
    keys: &[],
};
