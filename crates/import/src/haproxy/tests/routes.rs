//! Where connections go by the name that clients ask for.

use super::{errors, imported, remarks};

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

/// The maps of a frontend with these lines, and default backend b beside c and d: each with its keys on one line.
#[track_caller]
fn maps(lines: &str) -> Vec<String> {
    let text = format!(
        "frontend f\n bind :1\n default_backend b\n {lines}\n\
         backend b\n server a 10.0.0.1:1\nbackend c\n server a 10.0.0.2:1\nbackend d\n server a 10.0.0.3:1\n"
    );
    let found = imported(&text);
    let maps = found.split("[map.").skip(1);
    let maps = maps.map(|it| it.split("[upstream.").next().unwrap_or_default());
    let maps = maps.map(|it| it.split("[map.").next().unwrap_or_default());
    maps.map(|it| format!("[map.{}", it.replace('\n', " ").replace(", ]", " ]").trim()))
        .collect()
}

#[test]
fn rules_by_address_become_a_map_of_networks() {
    let acls = "acl ours src 10.0.0.0/8\n acl guests src 10.9.0.0/16";
    for (lines, default, values) in [
        ("use_backend c if ours", "b", "[\"10.0.0.0/8\", \"c\"]"),
        ("use_backend c unless ours", "c", "[\"10.0.0.0/8\", \"b\"]"),
        (
            "use_backend c if ours !guests\n use_backend d if { src -f /lists/office.lst }",
            "b",
            "[\"192.0.2.1\", \"d\"],   [\"10.9.0.0/16\", \"d\"],   [\"10.0.0.0/8\", \"c\"]",
        ),
        (
            "use_backend c if guests\n use_backend d\n use_backend b if ours",
            "d",
            "[\"10.9.0.0/16\", \"c\"]",
        ),
    ] {
        let expected = format!(
            "[map.f] kind = \"network\" from = \"${{client.address}}\" default = \"{default}\" values = [   {values} ]"
        );
        assert_eq!(maps(&format!("{acls}\n {lines}")), [expected], "{lines}");
    }
}

#[test]
fn a_rule_without_a_condition_replaces_the_default() {
    assert!(maps("use_backend b").is_empty());
    assert!(maps("use_backend b if TRUE or { src ::1 }").is_empty());
    assert!(maps("use_backend c if FALSE").is_empty());
    let text = "frontend f\n bind :1\n use_backend b\nbackend b\n server a 10.0.0.1:1\n";
    assert!(imported(text).contains("upstream = \"b\""));
}

#[test]
fn rules_by_several_tests_look_up_their_outcomes() {
    let lines = "acl ours src 10.0.0.0/8\n acl a req.ssl_sni -m dom a.example\n \
        use_backend c if ours !a\n use_backend d if a { dst_port eq 443 8000:8001 } or ours";
    let expected = [
        "[map.f-ours] kind = \"network\" from = \"${client.address}\" default = \"0\" values = [   [\"10.0.0.0/8\", \"1\"] ]",
        "[map.f-a] from = \"${sni}\" default = \"0\" values = [   [\"~(^|\\\\.)a\\\\.example(\\\\.|$)\", \"1\"] ]",
        "[map.f-1] from = \"${server.port}\" default = \"0\" values = [   [\"443\", \"1\"],   [\"8000\", \"1\"],   [\"8001\", \"1\"] ]",
        "[map.f] from = \"${map.f-ours}${map.f-a}${map.f-1}\" default = \"b\" values = [   [\"~^10\", \"c\"],   [\"~^.11\", \"d\"],   [\"~^1\", \"d\"] ]",
    ];
    assert_eq!(maps(lines), expected);
}

#[test]
fn what_contents_refuse_goes_nowhere() {
    let lines = "tcp-request content accept if { src ::1 }\n tcp-request content reject unless { req.ssl_sni -i -f /lists/names.lst }\n \
        use_backend c if { src ::1 }";
    let expected = [
        "[map.f-1] kind = \"network\" from = \"${client.address}\" default = \"0\" values = [   [\"::1\", \"1\"] ]",
        "[map.f-2] from = \"${sni}\" default = \"0\" values = [   [\"~*^a\\\\.example$\", \"1\"],   [\"~*^b\\\\.example$\", \"1\"] ]",
        "[map.f-content] from = \"${map.f-1}${map.f-2}\" default = \"1\" values = [   [\"~^1\", \"1\"],   [\"~^.0\", \"0\"] ]",
        "[map.f] from = \"${map.f-content}${map.f-1}${map.f-2}\" default = \"b\" values = [   [\"~^0\", \"\"],   [\"~^.1\", \"c\"] ]",
    ];
    assert_eq!(maps(lines), expected);
}

