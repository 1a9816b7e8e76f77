//! No test is ignored: one that may not run is not there.

use crate::needs::is_root;
use crate::sources::sources;
use crate::steps::Failure;

/// Fails with every place in the sources that keeps a test or an example in the docs from running.
pub(crate) fn none_is_ignored() -> Result<(), Failure> {
    let files = sources(&["rs"])?;
    let (mut places, mut for_root) = (Vec::new(), Vec::new());
    for file in &files {
        let (name, text) = (file.path.display(), &file.text);
        places.extend(ignored_lines(text).map(|(line, text)| format!("{name}:{line}: {text}")));
        for_root.extend(tests_for_root(text).map(|test| format!("{name}: {test}")));
    }
    if places.is_empty() {
        println!("{} files, no ignored test", files.len());
        if !is_root() {
            println!(
                "not root: these tests are left out\n{}",
                for_root.join("\n")
            );
        }
        return Ok(());
    }
    Err(Failure(format!("ignored tests:\n{}", places.join("\n"))))
}

/// A filter of nextest's that leaves out what fails without root; `None` as root.
pub(crate) fn filter() -> Result<Option<String>, Failure> {
    if is_root() {
        return Ok(None);
    }
    let files = sources(&["rs"])?;
    let tests = files.iter().flat_map(|file| tests_for_root(&file.text));
    let names: Vec<_> = tests.map(|test| format!("test(/(^|::){test}$/)")).collect();
    Ok((!names.is_empty()).then(|| format!("not ({})", names.join(" | "))))
}

/// The tests that need root: they say so, or use networks of their own or a machine.
fn tests_for_root(text: &str) -> impl Iterator<Item = &str> {
    const SIGNS: [&str; 3] = [
        "    require_root(",
        "    let networks = Networks::new()",
        "    let machine = Machine::boot()",
    ];
    let (mut test, mut is_test) = ("", false);
    text.lines().filter_map(move |line| {
        if line.contains("#[test]") || line.contains("#[tokio::test]") {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").or(line.strip_prefix("async fn ")) {
            test = if std::mem::take(&mut is_test) {
                rest.split('(').next().unwrap_or(rest)
            } else {
                ""
            };
        }
        let needs_root = !test.is_empty() && SIGNS.iter().any(|sign| line.starts_with(sign));
        needs_root.then_some(test)
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
        let text = "#[test]\nfn one() {\n}\n#[test]\nfn two() {\n    require_root(\"so\");\n}\nfn three() {\n    require_root(\"so\");\n";
        assert_eq!(tests_for_root(text).collect::<Vec<_>>(), ["two"]);
    }
}
