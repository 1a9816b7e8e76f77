//! The files that an imported configuration includes.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use moorline_import::Files;
use rustix::fs::OFlags;

use super::pattern;

/// Files of this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct SystemFiles {
    /// They were read before, by an engine that serves now, and must not be waited for.
    is_again: bool,
}

impl SystemFiles {
    /// They are read for the first time. A pipe is read to its end, however long that takes.
    pub(super) const FIRST: Self = Self { is_again: false };
    /// They are read again.
    pub(super) const AGAIN: Self = Self { is_again: true };

    /// Opens a file.
    pub(super) fn open(self, path: &Path) -> io::Result<fs::File> {
        if !self.is_again {
            return fs::File::open(path);
        }
        // To open a pipe would wait for its writer.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = fs::File::options()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        let kind = file.metadata()?.file_type();
        match kind.is_file() {
            true => Ok(file),
            false if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            false => Err(io::Error::other(
                "it is a pipe, which can be read only once: restart the engine to read it again",
            )),
        }
    }
}

impl Files for SystemFiles {
    fn read(&mut self, path: &Path) -> io::Result<String> {
        self.open(path).and_then(super::bounded)
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
