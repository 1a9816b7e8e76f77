//! The files that an imported configuration includes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use moorline_import::Files;

use super::pattern;

/// Files of this machine.
pub(super) struct SystemFiles;

impl Files for SystemFiles {
    fn read(&mut self, path: &Path) -> io::Result<String> {
        fs::File::open(path).and_then(super::bounded)
    }

    fn matching(&mut self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::new()];
        for part in pattern.components() {
            let name = part.as_os_str().to_string_lossy();
            if !name.contains(['*', '?', '[']) {
                found = found.into_iter().map(|path| path.join(part)).collect();
                continue;
            }
            let mut next = Vec::new();
            for folder in found {
                next.extend(entries(&folder, &name)?);
            }
            found = next;
        }
        found.retain(|path| path.exists());
        found.sort();
        Ok(found)
    }
}

/// The files of a folder whose names match; a folder that is not there has none.
fn entries(folder: &Path, name: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if pattern::matches(name, &entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
