//! Files of a listener's folder.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use http_body_util::{Either, Full};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::answer::{Answer, plain};
use super::body::FileBody;
use crate::shared::http_memory::Held;

/// A file to be served.
pub(super) struct OpenFile {
    pub(super) file: std::fs::File,
    pub(super) length: u64,
    modified: Option<String>,
    kind: mime_guess::Mime,
}

/// Opens a file beneath the folder, never outside it: `openat2` with RESOLVE_BENEATH refuses `..` and links that lead out.
/// The descriptors from `limit` on are kept for new processes: a file that would take one is not opened.
pub(super) fn open_file(folder: &OwnedFd, path: &str, limit: u64) -> io::Result<OpenFile> {
    let decoded = percent_decode(path).ok_or(io::ErrorKind::NotFound)?;
    let mut name = decoded.trim_start_matches('/').to_owned();
    if name.is_empty() || name.ends_with('/') {
        name.push_str("index.html");
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::openat2(
        folder,
        &name,
        flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )?;
    if opened.as_raw_fd() as u64 >= limit {
        return Err(Errno::MFILE.into());
    }
    let file = std::fs::File::from(opened);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let modified = metadata.modified().ok().map(httpdate::fmt_http_date);
    Ok(OpenFile {
        file,
        length: metadata.len(),
        modified,
        kind: mime_guess::from_path(&name).first_or_octet_stream(),
    })
}

fn percent_decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|path| !path.contains('\0'))
}

impl OpenFile {
    pub(super) fn answer(self, asked: &HeaderMap, head_only: bool, held: Held) -> Answer {
        let known = self.modified.as_deref().is_some_and(|modified| {
            asked
                .get(header::IF_MODIFIED_SINCE)
                .is_some_and(|since| since.as_bytes() == modified.as_bytes())
        });
        let mut answer = if known {
            let mut answer = Response::new(Either::Left(Full::default()));
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            answer
        } else if head_only {
            Response::new(Either::Left(Full::default()))
        } else {
            Response::new(Either::Right(FileBody::new(self.file, self.length, held)))
        };
        let headers = answer.headers_mut();
        if !known {
            headers.insert(header::CONTENT_LENGTH, self.length.into());
        }
        let kind = match self.kind.type_() {
            mime_guess::mime::TEXT => format!("{}; charset=utf-8", self.kind),
            _ => self.kind.to_string(),
        };
        for (name, value) in [
            (header::CONTENT_TYPE, Some(kind)),
            (header::LAST_MODIFIED, self.modified),
        ] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
        // Asked again each time and answered from its date: a changed file is seen at once.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer
    }
}

/// The answer for a file that could not be opened.
pub(super) fn no_file(error: &io::Error) -> Answer {
    if is_shortage(error) {
        let why = "too many files are open, ask again later";
        return plain(StatusCode::SERVICE_UNAVAILABLE, why);
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => plain(StatusCode::FORBIDDEN, "forbidden"),
        _ => plain(StatusCode::NOT_FOUND, "not found"),
    }
}

/// Whether the process, or the system, has too many files open.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}
