//! Wrong resolvers and services, and every word of their errors.

use std::path::Path;

use moorline_config::load_text;

const WRONG: &str = r#"[[listen]]
address = "tcp://127.0.0.1:1"
upstream = "a"
[upstream.a]
resolver = "10.0.0.1"
peers = ["tcp://db:1"]
[upstream.b]
resolver = { servers = [], valid = 1, timeout = "0s", ipv4 = "no", ipv6 = 1, vlaid = "1s" }
peers = ["tcp://db:1"]
[upstream.c]
resolver = { servers = ["dns.example", "10.0.0.1:0", 53], ipv4 = false, ipv6 = false }
peers = ["tcp://db:1"]
[upstream.d]
peers = [
  { service = "_http._tcp.example.com", address = "tcp://db:1", weight = 2 },
  { service = "http.example.com" },
  { service = "_http._tcp.exa mple.com" },
  { service = 1 },
  {},
]
[upstream.e]
peers = [{ service = "_dns._udp.example.com" }, { service = "_dns._tcp.example.com" }]
"#;

/// Without the lines that show the places.
const SAID: &str = r#"/c/a.toml:5:12: `resolver` is a string, not a table
  hint: write resolver = { servers = ["10.0.0.1:53"], valid = "10s", timeout = "5s" }
/c/a.toml:8:24: `servers` has 0 entries
  hint: write 1 to 16, or leave it out
/c/a.toml:8:36: `valid` is a bare number
  hint: write a unit, such as "10ms", "5s", "2m" or "1h"
/c/a.toml:8:49: `timeout` is zero
  hint: leave the key out for its default, or write a longer time
/c/a.toml:8:62: `ipv4` is a string, not true or false
  hint: write true or false, without quotes
/c/a.toml:8:75: `ipv6` is an integer, not true or false
  hint: write true or false, without quotes
/c/a.toml:8:78: unknown key `vlaid` in `resolver`
  hint: did you mean `valid`?
/c/a.toml:11:25: `servers`: "dns.example" is no address of a DNS server
  hint: write "10.0.0.1", "10.0.0.1:53" or "[2001:db8::1]:53"
/c/a.toml:11:40: `servers`: "10.0.0.1:0" is no address of a DNS server
  hint: write "10.0.0.1", "10.0.0.1:53" or "[2001:db8::1]:53"
/c/a.toml:11:54: `servers` is an integer, not a string
  hint: write servers = "…"
/c/a.toml:11:80: `ipv4` and `ipv6` are both false: no name would have an address
  hint: leave one of them out
/c/a.toml:15:41: `address` has no effect with `service`: its servers have their own
  hint: remove it
/c/a.toml:15:65: `weight` has no effect with `service`: its servers have their own
  hint: remove it
/c/a.toml:16:15: `service`: "http.example.com" does not begin with a service and its protocol
  hint: write service = "_http._tcp.example.com"
/c/a.toml:17:15: `service`: `_http._tcp.exa mple.com` is no name: only letters, digits, `-`, `_` and `.` may be in it
  hint: write service = "_http._tcp.example.com"
/c/a.toml:18:15: `service` is an integer, not a string
  hint: write service = "…"
/c/a.toml:19:3: an entry of `peers` has no `address`
  hint: write tcp://host:port, tls://host:port, udp://host:port, or unix:///path
/c/a.toml:22:9: udp:// peers and tcp://_dns._tcp.example.com in one upstream
  hint: write an upstream for each: datagrams are relayed to udp:// peers only"#;

#[test]
fn every_wrong_key_of_resolvers_and_services_has_a_place_and_a_hint() {
    let errors = load_text(WRONG, Path::new("/c/a.toml")).unwrap_err();
    let errors = errors.to_string();
    let lines = errors.lines().filter(|line| !line.contains(" | "));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.join("\n"), SAID);
}
