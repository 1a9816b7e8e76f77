//! Wrong tables `tls` of listeners: what is new beside certificates and keys.

use std::path::Path;

use moorline_config::load_text;

/// Keys of the table, and their errors.
const WRONG: &[(&str, &str)] = &[
    (
        "versions = [\"1.0\"]",
        "`versions` has \"1.0\", which is none of TLS that is spoken",
    ),
    (
        "versions = [\"1.2\"], min_version = \"1.2\"",
        "`min_version` has no effect with `versions`",
    ),
    (
        "client_certificates = \"maybe\"",
        "write one of `off`, `optional`, `optional-no-ca`, `required`",
    ),
];

#[test]
fn a_wrong_key_of_a_listeners_tls_is_named() {
    for (keys, expected) in WRONG {
        let errors = errors(&format!("certificate = \"a.pem\", key = \"a.key\", {keys}"));
        assert!(errors.contains(expected), "{errors}");
    }
    let errors = errors(
        "certificate = \"a.pem\", key = \"a.key\", reject_unknown_names = 1, reuse = \"no\"",
    );
    for part in [
        "`reject_unknown_names` is an integer, not true or false",
        "`reuse` is a string, not true or false",
    ] {
        assert!(errors.contains(part), "{errors}");
    }
}

#[test]
fn a_name_that_is_no_host_and_no_pattern_is_refused() {
    for name in ["a b", "*", "a.*.b", "~^a", ""] {
        let entry = format!(
            "certificates = [{{ certificate = \"a.pem\", key = \"a.key\", names = [\"{name}\"] }}]"
        );
        let errors = errors(&entry);
        assert!(errors.contains("names"), "{name}: {errors}");
    }
    let entry = "certificate = \"a.pem\", key = \"a.key\"";
    let empty = errors(&format!("certificates = [{{ {entry}, names = [] }}]"));
    assert!(empty.contains("`names` is empty"), "{empty}");
    let beside = errors(&format!(
        "certificates = [{{ {entry} }}], password_file = \"p\""
    ));
    assert!(
        beside.contains("`password_file` stands beside `certificates`"),
        "{beside}"
    );
}

fn errors(table: &str) -> String {
    let text = format!("[[listen]]\naddress = \"tcp://127.0.0.1:1\"\ntls = {{ {table} }}\n");
    let errors = load_text(&text, Path::new("/c/a.toml"));
    errors.expect_err(&text).to_string()
}
