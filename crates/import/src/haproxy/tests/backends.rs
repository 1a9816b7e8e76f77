//! Servers, balance and checks.

use super::{both, imported, refused, remarks};

/// The entry of a second server with these options.
#[track_caller]
fn peer(server: &str) -> String {
    let found = both("", &format!(" server b {server}"));
    found.trim_matches([' ', ',']).to_owned()
}

#[test]
fn each_option_of_a_server_is_understood() {
    for (server, expected) in [
        ("10.0.0.2:1", "\"tcp://10.0.0.2:1\""),
        ("a.example:1", "\"tcp://a.example:1\""),
        ("[::1]:1", "\"tcp://[::1]:1\""),
        ("/run/b", "\"unix:///run/b\""),
        (
            "10.0.0.2:1 weight 3",
            "{ address = \"tcp://10.0.0.2:1\", weight = 3 }",
        ),
        (
            "10.0.0.2:1 weight 0",
            "{ address = \"tcp://10.0.0.2:1\", down = true }",
        ),
        (
            "10.0.0.2:1 maxconn 5",
            "{ address = \"tcp://10.0.0.2:1\", max_connections = 5 }",
        ),
        (
            "10.0.0.2:1 backup",
            "{ address = \"tcp://10.0.0.2:1\", backup = true }",
        ),
        (
            "10.0.0.2:1 disabled",
            "{ address = \"tcp://10.0.0.2:1\", down = true }",
        ),
        ("10.0.0.2:1 init-addr none id 5", "\"tcp://10.0.0.2:1\""),
    ] {
        assert_eq!(peer(server), expected, "{server}");
    }
}

#[test]
fn each_way_of_balancing_is_understood() {
    for (line, expected) in [
        ("balance roundrobin", ""),
        ("balance static-rr", ""),
        ("balance leastconn", "balance = \"least-connections\""),
        ("balance random", "balance = \"random-two\""),
        (
            "balance source",
            "balance = { kind = \"hash\", key = \"${client.address}\", method = \"plain\" }",
        ),
        (
            "balance source\n hash-type consistent",
            "balance = { kind = \"hash\", key = \"${client.address}\", method = \"ketama\" }",
        ),
    ] {
        assert_eq!(both("", &format!(" {line}")), expected, "{line}");
    }
}

#[test]
fn settings_of_backends_become_keys() {
    for (lines, expected) in [
        (" timeout connect 2s", "connect_timeout = \"2s\""),
        (" retries 1", "next = { tries = 2 }"),
        (" source 10.0.0.9", "bind = \"10.0.0.9\""),
        (" source 0.0.0.0", ""),
    ] {
        assert_eq!(both("", lines), expected, "{lines}");
    }
}

