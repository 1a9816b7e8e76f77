//! Wrong tables `preread`, and every word of their errors.

use std::path::Path;

use moorline_config::load_text;

/// A listener's keys, and their errors. The upstream `a` is there.
const WRONG: &[(&str, &str)] = &[
    (
        "upstream = \"a\"\npreread = true",
        r#"4:11: `preread` is a boolean, not a table
  4 | preread = true
    |           ^^^^
  hint: write preread = { buffer = "16KiB", timeout = "30s" }, or preread = {}"#,
    ),
    (
        "upstream = \"a\"\npreread = { buffer = \"65KiB\", timeout = \"0s\" }",
        r#"4:22: `buffer` has 66560 bytes: no hello is that long
  4 | preread = { buffer = "65KiB", timeout = "0s" }
    |                      ^^^^^^^
  hint: write "64KiB" at most
/c/a.toml:4:41: `timeout` is zero
  4 | preread = { buffer = "65KiB", timeout = "0s" }
    |                                         ^^^^
  hint: leave the key out for its default, or write a longer time"#,
    ),
    (
        "upstream = \"a\"\npreread = { timout = \"1s\" }",
        r#"4:13: unknown key `timout` in `preread`
  4 | preread = { timout = "1s" }
    |             ^^^^^^
  hint: did you mean `timeout`?"#,
    ),
    (
        "preread = {}",
        r#"3:1: `preread` has no effect without `upstream` or `return`
  3 | preread = {}
    | ^^^^^^^
  hint: remove it"#,
    ),
];

#[test]
fn a_wrong_preread_is_an_error_with_its_place_and_its_remedy() {
    for (keys, expected) in WRONG {
        let text = format!(
            "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\n{keys}\n[upstream.a]\npeers = [\"tcp://10.0.0.1:1\"]"
        );
        let errors = load_text(&text, Path::new("/c/a.toml")).expect_err(&text);
        assert_eq!(
            errors.to_string(),
            format!("/c/a.toml:{expected}"),
            "{text}"
        );
    }
}
