//! A process that leaves its terminal, and the file with its number.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::{fs, process};

/// The number of a process, in a file that it has locked. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// A process that comes later cannot lock it while this one lives.
    _locked: File,
}

impl PidFile {
    /// Moves the process to the background, and writes its number. The working directory stays, standard input and output become
    /// `/dev/null`. Call it before the first thread starts: no other thread goes along.
    ///
    /// # Errors
    /// The file cannot be written, another process has locked it, there are threads, or the system makes no process.
    pub(crate) fn leave_terminal(path: &Path) -> io::Result<Self> {
        let told = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("daemon = {}: {error}", path.display()),
            )
        };
        let mut file = open(path).map_err(told)?;
        // The child has it from here on; the lock belongs to the open file, not to a process.
        if threads()? > 1 {
            return Err(told(io::Error::other("threads run already")));
        }
        nix::unistd::daemon(true, false).map_err(|error| told(error.into()))?;
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", process::id())?;
        Ok(Self {
            path: path.to_owned(),
            _locked: file,
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Whether it is there or not: the next start does not read it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens the file and locks it.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let mut number = String::new();
            let _ = file.read_to_string(&mut number);
            let number = number.trim();
            let why = format!("it is already running, as process {number}");
            Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}
