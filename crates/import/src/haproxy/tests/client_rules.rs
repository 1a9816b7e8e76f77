//! Which clients may connect.

use super::{both, imported, refused, remarks};

/// The rules of `access` of a listener with these lines.
#[track_caller]
fn access(lines: &str) -> String {
    let text = format!("listen l\n bind :1\n {lines}\n server a 10.0.0.1:1\n");
    let found = imported(&text);
    let (_, rules) = found.split_once("access = [\n").expect("it has rules");
    let (rules, _) = rules.split_once("\n]").expect("they end");
    let rules = rules
        .lines()
        .map(|it| it.trim().trim_end_matches(',').replace(['{', '}', '"'], ""));
    let rules: Vec<_> = rules.map(|it| it.trim().to_owned()).collect();
    rules.join("; ")
}

#[test]
fn rules_of_connections_become_access() {
    let acls = "acl ours src 10.0.0.0/8\n acl ours src 192.0.2.1\n acl other hdr(host) x";
    for (lines, expected) in [
        (
            "tcp-request connection reject if { src 10.1.2.3/8 ::1 }",
            "deny = 10.0.0.0/8; deny = ::1",
        ),
        (
            "tcp-request connection accept if ours\n tcp-request connection reject",
            "allow = 10.0.0.0/8; allow = 192.0.2.1; deny = all",
        ),
        (
            "tcp-request session reject if { src -f /lists/office.lst } or { src -m ip ::1 }",
            "deny = 10.0.0.0/8; deny = 192.0.2.1; deny = ::1",
        ),
        (
            "tcp-request content reject if LOCALHOST\n tcp-request content accept if WAIT_END",
            "deny = 127.0.0.0/8; deny = ::1; allow = all",
        ),
    ] {
        assert_eq!(access(&format!("{acls}\n {lines}")), expected, "{lines}");
    }
}

#[test]
fn rules_with_exceptions_become_access_by_the_narrowest_network() {
    let acls = "acl ours src 10.0.0.0/8\n acl guests src 10.9.0.0/16\n acl host src 10.9.0.1";
    for (lines, expected) in [
        ("reject if !ours", "allow = 10.0.0.0/8; deny = all"),
        ("reject unless ours", "allow = 10.0.0.0/8; deny = all"),
        (
            "reject if ! { src 10.0.0.0/8 }",
            "allow = 10.0.0.0/8; deny = all",
        ),
        (
            "reject if ours guests !host",
            "allow = 10.9.0.1; deny = 10.9.0.0/16",
        ),
        (
            "reject unless ours !guests or host",
            "allow = 10.9.0.1; deny = 10.9.0.0/16; allow = 10.0.0.0/8; deny = all",
        ),
        (
            "accept if host\n tcp-request session reject if guests\n tcp-request connection reject unless ours",
            "deny = 10.9.0.0/16; allow = 10.0.0.0/8; deny = all",
        ),
        // One that never holds is none.
        (
            "reject if ours !ours\n tcp-request connection reject if guests",
            "deny = 10.9.0.0/16",
        ),
    ] {
        let lines = format!("{acls}\n tcp-request connection {lines}");
        assert_eq!(access(&lines), expected, "{lines}");
    }
}

#[test]
fn an_acl_that_no_rule_names_is_left_out_with_a_remark() {
    let text = "listen l\n bind :1\n acl mine hdr(host) x\n acl ours src 10.0.0.1\n \
        tcp-request connection reject if ours\n tcp-request connection silent-drop if { src ::1 }\n server a 10.0.0.1:1\n";
    let expected = [
        "haproxy.cfg:6: `silent-drop` of `tcp-request connection` closes the connection",
        "haproxy.cfg:3: `acl mine` is left out: no rule names it",
    ];
    assert_eq!(remarks(text), expected);
}

#[test]
fn wrong_rules_of_connections_are_refused() {
    let of = "`tcp-request connection`";
    for (lines, expected) in [
        ("reject if x", format!("{of} names \"x\", which is no `acl`")),
        ("reject if", format!("{of} has an empty condition")),
        ("reject if { src ::1 } or", format!("{of} has an empty condition")),
        ("reject if !", format!("{of} ends with `!`")),
        ("reject if { src ::1", format!("{of} has a `{{` without its `}}`")),
        (
            "reject when { src ::1 }",
            format!("{of} has \"when\" where `if` or `unless` stands"),
        ),
        (
            "reject if { src -f no.lst }",
            format!("{of} names /etc/nginx/no.lst: entity not found"),
        ),
        (
            "reject if { src -M a }",
            format!("{of} has `-M`, which is not imported"),
        ),
        (
            "reject if { src a }",
            format!("{of} has \"a\", which is neither an IP address nor a network"),
        ),
        (
            "reject if { src -m reg 1 }",
            format!("{of} has a wrong `-m reg`"),
        ),
        ("reject if { src }", format!("{of} has no pattern")),
        (
            "reject if { src,ipmask(8) 10.0.0.0 }",
            format!("{of} has `ipmask(8)`, a converter that is not imported"),
        ),
        (
            "reject if x\n acl x hdr(host) a",
            "`acl` asks for `hdr(host)`, which is not imported".into(),
        ),
        (
            "reject if { dst 10.0.0.1 }",
            format!("{of} is imported with `src` only: write `tcp-request content` for anything else"),
        ),
        (
            "reject\n bind :2 accept-proxy",
            "`bind` has `accept-proxy`: `tcp-request connection` looks at the proxy's address, and `access` at the client's: write `tcp-request session`".into(),
        ),
    ] {
        let lines = format!(" tcp-request connection {lines}");
        assert_eq!(refused(&lines, ""), expected, "{lines}");
    }
    let error = "`tcp-request connection` is imported in a `frontend` or `listen` only";
    assert_eq!(refused("", " tcp-request connection reject"), error);
}

#[test]
fn a_header_that_a_rule_expects_is_expected_by_the_listener() {
    let by_rule = both(" tcp-request connection expect-proxy layer4", "");
    let by_bind = both(" bind :2 accept-proxy\n", "");
    let keys = "proxy_protocol = \"any\"\ntrusted_proxies = [\"0.0.0.0/0\", \"::/0\", \"unix\"]";
    assert_eq!(by_rule, keys);
    assert!(by_bind.contains(keys), "{by_bind}");
    assert_eq!(
        both(" tcp-request connection expect-proxy layer4 if TRUE", ""),
        keys
    );
    let some = "expect-proxy layer4 if { src 10.0.0.0/8 } or { src 192.0.2.1 ::1 }";
    assert_eq!(
        both(&format!(" tcp-request connection {some}"), ""),
        "proxy_protocol = \"trusted\"\ntrusted_proxies = [\"10.0.0.0/8\", \"192.0.2.1\", \"::1\"]"
    );
    let of = "`tcp-request connection`";
    for (lines, expected) in [
        (
            "expect-proxy layer5",
            format!("{of} is imported with `expect-proxy layer4` only"),
        ),
        (
            "expect-proxy layer4 unless { src 10.0.0.1 }",
            format!(
                "{of} expects a header of some clients: it is imported with `if` and `src` only"
            ),
        ),
        (
            "expect-proxy layer4\n tcp-request connection reject if { src 10.0.0.1 }",
            format!(
                "{of} has `expect-proxy`: `tcp-request connection` looks at the proxy's address, and `access` at the client's: write `tcp-request session`"
            ),
        ),
    ] {
        let lines = format!(" tcp-request connection {lines}");
        assert_eq!(refused(&lines, ""), expected, "{lines}");
    }
}
