//! The files of the project.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::steps::{Failure, root};

/// A text file of the project.
pub(crate) struct Source {
    /// Its path from the root.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) text: String,
}

/// The hidden folders that are the project's own.
const HIDDEN: &[&str] = &[".cargo", ".ci", ".config"];

/// Every file of the project whose name ends with one of these extensions, in order of their paths. A file without a dot
/// in its name counts as its own extension. Folders that are built or installed, and hidden ones of others, are left out.
pub(crate) fn sources(extensions: &[&str]) -> Result<Vec<Source>, Failure> {
    let mut paths = Vec::new();
    collect(root(), extensions, &mut paths)
        .map_err(|error| Failure(format!("cannot list the sources: {error}")))?;
    paths.sort();
    let read = |path: PathBuf| match fs::read_to_string(&path) {
        Ok(text) => Ok(Source {
            path: path
                .strip_prefix(root())
                .map(Path::to_owned)
                .unwrap_or(path),
            text,
        }),
        Err(error) => Err(Failure(format!("cannot read {}: {error}", path.display()))),
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, extensions: &[&str], paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            let is_ours = HIDDEN.iter().any(|folder| name == *folder);
            let is_made = name == "target" || name == "node_modules";
            if !is_made && (is_ours || !is_hidden) {
                collect(&path, extensions, paths)?;
            }
        } else if path
            .extension()
            .or(path.file_name())
            .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
        {
            paths.push(path);
        }
    }
    Ok(())
}
