//! Wrong rules of who may come in, and every word of their errors.

use std::path::Path;

use moorline_config::load_text;

/// A text, and all its errors.
const WRONG: &[(&str, &str)] = &[
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
access = "10.0.0.1"
[[listen]]
address = "tcp://127.0.0.1:2"
access = ["10.0.0.1", {}, { allow = "all", deny = "all" }, { allow = "10.0.0.1/8" }, { deny = "localhost" }, { denny = "all" }]
"#,
        r#"/c/a.toml:3:10: `access` is a string, not an array
  hint: write access = [{ allow = "10.0.0.0/8" }, { allow = "unix:" }, { deny = "all" }]
/c/a.toml:6:11: `access` is a string, not a table
  hint: write access = [{ allow = "10.0.0.0/8" }, { allow = "unix:" }, { deny = "all" }]
/c/a.toml:6:23: a rule of `access` says neither `allow` nor `deny`
  hint: write access = [{ allow = "10.0.0.0/8" }, { allow = "unix:" }, { deny = "all" }]
/c/a.toml:6:27: a rule of `access` says both `allow` and `deny`
  hint: write two rules: the first one of a client decides
/c/a.toml:6:70: `allow`: "10.0.0.1/8" has bits behind its prefix
  hint: write "10.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix:" or "all"
/c/a.toml:6:95: `deny`: "localhost" is no IP address
  hint: write "10.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix:" or "all"
/c/a.toml:6:112: unknown key `denny` in a rule of `access`
  hint: did you mean `deny`?"#,
    ),
    (
        r#"[[listen]]
address = "http://127.0.0.1:1"
websocket = "/"
access = [{ deny = "all" }]
[[listen]]
address = "udp://127.0.0.1:1"
access = [{ deny = "all" }]
"#,
        r#"/c/a.toml:4:1: `access` has no effect on requests of HTTP: it belongs to listeners of streams
  hint: remove it
/c/a.toml:7:1: `access` has no effect on a listener of datagrams without `upstream` or `return`
  hint: remove it"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
limits = "one"
[[listen]]
address = "tcp://127.0.0.1:2"
limits = ["one", {}, { limit = "two", most = 1 }, { limit = "one", most = 0, dry_run = 1, key = "x" }]
[[listen]]
address = "http://127.0.0.1:3"
websocket = "/"
limits = [{ limit = "one", most = 1 }]
[limit.one]
key = "${client.adress}"
max_keys = 0
most = 7
[limit."a b"]
"#,
        r#"/c/a.toml:3:10: `limits` is a string, not an array
  hint: write limits = [{ limit = "NAME", most = 10 }], and a table [limit.NAME] with its key
/c/a.toml:6:11: `limits` is a string, not a table
  hint: write limits = [{ limit = "NAME", most = 10 }], and a table [limit.NAME] with its key
/c/a.toml:6:18: an entry of `limits` has no `limit`
  hint: write limits = [{ limit = "NAME", most = 10 }], and a table [limit.NAME] with its key
/c/a.toml:6:18: an entry of `limits` has no `most`
  hint: write limits = [{ limit = "NAME", most = 10 }], and a table [limit.NAME] with its key
/c/a.toml:6:32: there is no limit "two"
  hint: write a table [limit.two] with its key
/c/a.toml:6:75: `most` is 0, out of its limits
  hint: write a whole number from 1 to 10000000
/c/a.toml:6:88: `dry_run` is an integer, not true or false
  hint: write true or false, without quotes
/c/a.toml:6:91: unknown key `key` in an entry of `limits`
  hint: known here: `limit`, `most`, `dry_run`
/c/a.toml:10:1: `limits` has no effect on requests of HTTP: it belongs to listeners of streams
  hint: remove it
/c/a.toml:12:7: `key`: there is no variable "client.adress"
  hint: did you mean ${client.address}?
/c/a.toml:13:12: `max_keys` is 0, out of its limits
  hint: write a whole number from 1 to 10000000
/c/a.toml:14:1: unknown key `most` in [limit.NAME]
  hint: known here: `key`, `max_keys`
/c/a.toml:15:1: [limit.NAME] has no `key`
  hint: write key = "${client.address}"
/c/a.toml:15:8: "a b" is no name of [limit.NAME]
  hint: write at most 64 letters, digits, hyphens, underscores and dots"#,
    ),
    (
        "limit = 1\n[[listen]]\naddress = \"tcp://127.0.0.1:1\"\n",
        r#"/c/a.toml:1:9: `limit` is an integer, not a table
  hint: write [limit.NAME] and its keys below it"#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "a"
access_log = "one"
[[listen]]
address = "tcp://127.0.0.1:2"
upstream = "a"
access_log = ["one", "on", 1]
[[listen]]
address = "tcp://127.0.0.1:3"
access_log = ["one"]
[upstream.a]
peers = ["tcp://10.0.0.1:1"]
[access_log.one]
format = "a"
fields = ["status"]
if = ""
[access_log.two]
path = "logs/"
format = "${statsu}"
escape = "jsn"
flush = "1s"
[access_log.three]
path = "stdout"
fields = ["${status}", "statsu"]
escape = "json"
gzip = 10
[access_log.four]
path = "stderr"
fields = []
gzip = 1
buffer = "17MiB"
lines = 1
[access_log.five]
path = 5
"#,
        r#"/c/a.toml:4:14: `access_log` is a string, not an array
  hint: write access_log = ["NAME"], and a table [access_log.NAME] with its path
/c/a.toml:8:22: there is no access log "on"
  hint: did you mean "one"?
/c/a.toml:8:28: `access_log` is an integer, not a string
  hint: write access_log = "…"
/c/a.toml:11:1: `access_log` belongs to listeners with `upstream`: sessions leave their lines in the engine's log
  hint: remove it
/c/a.toml:14:1: [access_log.NAME] has no `path`
  hint: write path = "/var/log/access.log", "stdout" or "stderr"
/c/a.toml:16:1: an access log has either `format` or `fields`
  hint: write format = "${client.address} ${status}", or fields = ["client.address", "status"]
/c/a.toml:17:6: `if` is empty
  hint: leave it out or write something
/c/a.toml:19:8: `path`: "logs/" is a folder
  hint: write path = "/var/log/access.log", "stdout" or "stderr"
/c/a.toml:20:10: `format`: there is no variable "statsu"
  hint: did you mean ${status}?
/c/a.toml:21:10: `escape` is "jsn", which is none of its words
  hint: did you mean "json"?
/c/a.toml:22:1: `flush` has no effect without `buffer` or `gzip`
  hint: remove it
/c/a.toml:25:11: `fields`: "${status}" is no name of a variable
  hint: write format = "${client.address} ${status}", or fields = ["client.address", "status"]
/c/a.toml:25:24: `fields`: there is no variable "statsu"
  hint: did you mean ${status}?
/c/a.toml:27:8: `gzip` is 10, out of its limits
  hint: write a whole number from 1 to 9
/c/a.toml:30:10: `fields` has 0 entries, and may have 1 to 64
  hint: write format = "${client.address} ${status}", or fields = ["client.address", "status"]
/c/a.toml:32:10: `buffer` is over 16777216 bytes
  hint: write a smaller one, such as "64KiB"
/c/a.toml:33:1: unknown key `lines` in [access_log.NAME]
  hint: known here: `path`, `format`, `fields`, `escape`, `if`, `buffer`, `flush`, `gzip`
/c/a.toml:35:8: `path` is an integer, not a string
  hint: write path = "…""#,
    ),
    (
        r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "a"
rate = "1MiB"
[[listen]]
address = "tcp://127.0.0.1:2"
upstream = "a"
rate = {}
[[listen]]
address = "tcp://127.0.0.1:3"
upstream = "a"
rate = { up = "fast", down = 100, both = "1MiB" }
[[listen]]
address = "tcp://127.0.0.1:4"
rate = { up = "1MiB" }
[upstream.a]
peers = ["tcp://10.0.0.1:1"]
"#,
        r#"/c/a.toml:4:8: `rate` is a string, not a table
  hint: write rate = { up = "1MiB", down = "${map.NAME}" }, in bytes a second
/c/a.toml:8:8: `rate` says neither `up` nor `down`
  hint: write rate = { up = "1MiB", down = "${map.NAME}" }, in bytes a second
/c/a.toml:12:15: `up`: "fast" is no rate
  hint: write rate = { up = "1MiB", down = "${map.NAME}" }, in bytes a second
/c/a.toml:12:30: `down` is an integer, not a string
  hint: write down = "…"
/c/a.toml:12:35: unknown key `both` in `rate`
  hint: known here: `up`, `down`
/c/a.toml:15:1: `rate` belongs to listeners with `upstream`
  hint: remove it"#,
    ),
];

#[test]
fn rules_that_no_listener_has_are_warned_of() {
    let text = "[[listen]]\nname = \"a\"\naddress = \"tcp://127.0.0.1:1\"\nlimits = [{ limit = \"one\", most = 1 }]\n\
                [limit.one]\nkey = \"a\"\n[limit.two]\nkey = \"b\"\n";
    let warnings = load_text(text, Path::new("/c/a.toml")).unwrap().warnings;
    assert!(
        warnings.contains(&"limit \"two\" (line 7): no listener uses it".to_owned()),
        "{warnings:?}"
    );
    assert!(
        !warnings.iter().any(|it| it.contains("limit \"one\"")),
        "{warnings:?}"
    );
}

#[test]
fn every_wrong_rule_has_a_place_and_a_hint() {
    for (text, said) in WRONG {
        let errors = load_text(text, Path::new("/c/a.toml")).unwrap_err();
        let errors = errors.to_string();
        // Without the lines of the file.
        let lines = errors.lines().filter(|line| !line.contains(" | "));
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.join("\n"), *said, "of:\n{text}");
    }
}
