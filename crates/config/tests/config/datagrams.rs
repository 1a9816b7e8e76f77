//! Wrong listeners and upstreams of datagrams, and every word of their errors.

use std::path::Path;

use moorline_config::load_text;

/// A text, and all its errors, without the lines that show their places.
const WRONG: &[(&str, &str)] = &[
    (
        r#"[[listen]]
address = "udp://127.0.0.1:1"
upstream = "streams"
[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "dns"
[[listen]]
address = "udp://127.0.0.1:2"
upstream = "dsn"
[[listen]]
address = "unixgram:///run/a"
upstream = "dns"
[upstream.dns]
peers = ["udp://10.0.0.1:53"]
[upstream.streams]
peers = ["tcp://10.0.0.1:53"]
"#,
        r#"/c/a.toml:3:12: a udp:// listener cannot relay to upstream "streams", which has no udp:// peers
  hint: write peers = ["udp://host:port"] there
/c/a.toml:6:12: a tcp:// listener cannot relay to upstream "dns", which has udp:// peers
  hint: write a udp:// address for this listener
/c/a.toml:9:12: there is no upstream "dsn"
  hint: did you mean "dns"?
/c/a.toml:11:11: unixgram:// listeners do not relay in this version
  hint: write tcp://host:port, also for HTTP, udp://host:port, or unix:///path"#,
    ),
    (
        r#"[[listen]]
address = "udp://127.0.0.1:1"
upstream = "dns"
requests = 0
responses = -1
accept_rate = 1
max_handshakes = 1
handshake_timeout = "1s"
trusted_proxies = ["10.0.0.1"]
proxy_protocol = true
dispatch = "sticky"
receive_timeout = "1s"
[[listen]]
address = "udp://127.0.0.1:2"
requests = 1
[[listen]]
address = "tcp://127.0.0.1:2"
upstream = "streams"
responses = 1
[upstream.dns]
peers = ["udp://10.0.0.1:53"]
[upstream.streams]
peers = ["tcp://10.0.0.1:53"]
"#,
        r#"/c/a.toml:4:12: `requests` is 0, out of its limits
  hint: write a whole number from 1 to 1000000000
/c/a.toml:5:13: `responses` is -1, out of its limits
  hint: write a whole number from 0 to 1000000000
/c/a.toml:6:1: `accept_rate` has no effect on a udp:// listener: datagrams have no connections
  hint: remove it
/c/a.toml:7:1: `max_handshakes` has no effect on a udp:// listener: datagrams have no connections
  hint: remove it
/c/a.toml:8:1: `handshake_timeout` has no effect on a udp:// listener: datagrams have no connections
  hint: remove it
/c/a.toml:9:1: `trusted_proxies` has no effect on a udp:// listener: datagrams have no connections
  hint: remove it
/c/a.toml:10:1: `proxy_protocol` has no effect on a udp:// listener: datagrams have no connections
  hint: remove it
/c/a.toml:11:1: `dispatch` has no effect with `upstream`: bytes are relayed as they come
  hint: remove it
/c/a.toml:12:1: `receive_timeout` has no effect with `upstream`: bytes are relayed as they come
  hint: remove it
/c/a.toml:15:1: `requests` belongs to udp:// listeners with `upstream` or `return`
  hint: remove it
/c/a.toml:19:1: `responses` belongs to udp:// listeners with `upstream` or `return`
  hint: remove it"#,
    ),
    (
        r#"[[listen]]
address = "udp://127.0.0.1:1"
upstream = "mixed"
[upstream.mixed]
peers = ["udp://10.0.0.1:53", "tcp://10.0.0.1:53"]
[upstream.port]
peers = ["udp://10.0.0.1:0"]
[upstream.connect]
peers = ["udp://10.0.0.1:53"]
check = { kind = "connect" }
[upstream.mute]
peers = ["udp://10.0.0.1:53"]
check = { kind = "expect", expect = "x" }
[upstream.family]
bind = "::1"
peers = ["udp://10.0.0.1:53"]
"#,
        r#"/c/a.toml:5:9: udp:// peers and tcp://10.0.0.1:53 in one upstream
  hint: write an upstream for each: datagrams are relayed to udp:// peers only
/c/a.toml:7:10: the peer's address has port 0, to which nothing can connect
  hint: write the port that the peer listens on
/c/a.toml:10:9: a check of kind "connect" finds out nothing about udp:// peers: there is no connection
  hint: write check = { kind = "expect", send = "…", expect = "…" }
/c/a.toml:13:9: a check of udp:// peers has no `send`: a peer answers to a datagram only
  hint: write `send` beside `expect`
/c/a.toml:15:8: `bind` is of another family than the peer udp://10.0.0.1:53
  hint: write upstreams of one family each, or leave it out"#,
    ),
];

/// The errors without the lines that show their places.
fn bare(errors: &str) -> String {
    let is_shown = |line: &&str| line.trim_start().split_once('|').is_none();
    let lines: Vec<_> = errors.lines().filter(is_shown).collect();
    lines.join("\n")
}

#[test]
fn every_wrong_key_of_datagrams_has_a_place_and_a_hint() {
    for (text, said) in WRONG {
        let errors = load_text(text, Path::new("/c/a.toml")).unwrap_err();
        assert_eq!(bare(&errors.to_string()), *said, "of:\n{text}");
    }
}

#[test]
fn a_session_of_datagrams_is_over_when_the_answers_to_its_requests_have_come() {
    let rules = |keys: &str| {
        let text = format!(
            "[[listen]]\naddress = \"udp://127.0.0.1:1\"\nupstream = \"dns\"\n{keys}\n[upstream.dns]\npeers = [\"udp://10.0.0.1:53\"]\n"
        );
        let loaded = load_text(&text, Path::new("/c/a.toml")).unwrap();
        loaded.config.listeners[0].datagrams
    };
    let over = |keys: &str, counts: &[(u64, u64)]| {
        let rules = rules(keys);
        let over = counts.iter().map(|it| rules.is_over(it.0, it.1));
        over.collect::<Vec<_>>()
    };
    let counts = [(1, 0), (1, 1), (2, 1), (2, 2), (2, 4)];
    assert_eq!(over("", &counts), [false; 5]);
    assert_eq!(over("responses = 0", &counts), [true; 5]);
    assert_eq!(
        over("responses = 1", &counts),
        [false, true, false, true, true]
    );
    assert_eq!(
        over("requests = 2\nresponses = 1", &counts),
        [false, false, false, true, true]
    );
    assert_eq!(over("requests = 2", &counts), [false; 5]);
    assert_eq!(
        over("requests = 2\nresponses = 2", &counts),
        [false, false, false, false, true]
    );
}
