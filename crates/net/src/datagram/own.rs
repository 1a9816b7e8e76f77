//! A client's own address: a Unix socket's file is there as long as the client is.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::net::SocketAddrUnix;
use socket2::{Domain, Socket, Type};

use super::peer::unix_address;
use crate::dial::{ConnectCause, DialOptions};
use crate::socket::{Cause, remove_stale};

/// A client's own address. Dropping it removes the file, if it has one and that is still the one that it made.
#[derive(Debug)]
pub(super) enum Own {
    Ip,
    Abstract,
    File {
        path: PathBuf,
        /// Device and inode.
        identity: (u64, u64),
    },
}

impl Own {
    /// A Unix socket at `path`; an abstract one begins with a NUL byte.
    pub(super) fn at(path: &Path, options: &DialOptions) -> Result<(Socket, Self), ConnectCause> {
        let address = unix_address(path)
            .map_err(|_| ConnectCause::Invalid("the path of the Unix socket is too long".into()))?;
        let socket = open(options)?;
        if path.as_os_str().as_bytes().starts_with(b"\0") {
            rustix::net::bind(&socket, &address).map_err(std::io::Error::from)?;
            return Ok((socket, Self::Abstract));
        }
        remove_stale(path).map_err(|cause| match cause {
            Cause::NotASocket => ConnectCause::Invalid(
                "a file that is no socket is there: choose another path".into(),
            ),
            Cause::Answered => {
                ConnectCause::Invalid("another process has this socket: choose another path".into())
            }
            Cause::Bind(error) | Cause::Resolve(error) => error.into(),
            Cause::PathTooLong => {
                ConnectCause::Invalid("the path of the Unix socket is too long".into())
            }
        })?;
        rustix::net::bind(&socket, &address).map_err(std::io::Error::from)?;
        let made = fs::symlink_metadata(path)?;
        let own = Self::File {
            path: path.to_owned(),
            identity: (made.dev(), made.ino()),
        };
        Ok((socket, own))
    }

    /// An abstract Unix socket whose name the system chooses: nothing to remove, whatever happens.
    pub(super) fn anywhere(options: &DialOptions) -> Result<(Socket, Self), ConnectCause> {
        let socket = open(options)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed()).map_err(std::io::Error::from)?;
        Ok((socket, Self::Abstract))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let Self::File { path, identity } = self else {
            return;
        };
        // Somebody else may have replaced it.
        if fs::symlink_metadata(&*path).is_ok_and(|found| (found.dev(), found.ino()) == *identity) {
            let _ = fs::remove_file(path);
        }
    }
}

fn open(options: &DialOptions) -> Result<Socket, ConnectCause> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::UNIX, kind, None)?;
    options.socket.set_on_unix(&socket)?;
    Ok(socket)
}
