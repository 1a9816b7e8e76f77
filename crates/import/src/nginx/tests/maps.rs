//! `map`, `geo`, `split_clients` and `set`.

use super::{errors, imported, remarks};

/// The table of the variable `$v`, which these directives make.
#[track_caller]
fn made(directives: &str) -> String {
    let text = format!("stream {{ {directives} server {{ listen 1; return $v; }} }}");
    let found = imported(&text);
    assert!(found.contains("return = \"${map.v}\""), "{found}");
    let lines = found
        .lines()
        .skip_while(|line| !line.starts_with("[map.v]"));
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn refused(directives: &str) -> String {
    let text = format!("stream {{ server {{ listen 1; return a; }}\n{directives}\n}}");
    let errors = errors(&text);
    assert_eq!(errors.len(), 1, "{directives}: {errors:?}");
    let error = errors[0].strip_prefix("nginx.conf:2: ");
    error.unwrap_or_else(|| panic!("{errors:?}")).to_owned()
}

#[test]
fn a_map_keeps_its_entries_in_order() {
    let found = made(
        r"map $remote_addr:$server_port $v { hostnames; default a; *.b.example $remote_port; .c.example c;
            '~^(?<n>\w+)\.(d|e)$' $n-$2-$server_addr; ~*^F 'f f'; \~x x; \default y; '' empty; }",
    );
    let expected = r#"[map.v]
from = "${client.address}:${server.port}"
hostnames = true
default = "a"
values = [
  ["*.b.example", "${client.port}"],
  [".c.example", "c"],
  ["~^(?<n>\\w+)\\.(d|e)$", "${n}-${2}-${server.address}"],
  ["~*^F", "f f"],
  ["\\~x", "x"],
  ["\\default", "y"],
  ["", "empty"],
]"#;
    assert_eq!(found, expected);
}

#[test]
fn a_map_may_be_made_of_others_below_it() {
    let found = made("map $w $v { a b; } map $remote_addr $w { default a; }");
    assert!(found.contains("from = \"${map.w}\""), "{found}");
}

#[test]
fn a_geo_has_networks() {
    let found = made(
        "geo $v { default $; 10.1.2.3/8 a; 192.0.2.1 b; 192.0.2.1 c; 10.0.0.0/9 d; delete 10.0.0.0/9; 2001:db8::/32 e; }",
    );
    let expected = r#"[map.v]
kind = "network"
default = "$$"
values = [
  ["10.0.0.0/8", "a"],
  ["192.0.2.1", "c"],
  ["2001:db8::/32", "e"],
]"#;
    assert_eq!(found, expected);
    let found = made("geo $server_addr $v { ranges; 10.0.0.0-10.0.0.9 a; 10.1.0.0-10.1.0.0 b; }");
    let expected = r#"[map.v]
kind = "network"
from = "${server.address}"
values = [
  ["10.0.0.0-10.0.0.9", "a"],
  ["10.1.0.0", "b"],
]"#;
    assert_eq!(found, expected);
}

#[test]
fn clients_are_split_into_shares() {
    let found = made("split_clients ${remote_addr}x $v { 12.5% a; 0.01% $remote_port; * c; }");
    let expected = r#"[map.v]
kind = "share"
from = "${client.address}x"
values = [
  ["12.5%", "a"],
  ["0.01%", "${client.port}"],
  ["*", "c"],
]"#;
    assert_eq!(found, expected);
}

#[test]
fn servers_set_variables() {
    let text = "stream { server { listen 1; set $a $remote_addr; set $b 'b $$a'; return $a-$b; } }";
    let text = text.replace("$$a", "$a");
    let found = imported(&text);
    assert!(
        found.contains("set = { a = \"${client.address}\", b = \"b ${set.a}\" }"),
        "{found}"
    );
    assert!(found.contains("return = \"${set.a}-${set.b}\""), "{found}");
}

