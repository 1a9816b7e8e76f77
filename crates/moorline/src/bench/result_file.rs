//! A file that results go into at the end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::BenchError;

/// A file that is there only once it is whole. Dropping it leaves what was there before.
#[derive(Debug)]
pub(super) struct ResultFile {
    path: PathBuf,
    /// Beside it, until it is whole.
    part: PathBuf,
    file: File,
}

impl ResultFile {
    /// Fails if the file cannot be written later, since its folder is missing or may not be written to.
    pub(super) fn begin(path: &Path) -> Result<Self, BenchError> {
        let mut part = OsString::from(path);
        part.push(".part");
        let part = PathBuf::from(part);
        let failed = |cause| BenchError::Write {
            file: path.to_owned(),
            cause,
        };
        if path.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        let file = File::create(&part).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            part,
            file,
        })
    }

    pub(super) fn write(mut self, text: &str) -> Result<(), BenchError> {
        let written = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| fs::rename(&self.part, &self.path));
        written.map_err(|cause| BenchError::Write {
            file: self.path.clone(),
            cause,
        })
    }
}

impl Drop for ResultFile {
    fn drop(&mut self) {
        // After the rename it is not there.
        let _ = fs::remove_file(&self.part);
    }
}
