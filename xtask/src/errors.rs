//! `docs/reference/errors.md`: the errors that apps and users of the network library get, read from the source.

use std::fmt::Write as _;

use crate::sources::{Source, sources};
use crate::steps::Failure;

pub(crate) const PAGE: &str = "docs/reference/errors.md";

/// The folders of the public interfaces, and what they are.
const PARTS: &[(&str, &str)] = &[
    ("crates/worker/src/app", "Apps"),
    ("crates/moorline/src/testing", "Tests of apps"),
    ("crates/net/src", "The network library, `moorline::net`"),
];

const HEAD: &str = "\
# Errors

This page lists the errors that calls of `moorline` and `moorline::net` return, and their causes. `cargo xtask docs` reads them from the source,
and writes the page. The documentation of each call says which of them it returns.

Mistakes in a configuration come with file, line, column and a hint: `moorline check FILE` prints them. [Log lines](log-lines.md) has what is
logged.
";

/// An error and its causes.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    name: String,
    about: String,
    /// Each with its documentation.
    causes: Vec<(String, String)>,
}

/// The page.
pub(crate) fn page() -> Result<String, Failure> {
    let files = sources(&["rs"])?;
    let mut page = HEAD.to_owned();
    for (folder, title) in PARTS {
        let is_part = |file: &&Source| {
            let is_test = file
                .path
                .iter()
                .any(|part| part == "tests" || part == "tests.rs");
            file.path.starts_with(folder) && !is_test
        };
        let mut kinds: Vec<Kind> = files
            .iter()
            .filter(is_part)
            .flat_map(|file| kinds(&file.text))
            .collect();
        kinds.sort_by(|one, other| one.name.cmp(&other.name));
        // A string takes every write.
        let _ = write!(page, "\n## {title}\n");
        for kind in kinds {
            let _ = write!(
                page,
                "\n### `{}`\n\n{}\n\n| cause | when |\n| --- | --- |\n",
                kind.name, kind.about
            );
            for (cause, about) in kind.causes {
                let _ = writeln!(page, "| `{cause}` | {} |", about.replace('|', "\\|"));
            }
        }
    }
    Ok(page)
}

/// The public enums of a source whose names end with `Error` or `Cause`.
fn kinds(source: &str) -> Vec<Kind> {
    let mut found: Vec<Kind> = Vec::new();
    let mut docs = String::new();
    let mut is_inside = false;
    for line in source.lines() {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim_start();
        if let Some(words) = text.strip_prefix("///") {
            docs.push_str(words.trim_start());
            docs.push(' ');
            continue;
        }
        let name = text
            .strip_prefix("pub enum ")
            .and_then(|rest| rest.split([' ', '<']).next());
        if let Some(name) = name.filter(|name| name.ends_with("Error") || name.ends_with("Cause")) {
            found.push(Kind {
                name: name.to_owned(),
                about: plain(&docs),
                causes: Vec::new(),
            });
            is_inside = indent == 0;
        } else if is_inside && text == "}" && indent == 0 {
            is_inside = false;
        } else if is_inside && indent == 4 && text.starts_with(|c: char| c.is_ascii_uppercase()) {
            let end = text
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(text.len());
            if let Some(kind) = found.last_mut() {
                kind.causes.push((text[..end].to_owned(), plain(&docs)));
            }
        }
        if !text.starts_with("#[") {
            docs.clear();
        }
    }
    found
}

/// Documentation in which links in brackets, with or without a target, are only their texts.
fn plain(docs: &str) -> String {
    let mut kept = String::new();
    let mut rest = docs.trim();
    while let Some((before, link)) = rest.split_once('[') {
        kept += before;
        let Some((name, after)) = link.split_once(']') else {
            kept.push('[');
            rest = link;
            continue;
        };
        kept += name;
        rest = match after
            .strip_prefix('(')
            .and_then(|target| target.split_once(')'))
        {
            Some((_, after)) => after,
            None => after,
        };
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_with_its_causes() {
        let source = "\
/// Why [`send`](Session::send) failed.
#[derive(Debug)]
pub enum SendError {
    /// It has ended,
    /// or [never] was.
    Closed,
    Io(io::Error),
}

/// Another.
pub enum Shape { One }
";
        let expected = Kind {
            name: "SendError".to_owned(),
            about: "Why `send` failed.".to_owned(),
            causes: vec![
                (
                    "Closed".to_owned(),
                    "It has ended, or never was.".to_owned(),
                ),
                ("Io".to_owned(), String::new()),
            ],
        };
        assert_eq!(kinds(source), [expected]);
    }
}
