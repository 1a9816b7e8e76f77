//! The log in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::ZonedDateTime;

/// A file that lines are added to, with the time before each.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    /// Opens a file, or makes it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(opened(path)?),
        })
    }

    /// Opens the path again: a file that was moved away gets no more lines. Where it cannot be opened, the old file is kept.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let file = opened(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }

    /// Adds a line in one piece.
    pub(crate) fn write(&self, line: &[u8]) {
        let now = ZonedDateTime::now();
        let hundredths = now.subsec_nanosecond() / 10_000_000;
        let time = now.strftime("%d/%m/%y %H:%M:%S");
        let mut text = format!("{time}.{hundredths:02} ").into_bytes();
        text.extend_from_slice(line);
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk loses lines, and stops nobody.
        let _ = file.write_all(&text);
    }
}

fn opened(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot open the log {}: {error}", path.display()),
        )
    })
}
