//! TLS of listeners.

use super::{imported, read, refused, remarks, server};

const PAIR: &str = "listen 2 ssl; ssl_certificate a.crt; ssl_certificate_key a.key;";

/// The table `tls` of a server with these directives.
#[track_caller]
fn tls(directives: &str) -> String {
    let found = server(&format!("{PAIR} {directives}"));
    let line = found.lines().find_map(|line| line.strip_prefix("tls = "));
    line.unwrap_or_else(|| panic!("{found}")).to_owned()
}

const FILES: &str = "certificate = \"/etc/nginx/a.crt\", key = \"/etc/nginx/a.key\"";

#[test]
fn a_listener_with_ssl_ends_tls() {
    let expected =
        format!("address = \"tcp://0.0.0.0:2\"\ntls = {{ {FILES} }}\nhandshake_timeout = \"1m\"");
    assert_eq!(server(PAIR), expected);
}

#[test]
fn settings_of_tls_become_keys() {
    for (directives, more) in [
        ("ssl_protocols TLSv1.2 TLSv1.3;", ""),
        ("ssl_protocols TLSv1 TLSv1.3;", ", min_version = \"1.3\""),
        ("ssl_alpn h2 http/1.1;", ", alpn = [\"h2\", \"http/1.1\"]"),
        ("ssl_verify_client off;", ""),
        ("ssl_protocols TLSv1.2;", ", versions = [\"1.2\"]"),
        ("ssl_session_tickets off;", ", reuse = false"),
        (
            "ssl_session_tickets off; ssl_session_cache none;",
            ", reuse = false",
        ),
        (
            "ssl_session_tickets off; ssl_session_cache shared:a:1m;",
            "",
        ),
        (
            "ssl_verify_client optional_no_ca; ssl_client_certificate a.crt;",
            ", client_certificates = \"optional-no-ca\", client_issuers = \"/etc/nginx/a.crt\", client_verify_depth = 1",
        ),
        (
            "ssl_verify_client on; ssl_client_certificate a.crt;",
            ", client_certificates = \"required\", client_issuers = \"/etc/nginx/a.crt\", client_verify_depth = 1",
        ),
        (
            "ssl_verify_client optional; ssl_trusted_certificate /etc/nginx/a.crt;",
            ", client_certificates = \"optional\", client_issuers = \"/etc/nginx/a.crt\", client_verify_depth = 1",
        ),
        (
            "ssl_verify_client on; ssl_client_certificate a.crt; ssl_verify_depth 3;",
            ", client_certificates = \"required\", client_issuers = \"/etc/nginx/a.crt\", client_verify_depth = 3",
        ),
        (
            "ssl_ciphers HIGH:!aNULL; ssl_ecdh_curve auto; ssl_verify_depth 3;",
            "",
        ),
    ] {
        assert_eq!(
            tls(directives),
            format!("{{ {FILES}{more} }}"),
            "{directives}"
        );
    }
    let found = server(&format!("{PAIR} ssl_handshake_timeout 5s;"));
    assert!(found.ends_with("handshake_timeout = \"5s\""), "{found}");
    let several = tls("ssl_certificate a.crt; ssl_certificate_key a.key;");
    assert_eq!(
        several,
        format!("{{ certificates = [{{ {FILES} }}, {{ {FILES} }}] }}")
    );
    // The passwords are those of each key.
    let locked = tls("ssl_certificate a.crt; ssl_certificate_key a.key; ssl_password_file p;");
    let each = format!("{{ {FILES}, password_file = \"/etc/nginx/p\" }}");
    assert_eq!(locked, format!("{{ certificates = [{each}, {each}] }}"));
}

#[test]
fn a_header_and_a_handshake_of_tls_have_the_longer_time() {
    let found =
        server("listen 2 ssl proxy_protocol; ssl_certificate a.crt; ssl_certificate_key a.key;");
    assert_eq!(
        found.matches("handshake_timeout = \"1m\"").count(),
        1,
        "{found}"
    );
}

#[test]
fn wrong_settings_of_tls_are_refused() {
    for (directives, expected) in [
        (
            "ssl_certificate a.crt;",
            "`ssl_certificate` has no `ssl_certificate_key` of its own, or one too many",
        ),
        (
            "ssl_certificate $ssl_server_name.crt; ssl_certificate_key data:$ssl_server_name;",
            "`ssl_certificate_key` names no file: keys come from files",
        ),
        (
            "ssl_certificate a.crt; ssl_certificate_key engine:x;",
            "`ssl_certificate_key` names no file: keys come from files",
        ),
    ] {
        assert_eq!(
            refused(&format!("listen 2 ssl; {directives}")),
            expected,
            "{directives}"
        );
    }
    for (directives, expected) in [
        (
            "ssl_protocols TLSv1.1;",
            "`ssl_protocols` has neither TLSv1.2 nor TLSv1.3: Moorline has no other versions",
        ),
        (
            "ssl_protocols TLSv9;",
            "`ssl_protocols` has an unknown version `TLSv9`",
        ),
        (
            "ssl_verify_client maybe;",
            "`ssl_verify_client` is `on`, `off`, `optional` or `optional_no_ca`",
        ),
        (
            "ssl_verify_client on;",
            "`ssl_verify_client` needs `ssl_client_certificate`",
        ),
    ] {
        assert_eq!(
            refused(&format!("{PAIR} {directives}")),
            expected,
            "{directives}"
        );
    }
}

#[test]
fn what_has_no_effect_on_tls_has_a_remark() {
    for directive in [
        "ssl_ciphers HIGH;",
        "ssl_prefer_server_ciphers on;",
        "ssl_ecdh_curve auto;",
        "ssl_dhparam x.pem;",
        "ssl_protocols TLSv1.1 TLSv1.2 TLSv1.3;",
    ] {
        let text = format!(
            "stream {{ server {{ listen 1; proxy_pass 10.0.0.1:80; {PAIR} {directive} }} }}"
        );
        assert_eq!(remarks(&text).len(), 1, "{directive}");
    }
}

#[test]
fn a_certificate_may_be_chosen_by_variables() {
    let server = |path: &str, more: &str| {
        format!(
            "stream {{ server {{ listen 2 ssl; ssl_certificate {path}.crt; ssl_certificate_key {path}.key; {more} return x; }} }}"
        )
    };
    let found = imported(&server("certs/$ssl_server_name", ""));
    let expected = "certificate = \"/etc/nginx/certs/${tls.server_name}.crt\", key = \"/etc/nginx/certs/${tls.server_name}.key\"";
    assert!(found.contains(expected), "{found}");
    let refused = |text: &str| read(text, &[]).expect_err("it is wrong")[0].to_string();
    assert!(
        refused(&server("$ssl_server_name", "ssl_password_file p;"))
            .ends_with("such keys have no password")
    );
    let two = "ssl_certificate a.crt; ssl_certificate_key a.key;";
    assert!(refused(&server("$ssl_server_name", two)).ends_with("write one with variables alone"));
}
