//! Names of backends that depend on the connection.

use super::{errors, imported, read};

/// A frontend with these lines and the default backend b, beside c, d and bk_a.example.
fn text(lines: &str) -> String {
    format!(
        "frontend f\n bind :1\n default_backend b\n {lines}\n\
         backend b\n server a 10.0.0.1:1\nbackend c\n server a 10.0.0.2:1\nbackend d\n server a 10.0.0.3:1\n\
         backend bk_a.example\n server a 10.0.0.4:1\nbackend bk_B\n server a 10.0.0.5:1\n"
    )
}

/// What the listener passes to, and each map on one line.
#[track_caller]
fn maps(lines: &str) -> Vec<String> {
    let found = imported(&text(lines));
    let upstream = found.lines().find(|it| it.starts_with("upstream = "));
    let upstream = upstream.expect("it passes to something").to_owned();
    let maps = found.split("[map.").skip(1);
    let maps = maps.map(|it| it.split("[upstream.").next().unwrap_or_default());
    let maps = maps.map(|it| {
        format!(
            "[map.{}",
            it.replace('\n', " ")
                .replace("   ", " ")
                .replace(", ]", " ]")
                .trim()
        )
    });
    std::iter::once(upstream).chain(maps).collect()
}

#[test]
fn a_file_of_names_becomes_a_map() {
    let by_name = "values = [ [\"~^$\", \"b\"], [\"a.example\", \"c\"], [\"b.example\", \"d\"], [\"x.example\", \"d\"] ]";
    assert_eq!(
        maps("use_backend %[req.ssl_sni,map(/lists/domains.map,d)]"),
        [
            "upstream = \"${map.f-1}\"",
            &format!(
                "[map.f-1] from = \"${{sni}}\" default = \"d\" {}",
                by_name.replace("x.example\", \"d", "x.example\", \"b")
            ),
        ]
    );
    // A name with capitals is none in lower case. What is no backend is the default one.
    assert_eq!(
        maps("use_backend %[req_ssl_sni,lower,map_str(/lists/domains.map)]"),
        [
            "upstream = \"${map.f-1}\"",
            "[map.f-1] from = \"${sni}\" default = \"b\" values = [ [\"a.example\", \"c\"], [\"x.example\", \"b\"] ]",
        ]
    );
    assert_eq!(
        maps("use_backend %[src,map_ip(/lists/networks.map)]"),
        [
            "upstream = \"${map.f-1}\"",
            "[map.f-1] kind = \"network\" from = \"${client.address}\" default = \"b\" values = [ [\"10.0.0.0/8\", \"c\"], [\"::1\", \"d\"] ]",
        ]
    );
    assert_eq!(
        maps("use_backend %[dst_port,map_int(/lists/ports.map,c)]")[1],
        "[map.f-1] from = \"${server.port}\" default = \"c\" values = [ [\"443\", \"c\"], [\"8000\", \"d\"], [\"8001\", \"d\"] ]"
    );
    // The longest beginning counts, and a domain at its labels.
    assert_eq!(
        maps("use_backend %[req.ssl_sni,lower,map_beg(/lists/beginnings.map)]")[1],
        "[map.f-1] from = \"${sni}\" default = \"b\" values = [ [\"~^$\", \"b\"], [\"~*^a\\\\.b\", \"c\"], [\"~*^a\", \"d\"] ]"
    );
    let dom = maps("use_backend %[req.ssl_sni,map_dom(/lists/beginnings.map)]");
    assert!(
        dom[1].contains("[\"~(^|\\\\.)a(\\\\.|$)\", \"d\"]"),
        "{dom:?}"
    );
}

