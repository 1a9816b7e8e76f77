//! The files that an import reads, given by its caller.

use std::io;
use std::path::{Path, PathBuf};

/// Reads the files that a configuration includes.
pub trait Files {
    /// The whole text of a file. Each file is read once, as it may be a pipe.
    ///
    /// # Errors
    /// It cannot be read, or is not UTF-8.
    fn read(&mut self, path: &Path) -> io::Result<String>;

    /// The files whose paths match a pattern with `*`, `?` and `[…]`, in order of their names. None is no error.
    ///
    /// # Errors
    /// A folder cannot be read.
    fn matching(&mut self, pattern: &Path) -> io::Result<Vec<PathBuf>>;
}
