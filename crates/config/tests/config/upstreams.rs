//! Wrong upstreams and relayed listeners, and every word of their errors.

use std::path::Path;

use moorline_config::load_text;

/// A text, and all its errors.
const WRONG: &[(&str, &str)] = &[
    (
        r#"upstream = 1
[[listen]]
address = "tcp://127.0.0.1:1"
"#,
        r#"/c/a.toml:1:12: `upstream` is an integer, not a table
  1 | upstream = 1
    |            ^
  hint: write [upstream.NAME] and its keys below it"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "msyql"
[[listen]]
address = "tcp://127.0.0.1:2"
upstream = "cache"
[[listen]]
address = "tcp://127.0.0.1:3"
upstream = 3306
[upstream.mysql]
peers = ["tcp://10.0.0.1:3306"]
"#,
        r#"/c/a.toml:3:12: there is no upstream "msyql"
  3 | upstream = "msyql"
    |            ^^^^^^^
  hint: did you mean "mysql"?
/c/a.toml:6:12: there is no upstream "cache"
  6 | upstream = "cache"
    |            ^^^^^^^
  hint: write a table [upstream.cache] with its peers
/c/a.toml:9:12: `upstream` is an integer, not a string
  9 | upstream = 3306
    |            ^^^^
  hint: write upstream = "…""#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "mysql"
framing = { kind = "line" }
receive_timeout = "1s"
send_timeout = "1s"
half_close_timeout = "1s"
min_receive_rate = "1KiB"
high_watermark = "2MiB"
low_watermark = "1MiB"
hard_limit = "8MiB"
on_crash = "drop"
on_error = "keep"
attempts = 2
deliver_after_close = true
dispatch = "round-robin"
websocket = "/ws"
[upstream.mysql]
peers = ["tcp://10.0.0.1:3306"]
"#,
        r#"/c/a.toml:4:1: `framing` has no effect with `upstream`: bytes are relayed as they come
  4 | framing = { kind = "line" }
    | ^^^^^^^
  hint: remove it
/c/a.toml:5:1: `receive_timeout` has no effect with `upstream`: bytes are relayed as they come
  5 | receive_timeout = "1s"
    | ^^^^^^^^^^^^^^^
  hint: remove it
/c/a.toml:6:1: `send_timeout` has no effect with `upstream`: bytes are relayed as they come
  6 | send_timeout = "1s"
    | ^^^^^^^^^^^^
  hint: remove it
/c/a.toml:7:1: `half_close_timeout` has no effect with `upstream`: bytes are relayed as they come
  7 | half_close_timeout = "1s"
    | ^^^^^^^^^^^^^^^^^^
  hint: remove it
/c/a.toml:8:1: `min_receive_rate` has no effect with `upstream`: bytes are relayed as they come
  8 | min_receive_rate = "1KiB"
    | ^^^^^^^^^^^^^^^^
  hint: remove it
/c/a.toml:9:1: `high_watermark` has no effect with `upstream`: bytes are relayed as they come
  9 | high_watermark = "2MiB"
    | ^^^^^^^^^^^^^^
  hint: remove it
/c/a.toml:10:1: `low_watermark` has no effect with `upstream`: bytes are relayed as they come
  10 | low_watermark = "1MiB"
     | ^^^^^^^^^^^^^
  hint: remove it
/c/a.toml:11:1: `hard_limit` has no effect with `upstream`: bytes are relayed as they come
  11 | hard_limit = "8MiB"
     | ^^^^^^^^^^
  hint: remove it
/c/a.toml:12:1: `on_crash` has no effect with `upstream`: bytes are relayed as they come
  12 | on_crash = "drop"
     | ^^^^^^^^
  hint: remove it
/c/a.toml:13:1: `on_error` has no effect with `upstream`: bytes are relayed as they come
  13 | on_error = "keep"
     | ^^^^^^^^
  hint: remove it
/c/a.toml:14:1: `attempts` has no effect with `upstream`: bytes are relayed as they come
  14 | attempts = 2
     | ^^^^^^^^
  hint: remove it
/c/a.toml:15:1: `deliver_after_close` has no effect with `upstream`: bytes are relayed as they come
  15 | deliver_after_close = true
     | ^^^^^^^^^^^^^^^^^^^
  hint: remove it
/c/a.toml:16:1: `dispatch` has no effect with `upstream`: bytes are relayed as they come
  16 | dispatch = "round-robin"
     | ^^^^^^^^
  hint: remove it
/c/a.toml:17:1: `websocket` belongs to http:// listeners
  17 | websocket = "/ws"
     | ^^^^^^^^^
  hint: remove it"#,
    ),
    (
        r#"[[listen]]
address = "http://127.0.0.1:1"
websocket = "/"
upstream = "mysql"
[[listen]]
address = "udp://127.0.0.1:1"
upstream = "mysql"
[[listen]]
address = "unix:///run/a.sock"
upstream = "mysql"
websocket = "/"
[upstream.mysql]
peers = ["tcp://10.0.0.1:3306"]
"#,
        r#"/c/a.toml:2:11: http:// listeners do not relay in this version
  2 | address = "http://127.0.0.1:1"
    |           ^^^^^^^^^^^^^^^^^^^^
  hint: write tcp://host:port, also for HTTP, udp://host:port, or unix:///path
/c/a.toml:7:12: a udp:// listener cannot relay to upstream "mysql", which has no udp:// peers
  7 | upstream = "mysql"
    |            ^^^^^^^
  hint: write peers = ["udp://host:port"] there
/c/a.toml:11:1: `websocket` has no effect with `upstream`: requests are relayed as they come
  11 | websocket = "/"
     | ^^^^^^^^^
  hint: remove it"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "a/b"
[upstream."a/b"]
peers = "tcp://10.0.0.1:3306"
[upstream.none]
[upstream.empty]
peers = []
[upstream.backups]
peers = [{ address = "tcp://10.0.0.1:3306", backup = true }]
[upstream.number]
peers = [3306]
"#,
        r#"/c/a.toml:4:11: "a/b" is no name of an upstream
  4 | [upstream."a/b"]
    |           ^^^^^
  hint: write at most 64 letters, digits, hyphens, underscores and dots
/c/a.toml:5:9: `peers` is a string, not an array
  5 | peers = "tcp://10.0.0.1:3306"
    |         ^^^^^^^^^^^^^^^^^^^^^
  hint: write peers = ["tcp://10.0.0.1:3306", { address = "tcp://10.0.0.2:3306", weight = 2 }]
/c/a.toml:6:1: [upstream.NAME] has no `peers`
  6 | [upstream.none]
    | ^^^^^^^^^^^^^^^
  hint: write peers = ["tcp://10.0.0.1:3306", { address = "tcp://10.0.0.2:3306", weight = 2 }]
/c/a.toml:8:9: `peers` is empty
  8 | peers = []
    |         ^^
  hint: write peers = ["tcp://10.0.0.1:3306", { address = "tcp://10.0.0.2:3306", weight = 2 }]
/c/a.toml:10:9: every peer is a backup: there is nothing that they could stand in for
  10 | peers = [{ address = "tcp://10.0.0.1:3306", backup = true }]
     |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: remove `backup` from at least one
/c/a.toml:12:10: `peers` is an integer, not a table
  12 | peers = [3306]
     |          ^^^^
  hint: write peers = ["tcp://10.0.0.1:3306", { address = "tcp://10.0.0.2:3306", weight = 2 }]"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "u"
[upstream.u]
balnce = "hash"
connect_timeout = 5
next = 3
slow_start = "0s"
check = { interval = "5s" }
bind = "eth0"
max_fails = -1
fail_timeout = "soon"
peers = [
  "10.0.0.1:3306",
  "kcp://10.0.0.1:53",
  "ws://10.0.0.1:443",
  "tcp://10.0.0.1:0",
  "unix://run/a.sock",
  { weight = 2 },
  { address = "tcp://10.0.0.1:1", weight = 0, max_connections = 0, backup = 1, down = "no", max_fails = "x", fail_timeout = "0s", wieght = 1 },
]
"#,
        r#"/c/a.toml:5:1: unknown key `balnce` in [upstream.NAME]
  5 | balnce = "hash"
    | ^^^^^^
  hint: did you mean `balance`?
/c/a.toml:6:19: `connect_timeout` is a bare number
  6 | connect_timeout = 5
    |                   ^
  hint: write a unit, such as "10ms", "5s", "2m" or "1h"
/c/a.toml:7:8: `next` is an integer, not a table
  7 | next = 3
    |        ^
  hint: write next = { tries = 3, timeout = "10s" }
/c/a.toml:8:14: `slow_start` is zero
  8 | slow_start = "0s"
    |              ^^^^
  hint: leave the key out for its default, or write a longer time
/c/a.toml:9:9: `check` has no `kind`
  9 | check = { interval = "5s" }
    |         ^^^^^^^^^^^^^^^^^^^
  hint: write check = { kind = "connect", interval = "5s" }
/c/a.toml:10:8: `bind`: "eth0" is no IP address
  10 | bind = "eth0"
     |        ^^^^^^
  hint: write an address, with or without a port, as in "10.0.0.9" or "${client.address}"
/c/a.toml:11:13: `max_fails` is -1, out of its limits
  11 | max_fails = -1
     |             ^^
  hint: write a whole number from 0 to 10000000
/c/a.toml:12:16: `fail_timeout`: "soon" is no duration
  12 | fail_timeout = "soon"
     |                ^^^^^^
  hint: write a whole number and its unit, such as "10ms", "5s", "2m" or "1h"
/c/a.toml:14:3: the peer's address: it has no scheme
  14 |   "10.0.0.1:3306",
     |   ^^^^^^^^^^^^^^^
  hint: write tcp://10.0.0.1:3306
/c/a.toml:15:3: `kcp` is not a peer's address in this version
  15 |   "kcp://10.0.0.1:53",
     |   ^^^^^^^^^^^^^^^^^^^
  hint: write tcp://host:port, tls://host:port, udp://host:port, or unix:///path
/c/a.toml:16:3: `ws` is not a peer's address in this version
  16 |   "ws://10.0.0.1:443",
     |   ^^^^^^^^^^^^^^^^^^^
  hint: write tcp://host:port, tls://host:port, udp://host:port, or unix:///path
/c/a.toml:17:3: the peer's address has port 0, to which nothing can connect
  17 |   "tcp://10.0.0.1:0",
     |   ^^^^^^^^^^^^^^^^^^
  hint: write the port that the peer listens on
/c/a.toml:18:3: the peer's address: its path is not absolute
  18 |   "unix://run/a.sock",
     |   ^^^^^^^^^^^^^^^^^^^
  hint: write three slashes and the whole path, as in unix:///run/app.sock
/c/a.toml:19:3: an entry of `peers` has no `address`
  19 |   { weight = 2 },
     |   ^^^^^^^^^^^^^^
  hint: write tcp://host:port, tls://host:port, udp://host:port, or unix:///path
/c/a.toml:20:44: `weight` is 0, out of its limits
  20 |   { address = "tcp://10.0.0.1:1", weight = 0, max_connections = 0, backup = 1, down = "no", max_fails = "x", fail_timeou
     |                                            ^
  hint: write a whole number from 1 to 65535
/c/a.toml:20:65: `max_connections` is 0, out of its limits
  20 | address = "tcp://10.0.0.1:1", weight = 0, max_connections = 0, backup = 1, down = "no", max_fails = "x", fail_timeout =
     |                                                             ^
  hint: write a whole number from 1 to 10000000
/c/a.toml:20:77: `backup` is an integer, not true or false
  20 | cp://10.0.0.1:1", weight = 0, max_connections = 0, backup = 1, down = "no", max_fails = "x", fail_timeout = "0s", wieght
     |                                                             ^
  hint: write true or false, without quotes
/c/a.toml:20:87: `down` is a string, not true or false
  20 | 0.1:1", weight = 0, max_connections = 0, backup = 1, down = "no", max_fails = "x", fail_timeout = "0s", wieght = 1 },
     |                                                             ^^^^
  hint: write true or false, without quotes
/c/a.toml:20:105: `max_fails` is a string, not a whole number
  20 | , max_connections = 0, backup = 1, down = "no", max_fails = "x", fail_timeout = "0s", wieght = 1 },
     |                                                             ^^^
  hint: write a whole number from 0 to 10000000
/c/a.toml:20:125: `fail_timeout` is zero
  20 | 0, backup = 1, down = "no", max_fails = "x", fail_timeout = "0s", wieght = 1 },
     |                                                             ^^^^
  hint: leave the key out for its default, or write a longer time
/c/a.toml:20:131: unknown key `wieght` in an entry of `peers`
  20 | kup = 1, down = "no", max_fails = "x", fail_timeout = "0s", wieght = 1 },
     |                                                             ^^^^^^
  hint: did you mean `weight`?"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "u"
