//! The pages: the references are written from tables, links and paths lead somewhere, and the README is short.

use std::path::{Component, Path, PathBuf};

use crate::sources::{Source, sources};
use crate::steps::{Failure, cargo};

/// The most bytes of the README.
const README_BYTES: usize = 8 * 1024;

/// Writes `docs/reference/configuration.md`, `docs/reference/metrics.md`, `docs/reference/command-line.md` and, with what a script finds in the program,
/// `docs/reference/lua.md`.
pub(crate) fn write() -> Result<(), Failure> {
    cargo("run --quiet --package moorline-config --example reference --locked").run()?;
    cargo("test --quiet --package moorline-admin --locked --test page")
        .env("MOORLINE_WRITE_PAGES", "1")
        .run()?;
    cargo("test --quiet --package moorline --lib --locked cli::pages")
        .env("MOORLINE_WRITE_PAGES", "1")
        .run()?;
    cargo("build --quiet --package moorline --bins --locked").run()?;
    cargo("test --quiet --package moorline-tests --test services --locked coverage::")
        .env("MOORLINE_WRITE_PAGES", "1")
        .run()
}

/// Fails with every link of a page that leads to no file, or to no heading of a page.
fn links_lead_somewhere() -> Result<(), Failure> {
    let pages = sources(&["md"])?;
    let mut broken = Vec::new();
    let mut count = 0;
    for page in &pages {
        for link in links(&page.text) {
            count += 1;
            if let Some(problem) = problem(page, link, &pages) {
                broken.push(format!("{}: {link}: {problem}", page.path.display()));
            }
        }
    }
    if broken.is_empty() {
        println!("{} pages, {count} links within the repository", pages.len());
        return Ok(());
    }
    Err(Failure(format!("broken links:\n{}", broken.join("\n"))))
}

/// Fails with every path in backticks, on a page or in a comment, that is not in the repository; and with every page that
/// names something in a file (`` `NAME` in `path` ``) that the file does not contain.
fn paths_exist() -> Result<(), Failure> {
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in sources(&["md", "rs"])? {
        let is_page = file.path.extension().is_some_and(|ending| ending == "md");
        let lines = file.text.lines();
        for line in lines.filter(|line| is_page || line.trim_start().starts_with("//")) {
            for (name, path) in paths(line) {
                count += 1;
                let Some(at) = found(path, &file.path) else {
                    wrong.push(format!("{}: there is no {path}", file.path.display()));
                    continue;
                };
                if let Some(name) = name
                    && std::fs::read_to_string(&at).is_ok_and(|text| !text.contains(name))
                {
                    wrong.push(format!("{}: no {name} in {path}", file.path.display()));
                }
            }
        }
    }
    match wrong.is_empty() {
        true => {
            println!("{count} paths");
            Ok(())
        }
        false => Err(Failure(wrong.join("\n"))),
    }
}

/// The file or folder that a path in this source means. A comment may name a file by its path in the crate.
fn found(path: &str, source: &Path) -> Option<PathBuf> {
    let root = crate::steps::root();
    let in_crate: PathBuf = source.iter().take(2).collect();
    [root.join(path), root.join(in_crate).join(path)]
        .into_iter()
        .find(|at| at.exists())
}

/// The folders at the root. A path in backticks that begins with one of them is a path in the repository.
const FOLDERS: &[&str] = &[
    ".ci",
    ".config",
    "benches",
    "contrib",
    "crates",
    "docs",
    "examples",
    "fuzz",
    "templates",
    "tests",
    "xtask",
];

/// The paths of a line, each with the name that is said to be in the file.
fn paths(line: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let pieces: Vec<&str> = line.split('`').collect();
    let quoted = (1..pieces.len()).step_by(2);
    let found: Vec<(Option<&str>, &str)> = quoted
        .filter_map(|at| {
            let (first, rest) = pieces[at].split_once('/')?;
            // A part in capitals stands for a name: `fuzz/corpus/TARGET`.
            let is_pattern = rest.split('/').any(|part| {
                !part.is_empty() && part.bytes().all(|letter| letter.is_ascii_uppercase())
            });
            if !FOLDERS.contains(&first) || is_pattern || pieces[at].contains([' ', '*', '…']) {
                return None;
            }
            let name = (at >= 3 && pieces[at - 1] == " in ").then(|| pieces[at - 2]);
            Some((name, pieces[at]))
        })
        .collect();
    found.into_iter()
}

/// Fails if the README is longer than one page of a browser.
fn readme_is_short() -> Result<(), Failure> {
    let path = crate::steps::root().join("README.md");
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure(format!("cannot read README.md: {error}")))?;
    match text.len() < README_BYTES {
        true => Ok(()),
        false => Err(Failure(format!(
            "README.md has {} bytes, and less than {README_BYTES} are allowed: move something to docs/",
            text.len()
        ))),
    }
}

/// The pages as a whole.
pub(crate) fn are_right() -> Result<(), Failure> {
    links_lead_somewhere()?;
    paths_exist()?;
    readme_is_short()
}

fn problem(page: &Source, link: &str, pages: &[Source]) -> Option<String> {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => page.path.clone(),
        _ => resolved(page.path.parent()?, file),
    };
    if !crate::steps::root().join(&target).exists() {
        return Some(format!("there is no {}", target.display()));
    }
    if heading.is_empty() {
        return None;
    }
    let target = pages.iter().find(|page| page.path == target)?;
    let found = headings(&target.text).any(|known| known == heading);
    (!found).then(|| format!("{} has no such heading", target.path.display()))
}

/// A relative path from a folder, without `..`.
fn resolved(folder: &Path, relative: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for component in Path::new(relative).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            other => path.push(other),
        }
    }
    path
}

/// The targets of a page's links that are not addresses of the web. Code is passed over.
fn links(text: &str) -> Vec<&str> {
    let prose = lines_of_prose(text);
    let targets = prose.flat_map(|line| {
        line.split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
    });
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let headings = lines_of_prose(text).filter_map(|line| line.strip_prefix('#'));
    headings.map(|heading| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

fn lines_of_prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_headings_are_read_from_prose_alone() {
        let text =
            "# One `two` three\n[a](b.md#c) and [d](https://e)\n```sh\n# no heading\n[f](g)\n```\n";
        assert_eq!(links(text), ["b.md#c"]);
        assert_eq!(headings(text).collect::<Vec<_>>(), ["one-two-three"]);
    }

    #[test]
    fn paths_in_backticks_are_found_with_the_name_that_is_said_to_be_there() {
        let line = "Change `GREETING` in `examples/chat/app.rs` or `/tmp/a`, `tcp://x`, `fuzz/corpus/TARGET`, `docs/`.";
        assert_eq!(
            paths(line).collect::<Vec<_>>(),
            [(Some("GREETING"), "examples/chat/app.rs"), (None, "docs/")]
        );
    }

    #[test]
    fn links_and_paths_lead_somewhere_and_the_readme_is_short() {
        if let Err(Failure(found)) = are_right() {
            panic!("{found}");
        }
    }

    #[test]
    fn a_relative_path_starts_at_its_page() {
        assert_eq!(
            resolved(Path::new("docs/guide"), "../../a.rs"),
            Path::new("a.rs")
        );
    }
}
