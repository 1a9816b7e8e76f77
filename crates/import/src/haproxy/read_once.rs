//! Files that several frontends name: each is read once, as it may be a pipe.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::Files;

/// Files whose texts are kept.
pub(super) struct ReadOnce<'a> {
    files: &'a mut dyn Files,
    texts: BTreeMap<PathBuf, String>,
}

impl<'a> ReadOnce<'a> {
    pub(super) fn new(files: &'a mut dyn Files) -> Self {
        Self {
            files,
            texts: BTreeMap::new(),
        }
    }
}

impl Files for ReadOnce<'_> {
    fn read(&mut self, path: &Path) -> io::Result<String> {
        if let Some(text) = self.texts.get(path) {
            return Ok(text.clone());
        }
        let text = self.files.read(path)?;
        self.texts.insert(path.to_owned(), text.clone());
        Ok(text)
    }

    fn matching(&mut self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        self.files.matching(pattern)
    }
}