[upstream.u]
balance = "hash"
bind = "10.0.0.9"
peers = ["tcp://[::1]:1", "tcp://10.0.0.1:1", "tcp://db:1"]
next = { tries = 0, timeout = "0s", time = "1s" }
check = { kind = "http", interval = "1s", timeout = "2s", rise = 0, fall = "3" }
[upstream.a]
balance = "round robin"
peers = ["tcp://db:1"]
[upstream.b]
balance = 7
peers = ["tcp://db:1"]
[upstream.c]
balance = { key = "${client.address}" }
peers = ["tcp://db:1"]
[upstream.d]
balance = { kind = "least-time", by = "connections" }
peers = ["tcp://db:1"]
[upstream.e]
balance = { kind = "round-robin", by = "connect", key = "x", method = "plain" }
peers = ["tcp://db:1"]
[upstream.f]
balance = { kind = "hash", method = "crc" }
peers = ["tcp://db:1"]
[upstream.g]
balance = { kind = "hash", key = "${client.adress} $x ${}" }
peers = ["tcp://db:1"]
[upstream.h]
balance = { kind = "hash", key = "a$" }
peers = ["tcp://db:1"]
[upstream.i]
balance = { kind = "hash", key = "" }
peers = ["tcp://db:1"]
[upstream.j]
balance = { kind = "hash", key = "${listener}" }
peers = [{ address = "tcp://db:1", weight = 4000 }, { address = "tcp://db:2", weight = 97 }]
check = { kind = "connect", interval = "1s", timeout = "2s" }
[upstream.k]
balance = { kind = "hash", key = "${remote_addr}" }
peers = ["tcp://db:1"]
"#,
        r#"/c/a.toml:5:11: `balance` by hash needs a `key`
  5 | balance = "hash"
    |           ^^^^^^
  hint: write balance = { kind = "hash", key = "${client.address}" }
