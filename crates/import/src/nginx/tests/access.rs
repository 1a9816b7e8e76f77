//! `allow` and `deny`.

use super::{imported, refused, server};

#[test]
fn rules_keep_their_order() {
    let found = server("allow 10.0.0.0/8; deny 10.1.2.3/16; allow unix:; allow ::1; deny all;");
    let expected = "access = [
  { allow = \"10.0.0.0/8\" },
  { deny = \"10.1.0.0/16\" },
  { allow = \"unix:\" },
  { allow = \"::1\" },
  { deny = \"all\" },
]";
    assert_eq!(found, expected);
}

#[test]
fn a_server_with_a_rule_has_none_of_the_block() {
    let text = "stream { deny all; server { listen 1; proxy_pass 10.0.0.1:80; }
        server { listen 2; proxy_pass 10.0.0.1:80; allow 10.0.0.1; } }";
    let found = imported(text);
    assert_eq!(found.matches("{ deny = \"all\" }").count(), 1, "{found}");
}

#[test]
fn a_wrong_rule_is_refused() {
    for (directive, expected) in [
        (
            "allow x;",
            "`allow` has \"x\", which is neither an IP address nor a network",
        ),
        ("deny;", "`deny` takes one argument"),
    ] {
        assert_eq!(refused(directive), expected);
    }
}
