//! `upstream` blocks.

use super::{errors, imported, remarks};

/// The lines of an upstream with these directives, without what servers bring.
#[track_caller]
fn upstream(directives: &str) -> String {
    let text =
        format!("stream {{ upstream u {{ {directives} }} server {{ listen 1; proxy_pass u; }} }}");
    let found = imported(&text);
    let lines = found.lines().skip_while(|line| !line.starts_with("next"));
    lines.skip(1).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn refused(directives: &str) -> String {
    let text = format!("stream {{ upstream u {{\n{directives}\n}} }}");
    let errors = errors(&text);
    assert_eq!(errors.len(), 1, "{directives}: {errors:?}");
    let error = errors[0].strip_prefix("nginx.conf:2: ");
    error.unwrap_or_else(|| panic!("{errors:?}")).to_owned()
}

#[test]
fn every_variable_is_one_of_moorlines() {
    for (name, _) in crate::nginx::variables::VARIABLES {
        let found = upstream(&format!("hash a${{{name}}}b; {TWO}"));
        assert!(
            found.starts_with("balance = { kind = \"hash\", key = \"a${"),
            "{found}"
        );
    }
}

const TWO: &str = "server 10.0.0.1:1; server 10.0.0.2:1;";
const TWO_PEERS: &str = "peers = [\n  \"tcp://10.0.0.1:1\",\n  \"tcp://10.0.0.2:1\",\n]";

#[test]
fn each_way_of_balancing_is_understood() {
    for (directive, line) in [
        ("least_conn;", "\"least-connections\""),
        (
            "hash $remote_addr;",
            "{ kind = \"hash\", key = \"${client.address}\", method = \"plain\" }",
        ),
        (
            "hash a${remote_addr}b$remote_port consistent;",
            "{ kind = \"hash\", key = \"a${client.address}b${client.port}\", method = \"ketama\" }",
        ),
        ("random;", "\"random-two\""),
        ("random two;", "\"random-two\""),
        ("random two least_conn;", "\"random-two\""),
        (
            "random two least_time=connect;",
            "{ kind = \"random-two\", by = \"connect\" }",
        ),
        (
            "least_time connect;",
            "{ kind = \"least-time\", by = \"connect\" }",
        ),
        (
            "least_time first_byte;",
            "{ kind = \"least-time\", by = \"first-byte\" }",
        ),
        (
            "least_time last_byte inflight;",
            "{ kind = \"least-time\", by = \"last-byte\" }",
        ),
    ] {
        let expected = format!("balance = {line}\n{TWO_PEERS}");
        assert_eq!(
            upstream(&format!("{directive} {TWO}")),
            expected,
            "{directive}"
        );
    }
    assert_eq!(upstream(&format!("zone u 64k; {TWO}")), TWO_PEERS);
}

#[test]
fn each_parameter_of_a_server_is_understood() {
    for (server, peer) in [
        ("10.0.0.1:1", "\"tcp://10.0.0.1:1\""),
        ("[::1]:1", "\"tcp://[::1]:1\""),
        ("a.example:1 resolve", "\"tcp://a.example:1\""),
        ("unix:/run/a", "\"unix:///run/a\""),
        (
            "10.0.0.1:1 weight=3",
            "{ address = \"tcp://10.0.0.1:1\", weight = 3 }",
        ),
        (
            "10.0.0.1:1 weight=1 max_conns=0 max_fails=1",
            "\"tcp://10.0.0.1:1\"",
        ),
        (
            "10.0.0.1:1 max_conns=5",
            "{ address = \"tcp://10.0.0.1:1\", max_connections = 5 }",
        ),
        (
            "10.0.0.1:1 max_fails=0 fail_timeout=1m",
            "{ address = \"tcp://10.0.0.1:1\", max_fails = 0, fail_timeout = \"1m\" }",
        ),
        (
            "10.0.0.1:1 fail_timeout=0",
            "{ address = \"tcp://10.0.0.1:1\", max_fails = 0 }",
        ),
        (
            "10.0.0.1:1 down",
            "{ address = \"tcp://10.0.0.1:1\", down = true }",
        ),
        (
            "10.0.0.1:1 backup",
            "{ address = \"tcp://10.0.0.1:1\", backup = true }",
        ),
    ] {
        let expected = format!("peers = [\n  \"tcp://10.0.0.9:9\",\n  {peer},\n]");
        let directives = format!("server 10.0.0.9:9; server {server};");
        assert_eq!(upstream(&directives), expected, "{server}");
    }
}

#[test]
fn slow_start_is_of_the_upstream() {
    let found = upstream("server 10.0.0.1:1 slow_start=30s; server 10.0.0.2:1;");
    assert_eq!(found, format!("slow_start = \"30s\"\n{TWO_PEERS}"));
}

#[test]
fn a_server_that_is_alone_is_never_taken_out() {
    let found = upstream("server 10.0.0.1:1 max_fails=5 fail_timeout=1s slow_start=5s;");
    let expected = "peers = [\n  { address = \"tcp://10.0.0.1:1\", max_fails = 0 },\n]";
    assert_eq!(found, expected);
}

#[test]
fn a_wrong_upstream_is_refused() {
    for (directives, expected) in [
        ("server;", "`server` has no address"),
        ("server 10.0.0.1;", "`server` has no port in \"10.0.0.1\""),
        (
            "server 10.0.0.1:0;",
            "`server` has a wrong address \"10.0.0.1:0\"",
        ),
        (
            "server unix:a;",
            "`server` has a Unix socket without an absolute path",
        ),
        (
            "server 10.0.0.1:1 weight=0;",
            "`server` has a parameter that is not imported: `weight=0`",
        ),
        (
            "server a.example:1 service=a.b;",
            "`server` has a parameter that is not imported: `service=a.b`",
        ),
        (
            "server 10.0.0.1:1 drain;",
            "`server` has a parameter that is not imported: `drain`",
        ),
        ("hash; server 10.0.0.1:1;", "`hash` has wrong arguments"),
        ("hash a b; server 10.0.0.1:1;", "`hash` has wrong arguments"),
        (
            "hash $foo; server 10.0.0.1:1;",
            "the variable $foo is not there in Moorline",
        ),
        (
            "hash a$; server 10.0.0.1:1;",
            "\"a$\" has a `$` that begins no variable",
        ),
        (
            "least_conn; hash a; server 10.0.0.1:1;",
            "`hash` is a second way of balancing in this upstream",
        ),
        (
            "least_time x; server 10.0.0.1:1;",
            "`least_time` is by `connect`, `first_byte` or `last_byte`",
        ),
        (
            "random three; server 10.0.0.1:1;",
            "`random` has wrong arguments",
        ),
        (
            "server 10.0.0.1:1 slow_start=1s; server 10.0.0.2:1 slow_start=2s;",
            "`server` has another `slow_start` than a server before it, and an upstream has one",
        ),
        (
            "sticky cookie; server 10.0.0.1:1;",
            "`sticky` in an upstream is not imported by this version",
        ),
    ] {
        assert_eq!(refused(directives), expected, "{directives}");
    }
    assert_eq!(
        errors("stream {\nupstream u { } }"),
        ["nginx.conf:2: `upstream` has no server"]
    );
}

#[test]
fn an_upstream_that_servers_use_with_other_settings_becomes_two() {
    let text = "stream { upstream u { server 10.0.0.1:1; }
        server { listen 1; proxy_pass u; }
        server { listen 2; proxy_pass u; proxy_connect_timeout 1s; }
        server { listen 3; proxy_pass u; proxy_connect_timeout 60s; } }";
    let found = imported(text);
    let used: Vec<_> = found
        .lines()
        .filter(|it| it.starts_with("upstream"))
        .collect();
    assert_eq!(
        used,
        ["upstream = \"u\"", "upstream = \"u-2\"", "upstream = \"u\""]
    );
    let remarks = remarks(text);
    assert!(
        remarks[0].starts_with("nginx.conf:3: upstream u is used with other settings"),
        "{remarks:?}"
    );
}