/c/a.toml:6:8: `bind` is of another family than the peer tcp://[::1]:1
  6 | bind = "10.0.0.9"
    |        ^^^^^^^^^^
  hint: write upstreams of one family each, or leave it out
/c/a.toml:8:18: `tries` is 0, out of its limits
  8 | next = { tries = 0, timeout = "0s", time = "1s" }
    |                  ^
  hint: write a whole number from 1 to 10000000
/c/a.toml:8:31: `timeout` is zero
  8 | next = { tries = 0, timeout = "0s", time = "1s" }
    |                               ^^^^
  hint: leave the key out for its default, or write a longer time
/c/a.toml:8:37: unknown key `time` in `next`
  8 | next = { tries = 0, timeout = "0s", time = "1s" }
    |                                     ^^^^
  hint: known here: `tries`, `timeout`
/c/a.toml:9:18: `kind` is "http", which is none of its words
  9 | check = { kind = "http", interval = "1s", timeout = "2s", rise = 0, fall = "3" }
    |                  ^^^^^^
  hint: write one of `connect`, `tls`, `expect`
/c/a.toml:9:53: `timeout` of a check is longer than its `interval`
  9 | check = { kind = "http", interval = "1s", timeout = "2s", rise = 0, fall = "3" }
    |                                                     ^^^^
  hint: write a shorter one, or a longer `interval`
