//! Type names: one that stands for two things in one crate makes a reader look twice.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use crate::sources::sources;
use crate::steps::Failure;

/// Names that stand for two things in one crate, by its folder, and why they may.
const ALLOWED: &[(&str, &[&str], &str)] = &[
    (
        "crates/net",
        &[
            "Client",
            "ClientOptions",
            "DatagramClient",
            "FileFailure",
            "Link",
            "Pool",
            "SendError",
            "Stream",
        ],
        "`blocking` has the same without a runtime",
    ),
    (
        "crates/net",
        &["Lent", "Pooled", "TlsConnector"],
        "the build without the feature has a type without values in its place",
    ),
];

/// Fails with each name that two types of a crate have.
pub(crate) fn have_names_of_their_own() -> Result<(), Failure> {
    let files = sources(&["rs"])?;
    let mut places: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for file in &files {
        let Some(of) = crate_of(&file.path) else {
            continue;
        };
        for (line, name) in types(&file.text) {
            let place = format!("{}:{line}", file.path.display());
            let name = (of.clone(), name.to_owned());
            places.entry(name).or_default().push(place);
        }
    }
    places.retain(|_, places| places.len() > 1);
    let mut wrong = Vec::new();
    for ((of, name), places) in &places {
        if !allowed().any(|allowed| allowed == (of, name)) {
            wrong.push(format!("{name}: {}", places.join(", ")));
        }
    }
    for (of, name) in allowed() {
        if !places.contains_key(&(of.to_owned(), name.to_owned())) {
            wrong.push(format!("{name}: {of} has it once, remove the exception"));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure(format!(
            "names of two types in one crate, say of what each is:\n{}",
            wrong.join("\n")
        ))),
    }
}

fn allowed() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALLOWED
        .iter()
        .flat_map(|(of, names, _)| names.iter().map(|name| (*of, *name)))
}

/// The folder of the crate that a file is part of; `None` for tests, and for examples, which are crates of one file. A
/// program in `src/bin` is a crate of its own.
fn crate_of(path: &Path) -> Option<String> {
    let parts: Vec<&str> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    let src = parts.iter().position(|part| *part == "src")?;
    let (folder, inside) = (parts[..src].join("/"), &parts[src + 1..]);
    match inside {
        ["bin", program, ..] => {
            let program = program.strip_suffix(".rs").unwrap_or(program);
            Some(format!("{folder}/{program}"))
        }
        inside
            if inside
                .iter()
                .any(|part| matches!(*part, "tests" | "tests.rs")) =>
        {
            None
        }
        _ => Some(folder),
    }
}

/// The types that are items of a file, with their lines from 1. Those of functions and of modules in braces are left out.
fn types(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, type_name(line)?)))
}

fn type_name(line: &str) -> Option<&str> {
    let declared = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => line,
    };
    let declared = declared.strip_prefix("unsafe ").unwrap_or(declared);
    let (kind, rest) = declared.split_once(' ')?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    let name = &rest[..end.unwrap_or(rest.len())];
    let is_type = matches!(kind, "struct" | "enum" | "union" | "trait" | "type");
    (is_type && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_where_they_are_items() {
        let text = [
            "pub struct One<T> {",
            "enum Two {",
            "pub(in crate::a) trait Three: Send {",
            "pub(crate) type Four<T> = Vec<T>;",
            "pub unsafe trait Five {}",
            "struct Six(u8);",
            "    struct Inner;",
            "impl One<u8> {",
            "// struct Seven",
            "pub fn structure() {}",
        ]
        .join("\n");
        let names: Vec<_> = types(&text).map(|(_, name)| name).collect();
        assert_eq!(names, ["One", "Two", "Three", "Four", "Five", "Six"]);
    }

    #[test]
    fn a_file_is_part_of_the_crate_whose_sources_hold_it() {
        let of = |path: &str| crate_of(Path::new(path));
        assert_eq!(of("crates/net/src/dial/race.rs"), Some("crates/net".into()));
        assert_eq!(of("xtask/src/bench.rs"), Some("xtask".into()));
        assert_eq!(
            of("tests/src/bin/chaos/plan.rs"),
            Some("tests/chaos".into())
        );
        assert_eq!(of("tests/src/bin/echo.rs"), Some("tests/echo".into()));
        assert_eq!(of("crates/net/src/dial/race/tests.rs"), None);
        assert_eq!(of("crates/net/src/resolve/tests/cache.rs"), None);
        assert_eq!(of("crates/net/tests/pool.rs"), None);
        assert_eq!(of("examples/echo.rs"), None);
    }
}
