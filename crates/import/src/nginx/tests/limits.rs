//! `limit_conn`.

use super::{errors, imported, remarks};

fn text(server: &str) -> String {
    format!(
        "stream {{ limit_conn_zone $binary_remote_addr zone=one:1m;\n{server}\nserver {{ listen 1; proxy_pass 10.0.0.1:80; }} }}"
    )
}

#[test]
fn a_zone_becomes_a_limit_that_servers_use() {
    let zone = "limit_conn_zone ${remote_addr}:$server_port zone=two:10k; limit_conn two 7;";
    let server = "server { listen 2; proxy_pass 10.0.0.1:80; limit_conn one 5; limit_conn two 6; limit_conn_dry_run on; }";
    let found = imported(&text(&format!("{zone} {server}")));
    for lines in [
        "[limit.one]\nkey = \"${client.binary}\"",
        "[limit.two]\nkey = \"${client.address}:${server.port}\"",
        "limits = [\n  { limit = \"one\", most = 5, dry_run = true },\n  { limit = \"two\", most = 6, dry_run = true },\n]",
        "limits = [\n  { limit = \"two\", most = 7 },\n]",
    ] {
        assert!(found.contains(lines), "{lines}\n{found}");
    }
}

#[test]
fn a_wrong_limit_is_refused() {
    for (directive, expected) in [
        (
            "limit_conn_zone $remote_addr;",
            "`limit_conn_zone` has wrong arguments",
        ),
        (
            "limit_conn_zone $remote_addr zone=a;",
            "`limit_conn_zone` has no `zone=NAME:SIZE`",
        ),
        (
            "limit_conn_zone $remote_addr zone=one:1m;",
            "`limit_conn_zone` names a zone that is there already",
        ),
        (
            "limit_conn_zone $foo zone=a:1m;",
            "the variable $foo is not there in Moorline",
        ),
        (
            "limit_conn_zone $remote_addr zone=a+b:1m;",
            "`limit_conn_zone` has a name that Moorline does not take: \"a+b\"",
        ),
        (
            "limit_conn three 1;",
            "`limit_conn` names \"three\", which no `limit_conn_zone` makes",
        ),
        (
            "limit_conn one 0;",
            "`limit_conn` takes a number of connections, at least 1",
        ),
        ("limit_conn one;", "`limit_conn` has wrong arguments"),
    ] {
        assert_eq!(
            errors(&text(directive)),
            [format!("nginx.conf:2: {expected}")],
            "{directive}"
        );
    }
}

#[test]
fn the_level_of_its_log_has_a_remark() {
    assert_eq!(remarks(&text("limit_conn_log_level info;")).len(), 1);
}
