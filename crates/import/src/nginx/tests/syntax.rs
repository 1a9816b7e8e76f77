//! Blocks, includes, and what stands outside of `stream`.

use super::super::directives;
use super::{bare, errors, imported, read, refused, remarks, server};

#[test]
fn a_server_becomes_a_listener_and_its_address_an_upstream() {
    let text = "stream { server { listen 8080; proxy_pass 10.0.0.1:80; } }";
    let expected = r#"[[listen]]
address = "tcp://0.0.0.0:8080"
upstream = "10.0.0.1-80"
[upstream."10.0.0.1-80"]
connect_timeout = "1m"
next = { timeout = "24h" }
peers = [{ address = "tcp://10.0.0.1:80", max_fails = 0 }]"#;
    assert_eq!(imported(text), expected);
}

#[test]
fn comments_name_the_lines() {
    let text = "stream {\n  server {\n    listen 1;\n    proxy_pass 10.0.0.1:80;\n  }\n}\n";
    let toml = read(text, &[]).expect("it is right").toml;
    for line in [
        "[[listen]]  # nginx.conf:2",
        "address = \"tcp://0.0.0.0:1\"  # nginx.conf:3",
        "upstream = \"10.0.0.1-80\"  # nginx.conf:4",
        "connect_timeout = \"1m\"",
    ] {
        assert!(toml.lines().any(|it| it == line), "{line}\n{toml}");
    }
}

#[test]
fn files_are_included_in_every_block() {
    let files = &[
        ("/etc/nginx/stream.d/a.conf", "include /srv/more.conf;"),
        (
            "/etc/nginx/stream.d/b.conf",
            "upstream u { include peers; }",
        ),
        (
            "/etc/nginx/peers",
            "server 10.0.0.1:80; server 10.0.0.2:80;",
        ),
        ("/srv/more.conf", "server { include listen; proxy_pass u; }"),
        ("/etc/nginx/listen", "\nlisten 7;"),
    ];
    let imported = read("stream { include stream.d/*.conf; }", files).expect("it is right");
    let listen = "address = \"tcp://0.0.0.0:7\"  # listen:2";
    assert!(imported.toml.contains(listen), "{}", imported.toml);
    assert!(imported.toml.contains("[[listen]]  # /srv/more.conf:1"));
    assert!(bare(&imported.toml).contains("tcp://10.0.0.2:80"));
}

#[test]
fn files_that_are_missing_or_include_themselves_are_errors() {
    let missing = read("stream { include x; }", &[]).expect_err("it is missing");
    let message = missing[0].to_string();
    assert!(
        message.starts_with("nginx.conf:1: `x` cannot be read"),
        "{message}"
    );
    let files = &[("/etc/nginx/x", "include x;")];
    let endless = read("stream { include x; }", files).expect_err("it has no end");
    let message = endless[0].to_string();
    assert!(
        message.contains("`include` is nested too deeply"),
        "{message}"
    );
}

#[test]
fn a_block_without_its_end_and_stray_signs_are_errors() {
    for (text, expected) in [
        (
            "stream {\n server { listen 1;\n",
            "nginx.conf:2: a `}` is missing",
        ),
        ("stream { }\n}", "nginx.conf:2: unexpected `}`"),
        (";", "nginx.conf:1: unexpected `;`"),
        ("{", "nginx.conf:1: unexpected `{`"),
        (
            "stream { server { listen 1 } }",
            "nginx.conf:1: unexpected `}`: `listen` has no `;`",
        ),
        (
            "user",
            "nginx.conf:1: `user` has no end: a `;` or a block is missing",
        ),
        (
            "http { }",
            "nginx.conf:1: there is no `stream` block, and only that is imported",
        ),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn all_errors_are_found_at_once() {
    let text = "worker_processes 1;\nfoo;\nstream {\n  server {\n    bar 1;\n    listen x;\n    proxy_pass y;\n  }\n  baz;\n}";
    let expected = [
        "nginx.conf:2: `foo` outside of all blocks is not imported by this version",
        "nginx.conf:5: `bar` in a server is not imported by this version",
        "nginx.conf:6: `listen` has no port in \"x\"",
        "nginx.conf:9: `baz` in `stream` is not imported by this version",
    ];
    assert_eq!(errors(text), expected);
}

#[test]
fn what_stands_outside_of_the_block_has_a_remark() {
    let rest = "stream { server { listen 1; proxy_pass 10.0.0.1:80; } }";
    for line in [
        "user www-data;",
        "worker_processes auto;",
        "error_log /var/log/nginx/error.log warn;",
        "pid /run/nginx.pid;",
        "daemon off;",
        "events { worker_connections 1024; }",
        "load_module modules/ngx_stream_module.so;",
        "http { server { listen 80; location / { return 200 \"a;b\"; } } }",
    ] {
        let remarks = remarks(&format!("{line}\n{rest}"));
        let name = line.split_whitespace().next().unwrap_or_default();
        let expected = format!("nginx.conf:1: `{name}` has no effect: ");
        assert!(remarks[0].starts_with(&expected), "{remarks:?}");
    }
}

#[test]
fn one_of_a_kind_is_not_written_twice() {
    let pass = "proxy_pass 10.0.0.1:80;";
    for (text, line) in [
        (
            format!("stream {{ server {{ listen 1; {pass}\n{pass} }} }}"),
            "`proxy_pass` is written twice",
        ),
        (
            format!(
                "stream {{ server {{ listen 1; {pass} proxy_timeout 1s;\nproxy_timeout 2s; }} }}"
            ),
            "`proxy_timeout` is written twice",
        ),
        (
            format!("stream {{ server {{ listen 1; {pass} }}\nserver {{ listen 1; {pass} }} }}"),
            "tcp://0.0.0.0:1 is listened on already: see nginx.conf:1. Give each server of it a `server_name`",
        ),
    ] {
        assert_eq!(errors(&text), [format!("nginx.conf:2: {line}")], "{text}");
    }
}

#[test]
fn every_directive_of_the_block_is_on_the_page() {
    let page = include_str!("../../../../../docs/guide/nginx.md");
    let (_, page) = page.split_once("## Directives").expect("a table");
    let (_, left_out) = page.split_once("### Without effect").expect("a list");
    for (name, is_imported) in directives::all() {
        let is_written = |text: &str| page.contains(&format!("`{text}"));
        let mut ends = name.match_indices('_').map(|(at, _)| &name[at..]);
        let is_told = match is_imported {
            true => is_written(name) || ends.any(|end| is_written(&format!("…{end}`"))),
            false => left_out.contains(&format!("`{name}`")),
        };
        assert!(
            is_told || name == "tcp_nodelay" || name == "proxy_half_close",
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_expressed_may_be_off() {
    assert_eq!(server("ssl_ocsp off;"), "");
    let expected = "`ssl_ocsp` cannot be expressed: certificates of clients are not looked up by OCSP: write `ssl_crl`";
    assert_eq!(refused("ssl_ocsp on;"), expected);
    let expected = "`server_name` has \"~\", which is no name of a host";
    assert_eq!(refused("server_name ~;"), expected);
}
