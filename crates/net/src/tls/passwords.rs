//! Files of passwords, one a line, also pipes that can be read only once.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::file_error::{FileError, unusable};

/// The largest file that is read, in bytes.
const MOST: usize = 64 * 1024;
/// How long the writer of a pipe may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The passwords of a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Passwords<'a> {
    None,
    /// Those in a file, which is read when they are needed.
    File(&'a Path),
    /// These.
    Known(&'a [Vec<u8>]),
}

impl<'a> From<Option<&'a Path>> for Passwords<'a> {
    fn from(file: Option<&'a Path>) -> Self {
        file.map_or(Self::None, Self::File)
    }
}

/// Which pipe it is: one that was made anew at the same path is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PipeId {
    inode: u64,
    /// Inodes are used again. `None`: the file system does not say.
    created: Option<SystemTime>,
}

impl PipeId {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            created: metadata.created().ok(),
        }
    }
}

/// What was read from pipes: a second reading would wait for ever.
static PIPES: Mutex<BTreeMap<PathBuf, (PipeId, Vec<u8>)>> = Mutex::new(BTreeMap::new());

/// The passwords in a file. Blocks on it; on a pipe at most 10 seconds, and once while it is the same pipe.
pub(super) fn read(path: &Path) -> Result<Vec<Vec<u8>>, FileError> {
    let wrong = |error: io::Error| FileError::of_system(path, &error);
    let metadata = std::fs::metadata(path).map_err(wrong)?;
    let bytes = match metadata.file_type().is_fifo() {
        true => {
            // Nothing panics while it is locked.
            let mut pipes = PIPES.lock().unwrap_or_else(PoisonError::into_inner);
            match pipes.get(path) {
                Some((known, bytes)) if *known == PipeId::of(&metadata) => bytes.clone(),
                _ => {
                    let bytes = read_pipe(path).map_err(wrong)?;
                    let id = PipeId::of(&metadata);
                    pipes.insert(path.to_owned(), (id, bytes.clone()));
                    bytes
                }
            }
        }
        false if metadata.is_file() => {
            let mut bytes = Vec::new();
            let file = File::open(path).map_err(wrong)?;
            file.take(MOST as u64 + 1)
                .read_to_end(&mut bytes)
                .map_err(wrong)?;
            if bytes.len() > MOST {
                return Err(unusable(path, "it is larger than 64 KiB"));
            }
            bytes
        }
        false => return Err(unusable(path, "it is neither a file nor a pipe")),
    };
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines = lines.filter(|line| !line.is_empty());
    Ok(lines.map(<[u8]>::to_vec).collect())
}

fn read_pipe(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    let flags = OFlags::NONBLOCK.bits() as i32;
    let mut file = options.read(true).custom_flags(flags).open(path)?;
    let ends = Instant::now() + PATIENCE;
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nobody has written to it within 10 s",
            ));
        }
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(&file, PollFlags::IN)];
        match poll(&mut ready, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        match file.read(&mut part) {
            // Its writer has come and gone.
            Ok(0) if !bytes.is_empty() => return Ok(bytes),
            // No writer has come so far.
            Ok(0) => std::thread::sleep(Duration::from_millis(10)),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if bytes.len() > MOST {
            return Err(io::Error::other("it is too large"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_refused_and_not_cut() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("passwords");
        std::fs::write(&path, vec![b'a'; MOST]).expect("it can be written");
        assert_eq!(read(&path).expect("it fits").len(), 1);
        std::fs::write(&path, vec![b'a'; MOST + 1]).expect("it can be written");
        let error = read(&path).expect_err("it is too large").to_string();
        assert!(error.contains("larger than 64 KiB"), "{error}");
    }

    #[test]
    fn a_pipe_is_read_once_and_one_made_anew_is_read_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("pipe");
        for word in ["one", "two"] {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a pipe");
            let writer = std::thread::spawn({
                let path = path.clone();
                move || std::fs::write(path, format!("{word}\n")).expect("it is read")
            });
            for _ in 0..2 {
                let read = read(&path).expect("it was written");
                assert_eq!(read, [word.as_bytes()]);
            }
            writer.join().expect("it has written");
            std::fs::remove_file(&path).expect("it is there");
        }
    }
}