/// The lines of a backend whose only server has these options, without what all have.
#[track_caller]
fn alone(options: &str, lines: &str) -> String {
    let text = format!("listen l\n bind :1\n server a 10.0.0.1:1 {options}\n{lines}\n");
    let found = imported(&text);
    let lines = found.lines().skip_while(|line| !line.starts_with("next"));
    let lines = lines.skip(1).take_while(|line| !line.starts_with("peers"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_all_servers_have_belongs_to_the_upstream() {
    let check = "check = { kind = \"connect\", interval = \"2s\", timeout = \"2s\"";
    for (options, lines, expected) in [
        ("", "", "max_fails = 0".to_owned()),
        ("observe layer4", "", String::new()),
        ("send-proxy", "", "proxy_protocol = 1\nmax_fails = 0".into()),
        ("send-proxy-v2", "", "proxy_protocol = 2\nmax_fails = 0".into()),
        ("slowstart 10s", "", "slow_start = \"10s\"\nmax_fails = 0".into()),
        ("check", "", format!("max_fails = 0\n{check} }}")),
        ("check rise 3 fall 4", "", format!("max_fails = 0\n{check}, rise = 3, fall = 4 }}")),
        (
            "check inter 500",
            " timeout check 1s",
            "max_fails = 0\ncheck = { kind = \"connect\", interval = \"500ms\", timeout = \"500ms\" }".into(),
        ),
        (
            "check inter 5s",
            " timeout check 1s\n option tcp-check\n tcp-check connect\n tcp-check send \"PING\\r\\n\"\n tcp-check expect string +PONG",
            "max_fails = 0\ncheck = { kind = \"expect\", send = \"PING\\r\\n\", expect = \"+PONG\", interval = \"5s\", timeout = \"1s\" }".into(),
        ),
        (
            "check",
            " option tcp-check\n tcp-check send-binary 00ff\n tcp-check send a\n tcp-check expect binary 01",
            "max_fails = 0\ncheck = { kind = \"expect\", send = [0, 255, 97], expect = \"\\u0001\", interval = \"2s\", timeout = \"2s\" }".into(),
        ),
        (
            "check",
            " option redis-check",
            "max_fails = 0\ncheck = { kind = \"expect\", send = \"*1\\r\\n$4\\r\\nPING\\r\\n\", expect = \"+PONG\", interval = \"2s\", timeout = \"2s\" }".into(),
        ),
        ("check", " option tcp-check", format!("max_fails = 0\n{check} }}")),
    ] {
        assert_eq!(alone(options, lines), expected, "{options} {lines}");
    }
}

#[test]
fn default_server_holds_for_the_servers_below_it() {
    let text = "defaults\n default-server inter 5s\nlisten l\n bind :1\n server a 10.0.0.1:1 check\n default-server weight 7\n server b 10.0.0.2:1 check\n";
    let found = imported(text);
    assert!(found.contains("interval = \"5s\""), "{found}");
    assert_eq!(found.matches("weight = 7").count(), 1, "{found}");
}

#[test]
fn a_wrong_backend_is_refused() {
    for (lines, expected) in [
        (
            " server b 10.0.0.2",
            "`server` has no port of its own in \"10.0.0.2\"",
        ),
        (
            " server b 10.0.0.2:x",
            "`server` has no port of its own in \"10.0.0.2:x\"",
        ),
        (
            " server b 10.0.0.2:1 foo",
            "`server` has an option that is not imported: `foo`",
        ),
        (
            " server b 10.0.0.2:1 weight x",
            "`server` has a wrong `weight`",
        ),
        (
            " server b 10.0.0.2:1 send-proxy",
            "`server` has another `send-proxy` than the first server, and an upstream has one for all",
        ),
        (
            " balance first",
            "`balance` first cannot be expressed: write `leastconn`, or servers with `backup`",
        ),
        (
            " balance uri",
            "`balance` uri is not imported: it belongs to HTTP or is unknown",
        ),
        (
            " balance hash dst",
            "`balance` hash dst cannot be expressed",
        ),
        (
            " source 10.0.0.1 usesrc clientip",
            "`source` takes an IP address alone",
        ),
    ] {
        assert_eq!(refused("", lines), expected, "{lines}");
    }
}

#[test]
fn a_wrong_check_is_refused() {
    for (lines, expected) in [
        (
            "tcp-check expect rstring a.b",
            "`tcp-check expect` is by `string` or `binary` only",
        ),
        (
            "tcp-check expect string a\n tcp-check send b",
            "`tcp-check send` follows an `expect`: a check sends once, and waits for one answer",
        ),
        (
            "tcp-check send-binary 0x",
            "`tcp-check send-binary` has no hexadecimal digits in pairs",
        ),
        (
            "tcp-check send a",
            "`tcp-check send` without `tcp-check expect` cannot be expressed",
        ),
        (
            "tcp-check set-var a",
            "`tcp-check set-var` cannot be expressed",
        ),
    ] {
        let lines = format!(" option tcp-check\n {lines}\n server c 10.0.0.3:1 check");
        assert_eq!(refused("", &lines), expected, "{lines}");
    }
}

#[test]
fn servers_that_are_checked_in_different_ways_have_a_remark() {
    let rest = "listen l\n bind :1\n server a 10.0.0.1:1 check\n";
    for server in ["10.0.0.2:1", "10.0.0.2:1 check inter 9s"] {
        assert_eq!(
            remarks(&format!("{rest} server b {server}\n")).len(),
            1,
            "{server}"
        );
    }
    let backups =
        format!("{rest} server b 10.0.0.2:1 check backup\n server c 10.0.0.3:1 check backup\n");
    assert_eq!(remarks(&backups).len(), 1);
    assert_eq!(remarks(&format!("{backups} option allbackups\n")).len(), 0);
}
