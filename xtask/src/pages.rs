//! The pages: the configuration reference is written from its table, and links lead somewhere.

use std::path::{Component, Path, PathBuf};

use crate::sources::{Source, sources};
use crate::steps::{Failure, cargo};

/// Writes `docs/reference/configuration.md`.
pub(crate) fn write() -> Result<(), Failure> {
    cargo("run --quiet --package moorline-config --example reference --locked").run()
}

/// Fails with every link of a page that leads to no file, or to no heading of a page.
pub(crate) fn links_lead_somewhere() -> Result<(), Failure> {
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
    fn a_relative_path_starts_at_its_page() {
        assert_eq!(
            resolved(Path::new("docs/guide"), "../../a.rs"),
            Path::new("a.rs")
        );
    }
}
