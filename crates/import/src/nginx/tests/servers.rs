//! Several servers that listen on one address.

use super::{errors, imported, refused, remarks, server};

const PAIR: &str = "ssl_certificate a.crt; ssl_certificate_key a.key;";
const FILES: &str = "certificate = \"/etc/nginx/a.crt\", key = \"/etc/nginx/a.key\"";

#[test]
fn servers_behind_one_address_follow_the_default_one() {
    let text = format!(
        "stream {{ {PAIR} ssl_preread off;
        server {{ listen 2 ssl; server_name A.example www.*; return a; proxy_timeout 5s; ssl_protocols TLSv1.3; }}
        server {{ listen 1; return other; }}
        server {{ listen 2 default_server so_keepalive=off; server_name b.example; return b; set $x y; }}
        server {{ listen 2; server_name ~^(?P<n>\\w+)\\.c$ .d.example; return $n-$1; proxy_download_rate 1k; access_log off; }} }}"
    );
    let expected = format!(
        r#"[[listen]]
address = "tcp://0.0.0.0:1"
return = "other"
[[listen]]
address = "tcp://0.0.0.0:2"
names = [
  "b.example",
]
return = "b"
set = {{ x = "y" }}
tls = {{ {FILES} }}
handshake_timeout = "1m"
tcp_keepalive = "off"
[[listen.server]]
names = [
  "a.example",
  "www.*",
]
return = "a"
idle_timeout = "5s"
tls = {{ {FILES}, min_version = "1.3" }}
[[listen.server]]
names = [
  "~^(?P<n>\\w+)\\.c$",
  ".d.example",
]
return = "${{match.n}}-${{match.1}}"
rate = {{ down = "1k" }}
access_log = []"#
    );
    assert_eq!(imported(&text), expected);
}

#[test]
fn a_name_in_a_hello_chooses_a_server_where_tls_passes_through() {
    let text = "stream { ssl_preread on; upstream a { server 10.0.0.1:1; }
        server { listen 2; return none; }
        server { listen 2; server_name $hostname *.b.example; proxy_pass a; allow 10.0.0.1; proxy_ssl_name x; }
        server { listen 2; server_name ~^(\\d+)\\.c$; proxy_pass 127.0.0.1:$1; } }";
    let found = imported(text);
    for part in [
        "return = \"none\"\npreread = {}\n[[listen.server]]\nnames = [\n  \"${hostname}\",\n  \"*.b.example\",\n]\nupstream = \"a\"\n[[listen.server]]",
        "upstream = \"127.0.0.1:${match.1}\"\nupstream_like = ",
    ] {
        assert!(found.contains(part), "{found}");
    }
    let expected = "nginx.conf:3: `allow` has no effect where another server is the default one, as with nginx: it counts before the name is known that a client asks for, so only that of the default server counts";
    assert_eq!(remarks(text), [expected]);
}

#[test]
fn a_default_server_can_reject_all_other_names() {
    let text = format!(
        "stream {{ server {{ listen 2 ssl; ssl_reject_handshake on; return \"\"; }}
        server {{ listen 2 ssl; server_name a.example; return a; {PAIR} }}
        server {{ listen 2; server_name b.example; return b; {PAIR} ssl_protocols TLSv1.3; }} }}"
    );
    let found = imported(&text);
    let front = "return = \"\"\ntls = { reject = true }\nhandshake_timeout = \"1m\"\n[[listen.server]]\nnames = [\n  \"a.example\",\n]";
    assert!(found.contains(front), "{found}");
    let own = format!("return = \"a\"\ntls = {{ {FILES} }}\n[[listen.server]]");
    assert!(found.contains(&own), "{found}");
    let own = format!("return = \"b\"\ntls = {{ {FILES}, min_version = \"1.3\" }}");
    assert!(found.ends_with(&own), "{found}");
    let bare = "stream { server { listen 2 ssl; ssl_reject_handshake on; return \"\"; }
        server { listen 2; server_name b.example; return b; } }";
    let expected = "nginx.conf:2: this server has TLS and no `ssl_certificate`, and the default server has none";
    assert_eq!(errors(bare), [expected]);
}

/// A default server that has these directives and a certificate, and in the second line another server without one.
fn beside_default(host: &str, directives: &str) -> String {
    format!(
        "stream {{ server {{ listen 2 ssl; return a; {PAIR} {host} }}
        server {{ listen 2; server_name b.example; return b;\n{directives}\n}} }}"
    )
}

