//! The run folder: the lock that shows that the engine runs, and the control socket.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use moorline_protocol::run_dir::socket_path;

use super::ServeError;

/// The run folder, locked for as long as this lives. Dropping it removes the lock and the control socket.
pub(super) struct RunDir {
    /// A second folder, for commands that have another `$XDG_RUNTIME_DIR`: a link there leads to the control socket.
    /// Dropped first.
    common: Option<Folder>,
    folder: Folder,
    warning: Option<String>,
}

impl RunDir {
    /// Makes the folder if it does not exist, and takes its lock, and that of the common folder if there is one. Files
    /// of a dead engine are replaced. Without the common folder the engine is still found by its own.
    pub(super) fn claim(path: &Path, common: Option<&Path>) -> Result<Self, ServeError> {
        let folder = Folder::claim(path)?;
        let (common, warning) = match common.map(Folder::claim).transpose() {
            Ok(common) => (common, None),
            Err(error @ ServeError::AlreadyRunning { .. }) => return Err(error),
            Err(error) => {
                let warning = format!(
                    "commands find this engine only with the same XDG_RUNTIME_DIR: {error}"
                );
                (None, Some(warning))
            }
        };
        Ok(Self {
            common,
            folder,
            warning,
        })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.folder.path
    }

    /// A warning, logged once there is a log.
    pub(super) fn warning(&self) -> Option<&String> {
        self.warning.as_ref()
    }

    /// Binds the control socket, in place of one that a dead engine left.
    pub(super) fn bind(&self) -> io::Result<UnixListener> {
        let path = self.folder.free_socket_path()?;
        let socket = UnixListener::bind(&path)?;
        // Until here the folder's own permissions keep other users out.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        socket.set_nonblocking(true)?;
        if let Some(common) = &self.common {
            symlink(&path, common.free_socket_path()?)?;
        }
        Ok(socket)
    }
}

/// A folder that no other engine has.
struct Folder {
    path: PathBuf,
    /// Whether this process made it, and so removes it.
    is_made: bool,
    /// Locked; the kernel unlocks it however this process ends.
    _lock: File,
    /// The folder itself, locked so that systemd-tmpfiles does not remove its old files from `/tmp`.
    _kept: Option<File>,
}

impl Folder {
    fn claim(path: &Path) -> Result<Self, ServeError> {
        let wrong = |reason: String| ServeError::RunDir {
            run_dir: path.to_owned(),
            reason,
        };
        let is_made = make(path).map_err(|error| wrong(format!("cannot be made: {error}")))?;
        check(path).map_err(wrong)?;
        let lock_path = path.join("lock");
        let lock = lock(&lock_path).map_err(|error| wrong(format!("cannot be locked: {error}")))?;
        match lock {
            Some(mut lock) => {
                writeln!(lock, "{}", std::process::id())
                    .map_err(|error| wrong(format!("cannot write the lock file: {error}")))?;
                Ok(Self {
                    path: path.to_owned(),
                    is_made,
                    _lock: lock,
                    _kept: keep(path),
                })
            }
            None => {
                let pid = fs::read_to_string(lock_path)
                    .ok()
                    .and_then(|text| text.trim().parse().ok());
                Err(ServeError::AlreadyRunning {
                    pid,
                    run_dir: path.to_owned(),
                })
            }
        }
    }

