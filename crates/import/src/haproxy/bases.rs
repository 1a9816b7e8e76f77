//! Where relative paths begin.

use std::path::{Path, PathBuf};

use super::lines::{Line, Section};

/// `crt-base` and `ca-base` of `global`, and the folder of the file.
#[derive(Debug)]
pub(super) struct Bases {
    folder: PathBuf,
    certificates: PathBuf,
    issuers: PathBuf,
}

impl Bases {
    pub(super) fn new(folder: &Path, sections: &[Section]) -> Self {
        let global = sections.iter().filter(|it| it.kind() == "global");
        let lines: Vec<&Line> = global.flat_map(|it| &it.lines).collect();
        let base = |name: &str| {
            let line = lines.iter().rev().find(|it| it.word(0) == name);
            line.map_or_else(|| folder.to_owned(), |it| folder.join(it.word(1)))
        };
        Self {
            folder: folder.to_owned(),
            certificates: base("crt-base"),
            issuers: base("ca-base"),
        }
    }

    /// Of lists of patterns.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A certificate with its key.
    pub(super) fn certificate(&self, text: &str) -> String {
        self.certificates.join(text).to_string_lossy().into_owned()
    }

    /// The issuers of certificates, or a list of revoked ones.
    pub(super) fn issuers(&self, text: &str) -> String {
        self.issuers.join(text).to_string_lossy().into_owned()
    }
}
