//! Where connections go by the name that clients ask for.

use super::{errors, imported};

#[test]
fn rules_by_name_become_a_map_in_their_order() {
    let text = "frontend f\n bind :1\n acl one req_ssl_sni -i a.example\n acl one req.ssl_sni -m end .b.example\n \
        use_backend b if one || { req.ssl_sni -i -m reg ^c[0-9] }\n use_backend c if { req.ssl_sni -i a.example }\n default_backend c\n\
        backend b\n server a 10.0.0.1:1\nbackend c\n server a 10.0.0.2:1\n";
    let found = imported(text);
    let map = "[map.f]\nfrom = \"${sni}\"\ndefault = \"c\"\nvalues = [\n  [\"~*^a\\\\.example$\", \"b\"],\n  \
        [\"~\\\\.b\\\\.example$\", \"b\"],\n  [\"~*^c[0-9]\", \"b\"],\n]";
    assert!(found.contains(map), "{found}");
    assert!(found.contains("upstream = \"${map.f}\""), "{found}");
    let found = imported(&text.replace(" default_backend c\n", ""));
    assert!(found.contains("default = \"\""), "{found}");
}

#[test]
fn rules_that_cannot_be_expressed_are_refused() {
    for (rule, expected) in [
        ("b", "is imported with `if` only"),
        ("b if { req.ssl_sni -i }", "compares a name with nothing"),
        ("b unless x", "is imported with `if` only"),
        ("b if !x", "is imported with conditions joined by `||` only"),
        (
            "b if x y",
            "is imported with conditions joined by `||` only",
        ),
        ("b if x", "names \"x\", which is no `acl`"),
        ("x if { req.ssl_sni a }", "names \"x\", which is no backend"),
        (
            "b if { src 10.0.0.1 }",
            "is imported with `req.ssl_sni` and `ssl_fc_sni` only, not `src`",
        ),
        (
            "b if { ssl_fc_sni a }",
            "asks for `ssl_fc_sni` without `ssl` of `bind`, or for `req.ssl_sni` with it",
        ),
        (
            "b if { req.ssl_sni -f a }",
            "has `-f`, which is not imported",
        ),
        ("b if { req.ssl_sni -m dom a }", "has a wrong `-m dom`"),
    ] {
        let text = format!(
            "frontend f\n bind :1\n use_backend {rule}\n default_backend b\nbackend b\n server a 10.0.0.1:1\n"
        );
        assert_eq!(
            errors(&text),
            [format!("haproxy.cfg:3: `use_backend` {expected}")],
            "{rule}"
        );
    }
}

#[test]
fn the_time_for_a_hello_is_that_of_preread() {
    let hello =
        "tcp-request inspect-delay 5s\n tcp-request content accept if { req_ssl_hello_type 1 }";
    let backend = "backend b\n server a 10.0.0.1:1\n";
    let text = format!("frontend f\n bind :1\n {hello}\n use_backend b if {{ req.ssl_sni a }}\n");
    let reject = format!("{text} tcp-request content reject\n{backend}");
    let found = imported(&reject);
    assert!(found.contains("preread = { timeout = \"5s\" }"), "{found}");
    let error = "`tcp-request content` is imported with `accept if { req.ssl_hello_type 1 }` only, and `reject` without a default";
    let with_default = format!("{text} default_backend b\n tcp-request content reject\n{backend}");
    assert_eq!(errors(&with_default), [format!("haproxy.cfg:7: {error}")]);
}