#[test]
fn a_server_without_certificates_keeps_its_rules_for_certificates_of_clients() {
    let asks = "ssl_verify_client optional; ssl_client_certificate a.ca; ssl_crl a.crl; ssl_protocols TLSv1.3;";
    let issuers = |name: &str| format!("client_issuers = \"/etc/nginx/{name}.ca\"");
    let required = "client_certificates = \"required\"";
    let crl = "client_crl = \"/etc/nginx/a.crl\"";
    for (host, directives, expected) in [
        (
            "",
            "ssl_verify_client on; ssl_client_certificate b.ca;",
            format!(
                "{FILES}, {required}, {}, client_verify_depth = 1",
                issuers("b")
            ),
        ),
        (
            asks,
            "ssl_verify_client on;",
            format!(
                "{FILES}, {required}, {}, {crl}, client_verify_depth = 1, min_version = \"1.3\"",
                issuers("a")
            ),
        ),
        (
            asks,
            "ssl_verify_client on; ssl_client_certificate b.ca; ssl_verify_depth 2;",
            format!(
                "{FILES}, {required}, {}, {crl}, client_verify_depth = 2, min_version = \"1.3\"",
                issuers("b")
            ),
        ),
        (
            asks,
            "ssl_verify_client off;",
            format!("{FILES}, min_version = \"1.3\""),
        ),
    ] {
        let toml = super::read(&beside_default(host, directives), &[])
            .expect("it is right")
            .toml;
        let toml = crate::testing::bare(&toml);
        let expected = format!("return = \"b\"\ntls = {{ {expected} }}");
        assert!(toml.ends_with(&expected), "{expected}:\n{toml}");
    }
    let same = imported(&beside_default("", ""));
    assert!(same.ends_with("return = \"b\""), "{same}");
}

#[test]
fn settings_of_tls_are_told_that_are_other_than_with_nginx_or_have_no_effect() {
    let own = |directives: &str| beside_default("", directives);
    let told = remarks(&own("ssl_verify_client on; ssl_client_certificate b.ca;"));
    let expected = "nginx.conf:3: this server's own issuers, revocation lists and depth count for its clients: as it has no `ssl_certificate`, nginx takes those of the default server, and asks for no certificate if that one asks for none";
    assert_eq!(told, [expected]);
    let told = remarks(&own("ssl_protocols TLSv1.3;"));
    let expected = "nginx.conf:3: `ssl_protocols` has no effect here, as with nginx: this server has no `ssl_certificate`, so that of the default server counts";
    assert_eq!(told, [expected]);
    let expected = "nginx.conf:3: `ssl_verify_client` needs `ssl_client_certificate`";
    assert_eq!(errors(&own("ssl_verify_client on;")), [expected]);
}

#[test]
fn one_server_alone_has_names_only_for_their_groups() {
    assert_eq!(server("server_name a.example;"), "");
    let with_groups = server("ssl_preread on; server_name ~^(?<n>a+)$; set $m $n$1;");
    let expected =
        "names = [\n  \"~^(?<n>a+)$\",\n]\nset = { m = \"${match.n}${match.1}\" }\npreread = {}";
    assert_eq!(with_groups, expected);
}

#[test]
fn groups_of_patterns_that_choose_no_server_are_empty() {
    let text = "stream { log_format f '$n|$remote_addr'; access_log /l f;
        server { listen 2; server_name ~^(?<n>a+)$; return \"<$1$n>\"; } }";
    let found = imported(text);
    assert!(found.contains("return = \"<>\""), "{found}");
    assert!(found.contains("\"|${client.address}\""), "{found}");
    let empty = |place, group| {
        format!(
            "nginx.conf:{place}: ${group} is always empty, as with nginx: no connection is known by a pattern that has this group"
        )
    };
    assert_eq!(remarks(text), [empty(1, "n"), empty(2, "1"), empty(2, "n")]);
}

#[test]
fn names_that_mean_nothing_are_told() {
    let text = "stream { ssl_preread on;
        server { listen 2; server_name a.example; return a; }
        server { listen 2; server_name A.example b.example; return b; } }";
    let expected = "nginx.conf:3: \"a.example\" is a name of another server on tcp://0.0.0.0:2: this one is ignored";
    assert_eq!(remarks(text), [expected]);
    let plain = "stream { server { listen 2; return a; }
        server { listen 2; server_name b.example; return b; } }";
    let expected = "nginx.conf:2: no connection on tcp://0.0.0.0:2 gets to this server: with neither `ssl` nor `ssl_preread` the name that a client asks for is not known";
    assert_eq!(remarks(plain), [expected]);
}

