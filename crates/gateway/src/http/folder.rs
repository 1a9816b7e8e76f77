//! Files of a listener's folder.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::conditions::{Validators, in_seconds};
use super::content_type::ContentType;
use super::encoding::Encoding;
use super::path::FilePath;

/// What a path leads to.
pub(super) enum Opened {
    File(OpenFile),
    /// A folder with an `index.html`, whose path lacks the slash at its end.
    FolderWithoutSlash,
}

/// A file to be served.
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) length: u64,
    pub(super) validators: Validators,
    pub(super) content_type: ContentType,
    /// How it was compressed beforehand.
    pub(super) encoding: Option<Encoding>,
}

/// Opens a file beneath the folder, or the first of its encodings that lies beside it and is not older.
/// The descriptors from `limit` on are kept for new processes: a file that would take one is not opened.
///
/// # Errors
/// There is no such file, it must not be read, or too many are open.
pub(super) fn find(
    folder: &OwnedFd,
    path: &FilePath,
    encodings: impl Iterator<Item = Encoding>,
    limit: u64,
) -> io::Result<Opened> {
    let name = path.file();
    let (file, metadata) = open(folder, &name, limit)?;
    if metadata.is_dir() && path.lacks_slash() {
        regular(folder, &path.index(), limit)?;
        return Ok(Opened::FolderWithoutSlash);
    }
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let content_type = ContentType::of(&name);
    let is_current = |other: &Metadata| other.mtime() >= metadata.mtime();
    let mut encodings = encodings.filter(|_| content_type.is_compressible());
    let encoded = encodings.find_map(|encoding| {
        let name = [&name, encoding.suffix()].concat();
        let (file, metadata) = regular(folder, &name, limit).ok()?;
        is_current(&metadata).then_some((file, metadata, encoding))
    });
    let (file, metadata, encoding) = match encoded {
        Some((file, metadata, encoding)) => (file, metadata, Some(encoding)),
        None => (file, metadata, None),
    };
    Ok(Opened::File(OpenFile {
        file,
        length: metadata.len(),
        validators: validators(&metadata),
        content_type,
        encoding,
    }))
}

fn regular(folder: &OwnedFd, name: &[u8], limit: u64) -> io::Result<(File, Metadata)> {
    let (file, metadata) = open(folder, name, limit)?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Opens what has this name beneath the folder, never outside it: `openat2` with RESOLVE_BENEATH refuses `..` and links
/// that lead out.
fn open(folder: &OwnedFd, name: &[u8], limit: u64) -> io::Result<(File, Metadata)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve)?;
    if opened.as_raw_fd() as u64 >= limit {
        return Err(Errno::MFILE.into());
    }
    let file = File::from(opened);
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// A file that is replaced has another inode, and one that is written in place another time of change, which nothing
/// sets back.
fn validators(metadata: &Metadata) -> Validators {
    let tag = format!(
        "\"{:x}-{:x}-{:x}.{:x}-{:x}.{:x}\"",
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    );
    let modified = metadata.modified().ok().and_then(in_seconds);
    // A date in the future would hide the next change (RFC 9110 §8.8.2.1).
    let modified = modified.filter(|modified| *modified <= SystemTime::now());
    Validators { tag, modified }
}

/// Whether the process, or the system, has too many files open.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}
