//! Wrong maps, destinations and set variables, and every word of their errors.

use std::path::Path;

use moorline_config::load_text;

/// A text, and all its errors.
const WRONG: &[(&str, &str)] = &[
    (
        r##"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "${map.to}"
set = { "a b" = "x", loop = "${set.loop}" }
[[listen]]
address = "tcp://127.0.0.1:2"
upstream = "web"
return = "x"
[[listen]]
address = "tcp://127.0.0.1:3"
return = "${map.too} ${set.lop} ${1}"
upstream_like = "web"
[[listen]]
address = "tcp://127.0.0.1:4"
set = { x = "y" }
[[listen]]
address = "tcp://127.0.0.1:5"
upstream = "10.0.0.1:0"
[[listen]]
address = "tcp://127.0.0.1:6"
upstream = "http://10.0.0.1:1"
upstream_like = "wep"
[[listen]]
address = "tcp://127.0.0.1:7"
return = "x"
framing = { kind = "line" }
[upstream.web]
peers = ["tcp://10.0.0.1:1"]
"##,
        r##"/c/a.toml:3:12: there is no map "to"
  3 | upstream = "${map.to}"
    |            ^^^^^^^^^^^
  hint: write a table [map.to]
/c/a.toml:4:9: "a b" is no name of a variable
  4 | set = { "a b" = "x", loop = "${set.loop}" }
    |         ^^^^^
  hint: write at most 64 letters, digits, hyphens, underscores and dots
/c/a.toml:8:1: `return` and `upstream` exclude each other
  8 | return = "x"
    | ^^^^^^
  hint: remove one of them
/c/a.toml:11:10: `return`: there is no variable "1"
  11 | return = "${map.too} ${set.lop} ${1}"
     |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: the page "Stream proxy" lists all variables
/c/a.toml:11:10: there is no map "too"
  11 | return = "${map.too} ${set.lop} ${1}"
     |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: write a table [map.too]
/c/a.toml:11:10: no listener sets "lop"
  11 | return = "${map.too} ${set.lop} ${1}"
     |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: did you mean ${set.loop}?
/c/a.toml:15:1: `set` has no effect without `upstream` or `return`
  15 | set = { x = "y" }
     | ^^^
  hint: remove it
/c/a.toml:18:12: `upstream`: the peer's address has port 0, to which nothing can connect
  18 | upstream = "10.0.0.1:0"
     |            ^^^^^^^^^^^^
  hint: write upstream = "NAME", a text with variables, or an address such as "10.0.0.1:3306"
/c/a.toml:21:12: `upstream`: `http` is not a peer's address in this version
  21 | upstream = "http://10.0.0.1:1"
     |            ^^^^^^^^^^^^^^^^^^^
  hint: write upstream = "NAME", a text with variables, or an address such as "10.0.0.1:3306"
/c/a.toml:22:17: there is no upstream "wep"
  22 | upstream_like = "wep"
     |                 ^^^^^
  hint: did you mean "web"?
/c/a.toml:26:1: `framing` has no effect with `return`: bytes are relayed as they come
  26 | framing = { kind = "line" }
     | ^^^^^^^
  hint: remove it"##,
    ),
    (
        r##"[[listen]]
address = "tcp://127.0.0.1:1"
return = "${map.a}${map.b}${map.c}${map.d}${map.e}${map.f}${map.g}${map.h}${map.i}${map.j}${map.k}${map.l}${map.m}"
[map.a]
values = { x = "y" }
[map.b]
from = "x"
[map.c]
from = "x"
kind = "regex"
hostname = true
values = { "~(" = "a", "~(?=x)" = "b", A = "c", a = "d", x = 1, y = "${2}", z.z = "e" }
[map.d]
from = "x"
hostnames = true
values = { "*.*" = "a", "a..b" = "b", ".a" = "c", "*.a" = "d", "x.*" = "e", "\\x.*" = "f" }
[map.e]
kind = "network"
hostnames = true
values = { "10.0.0.1/8" = "a", "10.0.0.0/8" = "b", "10.0.0.0-10.255.255.255" = "c", "10.5.0.0-11.0.0.0" = "d", "x" = "e", "::1-1.2.3.4" = "f" }
[map.f]
kind = "share"
from = "x"
values = { "50%" = "a", "60%" = "b", "x" = "c" }
[map.g]
kind = "share"
from = "x"
values = [["*", "a"], ["1%", "b"]]
[map.h]
from = "x"
values = [["a"], "b", ["a", "b", "c"]]
[map.i]
from = "x"
values = 1
[map.l]
kind = "network"
values = { "10.0.0.0/8" = "b", "10.0.0.0-10.255.255.255" = "c" }
[map.m]
kind = "network"
values = { "10.0.0.0/8" = "b", "10.5.0.0-11.0.0.0" = "d" }
[map."j j"]
from = "x"
values = {}
"##,
        r##"/c/a.toml:3:10: there is no map "j"
  3 | return = "${map.a}${map.b}${map.c}${map.d}${map.e}${map.f}${map.g}${map.h}${map.i}${map.j}${map.k}${map.l}${map.m}"
    |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: did you mean ${map.a}?
/c/a.toml:3:10: there is no map "k"
  3 | return = "${map.a}${map.b}${map.c}${map.d}${map.e}${map.f}${map.g}${map.h}${map.i}${map.j}${map.k}${map.l}${map.m}"
    |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: did you mean ${map.a}?
/c/a.toml:4:1: [map.NAME] has no `from`
  4 | [map.a]
    | ^^^^^^^
  hint: write from = "${client.address}", or another text with variables
/c/a.toml:6:1: [map.NAME] has no `values`
  6 | [map.b]
    | ^^^^^^^
  hint: write values = { "a.example" = "web" }, or values = [["a.example", "web"]]
/c/a.toml:10:8: `kind` is "regex", which is none of its words
  10 | kind = "regex"
     |        ^^^^^^^
  hint: write one of `text`, `network`, `share`
/c/a.toml:11:1: unknown key `hostname` in [map.NAME]
  11 | hostname = true
     | ^^^^^^^^
  hint: did you mean `hostnames`?
/c/a.toml:12:12: the key "~(" of a map is no pattern: unclosed group
  12 | values = { "~(" = "a", "~(?=x)" = "b", A = "c", a = "d", x = 1, y = "${2}", z.z = "e" }
     |            ^^^^
  hint: look-around and back references do not exist here; \ is written twice within "…"
/c/a.toml:12:24: the key "~(?=x)" of a map is no pattern: look-around, including look-ahead and look-behind, is not supported
  12 | values = { "~(" = "a", "~(?=x)" = "b", A = "c", a = "d", x = 1, y = "${2}", z.z = "e" }
     |                        ^^^^^^^^
  hint: look-around and back references do not exist here; \ is written twice within "…"
/c/a.toml:12:49: the key "a" of a map means the same as the one in line 12
  12 | values = { "~(" = "a", "~(?=x)" = "b", A = "c", a = "d", x = 1, y = "${2}", z.z = "e" }
     |                                                 ^
  hint: remove one of them
/c/a.toml:12:62: `values` is an integer, not a string
  12 | values = { "~(" = "a", "~(?=x)" = "b", A = "c", a = "d", x = 1, y = "${2}", z.z = "e" }
     |                                                              ^
  hint: write values = "…"
/c/a.toml:12:69: `values`: there is no variable "2"
  12 | values = { "~(" = "a", "~(?=x)" = "b", A = "c", a = "d", x = 1, y = "${2}", z.z = "e" }
     |                                                                     ^^^^^^
  hint: the page "Stream proxy" lists all variables
/c/a.toml:12:77: `values` is a table, not a string
  12 | values = { "~(" = "a", "~(?=x)" = "b", A = "c", a = "d", x = 1, y = "${2}", z.z = "e" }
     |                                                                             ^
  hint: write values = "…"
/c/a.toml:16:12: the key "*.*" of a map is no name of a host
  16 | values = { "*.*" = "a", "a..b" = "b", ".a" = "c", "*.a" = "d", "x.*" = "e", "\\x.*" = "f" }
     |            ^^^^^
  hint: write "a.example", "*.a.example", ".a.example", "a.*" or a pattern "~^a\\d"
/c/a.toml:16:25: the key "a..b" of a map is no name of a host
  16 | values = { "*.*" = "a", "a..b" = "b", ".a" = "c", "*.a" = "d", "x.*" = "e", "\\x.*" = "f" }
     |                         ^^^^^^
  hint: write "a.example", "*.a.example", ".a.example", "a.*" or a pattern "~^a\\d"
/c/a.toml:16:51: the key "*.a" of a map means the same as the one in line 16
  16 | values = { "*.*" = "a", "a..b" = "b", ".a" = "c", "*.a" = "d", "x.*" = "e", "\\x.*" = "f" }
     |                                                   ^^^^^
  hint: remove one of them
/c/a.toml:16:77: the key "\\x.*" of a map means the same as the one in line 16
  16 | values = { "*.*" = "a", "a..b" = "b", ".a" = "c", "*.a" = "d", "x.*" = "e", "\\x.*" = "f" }
     |                                                                             ^^^^^^^
  hint: remove one of them
/c/a.toml:19:1: `hostnames` belongs to maps of kind "text"
  19 | hostnames = true
     | ^^^^^^^^^
  hint: remove it
/c/a.toml:20:12: the key "10.0.0.1/8" of a map has bits behind its prefix
  20 | values = { "10.0.0.1/8" = "a", "10.0.0.0/8" = "b", "10.0.0.0-10.255.255.255" = "c", "10.5.0.0-11.0.0.0" = "d", "x" = "e"
     |            ^^^^^^^^^^^^
  hint: write "10.0.0.0/8", "10.0.0.1-10.0.0.9", "::1" or "2001:db8::/32"
/c/a.toml:20:112: the key "x" of a map is no IP address
  20 | "10.0.0.0-10.255.255.255" = "c", "10.5.0.0-11.0.0.0" = "d", "x" = "e", "::1-1.2.3.4" = "f" }
     |                                                             ^^^
  hint: write "10.0.0.0/8", "10.0.0.1-10.0.0.9", "::1" or "2001:db8::/32"
/c/a.toml:20:123: the key "::1-1.2.3.4" of a map begins in one family and ends in the other
  20 | 0.255.255.255" = "c", "10.5.0.0-11.0.0.0" = "d", "x" = "e", "::1-1.2.3.4" = "f" }
     |                                                             ^^^^^^^^^^^^^
  hint: write "10.0.0.0/8", "10.0.0.1-10.0.0.9", "::1" or "2001:db8::/32"
/c/a.toml:24:25: the key "60%" of a map makes more than 100 %, with those before it
  24 | values = { "50%" = "a", "60%" = "b", "x" = "c" }
     |                         ^^^^^
  hint: write values = { "12.5%" = "a", "30%" = "b", "*" = "c" }
/c/a.toml:28:24: the key "1%" of a map makes more than 100 %, with those before it
  28 | values = [["*", "a"], ["1%", "b"]]
     |                        ^^^^
  hint: write values = { "12.5%" = "a", "30%" = "b", "*" = "c" }
/c/a.toml:31:11: an entry of `values` is no pair
  31 | values = [["a"], "b", ["a", "b", "c"]]
     |           ^^^^^
  hint: write values = { "a.example" = "web" }, or values = [["a.example", "web"]]
/c/a.toml:34:10: `values` is an integer, not a table
  34 | values = 1
     |          ^
  hint: write values = { "a.example" = "web" }, or values = [["a.example", "web"]]
/c/a.toml:37:32: the key "10.0.0.0-10.255.255.255" of a map means the same as the one in line 37
  37 | values = { "10.0.0.0/8" = "b", "10.0.0.0-10.255.255.255" = "c" }
     |                                ^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: remove one of them
/c/a.toml:40:32: the key "10.5.0.0-11.0.0.0" of a map overlaps with the one in line 40
  40 | values = { "10.0.0.0/8" = "b", "10.5.0.0-11.0.0.0" = "d" }
     |                                ^^^^^^^^^^^^^^^^^^^
  hint: write ranges that are within each other, or beside each other
/c/a.toml:41:6: "j j" is no name of a map
  41 | [map."j j"]
     |      ^^^^^
  hint: write at most 64 letters, digits, hyphens, underscores and dots"##,
    ),
    (
        r##"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "${map.to}"
set = { loop = "${set.loop}", ring = "${map.c}" }
[map.to]
from = "${listener}"
default = "${map.more}"
values = { a = "web", b = "wep", c = "10.0.0.1", d = "10.0.0.1:1", e = "", f = "${map.a}:1" }
[map.more]
from = "x"
values = { x = "unix:" }
[map.a]
from = "${map.b}"
values = {}
[map.b]
from = "x"
values = { x = "${map.a}" }
[map.c]
from = "x"
default = "${set.ring}"
values = {}
[upstream.web]
peers = ["tcp://10.0.0.1:1"]
[upstream.none]
peers = []
"##,
        r##"/c/a.toml:4:9: `set` of "loop" needs its own value
  4 | set = { loop = "${set.loop}", ring = "${map.c}" }
    |         ^^^^
  hint: break the circle
/c/a.toml:4:31: `set` of "ring" needs its own value
  4 | set = { loop = "${set.loop}", ring = "${map.c}" }
    |                               ^^^^
  hint: break the circle
/c/a.toml:5:6: the map "to" is a destination, and its value "wep" is neither an upstream nor an address
  5 | [map.to]
    |      ^^
  hint: write the name of an upstream, "host:port" or "unix:///path"
/c/a.toml:5:6: the map "to" is a destination, and its value "10.0.0.1" is neither an upstream nor an address
  5 | [map.to]
    |      ^^
  hint: write the name of an upstream, "host:port" or "unix:///path"
/c/a.toml:9:6: the map "more" is a destination, and its value "unix:" is neither an upstream nor an address
  9 | [map.more]
    |      ^^^^
  hint: write the name of an upstream, "host:port" or "unix:///path"
/c/a.toml:12:6: the map "a" needs its own value
  12 | [map.a]
     |      ^
  hint: break the circle
/c/a.toml:15:6: the map "b" needs its own value
  15 | [map.b]
     |      ^
  hint: break the circle
/c/a.toml:18:6: the map "c" needs its own value
  18 | [map.c]
     |      ^
  hint: break the circle
/c/a.toml:25:9: `peers` is empty
  25 | peers = []
     |         ^^
  hint: write peers = ["tcp://10.0.0.1:3306", { address = "tcp://10.0.0.2:3306", weight = 2 }]"##,
    ),
    (
        r##"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "tls://10.0.0.1:1"
[[listen]]
address = "tcp://127.0.0.1:2"
upstream = "tls://${client.address}:1"
upstream_like = "web"
[upstream.web]
peers = ["tcp://10.0.0.1:1"]
"##,
        r##"/c/a.toml:3:1: `upstream` has a `tls://` address, and nothing says how its peer is verified
  3 | upstream = "tls://10.0.0.1:1"
    | ^^^^^^^^
  hint: write upstream_like = "NAME" beside it, of an [upstream.NAME] with `tls`
/c/a.toml:6:1: `upstream` has a `tls://` address, and nothing says how its peer is verified
  6 | upstream = "tls://${client.address}:1"
    | ^^^^^^^^
  hint: write upstream_like = "NAME" beside it, of an [upstream.NAME] with `tls`"##,
    ),
];

#[test]
fn every_wrong_map_and_destination_has_a_place_and_a_hint() {
    for (text, said) in WRONG {
        let errors = load_text(text, Path::new("/c/a.toml")).unwrap_err();
        assert_eq!(errors.to_string(), *said, "of:\n{text}");
    }
}

#[test]
fn a_map_that_no_text_has_is_warned_of() {
    let text = r#"[[listen]]
address = "tcp://127.0.0.1:1"
return = "${map.a}"
[map.a]
from = "x"
values = {}
[map.b]
from = "${map.a}"
values = {}
"#;
    let loaded = load_text(text, Path::new("/c/a.toml")).unwrap();
    let warnings = loaded.warnings.iter().filter(|it| it.starts_with("map"));
    let warnings: Vec<_> = warnings.collect();
    assert_eq!(warnings, ["map \"b\" (line 7): no text has it"]);
}