#[test]
fn addresses_that_servers_cannot_share_are_refused() {
    let already = |place| format!("tcp://0.0.0.0:2 is listened on already: see nginx.conf:{place}");
    let by_name = " Give each server of it a `server_name`";
    for (servers, expected) in [
        (
            "server { listen 2; return a; }\nserver { listen 2; return b; }",
            format!("nginx.conf:2: {}.{by_name}", already(1)),
        ),
        (
            "server { listen 2 default_server; return a; }\nserver { listen 2 default; server_name b; return b; }",
            format!("nginx.conf:2: {}", already(1)),
        ),
        (
            "server { listen 2; return a;\nlisten 2; }",
            format!("nginx.conf:2: {}", already(1)),
        ),
        (
            "server { listen 2 udp; proxy_pass 10.0.0.1:1; }\nserver { listen 2 udp; server_name b; proxy_pass 10.0.0.1:1; }",
            format!(
                "nginx.conf:2: {}.{by_name}",
                already(1).replace("tcp", "udp")
            ),
        ),
    ] {
        assert_eq!(errors(&format!("stream {{ {servers} }}")), [expected]);
    }
    for (directives, expected) in [
        (
            "server_name a..b;",
            "`server_name` has \"a..b\", which is no name of a host",
        ),
        (
            "server_name *;",
            "`server_name` has \"*\", which is no name of a host",
        ),
        ("server_name;", "`server_name` has no name"),
        (
            "server_name ~(?=a);",
            "`server_name` has \"~(?=a)\", which is no pattern for Moorline: look-around, including look-ahead and look-behind, is not supported",
        ),
        (
            "pass 127.0.0.1:80;",
            "`pass` cannot be expressed: no connection is handed to another listener: write `proxy_pass` with the address of that listener, and `proxy_protocol` if it must know the client",
        ),
    ] {
        assert_eq!(refused(directives), expected);
    }
}

#[test]
fn commands_of_openssl_become_keys() {
    let tls = |directives: &str| {
        let found = server(&format!("listen 2 ssl; {PAIR} {directives}"));
        let line = found.lines().find_map(|line| line.strip_prefix("tls = "));
        line.unwrap_or_else(|| panic!("{found}")).to_owned()
    };
    for (directives, more) in [
        (
            "ssl_conf_command MinProtocol TLSv1.3;",
            ", min_version = \"1.3\"",
        ),
        (
            "ssl_conf_command MaxProtocol TLSv1.2;",
            ", versions = [\"1.2\"]",
        ),
        (
            "ssl_conf_command Protocol -ALL,TLSv1.2;",
            ", versions = [\"1.2\"]",
        ),
        (
            "ssl_session_tickets off; ssl_conf_command Options SessionTicket;",
            "",
        ),
        (
            "ssl_conf_command Options -SessionTicket;",
            ", reuse = false",
        ),
        ("ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;", ""),
    ] {
        assert_eq!(
            tls(directives),
            format!("{{ {FILES}{more} }}"),
            "{directives}"
        );
    }
}

#[test]
fn commands_of_openssl_name_certificates() {
    let own = "ssl_conf_command Certificate b.crt; ssl_conf_command PrivateKey b.key;";
    let text = format!("stream {{ server {{ listen 2 ssl; return a; {PAIR} {own} }} }}");
    let toml = super::read(&text, &[]).expect("it is right").toml;
    let files = "tls = { certificate = \"/etc/nginx/b.crt\", key = \"/etc/nginx/b.key\" }";
    assert!(toml.contains(files), "{toml}");
    let towards = "proxy_ssl on; proxy_ssl_conf_command MinProtocol TLSv1.3; proxy_ssl_conf_command Certificate a.crt; proxy_ssl_conf_command PrivateKey a.key;";
    let found = server(towards);
    let shown =
        "certificate = \"/etc/nginx/a.crt\", key = \"/etc/nginx/a.key\", versions = [\"1.3\"]";
    assert!(found.contains(shown), "{found}");
}

#[test]
fn commands_of_openssl_that_set_something_else_are_refused() {
    for (directives, expected) in [
        (
            "ssl_conf_command VerifyMode Request;",
            "`ssl_conf_command` cannot be expressed: Moorline has no `VerifyMode`",
        ),
        (
            "ssl_conf_command Options;",
            "`ssl_conf_command` takes a command and its value",
        ),
        (
            "ssl_conf_command MinProtocol DTLSv1;",
            "`ssl_conf_command` has \"DTLSv1\": Moorline speaks TLSv1.2 and TLSv1.3",
        ),
        (
            "ssl_conf_command MaxProtocol TLSv1.2; ssl_protocols TLSv1.3;",
            "`ssl_conf_command` leaves neither TLSv1.2 nor TLSv1.3: Moorline has no other versions",
        ),
        (
            "proxy_ssl on; proxy_ssl_conf_command Certificate a.crt;",
            "`proxy_ssl` has only one of `proxy_ssl_conf_command Certificate` and `PrivateKey`",
        ),
    ] {
        assert_eq!(
            refused(&format!("listen 2 ssl; {PAIR} {directives}")),
            expected
        );
    }
}