#[test]
fn a_wrong_table_is_refused() {
    for (directives, expected) in [
        ("map $remote_addr { }", "`map` has wrong arguments"),
        ("map $remote_addr v { }", "`map` makes no variable by \"v\""),
        (
            "map $foo $v { }",
            "the variable $foo is not there in Moorline",
        ),
        ("map $remote_addr $v;", "`map` has no block"),
        (
            "map $remote_addr $v { a; }",
            "the entry \"a\" has not one value",
        ),
        (
            "map $remote_addr $v { a $1; }",
            "the variable $1 is not there in Moorline",
        ),
        (
            "map $remote_addr $v { ~a $b; }",
            "the variable $b is not there in Moorline",
        ),
        (
            "map $remote_addr $v { ~a(?=b) c; }",
            "the pattern \"~a(?=b)\" cannot be expressed: look-around, including look-ahead and look-behind, is not supported",
        ),
        (
            "geo $v { x y; }",
            "\"x\" is neither an IP address nor a network",
        ),
        (
            "geo $v { proxy 10.0.0.1; }",
            "`proxy` of `geo` cannot be expressed",
        ),
        (
            "geo $v { 10.0.0.9-x y; }",
            "\"10.0.0.9-x\" is neither an IP address nor a network",
        ),
    ] {
        assert_eq!(refused(directives), expected, "{directives}");
    }
}

#[test]
fn a_variable_is_made_once_and_a_server_has_one_end() {
    for (directives, expected) in [
        (
            "split_clients $remote_addr $v { 101% a; }",
            "\"101%\" is no share: write 12.5% or *",
        ),
        (
            "geo $v { } geo $v { }",
            "`geo` makes $v, which is made already: see nginx.conf:2",
        ),
        (
            "server { listen 2; return a; set b c; }",
            "`set` names no variable by \"b\"",
        ),
        (
            "server { listen 2; return a; set $b c; set $b d; }",
            "`set` sets $b twice",
        ),
        (
            "geo $v { } server { listen 2; return a; set $v d; }",
            "`set` sets $v, which is made already: see nginx.conf:2",
        ),
        (
            "server { listen 2; return a; proxy_pass 10.0.0.1:1; }",
            "`proxy_pass` stands beside `return`",
        ),
        (
            "server { listen 2; return a; return b; }",
            "`return` is written twice",
        ),
        (
            "server { listen 2; return a b; }",
            "`return` takes one argument",
        ),
    ] {
        assert_eq!(refused(directives), expected, "{directives}");
    }
}

#[test]
fn volatile_has_a_remark() {
    let text = "stream { map $remote_addr $v { volatile; } server { listen 1; return $v; } }";
    assert_eq!(remarks(text).len(), 1);
}

#[test]
fn a_variable_names_the_destination() {
    let text = "stream { upstream a { server 10.0.0.1:1; } upstream b { server 10.0.0.2:1; }
        map $server_port $v { 1 a; 2 b; default 10.0.0.3:1; } proxy_connect_timeout 3s;
        server { listen 1; listen 2; proxy_pass $v; } server { listen 4; proxy_pass b; proxy_connect_timeout 4s; } }";
    let found = imported(text);
    let uses: Vec<_> = found
        .lines()
        .filter(|it| it.starts_with("upstream"))
        .collect();
    let expected = [
        "upstream = \"${map.v}\"",
        "upstream_like = \"settings-3\"",
        "upstream = \"${map.v}\"",
        "upstream_like = \"settings-3\"",
        "upstream = \"b\"",
    ];
    assert_eq!(uses, expected);
    assert!(
        found.contains("[upstream.a]\nconnect_timeout = \"3s\""),
        "{found}"
    );
    assert!(
        found.contains("[upstream.b]\nconnect_timeout = \"4s\""),
        "{found}"
    );
}

#[test]
fn tls_of_a_server_is_not_lost_where_its_variable_names_an_upstream() {
    let servers = |safe: &str| {
        format!(
            "stream {{ map $remote_addr $v {{ default db; }} upstream db {{ server 10.0.0.1:1; }}
            server {{ listen 1; proxy_pass db; }} server {{ listen 2; proxy_pass $v; {safe} }} }}"
        )
    };
    for safe in ["proxy_ssl on;", "proxy_protocol on;"] {
        let told = errors(&servers(safe)).join("\n");
        assert!(told.contains("a variable may name upstream db"), "{told}");
    }
    imported(&servers("proxy_connect_timeout 5s;"));
}