/c/a.toml:9:66: `rise` is 0, out of its limits
  9 | check = { kind = "http", interval = "1s", timeout = "2s", rise = 0, fall = "3" }
    |                                                                  ^
  hint: write a whole number from 1 to 10000000
/c/a.toml:9:76: `fall` is a string, not a whole number
  9 | check = { kind = "http", interval = "1s", timeout = "2s", rise = 0, fall = "3" }
    |                                                                            ^^^
  hint: write a whole number from 1 to 10000000
/c/a.toml:11:11: `balance` is "round robin", which is none of its words
  11 | balance = "round robin"
     |           ^^^^^^^^^^^^^
  hint: did you mean "round-robin"?
/c/a.toml:14:11: `balance` is an integer, not a table
  14 | balance = 7
     |           ^
  hint: write balance = "round-robin", "least-connections", "random-two" or "least-time", or balance = { kind = "hash", key = "${client.address}" }
/c/a.toml:17:11: `balance` has no `kind`
  17 | balance = { key = "${client.address}" }
     |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: write balance = "round-robin", "least-connections", "random-two" or "least-time", or balance = { kind = "hash", key = "${client.address}" }
/c/a.toml:20:39: `balance` of kind "least-time" is by a time
  20 | balance = { kind = "least-time", by = "connections" }
     |                                       ^^^^^^^^^^^^^
  hint: write "connect", "first-byte" or "last-byte", or kind = "least-connections"
