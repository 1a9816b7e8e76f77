//! The book: `docs/SUMMARY.md` lists every page, `docs/llms.txt` tells the same to machines, and `target/book` has it built.
//! Some pages are read from the sources.

use std::path::{Path, PathBuf};

use crate::sources::{Source, sources};
use crate::steps::{Failure, program, root};
use crate::{errors, log_lines};

const LIST: &str = "docs/SUMMARY.md";
/// Where the samples of pages become doc tests.
const DOC_TESTS: &str = "crates/moorline/src/lib.rs";
const FOR_MACHINES: &str = "docs/llms.txt";

/// One line of the list: a heading over entries, or an entry.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Heading(&'a str),
    Page { title: &'a str, path: &'a str },
}

/// Fails with each page that the list lacks or has twice, or whose samples are not compiled, and each written page that is not current.
pub(crate) fn is_complete() -> Result<(), Failure> {
    let pages = pages()?;
    let list = text_of(&pages, LIST)?;
    let listed: Vec<PathBuf> = lines(list)
        .filter_map(|line| match line {
            Line::Page { path, .. } => Some(Path::new("docs").join(path)),
            Line::Heading(_) => None,
        })
        .collect();
    let mut wrong = Vec::new();
    for page in &pages {
        let count = listed.iter().filter(|path| **path == page.path).count();
        if count != 1 && page.path != Path::new(LIST) {
            let path = page.path.display();
            wrong.push(format!("{LIST} has {path} {count} times: list it once"));
        }
    }
    let tested = std::fs::read_to_string(root().join(DOC_TESTS)).unwrap_or_default();
    for page in pages.iter().filter(|page| page.text.contains("```rust")) {
        let path = page.path.display();
        if !tested.contains(&format!("{path}\")]")) {
            wrong.push(format!(
                "{path} has samples in Rust that are not compiled: include it in {DOC_TESTS}"
            ));
        }
    }
    if wrong.is_empty() {
        for (path, text) in written(&pages)? {
            let kept = std::fs::read_to_string(root().join(path)).unwrap_or_default();
            if kept != text {
                wrong.push(format!(
                    "{path} is not current: write it with `cargo xtask docs`"
                ));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure(wrong.join("\n"))),
    }
}

/// What is read from the sources alone.
fn written(pages: &[Source]) -> Result<[(&'static str, String); 3], Failure> {
    Ok([
        (log_lines::PAGE, log_lines::page()?),
        (errors::PAGE, errors::page()?),
        (FOR_MACHINES, for_machines(pages)?),
    ])
}

/// Writes the references that are read from the sources, and `docs/llms.txt`.
pub(crate) fn write() -> Result<(), Failure> {
    for (path, text) in written(&pages()?)? {
        std::fs::write(root().join(path), text)
            .map_err(|error| Failure(format!("cannot write {path}: {error}")))?;
    }
    Ok(())
}

/// Writes the same, and builds the book into `target/book`, with the Markdown of each page beside it.
pub(crate) fn build() -> Result<(), Failure> {
    write()?;
    if !program("mdbook", ["--version"]).succeeds() {
        return Err(Failure(
            "mdbook is missing; install it with:\n  cargo install --locked mdbook".to_owned(),
        ));
    }
    program("mdbook", ["build", "docs"]).run()?;
    let book = root().join("target/book");
    for page in pages()? {
        let inside = page.path.strip_prefix("docs").unwrap_or(&page.path);
        let to = book.join(inside);
        std::fs::write(&to, &page.text)
            .map_err(|error| Failure(format!("cannot write {}: {error}", to.display())))?;
    }
    println!("the book is in {}", book.display());
    Ok(())
}

fn pages() -> Result<Vec<Source>, Failure> {
    let mut pages = sources(&["md"])?;
    pages.retain(|page| page.path.starts_with("docs"));
    Ok(pages)
}

fn text_of<'a>(pages: &'a [Source], path: &str) -> Result<&'a str, Failure> {
    let page = pages.iter().find(|page| page.path == Path::new(path));
    page.map(|page| page.text.as_str())
        .ok_or_else(|| Failure(format!("there is no {path}")))
}

fn lines(list: &str) -> impl Iterator<Item = Line<'_>> {
    list.lines().skip(1).filter_map(|line| {
        if let Some(heading) = line.strip_prefix("# ") {
            return Some(Line::Heading(heading));
        }
        let (title, rest) = line.split_once('[')?.1.split_once("](")?;
        let (path, _) = rest.split_once(')')?;
        Some(Line::Page { title, path })
    })
}

/// The list as <https://llmstxt.org> has it: each page with its first sentence.
fn for_machines(pages: &[Source]) -> Result<String, Failure> {
    let mut text =
        "# Moorline\n\n> A network engine whose connections outlive the code that serves them. \
        Rust, Linux. Each page is Markdown.\n"
            .to_owned();
    let mut is_first = true;
    for line in lines(text_of(pages, LIST)?) {
        match line {
            Line::Heading(heading) => text += &format!("\n## {heading}\n\n"),
            Line::Page { title, path } => {
                let begin = if is_first { "\n## Overview\n\n" } else { "" };
                let page = text_of(pages, &format!("docs/{path}"))?;
                text += &format!("{begin}- [{title}]({path}): {}\n", first_sentence(page));
            }
        }
        is_first = false;
    }
    Ok(text)
}

/// The first sentence of a page's first paragraph, without links.
fn first_sentence(page: &str) -> String {
    let is_prose =
        |line: &&str| line.starts_with(|c: char| c.is_alphanumeric() || "`*[".contains(c));
    let paragraph: Vec<&str> = page
        .lines()
        .skip_while(|line| !is_prose(line))
        .take_while(|line| !line.is_empty())
        .collect();
    let paragraph = without_targets(&paragraph.join(" "));
    let end = paragraph.find(". ").or(paragraph.find(": "));
    let sentence = &paragraph[..end.unwrap_or(paragraph.len())];
    sentence.trim_end_matches(['.', ':']).to_owned()
}

/// `[text](target)` becomes `text`.
fn without_targets(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        kept += before;
        let parts = link.split_once("](").and_then(|(name, after)| {
            let (_, after) = after.split_once(')')?;
            (name.matches('[').count() == name.matches(']').count()).then_some((name, after))
        });
        match parts {
            Some((name, after)) => {
                kept += name;
                rest = after;
            }
            None => {
                kept.push('[');
                rest = link;
            }
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_and_pages_are_read_from_the_list() {
        let list = "# Summary\n\n[Start](README.md)\n\n# Guide\n\n- [An app](guide/app.md)\n  - [More](m.md)\n";
        let page = |title, path| Line::Page { title, path };
        assert_eq!(
            lines(list).collect::<Vec<_>>(),
            [
                page("Start", "README.md"),
                Line::Heading("Guide"),
                page("An app", "guide/app.md"),
                page("More", "m.md")
            ]
        );
    }

    #[test]
    fn a_page_is_told_by_its_first_sentence() {
        let page = "# Title\n\n![picture](a.svg)\n\nOne [two](b.md) `three`\nfour. Five.\n\nSix.\n";
        assert_eq!(first_sentence(page), "One two `three` four");
        assert_eq!(first_sentence("# Title\n\nOne, two:\n\n```\n"), "One, two");
        assert_eq!(without_targets("a [`[b]`](c) d [e"), "a `[b]` d [e");
    }

    #[test]
    fn the_book_is_complete_and_told_to_machines() {
        if let Err(Failure(found)) = is_complete() {
            panic!("{found}");
        }
    }
}
