//! TLS towards servers.

use super::{imported, refused};

/// The lines about TLS of an upstream whose only server has these options.
#[track_caller]
fn tls(options: &str) -> String {
    let found = imported(&format!(
        "defaults\n default-server ssl\nlisten l\n bind :1\n server a 10.0.0.1:1 {options}\n"
    ));
    let is_tls = |line: &&str| line.starts_with("tls") || line.starts_with("check");
    found.lines().filter(is_tls).collect::<Vec<_>>().join("\n")
}

#[test]
fn options_of_tls_become_a_table_of_the_upstream() {
    let silent = "verify = false, send_server_name = false";
    let ca = "ca = \"/etc/nginx/a.crt\"";
    for (options, expected) in [
        ("verify none", silent.to_owned()),
        (
            "ca-file a.crt sni str(a.example)",
            format!("{ca}, server_name = \"a.example\""),
        ),
        (
            "ca-file a.crt verify required verifyhost a.example",
            format!("{ca}, server_name = \"a.example\", send_server_name = false"),
        ),
        (
            "ca-file @system-ca sni str(a.example) check-sni a.example",
            "server_name = \"a.example\"".to_owned(),
        ),
        (
            "verify none sni req.ssl_sni",
            "verify = false, server_name = \"${sni}\"".to_owned(),
        ),
        (
            "verify none crt both.pem",
            format!(
                "{silent}, certificate = \"/etc/nginx/both.pem\", key = \"/etc/nginx/both.pem\""
            ),
        ),
        (
            "verify none alpn h2,http/1.1 no-ssl-reuse ssl-min-ver TLSv1.3",
            format!("{silent}, alpn = [\"h2\", \"http/1.1\"], versions = [\"1.3\"], reuse = false"),
        ),
    ] {
        assert_eq!(tls(options), format!("tls = {{ {expected} }}"), "{options}");
    }
    assert_eq!(tls("no-ssl"), "");
    assert_eq!(
        tls("verify none check check-ssl"),
        format!(
            "tls = {{ {silent} }}\ncheck = {{ kind = \"tls\", interval = \"2s\", timeout = \"2s\" }}"
        )
    );
}

#[test]
fn tls_that_cannot_be_expressed_is_refused() {
    for (options, expected) in [
        (
            "ssl",
            "has `ssl` without `ca-file`: write it, or `verify none`",
        ),
        (
            "ssl ca-file a.crt",
            "verifies its certificate for any name, and Moorline for one: write `verifyhost`, or `sni`",
        ),
        (
            "ssl ca-file a.crt verifyhost b.example sni str(a.example)",
            "has a `verifyhost` that is not its `sni`, and an upstream has one name",
        ),
        (
            "ssl verify none check-sni a.example",
            "has a `check-sni` that is not its `sni`, and an upstream has one name",
        ),
        ("check-ssl", "has `check-ssl` without `ssl`"),
        ("ssl verify x", "has a wrong `verify`"),
        ("ssl sni", "has `sni` without a value"),
        (
            "ssl sni hdr(host)",
            "has `sni hdr(host)`, which cannot be expressed",
        ),
        ("ssl ssl-max-ver TLSv1.1", "has a wrong `ssl-max-ver`"),
    ] {
        let text = format!("listen l\n bind :1\n server a 10.0.0.1:1 {options}\n");
        let found = super::errors(&text);
        assert_eq!(
            found,
            [format!("haproxy.cfg:3: `server` {expected}")],
            "{options}"
        );
    }
    assert_eq!(
        refused("", " server b 10.0.0.2:1 ssl verify none"),
        "`server` has another `ssl` than the first server, and an upstream has one for all"
    );
}
