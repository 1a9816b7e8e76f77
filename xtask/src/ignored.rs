//! No test is ignored: one that may not run is not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::needs::is_root;
use crate::steps::{Failure, root};

/// Fails with every place in the sources that keeps a test or an example in the docs from running.
pub(crate) fn none_is_ignored() -> Result<(), Failure> {
    let mut files = Vec::new();
    collect(root(), &mut files)
        .map_err(|error| Failure(format!("cannot list the sources: {error}")))?;
    let (mut places, mut for_root) = (Vec::new(), Vec::new());
    for file in &files {
        let text = fs::read_to_string(file)
            .map_err(|error| Failure(format!("cannot read {}: {error}", file.display())))?;
        let name = file.strip_prefix(root()).unwrap_or(file).display();
        places.extend(ignored_lines(&text).map(|(line, text)| format!("{name}:{line}: {text}")));
        if file.starts_with(root().join("tests")) {
            for_root.extend(tests_for_root(&text).map(|test| format!("{name}: {test}")));
        }
    }
    if places.is_empty() {
        println!("{} files, no ignored test", files.len());
        if !is_root() {
            let tests = for_root.join("\n");
            println!("nobody is root: these see less, or nothing\n{tests}");
        }
        return Ok(());
    }
    Err(Failure(format!("ignored tests:\n{}", places.join("\n"))))
}

/// Every Rust file of the project.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                collect(&entry.path(), files)?;
            }
        } else if name.as_encoded_bytes().ends_with(b".rs") {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The tests that ask whether they are root's.
fn tests_for_root(text: &str) -> impl Iterator<Item = &str> {
    let mut test = "";
    text.lines().filter_map(move |line| {
        if let Some(rest) = line.strip_prefix("fn ") {
            test = rest.split('(').next().unwrap_or(rest);
        }
        line.contains("geteuid().is_root()").then_some(test)
    })
}

/// The lines with an attribute or a code fence in the docs that says `ignore`, by number from 1.
fn ignored_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| {
        let attribute = line.starts_with("#[") || line.starts_with("#![");
        let fence =
            line.trim_start_matches(['/', '!', ' ']).starts_with("```") && line.starts_with("//");
        (attribute || fence)
            && line
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "ignore")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_fences_are_found_and_words_are_not() {
        let text = [
            "#[test]",
            "#[ignore = \"slow\"]",
            "    #[cfg_attr(loom, ignore)]",
            "#[serde(ignore_case)]",
            "/// ```ignore",
            "//! ```text",
            "// ignore this",
        ]
        .join("\n");
        let lines: Vec<usize> = ignored_lines(&text).map(|(line, _)| line).collect();
        assert_eq!(lines, [2, 3, 5]);
    }

    #[test]
    fn tests_that_ask_for_root_are_named() {
        let text = "fn one() {\n}\nfn two() {\n    if !nix::unistd::geteuid().is_root() {\n";
        assert_eq!(tests_for_root(text).collect::<Vec<_>>(), ["two"]);
    }
}
