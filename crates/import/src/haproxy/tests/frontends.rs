//! Sections, `bind`, and the settings of frontends.

use super::{both, errors, imported, refused, remarks};

#[test]
fn a_frontend_becomes_a_listener_and_its_backend_an_upstream() {
    let text = "defaults\n mode tcp\n timeout connect 3s\n timeout client 1m\n timeout server 50s\n\
        frontend f\n bind 127.0.0.1:80\n default_backend b\n\
        backend b\n balance leastconn\n server a 10.0.0.1:80 weight 5\n server c 10.0.0.2:80 backup\n";
    let expected = r#"[[listen]]
name = "f"
address = "tcp://127.0.0.1:80"
upstream = "b"
idle_timeout = "50s"
[upstream.b]
connect_timeout = "3s"
next = { tries = 4 }
balance = "least-connections"
max_fails = 0
peers = [
  { address = "tcp://10.0.0.1:80", weight = 5 },
  { address = "tcp://10.0.0.2:80", backup = true },
]"#;
    assert_eq!(imported(text), expected);
}

#[test]
fn a_listen_section_is_both() {
    let text = "listen l\n bind :1-2\n bind /run/l.sock\n server a 10.0.0.1:80\n";
    let found = imported(text);
    for line in [
        "name = \"l-1\"",
        "address = \"tcp://0.0.0.0:2\"",
        "address = \"unix:///run/l.sock\"",
        "upstream = \"l\"",
        "[upstream.l]",
    ] {
        assert!(found.lines().any(|it| it == line), "{line}\n{found}");
    }
}

#[test]
fn each_form_of_an_address_is_understood() {
    for (bind, addresses) in [
        (":80", vec!["tcp://0.0.0.0:80"]),
        ("*:80", vec!["tcp://0.0.0.0:80"]),
        (":::80", vec!["tcp://[::]:80"]),
        (":::80 v4v6", vec!["tcp://[::]:80", "tcp://0.0.0.0:80"]),
        (
            "10.0.0.9:80,:81",
            vec!["tcp://10.0.0.9:80", "tcp://0.0.0.0:81"],
        ),
        (
            "a.example:80-81 name x",
            vec!["tcp://a.example:80", "tcp://a.example:81"],
        ),
        ("unix@/run/a", vec!["unix:///run/a"]),
    ] {
        let text = format!("listen l\n bind {bind}\n server a 10.0.0.1:80\n");
        let found = imported(&text);
        let found = found
            .lines()
            .filter_map(|line| line.strip_prefix("address = \"")?.strip_suffix('"'));
        assert_eq!(found.collect::<Vec<_>>(), addresses, "{bind}");
    }
}

#[test]
fn options_of_bind_become_keys() {
    let pair = "certificate = \"/etc/nginx/a.crt\", key = \"/etc/nginx/a.key\"";
    for (options, line) in [
        (
            "accept-proxy",
            "proxy_protocol = \"any\"\ntrusted_proxies = [\"0.0.0.0/0\", \"::/0\", \"unix\"]"
                .to_owned(),
        ),
        ("maxconn 5", "max_sessions = 5".to_owned()),
        ("tcp-ut 30s", "tcp_user_timeout = \"30s\"".to_owned()),
    ] {
        let found = both(&format!(" bind :2 {options}"), "");
        assert!(found.ends_with(&line), "{options}: {found}");
    }
    // The key stands beside the certificate, or in the same file.
    for (options, more) in [
        ("", ""),
        (" alpn h2,http/1.1", ", alpn = [\"h2\", \"http/1.1\"]"),
        (" ssl-min-ver TLSv1.3", ", min_version = \"1.3\""),
        (
            " ca-file a.crt verify required",
            ", client_certificates = \"required\", client_issuers = \"/etc/nginx/a.crt\"",
        ),
        (" no-sslv3 ciphers HIGH verify none", ""),
    ] {
        let found = both(&format!(" bind :2 ssl crt both.pem{options}"), "");
        let both = pair
            .replace("a.crt", "both.pem")
            .replace("a.key", "both.pem");
        assert!(
            found.ends_with(&format!("tls = {{ {both}{more} }}")),
            "{options}: {found}"
        );
    }
}

#[test]
fn settings_of_frontends_become_keys() {
    for (lines, expected) in [
        (" maxconn 100", "max_sessions = 100"),
        (" rate-limit sessions 50", "accept_rate = 50"),
        (" timeout client 90s", "idle_timeout = \"90s\""),
        (
            " timeout client 90s\n timeout tunnel 1h",
            "idle_timeout = \"1h\"",
        ),
    ] {
        assert_eq!(both(lines, ""), expected, "{lines}");
    }
}

#[test]
fn what_is_no_tcp_is_refused() {
    let text = "defaults\n mode http\nfrontend f\n bind :1\n default_backend b\nbackend b\n mode tcp\n server a 10.0.0.1:1\n";
    let expected = "haproxy.cfg:3: `frontend f` has `mode http` (line 2): only `mode tcp` is imported, HTTP must be relayed as bytes";
    assert_eq!(errors(text), [expected]);
}

