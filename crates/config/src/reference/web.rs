//! The tables of HTTP and WebSocket listeners, and what their files are served by.

use super::Default::{Required, Value, Words};
use super::Reload::{NewConnections, Yes};
use super::{SectionReference, key};

pub(super) const ROUTE: SectionReference = SectionReference {
    title: "[[listen.route]]",
    heading: "`[[listen.route]]`",
    about: "What an HTTP listener does with the requests for a path. The keys `websocket` and `static` of the listener are \
            short forms of two of them. The most specific route counts, whatever their order: in each part of the path, text \
            before a parameter before the rest. Parts are percent-decoded one by one, so `%2F` is no slash. Where two routes \
            have the same path and one is for WebSocket, it gets the handshakes and the other one all else. A path that has no \
            route, but would have one with a slash more or less at its end, is redirected to it (308); a WebSocket handshake is \
            served at once. All else is 404.",
    keys: &[
        key(
            "path",
            "path with parameters",
            Required,
            r#""/chat/:room""#,
            Yes,
            "`:name` stands for one part, `*name` at the end for all that follows. The app reads them by \
             `request.parameter(\"name\")`.",
        ),
        key(
            "kind",
            "`\"websocket\"`, `\"sse\"`, `\"static\"`, `\"app\"`, `\"engine\"` or `\"publish\"`",
            Required,
            r#""sse""#,
            Yes,
            "`websocket`: a session. `sse`: a session that sends server-sent events. `static`: files, also of all paths below \
             (see [files](#files)). `app`: the app answers (`App::request`). `engine`: the engine answers: \
             programs beside it send, post, run tasks and ask for the state (see \
             [the guide](../guide/web.md#programs-beside-the-engine); `unix://` only). `publish`: a POST is \
             an event or a message for the group that its parameter `:group` or `*group` names (see \
             [publishing](../guide/history.md#publish-by-http)).",
        ),
        key(
            "folder",
            "path of a folder",
            Words("none"),
            r#""/usr""#,
            Yes,
            "Where a `static` route has its files.",
        ),
        key(
            "cache",
            "directives of `Cache-Control`",
            Value(r#""no-cache""#),
            r#""public, max-age=3600""#,
            Yes,
            "How long clients and proxies keep a file of a `static` route without asking again.",
        ),
        key(
            "max_body",
            "size, at most 64 MiB",
            Value(r#""1MiB""#),
            r#""64KiB""#,
            Yes,
            "The largest body of a request to an `app` or `engine` route. A larger one gets 413.",
        ),
        key(
            "token",
            "text of 16 characters or more",
            Words("none"),
            r#""0123456789abcdef""#,
            Yes,
            "A request to a `publish` route must have it: `Authorization: Bearer …`.",
        ),
        key(
            "token_file",
            "path of a file",
            Words("none"),
            r#""publish.token""#,
            Yes,
            "The token alone in a file. A reload reads it again.",
        ),
    ],
};

pub(super) const COMPRESSION: SectionReference = SectionReference {
    title: "`compression`",
    heading: "`compression`",
    about: "Compresses WebSocket messages. `{}` is enough. The gateway does it: workers see plain messages. A message to a group is \
            compressed once for all members with the same level and window. A client may ask for less than the table allows. \
            Without context takeover (the default) idle sessions hold no state. With it, each session has a context: up to \
            380 KB to send, given back after `ping_interval` without a message either way, and 48 KB to receive. Messages are \
            small and alike where this pays. A compressed message that would be larger than `max_message` closes the session \
            (1009).",
    keys: &[
        key(
            "level",
            "number, 1 to 9",
            Value("1"),
            "6",
            Yes,
            "1 is fast, 9 is small.",
        ),
        key(
            "min_message",
            "size",
            Value(r#""512B""#),
            r#""1KiB""#,
            Yes,
            "A shorter message is sent as it is.",
        ),
        key(
            "server_context_takeover",
            "`true` or `false`",
            Value("false"),
            "true",
            NewConnections,
            "Messages to a client refer to earlier ones. A message to its group starts the context again.",
        ),
        key(
            "client_context_takeover",
            "`true` or `false`",
            Value("false"),
            "true",
            NewConnections,
            "Messages of a client refer to earlier ones.",
        ),
        key(
            "server_window_bits",
            "number, 9 to 15",
            Value("15"),
            "12",
            NewConnections,
            "The window of messages to clients: 2 to the power of this, in bytes.",
        ),
        key(
            "client_window_bits",
            "number, 9 to 15",
            Value("15"),
            "12",
            NewConnections,
            "The window of messages of clients that can limit it. A smaller one saves memory of clients, none of the gateway.",
        ),
        key(
            "memory",
            "size",
            Value(r#""64MiB""#),
            r#""256MiB""#,
            Yes,
            "The most memory for compression in the gateway, divided among its loops. Beyond it, new sessions agree on no context \
             of the client, and others send without one.",
        ),
    ],
};

pub(super) const FILES: SectionReference = SectionReference {
    title: "files",
    heading: "Files",
    about: "What a listener with `static` serves.\n\n\
            - A path that ends with `/` means the `index.html` there. A folder's path without the slash is redirected to it (308). \
            A file's path with a slash is 404.\n\
            - Nothing outside the folder is served, whatever a path or a link says. A name that begins with a dot is 404, except \
            `/.well-known/`. A path with `%00`, `%2F` or a broken escape is 400.\n\
            - An answer has an `ETag` (of inode, size and times: other machines give others) and `Last-Modified`. \
            `If-None-Match`, `If-Modified-Since`, `If-Match`, `If-Unmodified-Since`, `Range` and `If-Range` are obeyed. A \
            request for several ranges gets the whole file.\n\
            - `app.js.br` or `app.js.gz` beside `app.js` is sent to clients that accept the encoding, if it is not older. This \
            holds for text and other types that compress well.\n\
            - `X-Content-Type-Options: nosniff` is always set.\n\
            - A request with a body is answered after up to 1 MiB of it, or 5 s; if there is more, the connection ends. A body in \
            chunks is 411.",
    keys: &[],
};