#[test]
fn parts_of_names_are_compared_with_the_backends_that_there_are() {
    assert_eq!(
        maps("use_backend bk_%[req.ssl_sni,lower]"),
        [
            "upstream = \"${map.f-1}\"",
            "[map.f-1] from = \"bk_${sni}\" default = \"b\" values = [ [\"~*^bk_a\\\\.example$\", \"bk_a.example\"] ]",
        ]
    );
    assert_eq!(
        maps("use_backend bk_%[req.ssl_sni,field(2,.)]"),
        [
            "upstream = \"${map.f-2}\"",
            "[map.f-1] from = \"${sni}\" default = \"\" values = [ [\"~^(?:[^\\\\.]*[\\\\.]){1}([^\\\\.]*)\", \"${1}\"] ]",
            "[map.f-2] from = \"bk_${map.f-1}\" default = \"b\" values = [ [\"~^bk_a\\\\.example$\", \"bk_a.example\"], [\"~^bk_B$\", \"bk_B\"] ]",
        ]
    );
    let groups = maps("use_backend %[req.ssl_sni,map_regm(/lists/tenants.map)]");
    assert!(
        groups[1].contains("[\"~^([a-z]+)\\\\.b\\\\.example$\", \"back-${1}\"]"),
        "{groups:?}"
    );
    assert_eq!(
        maps("use_backend %[str(c)]")[1],
        "[map.f-1] from = \"c\" default = \"b\" values = [ [\"~^b$\", \"b\"], [\"~^c$\", \"c\"], [\"~^d$\", \"d\"], [\"~^bk_a\\\\.example$\", \"bk_a.example\"], [\"~^bk_B$\", \"bk_B\"] ]"
    );
}

#[test]
fn computed_names_stand_beside_others() {
    let lines = "use_backend c if { src 10.0.0.1 }\n use_backend %[req.ssl_sni,map(/lists/domains.map)] if { req.ssl_hello_type 1 }\n use_backend d";
    let found = maps(lines);
    assert_eq!(found[0], "upstream = \"${map.f}\"");
    assert!(
        found[4]
            .ends_with("default = \"d\" values = [ [\"~^1\", \"c\"], [\"~^.1\", \"${map.f-1}\"] ]"),
        "{found:?}"
    );
    // Its own default is that of the frontend.
    assert!(
        found[1].contains("from = \"${sni}\" default = \"b\""),
        "{found:?}"
    );
    let found = imported(&text(
        "tcp-request inspect-delay 5s\n use_backend %[req.ssl_sni,map(/lists/domains.map)]",
    ));
    assert!(found.contains("preread = { timeout = \"5s\" }"), "{found}");
    let remarks = read(&text("use_backend %[req.ssl_sni,map(/lists/domains.map)]"))
        .expect("it is right")
        .remarks;
    assert_eq!(remarks.len(), 1, "{remarks:?}");
}

#[test]
fn what_no_map_expresses_is_refused() {
    for (name, expected) in [
        (
            "%[hdr(host)]",
            "asks for `hdr(host)`, which is not imported",
        ),
        ("%[req.ssl_sni", "has a `%[` without its `]`"),
        (
            "%ci",
            "has \"%ci\", which is not imported: write an expression, such as %[req.ssl_sni]",
        ),
        (
            "%[src,ipmask(8)]",
            "has `ipmask(8)`, a converter that is not imported",
        ),
        (
            "%[req.ssl_sni,map(/lists/no.map)]",
            "names /lists/no.map: entity not found",
        ),
        (
            "%[req.ssl_sni,map_ip(/lists/networks.map)]",
            "looks up an address by `map_ip`, which is imported for `src` and `dst`",
        ),
        (
            "%[src,map_ip(/lists/domains.map)]",
            "has \"a.example\", which is neither an IP address nor a network",
        ),
        (
            "%[ssl_fc_sni]",
            "asks for `ssl_fc_sni`, and no `bind` has `ssl`",
        ),
        (
            "%[req.ssl_sni,lower]%[src]",
            "has `lower` in some of its parts: write it in all of them, or in none",
        ),
        (
            "%[req.ssl_sni,field(0,.)]",
            "has `field(0,.)`, a converter that is not imported",
        ),
        ("$x%[src]", "has a `$`, which no name of a backend has"),
        ("x%%", "names"),
    ] {
        let lines = format!("use_backend {name}");
        if expected == "names" {
            // A name without an expression that no backend has.
            let found = maps(&lines);
            assert!(found[1].ends_with("values = [ ]"), "{found:?}");
            continue;
        }
        let found = errors(&text(&lines));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].ends_with(&format!("`use_backend` {expected}")),
            "{found:?}"
        );
    }
}