#[test]
fn a_wrong_frontend_is_refused() {
    for (lines, expected) in [
        (" bind", "`bind` has no address"),
        (" bind :0", "`bind` has a wrong port in \":0\""),
        (" bind 10.0.0.1", "`bind` has no port in \"10.0.0.1\""),
        (
            " bind abns@x",
            "\"abns@x\" is an address that Moorline does not have",
        ),
        (
            " bind :2 foo",
            "`bind` has an option that is not imported: `foo`",
        ),
        (
            " bind :2 ssl",
            "`bind` has `ssl` and no certificate: write `crt`",
        ),
        (" bind :2 maxconn x", "`bind` has a wrong `maxconn`"),
        (
            " default_backend x",
            "`default_backend` names \"x\", which is no backend",
        ),
        (
            " timeout client x",
            "`timeout client` takes a time, such as 5s",
        ),
        (" maxconn x", "`maxconn` takes a whole number"),
        (
            " option httpchk",
            "`option httpchk` cannot be expressed: checks of HTTP are not there: write `option tcp-check` with `tcp-check send` and `expect`",
        ),
        (
            " stick-table type ip size 1k",
            "`stick-table` cannot be expressed: write `balance source`, which keeps a client with a peer",
        ),
        (" foo", "`foo` is not imported by this version"),
        (
            " .if x",
            "`.if` cannot be expressed: write the lines that hold",
        ),
        (
            " bind \"$HOST:80\"",
            "variables of the environment cannot be expressed: write their values",
        ),
    ] {
        assert_eq!(refused(lines, ""), expected, "{lines}");
    }
}

#[test]
fn sections_that_are_twice_there_or_incomplete_are_refused() {
    let backend = "backend b\n server a 10.0.0.1:1\n";
    for (text, expected) in [
        (
            format!("{backend}{backend}"),
            "haproxy.cfg:3: `backend` b is there already: see haproxy.cfg:1",
        ),
        (
            format!("frontend f\n default_backend b\n{backend}"),
            "haproxy.cfg:1: `frontend` f has no `bind`",
        ),
        (
            format!("frontend f\n bind :1\n{backend}"),
            "haproxy.cfg:1: `frontend` f has no `default_backend`",
        ),
        (
            "backend b\n".into(),
            "haproxy.cfg:1: `backend` b has no server",
        ),
        (
            "bind :1\n".into(),
            "haproxy.cfg:1: `bind` stands in no section",
        ),
        (
            "backend\n".into(),
            "haproxy.cfg:1: `backend` needs a name of at most 64 letters, digits, hyphens, underscores and dots",
        ),
    ] {
        assert_eq!(errors(&text), [expected], "{text}");
    }
}

#[test]
fn what_has_no_effect_has_a_remark() {
    let rest = "listen l\n bind :1\n server a 10.0.0.1:1\n";
    assert_eq!(remarks(rest).len(), 0);
    for line in [
        " option tcplog",
        " no option dontlognull",
        " log global",
        " backlog 100",
        " timeout queue 5s",
        " option tcpka",
        " stats enable",
    ] {
        assert_eq!(remarks(&format!("{rest}{line}\n")).len(), 1, "{line}");
    }
    for section in ["global\n daemon\n", "peers p\n", "userlist u\n"] {
        assert_eq!(remarks(&format!("{section}{rest}")).len(), 1, "{section}");
    }
    let disabled = format!("{rest}listen m\n disabled\n mode http\n");
    assert_eq!(
        remarks(&disabled),
        ["haproxy.cfg:4: `listen m` is disabled, and left out"]
    );
}

#[test]
fn defaults_can_be_chosen_by_name() {
    let text = "defaults one\n timeout client 1s\ndefaults two\n timeout client 2s\n\
        listen l from one\n bind :1\n server a 10.0.0.1:1\nlisten m\n bind :2\n server a 10.0.0.1:1\n";
    let found = imported(text);
    let times: Vec<_> = found.lines().filter(|it| it.starts_with("idle")).collect();
    assert_eq!(times, ["idle_timeout = \"1s\"", "idle_timeout = \"2s\""]);
}

#[test]
fn what_changes_who_may_connect_or_how_is_never_left_out_in_silence() {
    let server = "server a 10.0.0.1:80";
    for word in ["mode 600", "uid 1", "user app", "gid 1", "group app"] {
        let text = format!("listen l\n bind /run/a.sock {word}\n {server}\n");
        let errors = errors(&text).join("\n");
        assert!(errors.contains("protect its folder"), "{word}: {errors}");
    }
    for (global, line) in [
        (
            "ssl-default-bind-options ssl-min-ver TLSv1.3",
            "bind :1 ssl crt /etc/nginx/both.pem",
        ),
        ("ssl-server-verify none", "server b 10.0.0.2:80 ssl"),
    ] {
        let text = format!("global\n {global}\nlisten l\n bind :2\n {line}\n {server}\n");
        let errors = errors(&text).join("\n");
        assert!(errors.contains("haproxy.cfg:2: `"), "{global}: {errors}");
        assert!(errors.contains("changes line 5"), "{global}: {errors}");
    }
    // Where nothing has TLS, they change nothing.
    let stock = "ca-base /etc/ssl/certs\n crt-base /etc/ssl/private\n ssl-default-bind-options ssl-min-ver TLSv1.2";
    imported(&format!(
        "global\n {stock}\nlisten l\n bind :2\n {server}\n"
    ));
}

#[test]
fn a_default_backend_goes_before_the_servers_of_a_listen() {
    let text = "listen l\n bind :1\n default_backend b\n server a 10.0.0.1:80\nbackend b\n server b 10.0.0.2:80\n";
    let found = imported(text);
    assert!(found.contains("upstream = \"b\""), "{found}");
}

#[test]
fn a_tunnel_of_a_backend_is_how_long_a_relay_may_be_idle() {
    let text = "defaults\n timeout client 30s\n timeout server 30s\nfrontend f\n bind :1\n default_backend b\nbackend b\n timeout tunnel 1h\n server b 10.0.0.2:80\n";
    let found = imported(text);
    assert!(found.contains("idle_timeout = \"1h\""), "{found}");
}