/c/a.toml:23:35: `by` belongs to balance of kind "random-two" or "least-time"
  23 | balance = { kind = "round-robin", by = "connect", key = "x", method = "plain" }
     |                                   ^^
  hint: remove it
/c/a.toml:23:51: `key` belongs to balance of kind "hash"
  23 | balance = { kind = "round-robin", by = "connect", key = "x", method = "plain" }
     |                                                   ^^^
  hint: remove it
/c/a.toml:23:62: `method` belongs to balance of kind "hash"
  23 | balance = { kind = "round-robin", by = "connect", key = "x", method = "plain" }
     |                                                              ^^^^^^
  hint: remove it
/c/a.toml:26:11: `balance` by hash needs a `key`
  26 | balance = { kind = "hash", method = "crc" }
     |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: write balance = { kind = "hash", key = "${client.address}" }
/c/a.toml:26:37: `method` is "crc", which is none of its words
  26 | balance = { kind = "hash", method = "crc" }
     |                                     ^^^^^
  hint: write one of `plain`, `ketama`, `maglev`
/c/a.toml:29:34: `key`: there is no variable "client.adress"
  29 | balance = { kind = "hash", key = "${client.adress} $x ${}" }
     |                                  ^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: did you mean ${client.address}?
/c/a.toml:32:34: `key`: a `$` begins no variable
  32 | balance = { kind = "hash", key = "a$" }
     |                                  ^^^^
  hint: write ${client.address}, or $$ for a dollar sign
/c/a.toml:35:34: `key` is empty
  35 | balance = { kind = "hash", key = "" }
     |                                  ^^
  hint: leave it out or write something
/c/a.toml:39:9: the peers weigh 4097 in all: `ketama` makes 160 points of each
  39 | peers = [{ address = "tcp://db:1", weight = 4000 }, { address = "tcp://db:2", weight = 97 }]
     |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: write weights of at most 4096 in all, in the same proportion
/c/a.toml:40:56: `timeout` of a check is longer than its `interval`
  40 | check = { kind = "connect", interval = "1s", timeout = "2s" }
     |                                                        ^^^^
  hint: write a shorter one, or a longer `interval`
/c/a.toml:42:34: `key`: there is no variable "remote_addr"
  42 | balance = { kind = "hash", key = "${remote_addr}" }
     |                                  ^^^^^^^^^^^^^^^^
  hint: the page "Stream proxy" lists all variables"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "a"
