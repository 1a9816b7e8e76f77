//! TLS towards peers.

use super::{refused, server};

#[test]
fn settings_of_tls_with_peers_become_keys() {
    for (directives, tls) in [
        ("", "verify = false, send_server_name = false"),
        (
            "proxy_ssl_server_name on;",
            "verify = false, server_name = \"10.0.0.1\"",
        ),
        (
            "proxy_ssl_name a.example;",
            "verify = false, send_server_name = false",
        ),
        (
            "proxy_ssl_name $server_addr; proxy_ssl_server_name on;",
            "verify = false, server_name = \"${server.address}\"",
        ),
        (
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate a.crt; proxy_ssl_name a.example;",
            "ca = \"/etc/nginx/a.crt\", verify_depth = 1, server_name = \"a.example\", send_server_name = false",
        ),
        (
            "proxy_ssl_verify on; proxy_ssl_trusted_certificate a.crt; proxy_ssl_verify_depth 2; proxy_ssl_name a.example;",
            "ca = \"/etc/nginx/a.crt\", verify_depth = 2, server_name = \"a.example\", send_server_name = false",
        ),
        (
            "proxy_ssl_certificate a.crt; proxy_ssl_certificate_key a.key;",
            "verify = false, send_server_name = false, certificate = \"/etc/nginx/a.crt\", key = \"/etc/nginx/a.key\"",
        ),
        (
            "proxy_ssl_certificate c/$server_port.crt; proxy_ssl_certificate_key $server_addr;",
            "verify = false, send_server_name = false, certificate = \"/etc/nginx/c/${server.port}.crt\", key = \"${server.address}\"",
        ),
        (
            "proxy_ssl_protocols TLSv1.2; proxy_ssl_session_reuse off; proxy_ssl_ciphers HIGH;",
            "verify = false, send_server_name = false, versions = [\"1.2\"], reuse = false",
        ),
    ] {
        let found = server(&format!("proxy_ssl on; {directives}"));
        assert_eq!(found, format!("tls = {{ {tls} }}"), "{directives}");
    }
    assert_eq!(
        server("proxy_ssl off; proxy_ssl_verify on; proxy_ssl_name x;"),
        ""
    );
}

#[test]
fn wrong_settings_of_tls_with_peers_are_refused() {
    for (directives, expected) in [
        (
            "proxy_ssl_verify on;",
            "`proxy_ssl` is verified without `proxy_ssl_trusted_certificate`",
        ),
        (
            "proxy_ssl_certificate a.crt;",
            "`proxy_ssl_certificate` has no certificate or no key beside it",
        ),
        (
            "proxy_ssl_protocols TLSv1;",
            "`proxy_ssl_protocols` has neither TLSv1.2 nor TLSv1.3: Moorline has no other versions",
        ),
        (
            "proxy_ssl_conf_command VerifyMode Peer;",
            "`proxy_ssl_conf_command` cannot be expressed: Moorline has no `VerifyMode`",
        ),
    ] {
        let directives = format!("proxy_ssl on; {directives}");
        let directives = directives.replace("TLSv1;", "TLSv1.1;");
        assert_eq!(refused(&directives), expected, "{directives}");
    }
}
