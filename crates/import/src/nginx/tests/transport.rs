//! `listen`, and the settings of servers that have nothing to do with a protocol.

use super::{errors, imported, refused, remarks, server};

#[test]
fn each_form_of_an_address_is_understood() {
    for (listen, addresses) in [
        ("8080", vec!["tcp://0.0.0.0:8080"]),
        ("*:8080", vec!["tcp://0.0.0.0:8080"]),
        ("127.0.0.1:8080", vec!["tcp://127.0.0.1:8080"]),
        ("localhost:8080", vec!["tcp://localhost:8080"]),
        ("[::]:8080", vec!["tcp://[::]:8080"]),
        ("[::]:8080 ipv6only=on", vec!["tcp://[::]:8080"]),
        (
            "[::]:8080 ipv6only=off",
            vec!["tcp://[::]:8080", "tcp://0.0.0.0:8080"],
        ),
        ("unix:/run/a.sock", vec!["unix:///run/a.sock"]),
        (
            "10-12",
            vec!["tcp://0.0.0.0:10", "tcp://0.0.0.0:11", "tcp://0.0.0.0:12"],
        ),
        (
            "127.0.0.1:10-11",
            vec!["tcp://127.0.0.1:10", "tcp://127.0.0.1:11"],
        ),
        (
            "1 bind reuseport backlog=5 default_server rcvbuf=1k",
            vec!["tcp://0.0.0.0:1"],
        ),
    ] {
        let text = format!("stream {{ server {{ listen {listen}; proxy_pass 10.0.0.1:80; }} }}");
        let found = imported(&text);
        let found: Vec<_> = found
            .lines()
            .filter_map(|line| line.strip_prefix("address = \"")?.strip_suffix('"'))
            .collect();
        assert_eq!(found, addresses, "{listen}");
    }
}

#[test]
fn a_wrong_listen_is_refused() {
    for (listen, expected) in [
        ("listen x;", "`listen` has no port in \"x\""),
        ("listen 0;", "`listen` has a wrong port in \"0\""),
        ("listen 65536;", "`listen` has a wrong port in \"65536\""),
        ("listen 5-4;", "`listen` has a wrong address \"5-4\""),
        ("listen 1-60000;", "`listen` has over 4096 ports"),
        (
            "listen unix:a;",
            "`listen` has a Unix socket without an absolute path",
        ),
        (
            "listen 2 quic;",
            "`listen` has `quic`, which Moorline does not have",
        ),
        ("listen 2 foo;", "`listen` has an unknown option `foo`"),
        (
            "listen 2 so_keepalive=x;",
            "`listen` has a wrong `so_keepalive=x`",
        ),
        ("listen;", "`listen` has no address"),
    ] {
        assert_eq!(refused(listen), expected, "{listen}");
    }
}

#[test]
fn settings_of_servers_become_keys() {
    for (directives, lines) in [
        ("proxy_timeout 1h;", "idle_timeout = \"1h\""),
        ("proxy_timeout 500ms;", "idle_timeout = \"500ms\""),
        ("proxy_connect_timeout 2;", "connect_timeout = \"2s\""),
        (
            "proxy_next_upstream off;",
            "next = { tries = 1, timeout = \"24h\" }",
        ),
        ("proxy_next_upstream on;", ""),
        (
            "proxy_next_upstream_tries 3;",
            "next = { tries = 3, timeout = \"24h\" }",
        ),
        ("proxy_next_upstream_tries 0;", ""),
        (
            "proxy_next_upstream_timeout 10s;",
            "next = { timeout = \"10s\" }",
        ),
        ("proxy_next_upstream_timeout 0;", ""),
        ("proxy_bind 10.0.0.9;", "bind = \"10.0.0.9\""),
        ("proxy_bind 10.0.0.9:77;", "bind = \"10.0.0.9:77\""),
        ("proxy_bind $remote_addr;", "bind = \"${client.address}\""),
        (
            "proxy_bind $remote_addr:$remote_port transparent;",
            "bind = { address = \"${client.address}:${client.port}\", transparent = true }",
        ),
        (
            "proxy_bind 10.0.0.9 transparent;",
            "bind = { address = \"10.0.0.9\", transparent = true }",
        ),
        ("proxy_bind off;", ""),
        ("listen 2 so_keepalive=on;", "address = \"tcp://0.0.0.0:2\""),
        ("tcp_nodelay on;", ""),
        ("proxy_half_close on;", ""),
        ("proxy_buffer_size 16k;", ""),
        ("proxy_protocol on;", "proxy_protocol = 1"),
        ("proxy_protocol off;", ""),
        ("proxy_upload_rate 16k;", "rate = { up = \"16k\" }"),
        (
            "proxy_download_rate $server_port; proxy_upload_rate 0;",
            "rate = { up = \"0\", down = \"${server.port}\" }",
        ),
        ("ssl_preread on;", "preread = {}"),
        (
            "ssl_preread on; preread_buffer_size 8k; preread_timeout 5s;",
            "preread = { buffer = \"8KiB\", timeout = \"5s\" }",
        ),
        ("preread_buffer_size 8k;", ""),
        (
            "listen 2 proxy_protocol;",
            "address = \"tcp://0.0.0.0:2\"\nproxy_protocol = \"any\"\nhandshake_timeout = \"30s\"",
        ),
    ] {
        assert_eq!(server(directives), lines, "{directives}");
    }
}

