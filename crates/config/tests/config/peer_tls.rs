//! Wrong tables `tls` of upstreams, and every word of their errors.

use moorline_config::load_text;

/// The keys of an upstream, and their errors.
const WRONG: &[(&str, &str)] = &[
    (
        "peers = [\"tcp://10.0.0.1:1\"]\ntls = true",
        r#"6:7: `tls` is a boolean, not a table
  6 | tls = true
    |       ^^^^
  hint: write tls = {}, or tls = { ca = "ca.pem", server_name = "db.example" }"#,
    ),
    (
        "peers = [\"tcp://10.0.0.1:1\"]\ntls = { verify = \"no\", versions = [\"1.1\"], sni = \"a\" }",
        r#"6:18: `verify` is a string, not true or false
  6 | tls = { verify = "no", versions = ["1.1"], sni = "a" }
    |                  ^^^^
  hint: write true or false, without quotes
{file}:6:36: `versions` has "1.1", which is none of TLS that is spoken
  6 | tls = { verify = "no", versions = ["1.1"], sni = "a" }
    |                                    ^^^^^
  hint: write ["1.2", "1.3"], or one of them; older ones are not spoken
{file}:6:44: unknown key `sni` in `tls` of an upstream
  6 | tls = { verify = "no", versions = ["1.1"], sni = "a" }
    |                                            ^^^
  hint: known here: `verify`, `ca`, `crl`, `verify_depth`, `server_name`, `send_server_name`, `certificate`, `key`, `password_file`, `alpn`, `versions`, `reuse`"#,
    ),
    (
        "peers = [\"tcp://10.0.0.1:1\"]\ntls = { verify = false, ca = \"ca.pem\", versions = [] }",
        r#"6:25: `ca` has no effect with `verify = false`: nothing is verified
  6 | tls = { verify = false, ca = "ca.pem", versions = [] }
    |                         ^^
  hint: remove it
{file}:6:51: `versions` is empty
  6 | tls = { verify = false, ca = "ca.pem", versions = [] }
    |                                                   ^^
  hint: write ["1.2", "1.3"], or one of them; older ones are not spoken"#,
    ),
    (
        "peers = [\"tcp://10.0.0.1:1\"]\ntls = { ca = \"missing.pem\" }",
        r#"6:7: `tls`: cannot use {folder}/missing.pem: No such file or directory (os error 2)
  6 | tls = { ca = "missing.pem" }
    |       ^^^^^^^^^^^^^^^^^^^^^^
  hint: name PEM files that are there; a relative path begins at this file's folder"#,
    ),
    (
        "peers = [\"tcp://10.0.0.1:1\"]\ntls = { verify = false, certificate = \"a.pem\" }",
        r#"6:25: `certificate` has no effect without `key`
  6 | tls = { verify = false, certificate = "a.pem" }
    |                         ^^^^^^^^^^^
  hint: write key = "peer.key" beside it"#,
    ),
    (
        "peers = [\"tls://10.0.0.1:1\", \"tcp://10.0.0.2:1\"]",
        r#"5:9: some peers have TLS, and others have none
  5 | peers = ["tls://10.0.0.1:1", "tcp://10.0.0.2:1"]
    |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  hint: write tls:// for all of them, or an upstream for each kind"#,
    ),
    (
        "peers = [\"tcp://10.0.0.1:1\"]\ncheck = { kind = \"tls\" }",
        r#"6:9: a check of kind "tls" of peers without TLS
  6 | check = { kind = "tls" }
    |         ^^^^^^^^^^^^^^^^
  hint: write `tls` beside it, or kind = "connect""#,
    ),
];

#[test]
fn a_wrong_table_is_an_error_with_its_place_and_its_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().canonicalize().expect("it is there");
    let file = folder.join("a.toml");
    for (keys, expected) in WRONG {
        let text = format!(
            "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\nupstream = \"a\"\n[upstream.a]\n{keys}\n"
        );
        let errors = load_text(&text, &file).expect_err(&text);
        let expected = expected
            .replace("{folder}", &folder.display().to_string())
            .replace("{file}", &file.display().to_string());
        assert_eq!(
            errors.to_string(),
            format!("{}:{expected}", file.display()),
            "{text}"
        );
    }
}
