//! A client's own address: a Unix socket's file is there as long as the client is.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::net::SocketAddrUnix;
use socket2::{Domain, Socket, Type};

use super::peer::unix_address;
use crate::dial::{ConnectCause, DialOptions};
use crate::socket::{Cause, FolderLock, SocketFile, remove_stale};

/// A Unix socket at `path`, with its file; an abstract one, whose path begins with a NUL byte, has none.
pub(super) fn at(
    path: &Path,
    options: &DialOptions,
) -> Result<(Socket, Option<SocketFile>), ConnectCause> {
    let address = unix_address(path)
        .map_err(|_| ConnectCause::Invalid("the path of the Unix socket is too long".into()))?;
    let socket = open(options)?;
    if path.as_os_str().as_bytes().starts_with(b"\0") {
        rustix::net::bind(&socket, &address).map_err(io::Error::from)?;
        return Ok((socket, None));
    }
    let _lock = FolderLock::around(path);
    remove_stale(path).map_err(|cause| match cause {
        Cause::NotASocket => {
            ConnectCause::Invalid("a file that is no socket is there: choose another path".into())
        }
        Cause::Answered => {
            ConnectCause::Invalid("another process has this socket: choose another path".into())
        }
        Cause::Bind(error) => error.into(),
        Cause::Resolve(error) => ConnectCause::Resolve(error),
        Cause::PathTooLong => {
            ConnectCause::Invalid("the path of the Unix socket is too long".into())
        }
    })?;
    rustix::net::bind(&socket, &address).map_err(io::Error::from)?;
    let file = SocketFile::at(path)?;
    Ok((socket, Some(file)))
}

/// An abstract Unix socket whose name the system chooses: nothing to remove, whatever happens.
pub(super) fn anywhere(options: &DialOptions) -> Result<Socket, ConnectCause> {
    let socket = open(options)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed()).map_err(io::Error::from)?;
    Ok(socket)
}

fn open(options: &DialOptions) -> Result<Socket, ConnectCause> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::UNIX, kind, None)?;
    options.socket.set_on_unix(&socket)?;
    Ok(socket)
}
