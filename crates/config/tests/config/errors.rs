//! Wrong configurations, and every word of their errors.

use std::path::Path;

use moorline_config::load_text;

/// A text, and all its errors.
const WRONG: &[(&str, &str)] = &[
    (
        "",
        r#"/c/a.toml: there is no [[listen]]: the engine would listen nowhere
  hint: add [[listen]] and below it, for instance, address = "tcp://127.0.0.1:9501""#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
[engine]
gatway_loops = 2
colour = 1
memory_limit = "1MiB"
"#,
        r#"/c/a.toml:4:1: unknown key `gatway_loops` in [engine]
  4 | gatway_loops = 2
    | ^^^^^^^^^^^^
  hint: did you mean `gateway_loops`?
/c/a.toml:5:1: unknown key `colour` in [engine]
  5 | colour = 1
    | ^^^^^^
  hint: known here: `run_dir`, `gateway_loops`, `ring_memory`, `memory_limit`, `history_memory`, `history_timeout`, `user`, `group`, `gateway_user`, `stop_over`, `stop_code`, `kill_after`, `chroot`, `log`, `hooks`
/c/a.toml:6:16: `memory_limit` is too small: a few sessions with one large message each would pass it
  6 | memory_limit = "1MiB"
    |                ^^^^^^
  hint: write at least "8MiB", or leave it out"#,
    ),
    (
        r#"[[listen]]
address = "tls://127.0.0.1:1"
[[listen]]
address = "udp://127.0.0.1:1"
tls = { certificate = "/nowhere/a.pem", key = "/nowhere/a.key" }
[[listen]]
address = "tcp://127.0.0.1:2"
tls = { certificate = "/nowhere/a.pem", client_certificates = "required", min_version = "1.1" }
"#,
        r#"/c/a.toml:2:11: a tls:// listener needs a certificate
  2 | address = "tls://127.0.0.1:1"
    |           ^^^^^^^^^^^^^^^^^^^
  hint: write tls = { certificate = "cert.pem", key = "key.pem" } below it
/c/a.toml:5:7: `tls`: cannot use /nowhere/a.pem: No such file or directory (os error 2)
  5 | tls = { certificate = "/nowhere/a.pem", key = "/nowhere/a.key" }
    |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: name PEM files that are there; a relative path begins at this file's folder
/c/a.toml:8:7: `tls` has no `key`
  8 | tls = { certificate = "/nowhere/a.pem", client_certificates = "required", min_version = "1.1" }
    |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: write tls = { certificate = "cert.pem", key = "key.pem" }
/c/a.toml:8:41: `client_certificates` needs `client_issuers`: no issuer is trusted
  8 | tls = { certificate = "/nowhere/a.pem", client_certificates = "required", min_version = "1.1" }
    |                                         ^^^^^^^^^^^^^^^^^^^
  hint: write client_issuers = "ca.pem" beside it
/c/a.toml:8:89: `min_version` is "1.1", which is none of its words
  8 | tls = { certificate = "/nowhere/a.pem", client_certificates = "required", min_version = "1.1" }
    |                                                                                         ^^^^^
  hint: did you mean "1.2"?"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
tls = { certificate = "/nowhere/a.pem", key = "/nowhere/a.key", client_crl = "a.crl", client_verify_depth = 101 }
"#,
        r#"/c/a.toml:3:65: `client_crl` has no effect: clients are not asked for certificates
  3 | tls = { certificate = "/nowhere/a.pem", key = "/nowhere/a.key", client_crl = "a.crl", client_verify_depth = 101 }
    |                                                                 ^^^^^^^^^^
  hint: remove it
/c/a.toml:3:87: `client_verify_depth` has no effect: clients are not asked for certificates
  3 | tls = { certificate = "/nowhere/a.pem", key = "/nowhere/a.key", client_crl = "a.crl", client_verify_depth = 101 }
    |                                                                                       ^^^^^^^^^^^^^^^^^^^
  hint: remove it
/c/a.toml:3:109: `client_verify_depth` is 101, out of its limits
  3 | tls = { certificate = "/nowhere/a.pem", key = "/nowhere/a.key", client_crl = "a.crl", client_verify_depth = 101 }
    |                                                                                                             ^^^
  hint: write a whole number from 0 to 100"#,
    ),
    (
        r#"admin = { listen = "here", hosts = ["a b"], token = 1 }
greeting = 1
[[listen]]
address = "tcp://127.0.0.1:1"
limit = []
"#,
        r#"/c/a.toml:1:20: `listen`: "here" is no IP address with a port
  1 | admin = { listen = "here", hosts = ["a b"], token = 1 }
    |                    ^^^^^^
  hint: write listen = "127.0.0.1:9400"
/c/a.toml:1:37: `hosts`: "a b" is no name of a host
  1 | admin = { listen = "here", hosts = ["a b"], token = 1 }
    |                                     ^^^^^
  hint: write a name without a port
/c/a.toml:1:45: unknown key `token` in [admin]
  1 | admin = { listen = "here", hosts = ["a b"], token = 1 }
    |                                             ^^^^^
  hint: known here: `listen`, `hosts`, `token_file`, `otlp`
/c/a.toml:2:1: unknown key `greeting`
  2 | greeting = 1
    | ^^^^^^^^
  hint: known here: `engine`, `workers`, `tasks`, `helpers`, `admin`, `cluster`, `map`, `upstream`, `limit`, `access_log`, `listen`, `app`
/c/a.toml:5:1: unknown key `limit` in [[listen]]
  5 | limit = []
    | ^^^^^
  hint: did you mean `limits`?"#,
    ),
    (
        r#"[workers]
count = 513
max_wait = 10
start_timeout = "0s"
dispatch = "stiky"
[[listen]]
address = "tcp://127.0.0.1:1"
idle_timeout = "-5s"
receive_timeout = "10 sec"
send_timeout = "99999999999999999999h"
high_watermark = "1MB"
hard_limit = 4096
"#,
        r#"/c/a.toml:2:9: `count` is 513, out of its limits
  2 | count = 513
    |         ^^^
  hint: write a whole number from 0 to 512
/c/a.toml:3:12: `max_wait` is a bare number
  3 | max_wait = 10
    |            ^^
  hint: write a unit, such as "10ms", "5s", "2m" or "1h"
/c/a.toml:4:17: `start_timeout` is zero
  4 | start_timeout = "0s"
    |                 ^^^^
  hint: leave the key out for its default, or write a longer time
/c/a.toml:5:12: `dispatch` is "stiky", which is none of its words
  5 | dispatch = "stiky"
    |            ^^^^^^^
  hint: did you mean "sticky"?
/c/a.toml:8:16: `idle_timeout`: "-5s" is negative
  8 | idle_timeout = "-5s"
    |                ^^^^^
  hint: write a whole number and its unit, such as "10ms", "5s", "2m" or "1h"
/c/a.toml:9:19: `receive_timeout`: "10 sec" is no duration
  9 | receive_timeout = "10 sec"
    |                   ^^^^^^^^
  hint: write "10s"
/c/a.toml:10:16: `send_timeout`: "99999999999999999999h" is too large
  10 | send_timeout = "99999999999999999999h"
     |                ^^^^^^^^^^^^^^^^^^^^^^^
  hint: the largest duration is "8760h"
/c/a.toml:11:18: `high_watermark`: "1MB" is no size
  11 | high_watermark = "1MB"
     |                  ^^^^^
  hint: write "1MiB"
/c/a.toml:12:14: `hard_limit` is a bare number
  12 | hard_limit = 4096
     |              ^^^^
  hint: write a unit, such as "512B", "64KiB", "2MiB" or "1GiB""#,
    ),
    (
        r#"[engine]
gateway_loops = 8
ring_memory = "4MiB"
[engine.log]
level = "inof"
format = "yaml"
[[listen]]
address = "tcp://127.0.0.1:1"
"#,
        r#"/c/a.toml:3:15: `ring_memory` is too small for 8 gateway loops: each has two rings, and a ring needs 384 KiB
  3 | ring_memory = "4MiB"
    |               ^^^^^^
  hint: write at least "6144KiB", or fewer `gateway_loops`
/c/a.toml:5:9: `level`: "inof" is no level
  5 | level = "inof"
    |         ^^^^^^
  hint: write off, error, warn, info, debug or trace; or by module, such as "info,my_app=debug"
/c/a.toml:6:10: `format` is "yaml", which is none of its words
  6 | format = "yaml"
    |          ^^^^^^
  hint: write one of `pretty`, `json`"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
high_watermark = "1MiB"
low_watermark = "1MiB"
[[listen]]
address = "tcp://127.0.0.1:2"
hard_limit = "512KiB"
"#,
        r#"/c/a.toml:4:17: `low_watermark` is not under `high_watermark`
  4 | low_watermark = "1MiB"
    |                 ^^^^^^
  hint: write a lower `low_watermark`, a quarter of the high one for instance, or a higher `high_watermark`
/c/a.toml:7:14: `hard_limit` is under `high_watermark` (by default 1 MiB)
  7 | hard_limit = "512KiB"
    |              ^^^^^^^^
  hint: write a higher `hard_limit`, twice the high watermark for instance, or a lower `high_watermark`"#,
    ),
    (
        r#"[[listen]]
name = "a"
address = "tcp://127.0.0.1:1"
[[listen]]
name = "a"
address = "http://127.0.0.1:1"
[[listen]]
name = "b"
"#,
        r#"/c/a.toml:5:8: the listener "a" is already on line 2
  5 | name = "a"
    |        ^^^
  hint: give each listener a name of its own
/c/a.toml:6:11: `address` is already listened on: see line 3
  6 | address = "http://127.0.0.1:1"
    |           ^^^^^^^^^^^^^^^^^^^^
  hint: write another port or path
/c/a.toml:7:1: [[listen]] has no `address`
  7 | [[listen]]
    | ^^^^^^^^^^
  hint: write address = "tcp://host:port", or tls://, udp://, http:// or https://host:port, unix:///path or unixgram:///path"#,
    ),
    (
        r#"[[listen]]
address = "http://127.0.0.1:1"
framing = { kind = "line" }
websocket = "ws"
static = "nowhere"
[[listen]]
address = "udp://127.0.0.1:2"
websocket = "/ws"
idle_timeout = "1s"
[[listen]]
address = "wss://a:1"
[[listen]]
address = "ws://a:1"
[[listen]]
address = "kcp://a:1"
[[listen]]
address = "unix://@a"
"#,
        r#"/c/a.toml:3:1: `framing` has no effect on an http:// listener: its sessions are of WebSocket or server-sent events
  3 | framing = { kind = "line" }
    | ^^^^^^^
  hint: remove it
/c/a.toml:4:13: `websocket` is "ws", and a path begins with a slash
  4 | websocket = "ws"
    |             ^^^^
  hint: write "/ws"
/c/a.toml:5:10: `static`: there is no folder /c/nowhere
  5 | static = "nowhere"
    |          ^^^^^^^^^
  hint: create it, or write the path of one; a relative path begins at this file's folder
/c/a.toml:8:1: `websocket` belongs to http:// listeners
  8 | websocket = "/ws"
    | ^^^^^^^^^
  hint: remove it
/c/a.toml:9:1: `idle_timeout` has no effect on a udp:// listener: datagrams have no sessions
  9 | idle_timeout = "1s"
    | ^^^^^^^^^^^^
  hint: remove it
/c/a.toml:11:11: `address`: `wss` is not an address to listen on
  11 | address = "wss://a:1"
     |           ^^^^^^^^^^^
  hint: write https://a:1 and name the path with the key `websocket`
/c/a.toml:13:11: `address`: `ws` is not an address to listen on
  13 | address = "ws://a:1"
     |           ^^^^^^^^^^
  hint: write http://a:1 and name the path with the key `websocket`
/c/a.toml:15:11: `address`: `kcp` is not served by this version
  15 | address = "kcp://a:1"
     |           ^^^^^^^^^^^
  hint: use udp://host:port
/c/a.toml:17:11: `address`: an abstract socket is not served: no folder decides who may connect
  17 | address = "unix://@a"
     |           ^^^^^^^^^^^
  hint: write unix:///path"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
ping_interval = "25s"
tcp_keepalive = "10h"
[[listen]]
address = "http://127.0.0.1:2"
websocket = "/ws"
ping_interval = "off"
pong_timeout = "5s"
[[listen]]
address = "http://127.0.0.1:3"
websocket = "/ws"
ping_interval = "0s"
pong_timeout = "off"
tcp_user_timeout = "500ms"
[[listen]]
address = "unix:///a"
tcp_keepalive = "off"
"#,
        r#"/c/a.toml:3:1: `ping_interval` has no effect without `websocket` or a route of sessions: other protocols have no pings
  3 | ping_interval = "25s"
    | ^^^^^^^^^^^^^
  hint: remove it
/c/a.toml:4:17: `tcp_keepalive` is out of its limits
  4 | tcp_keepalive = "10h"
    |                 ^^^^^
  hint: write 1s to 9h, or "off"
/c/a.toml:9:1: `pong_timeout` has no effect with `ping_interval` off
  9 | pong_timeout = "5s"
    | ^^^^^^^^^^^^
  hint: remove it
/c/a.toml:13:17: `ping_interval` is out of its limits
  13 | ping_interval = "0s"
     |                 ^^^^
  hint: write 1s to 9h, or "off"
/c/a.toml:14:16: `pong_timeout`: "off" is no duration
  14 | pong_timeout = "off"
     |                ^^^^^
  hint: write a whole number and its unit, such as "10ms", "5s", "2m" or "1h"
/c/a.toml:15:20: `tcp_user_timeout` is out of its limits
  15 | tcp_user_timeout = "500ms"
     |                    ^^^^^^^
  hint: write 1s to 9h, or "off"
/c/a.toml:18:1: `tcp_keepalive` has no effect on a unix:// listener: it has no TCP connections
  18 | tcp_keepalive = "off"
     | ^^^^^^^^^^^^^
  hint: remove it"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
framing = { kind = "length", width = 3, edian = "big" }
[[listen]]
address = "tcp://127.0.0.1:2"
framing = { kind = "length", offset = 61 }
[[listen]]
address = "tcp://127.0.0.1:3"
framing = { kind = "length", offset = 2, keep_header = false }
[[listen]]
address = "tcp://127.0.0.1:6"
framing = { kind = "length", counts = "message", body = 4 }
[[listen]]
address = "tcp://127.0.0.1:4"
framing = { kind = "delimiter", delimiter = [256] }
[[listen]]
address = "tcp://127.0.0.1:5"
framing = "line"
"#,
        r#"/c/a.toml:3:38: `width` is 3, and a length has 1, 2, 4 or 8 bytes
  3 | framing = { kind = "length", width = 3, edian = "big" }
    |                                      ^
  hint: write 1, 2, 4 or 8
/c/a.toml:3:41: unknown key `edian` in `length` framing
  3 | framing = { kind = "length", width = 3, edian = "big" }
    |                                         ^^^^^
  hint: did you mean `endian`?
/c/a.toml:6:39: the header has 65 bytes, and it may have 64
  6 | framing = { kind = "length", offset = 61 }
    |                                       ^^
  hint: write a smaller `offset`
/c/a.toml:9:56: `keep_header` is false, and this header holds more than the length: the engine could not write one
  9 | framing = { kind = "length", offset = 2, keep_header = false }
    |                                                        ^^^^^
  hint: remove it: the app then sees and sends whole packets, and the engine fills in the length
/c/a.toml:12:57: `counts` and `body` both say what the length counts
  12 | framing = { kind = "length", counts = "message", body = 4 }
     |                                                         ^
  hint: remove one: `body` is for headers that `counts` cannot describe
/c/a.toml:15:46: `delimiter` is 256, out of its limits
  15 | framing = { kind = "delimiter", delimiter = [256] }
     |                                              ^^^
  hint: write a whole number from 0 to 255
/c/a.toml:18:11: `framing` is a string, not a table
  18 | framing = "line"
     |           ^^^^^^
  hint: write framing = { kind = "raw" }, or "length", "delimiter" or "line""#,
    ),
    (
        r#"[workers]
max_wait = 10s
[listen]
address = tcp://127.0.0.1:1
"#,
        r#"/c/a.toml:2:12: the value is text without quotes
  2 | max_wait = 10s
    |            ^^^
  hint: put the value in quotes: max_wait = "10s"
/c/a.toml:4:11: the value is text without quotes
  4 | address = tcp://127.0.0.1:1
    |           ^^^^^^^^^^^^^^^^^
  hint: put the value in quotes: address = "tcp://127.0.0.1:1""#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
framing = { kind = length, max = "1MiB" }
tls = { alpn = [mqtt] }
"#,
        r#"/c/a.toml:3:20: the value is text without quotes
  3 | framing = { kind = length, max = "1MiB" }
    |                    ^^^^^^
  hint: put the value in quotes: kind = "length"
/c/a.toml:4:17: the value is text without quotes
  4 | tls = { alpn = [mqtt] }
    |                 ^^^^
  hint: put the value in quotes: "mqtt""#,
    ),
    (
        r#"[listen]
address = "tcp://127.0.0.1:1"
"#,
        r#"/c/a.toml:1:1: `listen` is a table, not an array
  1 | [listen]
    | ^^^^^^^^
  hint: write [[listen]] with double brackets, once for each listener"#,
    ),
    (
        r#"[[helpers]]
name = "a"
command = []
[[helpers]]
name = "a"
command = "x"
[[listen]]
address = "tcp://127.0.0.1:1"
"#,
        r#"/c/a.toml:3:11: `command` names no program
  3 | command = []
    |           ^^
  hint: write the program and its arguments: command = ["./feeder", "--fast"]
/c/a.toml:5:8: the helper "a" is already on line 2
  5 | name = "a"
    |        ^^^
  hint: give each helper a name of its own
/c/a.toml:6:11: `command` is a string, not an array
  6 | command = "x"
    |           ^^^
  hint: write the program and its arguments: command = ["./feeder", "--fast"]"#,
    ),
    (
        r#"[workers]
cuont =
[[listen]]
address = "tcp://127.0.0.1:1"
"#,
        r#"/c/a.toml:2:8: the key has no value
  2 | cuont =
    |        ^
  hint: write a value behind the =, or remove the line"#,
    ),
    (
        r#"[workers]
cuont = 1
wait_after = 5
[[listen]]
address = "tcp://127.0.0.1:1"
on_error = "ignore"
[[listen]]
address = "udp://127.0.0.1:1"
on_error = "keep"
"#,
        r#"/c/a.toml:2:1: unknown key `cuont` in [workers]
  2 | cuont = 1
    | ^^^^^
  hint: did you mean `count`?
/c/a.toml:3:14: `wait_after` is a bare number
  3 | wait_after = 5
    |              ^
  hint: write a unit, such as "10ms", "5s", "2m" or "1h"
/c/a.toml:6:12: `on_error` is "ignore", which is none of its words
  6 | on_error = "ignore"
    |            ^^^^^^^^
  hint: write one of `close`, `keep`
/c/a.toml:9:1: `on_error` has no effect on a udp:// listener: datagrams have no sessions
  9 | on_error = "keep"
    | ^^^^^^^^
  hint: remove it"#,
    ),
    (
        r#"[engine]
history_timeout = "0s"
[[listen]]
address = "http://127.0.0.1:1"
[[listen.route]]
path = "/publish/:room"
kind = "publish"
token = "0123456789abcdef"
"#,
        r#"/c/a.toml:2:19: `history_timeout` is zero
  2 | history_timeout = "0s"
    |                   ^^^^
  hint: leave the key out for its default, or write a longer time
/c/a.toml:6:8: `path`: a route of kind "publish" has no parameter for the group
  6 | path = "/publish/:room"
    |        ^^^^^^^^^^^^^^^^
  hint: write path = "/publish/:group", or "/publish/*group" if names have slashes"#,
    ),
    // A value may spell what a terminal would obey; a message does not.
    (
        r#"[[listen]]
address = "tcp://\u001b[2J:1"
"#,
        "/c/a.toml:2:11: `address` has control characters
  2 | address = \"tcp://\\u001b[2J:1\"
    |           ^^^^^^^^^^^^^^^^^^^
  hint: write it in printable characters",
    ),
];

#[test]
fn every_error_has_a_place_and_a_hint() {
    for (text, said) in WRONG {
        let errors = load_text(text, Path::new("/c/a.toml")).unwrap_err();
        assert_eq!(errors.to_string(), *said, "of:\n{text}");
    }
}
