//! The template for new apps says what the README and the examples say.

use std::fs;
use std::path::Path;

use super::blocks::{blocks, docs};

fn template(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../templates/app")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// The README's app compiles as a doc test, so the template's does.
#[test]
fn the_app_of_the_template_is_that_of_the_readme() {
    let readme = blocks(&docs().join("../README.md"));
    let app = readme
        .iter()
        .find(|block| block.language.starts_with("rust"));
    assert_eq!(template("src/main.rs"), app.expect("it has an app").text);
    let file = |name: &str| {
        let mut found = readme
            .iter()
            .filter(|block| block.file.as_deref() == Some(name));
        found.next().expect("the README has it").text.clone()
    };
    assert!(template("moorline.toml").ends_with(&file("moorline.toml")));
    let dependency = file("Cargo.toml");
    assert!(template("Cargo.toml").contains(&dependency), "{dependency}");
}

/// Cargo generate puts a name in place of the braces; nothing else is to be filled in.
#[test]
fn the_template_asks_for_a_name_alone() {
    for name in [
        "Cargo.toml",
        "README.md",
        "moorline.toml",
        "src/main.rs",
        "tests/app.rs",
    ] {
        let text = template(name).replace("{{project-name}}", "chat");
        assert!(!text.contains("{{") || text.contains("format!"), "{name}");
    }
    let manifest = template("Cargo.toml").replace("{{project-name}}", "chat");
    assert!(manifest.contains("name = \"chat\"\n"));
}
