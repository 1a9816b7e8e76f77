//! `resolvers`, and servers with names.

use super::{errors, imported, remarks};

/// What a backend with these lines becomes, beside sections of resolvers with these.
fn text(server: &str, resolvers: &str) -> String {
    format!(
        "resolvers dns\n {resolvers}\nfrontend f\n bind :1\n default_backend b\nbackend b\n {server}\n"
    )
}

#[test]
fn a_section_of_resolvers_becomes_that_of_the_upstream() {
    let server = "server a a.example:1 resolvers dns";
    for (resolvers, expected) in [
        (
            "nameserver one 10.0.0.53:53\n nameserver two udp@[2001:db8::1]:5353\n nameserver three 10.0.0.54",
            "{ servers = [\"10.0.0.53:53\", \"[2001:db8::1]:5353\", \"10.0.0.54\"], valid = \"10s\" }",
        ),
        (
            "nameserver one tcp@10.0.0.53:53\n hold valid 1m\n hold nx 5s\n timeout resolve 1s\n timeout retry 500ms",
            "{ servers = [\"10.0.0.53:53\"], valid = \"1m\", timeout = \"1500ms\" }",
        ),
        (
            "parse-resolv-conf\n resolve_retries 2\n accepted_payload_size 4096",
            "{ valid = \"10s\", timeout = \"2s\" }",
        ),
    ] {
        let found = imported(&text(server, resolvers));
        let found = found.lines().find(|it| it.starts_with("resolver = "));
        assert_eq!(found, Some(&*format!("resolver = {expected}")));
    }
}

#[test]
fn templates_and_services_become_peers() {
    let dns = "nameserver one 10.0.0.53:53";
    for (server, expected, remark) in [
        (
            "server-template web 1-5 a.example:80 resolvers dns weight 3",
            "{ address = \"tcp://a.example:80\", weight = 3 }",
            Some("each address of a.example is a peer: HAProxy takes 5 of them"),
        ),
        (
            "server-template web 3 _http._tcp.a.example resolvers dns backup\n server a 10.0.0.1:80",
            "{ service = \"_http._tcp.a.example\", backup = true }",
            Some("each server of _http._tcp.a.example is a peer: HAProxy takes 3 of them"),
        ),
        (
            "server-template web 3 10.0.0.1:80 resolvers dns",
            "\"tcp://10.0.0.1:80\"",
            Some("tcp://10.0.0.1:80 is one peer: HAProxy counts it as 3"),
        ),
        (
            "default-server resolvers dns\n server a a.example:80",
            "\"tcp://a.example:80\"",
            Some("each address of a.example is a peer: HAProxy takes 1 of them"),
        ),
        (
            "server a 10.0.0.1:80 resolvers dns",
            "\"tcp://10.0.0.1:80\"",
            None,
        ),
    ] {
        let text = text(server, dns);
        let found = imported(&text);
        assert!(found.contains(&format!("  {expected},\n")), "{found}");
        let remarks = remarks(&text);
        let said = remarks.iter().filter_map(|it| it.split_once(": "));
        let said = said.map(|(_, it)| it).find(|it| it.contains("HAProxy"));
        assert_eq!(said, remark, "{remarks:?}");
    }
}

#[test]
fn resolvers_that_nobody_names_are_left_out_with_a_remark() {
    let text = text("server a 10.0.0.1:1", "nonsense");
    let remark = "haproxy.cfg:1: `resolvers dns` is left out: no server names it";
    assert_eq!(remarks(&text), [remark]);
}

#[test]
fn wrong_resolvers_are_refused() {
    let server = "server a a.example:1 resolvers dns";
    for (server, resolvers, expected) in [
        (
            server,
            "hold valid 5s",
            "`resolvers` dns has no `nameserver`",
        ),
        (
            server,
            "parse-resolv-conf\n nameserver a 10.0.0.1:53",
            "`resolvers` has both `nameserver` and `parse-resolv-conf`: leave one of them out",
        ),
        (
            server,
            "nameserver a dns.example:53",
            "`nameserver` takes the IP address of a DNS server, not \"dns.example:53\"",
        ),
        (
            server,
            "nameserver a quic@10.0.0.1:53",
            "`nameserver` has a wrong address \"quic@10.0.0.1:53\"",
        ),
        (
            server,
            "hold valid x",
            "`hold valid` has a wrong value: it takes a time such as `10s`, and `resolve_retries` a number",
        ),
        (
            server,
            "hold up 1s",
            "`hold up` is not imported by this version",
        ),
        (
            "server a a.example:1 resolvers other",
            "nameserver a 10.0.0.1:53",
            "`server` names \"other\", which is no `resolvers`",
        ),
        (
            "server a a.example:1 resolvers dns\n server b b.example:1",
            "nameserver a 10.0.0.1:53",
            "`server` has other `resolvers` than a server before it, and an upstream has one for all: write a backend for each",
        ),
        (
            "server-template a x a.example:1 resolvers dns",
            "nameserver a 10.0.0.1:53",
            "`server-template` has a wrong number \"x\"",
        ),
    ] {
        let found = errors(&text(server, resolvers));
        let found: Vec<_> = found.iter().filter_map(|it| it.split_once(": ")).collect();
        let found: Vec<_> = found.iter().map(|(_, message)| *message).collect();
        assert_eq!(found, [expected], "{server} {resolvers}");
    }
}

#[test]
fn paths_begin_at_the_bases_of_global() {
    let text = "global\n crt-base /etc\n ca-base /etc/nginx\nlisten l\n bind :1 ssl crt nginx/both.pem crt /etc/nginx/both.pem\n \
        server a 10.0.0.1:1 ssl ca-file a.crt sni str(a.example) crt nginx/both.pem\n";
    let found = imported(text);
    assert_eq!(found.matches("/etc/nginx/both.pem").count(), 6, "{found}");
    assert!(found.contains("ca = \"/etc/nginx/a.crt\""), "{found}");
}

#[test]
fn a_template_counts_its_servers() {
    for (server, range) in [
        (
            "server-template a 3-2 _http._tcp.a.example resolvers dns",
            "3-2",
        ),
        ("server-template a x 10.0.0.1:1", "x"),
    ] {
        let found = errors(&text(server, "nameserver a 10.0.0.53:53"));
        let expected = format!("`server-template` has a wrong number {range:?}");
        assert!(found[0].ends_with(&expected), "{found:?}");
    }
}