[upstream.a]
check = { kind = "connect", send = "x", expect = [] }
peers = ["tcp://db:1"]
[upstream.b]
check = { kind = "expect", send = [256] }
peers = ["tcp://db:1"]
[upstream.c]
check = { kind = "expect", send = "x" }
peers = ["tcp://db:1"]
"#,
        r#"/c/a.toml:5:29: `send` belongs to checks of kind "expect"
  5 | check = { kind = "connect", send = "x", expect = [] }
    |                             ^^^^
  hint: remove it
/c/a.toml:5:41: `expect` belongs to checks of kind "expect"
  5 | check = { kind = "connect", send = "x", expect = [] }
    |                                         ^^^^^^
  hint: remove it
/c/a.toml:5:50: `expect` has 0 bytes, and it may have 1 to 1024
  5 | check = { kind = "connect", send = "x", expect = [] }
    |                                                  ^^
  hint: write check = { kind = "expect", send = "PING\r\n", expect = "+PONG" }; bytes also as [0, 255]
/c/a.toml:8:36: `send` is 256, out of its limits
  8 | check = { kind = "expect", send = [256] }
    |                                    ^^^
  hint: write a whole number from 0 to 255
/c/a.toml:11:18: a check of kind "expect" has no `expect`
  11 | check = { kind = "expect", send = "x" }
     |                  ^^^^^^^^
  hint: write check = { kind = "expect", send = "PING\r\n", expect = "+PONG" }; bytes also as [0, 255]"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "u"
[upstream.u]
proxy_protocol = 3
peers = ["tcp://127.0.0.1:2"]
"#,
        r#"/c/a.toml:5:18: `proxy_protocol` is 3, out of its limits
  5 | proxy_protocol = 3
    |                  ^
  hint: write a whole number from 1 to 2"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "u"
[upstream.u]
bind = { transparent = 1 }
peers = ["tcp://127.0.0.1:2"]
[upstream.v]
bind = "${nobody}"
peers = ["tcp://127.0.0.1:2"]
"#,
        r#"/c/a.toml:5:8: `bind` has no `address`
  5 | bind = { transparent = 1 }
    |        ^^^^^^^^^^^^^^^^^^^
  hint: write bind = { address = "${client.address}", transparent = true }
/c/a.toml:5:24: `transparent` is an integer, not true or false
  5 | bind = { transparent = 1 }
    |                        ^
  hint: write true or false, without quotes
/c/a.toml:8:8: `bind`: there is no variable "nobody"
  8 | bind = "${nobody}"
    |        ^^^^^^^^^^^
  hint: the page "Stream proxy" lists all variables"#,
    ),
    (
        r#"[workers]
count = 0
[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "u"
[[listen]]
name = "chat"
address = "tcp://127.0.0.1:3"
[upstream.u]
peers = ["tcp://127.0.0.1:2"]
"#,
        r#"/c/a.toml:2:9: `count` is 0, and workers handle the sessions of the listener "chat"
  2 | count = 0
    |         ^
  hint: write count = 1, or `upstream` for the listener if its connections are to be relayed"#,
    ),
];

#[test]
fn every_wrong_key_of_an_upstream_has_a_place_and_a_hint() {
    for (text, said) in WRONG {
        let errors = load_text(text, Path::new("/c/a.toml")).unwrap_err();
        assert_eq!(errors.to_string(), *said, "of:\n{text}");
    }
}

#[test]
fn upstreams_that_are_probably_not_intended_are_warned_of() {
    let text = r#"[[listen]]
name = "front"
address = "tcp://127.0.0.1:1"
upstream = "named"
[upstream.named]
peers = ["tcp://db:1"]
[upstream.spare]
peers = ["tcp://db:1"]
"#;
    let warnings = load_text(text, Path::new("/c/a.toml")).unwrap().warnings;
    let warnings: Vec<_> = warnings
        .iter()
        .filter(|it| it.contains("upstream"))
        .collect();
    assert_eq!(
        warnings,
        ["upstream \"spare\" (line 7): no listener relays to it",]
    );
}
