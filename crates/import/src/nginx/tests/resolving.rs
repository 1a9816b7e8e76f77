//! `resolver`, and services of the DNS.

use super::{errors, imported};

/// The lines of an upstream between its settings and its peers, and those.
#[track_caller]
fn upstream(stream: &str, directives: &str) -> String {
    let text = format!(
        "stream {{ {stream} upstream u {{ {directives} }} server {{ listen 1; proxy_pass u; }} }}"
    );
    let found = imported(&text);
    let lines = found.lines().skip_while(|line| !line.starts_with("next"));
    lines.skip(1).collect::<Vec<_>>().join("\n")
}

#[test]
fn names_that_are_resolved_again_have_the_resolver_of_the_block_or_their_own() {
    for (stream, own, expected) in [
        (
            "resolver 127.0.0.1:53 [::1] valid=10s ipv6=off;",
            "",
            "servers = [\"127.0.0.1:53\", \"::1\"], valid = \"10s\", ipv6 = false",
        ),
        (
            "resolver 127.0.0.1;",
            "resolver 127.0.0.2; resolver_timeout 5s;",
            "servers = [\"127.0.0.2\"], timeout = \"5s\"",
        ),
    ] {
        let found = upstream(
            stream,
            &format!("{own} server a.example:1 resolve; server 10.0.0.1:1;"),
        );
        let expected = format!(
            "resolver = {{ {expected} }}\npeers = [\n  \"tcp://a.example:1\",\n  \"tcp://10.0.0.1:1\",\n]"
        );
        assert_eq!(found, expected);
    }
    let found = upstream(
        "resolver 127.0.0.1;",
        "server a.example:1; server 10.0.0.1:1;",
    );
    assert!(!found.contains("resolver"), "{found}");
}

#[test]
fn a_service_is_a_name_of_the_dns() {
    for (service, expected) in [
        ("http", "_http._tcp.a.example"),
        ("_http._tcp", "_http._tcp.a.example"),
    ] {
        let directives =
            format!("server a.example service={service} resolve; server 10.0.0.1:1 backup;");
        let found = upstream("resolver 127.0.0.1;", &directives);
        assert!(
            found.contains(&format!("{{ service = \"{expected}\" }}")),
            "{found}"
        );
    }
}

#[test]
fn a_wrong_resolver_is_refused() {
    for (directive, expected) in [
        ("resolver;", "`resolver` names no server"),
        (
            "resolver dns.example;",
            "`resolver` names \"dns.example\", and takes IP addresses of DNS servers",
        ),
        (
            "resolver 127.0.0.1 valid=x;",
            "`resolver` has a wrong `valid=x`",
        ),
        (
            "resolver 127.0.0.1 foo=1;",
            "`resolver` has a wrong `foo=1`",
        ),
        (
            "resolver 127.0.0.1; resolver_timeout x;",
            "`resolver_timeout` takes a time, such as 10s or 500ms",
        ),
    ] {
        let text =
            format!("stream {{ upstream u {{ server a.example:1 resolve;\n{directive}\n}} }}");
        assert_eq!(
            errors(&text),
            [format!("nginx.conf:2: {expected}")],
            "{directive}"
        );
    }
}
