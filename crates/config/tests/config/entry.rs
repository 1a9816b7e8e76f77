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
/c/a.toml:7:1: `access` has no effect on a listener of datagrams without `upstream`
  hint: remove it"#,
    ),
];

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
