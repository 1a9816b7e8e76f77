//! `listen … udp`.

use super::{imported, refused, server};

#[test]
fn a_listener_of_datagrams_has_peers_of_datagrams() {
    let text = "stream { upstream u { server 10.0.0.1:53 weight=2; server 10.0.0.2:53; }
        server { listen 53 udp; proxy_pass u; proxy_responses 1; proxy_requests 2; }
        server { listen 54; listen 54 udp reuseport; proxy_pass 10.0.0.3:53; proxy_timeout 1s; } }";
    let expected = r#"[[listen]]
address = "udp://0.0.0.0:53"
upstream = "u"
requests = 2
responses = 1
[[listen]]
address = "tcp://0.0.0.0:54"
upstream = "10.0.0.3-53"
idle_timeout = "1s"
[[listen]]
address = "udp://0.0.0.0:54"
upstream = "10.0.0.3-53-2"
idle_timeout = "1s"
[upstream.u]
connect_timeout = "1m"
next = { timeout = "24h" }
peers = [
  { address = "udp://10.0.0.1:53", weight = 2 },
  "udp://10.0.0.2:53",
]
[upstream."10.0.0.3-53"]
connect_timeout = "1m"
next = { timeout = "24h" }
peers = [{ address = "tcp://10.0.0.3:53", max_fails = 0 }]
[upstream."10.0.0.3-53-2"]
connect_timeout = "1m"
next = { timeout = "24h" }
peers = [{ address = "udp://10.0.0.3:53", max_fails = 0 }]"#;
    assert_eq!(imported(text), expected);
}

#[test]
fn zero_requests_are_no_limit() {
    assert_eq!(server("proxy_requests 0; proxy_responses 0;"), "");
}

#[test]
fn what_datagrams_do_not_have_is_refused() {
    for (directive, expected) in [
        (
            "listen 2 udp ssl;",
            "`listen` has `udp` beside `ssl` or `proxy_protocol`, which datagrams do not have",
        ),
        ("listen unix:/a udp;", "`listen` has `udp` on a Unix socket"),
        ("proxy_requests x;", "`proxy_requests` takes a whole number"),
    ] {
        assert_eq!(refused(directive), expected, "{directive}");
    }
}