    /// The path of the control socket, with nothing there now.
    fn free_socket_path(&self) -> io::Result<PathBuf> {
        let path = socket_path(&self.path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(path),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The lock last: while it is there, no other engine puts anything here. The next start replaces files that cannot be
        // removed.
        let _ = fs::remove_file(socket_path(&self.path));
        let _ = fs::remove_file(self.path.join("lock"));
        if self.is_made {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Tells systemd-tmpfiles that a folder is in use (tmpfiles.d(5), "Age"). Not every file system can express that.
fn keep(path: &Path) -> Option<File> {
    let folder = File::open(path).ok()?;
    flock(&folder, FlockOperation::NonBlockingLockShared).ok()?;
    Some(folder)
}

/// True if it did not exist.
fn make(path: &Path) -> io::Result<bool> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// A user who can write here can stop the engine or pretend to be it.
fn check(path: &Path) -> Result<(), String> {
    let found = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !found.is_dir() {
        return Err("is not a folder; name another one".to_owned());
    }
    if found.uid() != geteuid().as_raw() {
        return Err(format!(
            "belongs to user {}, not to us; name another folder",
            found.uid()
        ));
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!(
            "others have access to it (mode {:o}); `chmod 700 {}` makes it ours",
            found.mode() & 0o777,
            path.display()
        ));
    }
    Ok(())
}

/// `None`: another process has it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // An engine that ended between open and lock has removed the file that we have locked.
        let is_same = |found: fs::Metadata, ours: fs::Metadata| {
            (found.dev(), found.ino()) == (ours.dev(), ours.ino())
        };
        if fs::metadata(path)
            .is_ok_and(|found| file.metadata().is_ok_and(|ours| is_same(found, ours)))
        {
            let mut old = String::new();
            if file.read_to_string(&mut old).is_ok() && !old.is_empty() {
                tracing::info!("replacing what process {} left", old.trim());
            }
            file.set_len(0)?;
            io::Seek::rewind(&mut file)?;
            return Ok(Some(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_engine_learns_which_process_has_the_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let first = RunDir::claim(&path, None).unwrap();
        match RunDir::claim(&path, None) {
            Err(ServeError::AlreadyRunning { pid, .. }) => {
                assert_eq!(pid, Some(std::process::id()))
            }
            _ => panic!("the folder was given away twice"),
        }
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_engine_is_found_by_the_common_folder() {
        let parent = tempfile::tempdir().unwrap();
        let (one, other) = (parent.path().join("one"), parent.path().join("other"));
        let common = parent.path().join("common");
        let first = RunDir::claim(&one, Some(&common)).unwrap();
        first.bind().unwrap();
        assert_eq!(
            fs::canonicalize(socket_path(&common)).unwrap(),
            socket_path(&one)
        );
        for (path, common) in [(&other, Some(&*common)), (&common, None)] {
            match RunDir::claim(path, common) {
                Err(ServeError::AlreadyRunning { pid, .. }) => {
                    assert_eq!(pid, Some(std::process::id()))
                }
                _ => panic!("the engine runs twice"),
            }
        }
        drop(first);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn folders_in_use_are_locked_so_that_they_are_not_removed_for_their_age() {
        let parent = tempfile::tempdir().unwrap();
        let (path, common) = (parent.path().join("run"), parent.path().join("common"));
        let run_dir = RunDir::claim(&path, Some(&common)).unwrap();
        for folder in [&path, &common] {
            // As systemd-tmpfiles expects it.
            let folder = File::open(folder).unwrap();
            let locked = flock(&folder, FlockOperation::NonBlockingLockExclusive);
            assert_eq!(locked, Err(rustix::io::Errno::WOULDBLOCK));
        }
        drop(run_dir);
    }

    #[test]
    fn without_a_common_folder_the_engine_runs_with_a_warning() {
        let parent = tempfile::tempdir().unwrap();
        let (path, common) = (parent.path().join("run"), parent.path().join("common"));
        fs::write(&common, "a file").unwrap();
        let run_dir = RunDir::claim(&path, Some(&common)).unwrap();
        assert!(run_dir.warning().unwrap().contains("XDG_RUNTIME_DIR"));
        run_dir.bind().unwrap();
    }

    #[test]
    fn the_files_of_a_dead_engine_are_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        make(&path).unwrap();
        fs::write(path.join("lock"), "1\n").unwrap();
        drop(UnixListener::bind(socket_path(&path)).unwrap());
        let run_dir = RunDir::claim(&path, None).unwrap();
        run_dir.bind().unwrap();
        assert_eq!(
            fs::metadata(socket_path(&path)).unwrap().mode() & 0o777,
            0o600
        );
        drop(run_dir);
        // It was there before, so it stays; but it is empty.
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        make(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        match RunDir::claim(&path, None) {
            Err(ServeError::RunDir { reason, .. }) => {
                assert!(reason.contains("chmod 700"), "{reason}")
            }
            _ => panic!("accepted"),
        }
    }
}
