//! The examples of the pages "Coming from …".

use moorline_tests::{Finish, Site};

/// The blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let path = format!("{}/../docs/guide/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the page is there");
    let begin = format!("\n```{language}\n");
    let blocks = text.split(&begin).skip(1);
    let blocks = blocks.map(|rest| rest.split("\n```").next().unwrap_or_default().to_owned());
    blocks.collect()
}

/// Each example is followed by what becomes of it.
#[track_caller]
fn check(page: &str, language: &str) {
    let examples = blocks(page, language);
    let results = blocks(page, "toml");
    assert!(!examples.is_empty());
    assert_eq!(examples.len(), results.len());
    for (example, result) in examples.iter().zip(results) {
        let site = Site::new("moorline", "");
        site.write("example.conf", example);
        let imported = site
            .command(&["import", "example.conf", "--output", "moorline.toml"])
            .finish();
        assert!(imported.status.success(), "{imported:#?}");
        let text = std::fs::read_to_string(site.path("moorline.toml")).expect("it was written");
        let lines = text
            .lines()
            .map(|line| line.split("  # ").next().unwrap_or(line));
        let lines = lines.skip_while(|line| *line != "count = 0").skip(2);
        assert_eq!(lines.collect::<Vec<_>>().join("\n"), result, "{example}");
        let checked = site.run(&["check"]);
        assert!(checked.status.success(), "{checked:#?}");
    }
}

#[test]
fn each_example_for_haproxy_becomes_what_stands_below_it() {
    check("haproxy.md", "haproxy");
}

#[test]
fn each_example_for_nginx_becomes_what_stands_below_it() {
    check("nginx.md", "nginx");
}
