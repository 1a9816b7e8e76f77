//! The blocks of code of a page.

use std::fs;
use std::path::{Path, PathBuf};

/// A block, without the first line if that only names its file.
#[derive(Debug)]
pub(crate) struct Block {
    /// The language behind the fence.
    pub(crate) language: String,
    /// The file that the first line names, as in `# moorline.toml`.
    pub(crate) file: Option<String>,
    pub(crate) text: String,
}

pub(crate) fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// All pages of the book and the README.
pub(crate) fn pages() -> Vec<PathBuf> {
    fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder)
            .expect("a folder can be read")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, pages);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path);
            }
        }
    }
    let mut pages = vec![docs().join("../README.md")];
    collect(&docs(), &mut pages);
    pages.sort();
    pages
}

/// The blocks of a page.
pub(crate) fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{page:?}: {error}"));
    let mut found: Vec<Block> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), is_open) {
            (Some(language), false) => {
                is_open = true;
                found.push(Block {
                    language: language.to_owned(),
                    file: None,
                    text: String::new(),
                });
            }
            (Some(_), true) => is_open = false,
            (None, true) => {
                let block = found.last_mut().expect("it has begun");
                match named(line) {
                    Some(file) if block.text.is_empty() && block.file.is_none() => {
                        block.file = Some(file.to_owned());
                    }
                    _ => {
                        block.text += line;
                        block.text.push('\n');
                    }
                }
            }
            (None, false) => {}
        }
    }
    found
}

/// The file that a comment names, if it says nothing else.
fn named(line: &str) -> Option<&str> {
    let name = line
        .strip_prefix("# ")
        .or(line.strip_prefix("-- "))
        .or(line.strip_prefix("// "))?;
    let is_file = name.contains('.') && !name.contains(' ') && !name.ends_with('.');
    is_file.then_some(name)
}

/// The text of the only block of a page that names this file.
pub(crate) fn file(page: &str, name: &str) -> String {
    let blocks = blocks(&docs().join(page));
    let mut found = blocks
        .into_iter()
        .filter(|block| block.file.as_deref() == Some(name));
    let text = found
        .next()
        .unwrap_or_else(|| panic!("{page} has no {name}"))
        .text;
    assert!(found.next().is_none(), "{page} has {name} twice");
    text
}