#[test]
fn an_upstream_gets_a_name_that_moorline_takes() {
    let text =
        "stream { upstream a+b { server 10.0.0.1:1; } server { listen 1; proxy_pass A+b; } }";
    assert!(imported(text).contains("upstream = \"a-b\""));
}

#[test]
fn an_upstream_that_nobody_uses_is_imported() {
    let text =
        "stream { upstream u { server 10.0.0.1:1; } server { listen 1; proxy_pass 10.0.0.2:1; } }";
    assert!(imported(text).contains("[upstream.u]"));
    assert_eq!(
        remarks(text),
        ["nginx.conf:1: no server passes to upstream u"]
    );
}

#[test]
fn a_server_that_is_alone_is_taken_out_if_its_name_may_have_several_addresses() {
    for (server, is_alone) in [
        ("10.0.0.1:1", true),
        ("[::1]:1", true),
        ("unix:/a", true),
        ("db.example:1", false),
    ] {
        for text in [
            format!(
                "stream {{ upstream u {{ server {server}; }} server {{ listen 1; proxy_pass u; }} }}"
            ),
            format!("stream {{ server {{ listen 1; proxy_pass {server}; }} }}"),
        ] {
            let found = imported(&text);
            assert_eq!(found.contains("max_fails = 0"), is_alone, "{found}");
        }
    }
}