#[test]
fn dots_around_labels_do_not_count() {
    for written in ["a.test", ".a.test", "a.test.", ".a.test."] {
        let found = maps(&format!(
            "use_backend c if {{ req.ssl_sni -m dom {written} }}"
        ));
        let expected = "[\"~(^|\\\\.)a\\\\.test(\\\\.|$)\", \"c\"]";
        assert!(found[0].contains(expected), "{}", found[0]);
    }
}

#[test]
fn a_client_without_a_name_has_none_that_a_pattern_takes() {
    let found = maps("use_backend c if { req.ssl_sni,lower -m reg .* }");
    let expected = "[map.f] from = \"${sni}\" default = \"b\" values = [   [\"~^$\", \"b\"],   [\"~*.*\", \"c\"] ]";
    assert_eq!(found, [expected]);
    let found = maps("use_backend c if { req.ssl_sni -m found }");
    assert!(
        found[0].contains("values = [   [\"~.\", \"c\"] ]"),
        "{found:?}"
    );
}

#[test]
fn rules_that_cannot_be_expressed_are_refused() {
    for (rule, expected) in [
        ("b if { req.ssl_sni -i }", "has no pattern"),
        ("b if x", "names \"x\", which is no `acl`"),
        ("b when x", "has \"when\" where `if` or `unless` stands"),
        ("x if { req.ssl_sni a }", "names \"x\", which is no backend"),
        (
            "b if { nbsrv(b) 1 }",
            "asks for `nbsrv(b)`, which is not imported",
        ),
        (
            "b if { ssl_fc_sni a }",
            "asks for `ssl_fc_sni`, and no `bind` has `ssl`",
        ),
        (
            "b if { req.ssl_sni,lower A }",
            "compares \"A\" with a name in lower case: write it in lower case",
        ),
        ("b if { req.ssl_sni -m len 3 }", "has a wrong `-m len`"),
        ("b if { req.ssl_sni -m reg ( }", "has a wrong `-m reg`"),
        (
            "b if { req.ssl_hello_type 2 }",
            "asks for another hello than a client's, which has type 1",
        ),
        (
            "b if { dst_port ge 1024 }",
            "has \"ge\", and takes ports such as 443 or 8000:8010",
        ),
        ("b if { dst_port 1:65535 }", "compares with over 4096 ports"),
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
fn tests_of_tls_need_it_at_all_addresses_or_at_none() {
    let text = |rule: &str| {
        format!(
            "frontend f\n bind :1 ssl crt both.pem\n bind :2\n use_backend b if {{ {rule} }}\n default_backend b\nbackend b\n server a 10.0.0.1:1\n"
        )
    };
    let error = "haproxy.cfg:4: `use_backend` asks for TLS, and some of the frontend's `bind` have `ssl`: write two frontends";
    for rule in ["ssl_fc", "ssl_fc_sni a", "req.ssl_sni a"] {
        assert_eq!(errors(&text(rule)), [error], "{rule}");
    }
    let own = text("req.ssl_sni a").replace(" bind :2\n", "");
    let error =
        "haproxy.cfg:3: `use_backend` asks for `req.ssl_sni`, and `bind` has `ssl`: TLS ends there";
    assert_eq!(errors(&own), [error]);
}

#[test]
fn conditions_that_multiply_too_far_are_refused() {
    let alternatives = |at: usize| format!(" acl {at} src 10.0.{at}.1\n acl {at} dst_port 1\n");
    let acls: String = (0..9).map(alternatives).collect();
    let names: Vec<_> = (0..9).map(|it| it.to_string()).collect();
    let text = format!(
        "frontend f\n bind :1\n default_backend b\n{acls} use_backend b if {}\nbackend b\n server a 10.0.0.1:1\n",
        names.join(" ")
    );
    let errors = errors(&text);
    assert_eq!(
        errors,
        ["haproxy.cfg:22: `use_backend` has too many conditions: write several rules"]
    );
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
    assert!(found.contains("default = \"\""), "{found}");
    assert!(!found.contains("hello.version"), "{found}");
    let with_default = format!("{text} default_backend b\n tcp-request content reject\n{backend}");
    let found = imported(&with_default);
    assert!(found.contains("preread = { timeout = \"5s\" }"), "{found}");
    assert!(found.contains("from = \"${hello.version}\""), "{found}");
    // A map by ports sends clients without TLS somewhere, too.
    let by_port = reject.replace("req.ssl_sni a", "dst_port 443");
    let found = imported(&by_port);
    assert!(found.contains("from = \"${hello.version}\""), "{found}");
    let remark =
        "haproxy.cfg:3: `tcp-request inspect-delay` has no effect: no rule asks for a hello";
    let text = format!("frontend f\n bind :1\n {hello}\n default_backend b\n{backend}");
    assert_eq!(remarks(&text), [remark]);
}