#[test]
fn keep_alive_of_a_listener_is_its_own() {
    for (option, line) in [
        ("so_keepalive=off", "tcp_keepalive = \"off\""),
        ("so_keepalive=30m::10", "tcp_keepalive = \"30m\""),
    ] {
        let found = server(&format!("listen 2 {option};"));
        assert!(found.ends_with(line), "{found}");
    }
}

#[test]
fn wrong_values_are_refused() {
    for (directives, expected) in [
        (
            "proxy_timeout x;",
            "`proxy_timeout` takes a time, such as 10s or 500ms",
        ),
        ("proxy_timeout 0;", "`proxy_timeout` is zero"),
        (
            "proxy_upload_rate x;",
            "`proxy_upload_rate` takes a size, such as 16k or 1m",
        ),
        ("proxy_timeout 1s 2s;", "`proxy_timeout` takes one argument"),
        (
            "proxy_connect_timeout 0;",
            "`proxy_connect_timeout` is zero",
        ),
        (
            "proxy_next_upstream maybe;",
            "`proxy_next_upstream` is \"on\" or \"off\", not \"maybe\"",
        ),
        (
            "proxy_next_upstream_tries x;",
            "`proxy_next_upstream_tries` takes a whole number",
        ),
        ("proxy_bind a.example;", "`proxy_bind` takes an IP address"),
        (
            "listen 2 so_keepalive=1s:x:1;",
            "`listen` has a wrong `so_keepalive=1s:x:1`",
        ),
    ] {
        assert_eq!(refused(directives), expected, "{directives}");
    }
}

#[test]
fn a_server_has_the_settings_of_the_block_unless_it_has_its_own() {
    let text = "stream { proxy_timeout 1m; server { listen 1; proxy_pass 10.0.0.1:80; }
        server { listen 2; proxy_pass 10.0.0.1:80; proxy_timeout 2m; } }";
    let found = imported(text);
    let found: Vec<_> = found
        .lines()
        .filter(|it| it.starts_with("idle_timeout"))
        .collect();
    assert_eq!(found, ["idle_timeout = \"1m\"", "idle_timeout = \"2m\""]);
}

#[test]
fn what_has_no_effect_has_a_remark() {
    for directive in [
        "tcp_nodelay off;",
        "proxy_half_close off;",
        "proxy_buffer_size 16k;",
        "proxy_socket_keepalive on;",
        "listen 2 backlog=4;",
        "error_log /dev/null;",
    ] {
        let text =
            format!("stream {{ server {{ listen 1; proxy_pass 10.0.0.1:80; {directive} }} }}");
        assert_eq!(remarks(&text).len(), 1, "{directive}");
    }
    for directive in [
        "variables_hash_max_size 1;",
        "server_names_hash_bucket_size 1;",
        "map_hash_max_size 9;",
    ] {
        let text =
            format!("stream {{ {directive} server {{ listen 1; proxy_pass 10.0.0.1:80; }} }}");
        let remarks = remarks(&text);
        assert!(remarks[0].contains("has no effect"), "{remarks:?}");
    }
}

#[test]
fn the_proxy_protocol_is_believed_from_trusted_networks() {
    let text = "stream { server { listen 1 proxy_protocol; proxy_pass 10.0.0.1:80;
        set_real_ip_from 10.0.0.0/8; set_real_ip_from unix:; set_real_ip_from proxy.example; proxy_protocol_timeout 5s; } }";
    let found = imported(text);
    let expected = "proxy_protocol = \"any\"\ntrusted_proxies = [\n  \"10.0.0.0/8\",\n  \"unix\",\n  \"proxy.example\",\n]\nhandshake_timeout = \"5s\"\n";
    assert!(found.contains(expected), "{found}");
}

#[test]
fn what_a_proxy_says_of_the_client_is_there_in_variables() {
    for (theirs, ours) in [
        ("proxy_protocol_addr", "proxy.address"),
        ("proxy_protocol_port", "proxy.port"),
        ("proxy_protocol_server_addr", "proxy.server.address"),
        ("proxy_protocol_server_port", "proxy.server.port"),
        ("proxy_protocol_tlv_authority", "proxy.tlv.authority"),
        ("proxy_protocol_tlv_0xea", "proxy.tlv.0xea"),
        ("proxy_protocol_tlv_ssl_verify", "proxy.tlv.ssl.verify"),
        ("proxy_protocol_tlv_ssl_0x21", "proxy.tlv.ssl.0x21"),
    ] {
        let text = format!("stream {{ server {{ listen 1 proxy_protocol; return ${theirs}; }} }}");
        let found = imported(&text);
        assert!(
            found.contains(&format!("return = \"${{{ours}}}\"")),
            "{found}"
        );
    }
    for wrong in ["proxy_protocol_tlv_name", "proxy_protocol_tlv_0x123"] {
        let text = format!("stream {{ server {{ listen 1; return ${wrong}; }} }}");
        let told = errors(&text).join("\n");
        assert!(
            told.contains(&format!("the variable ${wrong} is not there")),
            "{told}"
        );
    }
}

#[test]
fn peers_that_are_told_another_server_than_by_nginx_are_remarked() {
    let text = |more: &str| {
        format!(
            "stream {{ server {{ listen 1 proxy_protocol; proxy_pass 10.0.0.1:80; proxy_protocol on; {more} }} }}"
        )
    };
    assert!(remarks(&text("")).is_empty());
    let told = remarks(&text("set_real_ip_from 10.0.0.0/8;"));
    let expected = "nginx.conf:1: `proxy_protocol`: peers are told both ends of the connection as the proxy in front names them, where it is one of `set_real_ip_from`; nginx names its own address as the server's";
    assert_eq!(told, [expected]);
}
