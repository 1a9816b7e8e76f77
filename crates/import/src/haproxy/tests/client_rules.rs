//! Which clients may connect.

use super::{imported, refused};

#[test]
fn rules_of_connections_become_access() {
    let acls = "acl ours src 10.0.0.0/8\n acl ours src 192.0.2.1\n acl other hdr(host) x";
    for (lines, expected) in [
        (
            "tcp-request connection reject if { src 10.1.2.3/8 ::1 }",
            "{ deny = \"10.0.0.0/8\" } { deny = \"::1\" }",
        ),
        (
            "tcp-request connection accept if ours\n tcp-request connection reject",
            "{ allow = \"10.0.0.0/8\" } { allow = \"192.0.2.1\" } { deny = \"all\" }",
        ),
    ] {
        let text = format!("listen l\n bind :1\n {acls}\n {lines}\n server a 10.0.0.1:1\n");
        let found = imported(&text);
        let (_, rules) = found.split_once("access = [\n").expect("it has rules");
        let (rules, _) = rules.split_once("\n]").expect("they end");
        let rules: Vec<_> = rules
            .lines()
            .map(|it| it.trim().trim_end_matches(','))
            .collect();
        assert_eq!(rules.join(" "), expected, "{lines}");
    }
}

#[test]
fn wrong_rules_of_connections_are_refused() {
    let one = "`tcp-request connection` is imported with one condition `if { src … }` only";
    for (lines, expected) in [
        ("reject if !{ src 10.0.0.1 }", one),
        ("reject unless { src 10.0.0.1 }", one),
        ("reject if { src 10.0.0.1 } { src 10.0.0.2 }", one),
        (
            "reject if x",
            "`tcp-request connection` names \"x\", which is no `acl`",
        ),
        (
            "reject if { src -f a.lst }",
            "`tcp-request connection` has \"-f\", which is neither an IP address nor a network",
        ),
        (
            "reject if { src }",
            "`tcp-request connection` has `src` without an address",
        ),
        (
            "reject if x\n acl x dst 10.0.0.1",
            "`acl` is imported with `src` only",
        ),
        (
            "silent-drop",
            "`tcp-request connection` is imported with `accept` and `reject` only",
        ),
        (
            "reject\n bind :2 accept-proxy",
            "`bind` has `accept-proxy`: `tcp-request connection` looks at the proxy's address, and `access` at the client's",
        ),
    ] {
        let lines = format!(" tcp-request connection {lines}");
        assert_eq!(refused(&lines, ""), expected, "{lines}");
    }
    let error = "`tcp-request connection` is imported in a `frontend` or `listen` only";
    assert_eq!(refused("", " tcp-request connection reject"), error);
}
