//! The sockets that listeners accept on.

mod file;
mod folder;

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

pub(crate) use file::SocketFile;
pub(crate) use folder::FolderLock;

use crate::address::{Address, HostPort, MAX_UNIX_PATH_BYTES, excess_bytes};
use crate::resolve::{self, Families, ResolveError};

/// Connections that wait to be accepted. The system cuts it to `net.core.somaxconn`, by default the same
/// number; a smaller one refuses clients when thousands of them reconnect at once.
const BACKLOG: i32 = 4096;

/// The buffer that a datagram listener asks the kernel for in each direction, in bytes. The default of about 200 KiB is
/// a hundred datagrams, fewer than arrive in a scheduling gap; `net.core.rmem_max` caps it.
const DATAGRAM_BUFFER_BYTES: usize = 4 << 20;

/// The permissions of a Unix socket's file: anyone who reaches its folder may connect, as with a port. The folder's
/// permissions are the protection.
const UNIX_MODE: u32 = 0o666;

/// Binds an address and, unless it is a datagram one, listens on it.
///
/// The socket is non-blocking and close-on-exec. A name is resolved by the system, which blocks; of
/// several addresses the first that this machine has is bound, IPv4 first. IPv6 is asked for where no IPv4 one will do.
///
/// The protocol over TCP, such as TLS or WebSocket, is the caller's matter.
///
/// - TCP and what is spoken over it: `SO_REUSEADDR`, so that a restart does not wait for old connections, and
///   `TCP_NODELAY`, which accepted sockets inherit.
/// - IPv6 sockets take IPv6 alone: `[::]` and `0.0.0.0` may be listed side by side.
/// - Unix: the file's mode is 0666; the folder's permissions decide who may connect. A file left by a
///   dead process is replaced, one that is answered on is not. An abstract one has no file: every
///   process of this network namespace may connect.
pub fn listen(address: &Address) -> Result<OwnedFd, ListenError> {
    let socket = match address {
        Address::Tcp(host_port)
        | Address::Tls(host_port)
        | Address::Http(host_port)
        | Address::Https(host_port)
        | Address::Ws(host_port)
        | Address::Wss(host_port) => bind_first(address, host_port, bind_stream)?,
        Address::Udp(host_port) | Address::Kcp(host_port) => {
            bind_first(address, host_port, bind_datagram)?
        }
        Address::Unix(path) => listen_unix(address, path, Type::STREAM)?,
        Address::Unixgram(path) => listen_unix(address, path, Type::DGRAM)?,
    };
    Ok(socket.into())
}

/// The address that `fd`, bound by [`listen`] to `address`, really has: port 0 is replaced.
pub fn local_address(fd: impl AsFd, address: &Address) -> Address {
    let bound = || {
        Some(
            SockRef::from(&fd.as_fd())
                .local_addr()
                .ok()?
                .as_socket()?
                .port(),
        )
    };
    let resolved = |host_port: &HostPort| HostPort {
        host: host_port.host.clone(),
        port: bound().unwrap_or(host_port.port),
    };
    match address {
        Address::Tcp(host_port) => Address::Tcp(resolved(host_port)),
        Address::Tls(host_port) => Address::Tls(resolved(host_port)),
        Address::Udp(host_port) => Address::Udp(resolved(host_port)),
        Address::Kcp(host_port) => Address::Kcp(resolved(host_port)),
        Address::Http(host_port) => Address::Http(resolved(host_port)),
        Address::Https(host_port) => Address::Https(resolved(host_port)),
        Address::Ws(host_port) => Address::Ws(resolved(host_port)),
        Address::Wss(host_port) => Address::Wss(resolved(host_port)),
        Address::Unix(_) | Address::Unixgram(_) => address.clone(),
    }
}

fn bind_first(
    address: &Address,
    host_port: &HostPort,
    bind: fn(SocketAddr) -> io::Result<Socket>,
) -> Result<Socket, ListenError> {
    let error = |cause| ListenError {
        address: address.clone(),
        cause,
    };
    if host_port.ip().is_some() {
        // This does not block, and knows the number of an IPv6 zone.
        let literal = (host_port.host.as_str(), host_port.port).to_socket_addrs();
        let literal = literal.and_then(|mut found| found.next().ok_or(ErrorKind::NotFound.into()));
        return bind(literal.map_err(|source| error(Cause::Bind(source)))?)
            .map_err(|source| error(Cause::Bind(source)));
    }
    let mut failure = None;
    // One after the other: a server that does not answer for IPv6 does not delay a name that has IPv4.
    for families in [Families::Ipv4, Families::Ipv6] {
        let found = match resolve::addresses(&host_port.host, families) {
            Ok(found) => found,
            Err(source) => {
                failure = failure.or(Some(Cause::Resolve(source)));
                continue;
            }
        };
        for ip in found {
            match bind(SocketAddr::new(ip, host_port.port)) {
                Ok(socket) => return Ok(socket),
                // The machine lacks this address or its family; another one of the name may do. Any other
                // failure is the operator's to know, not to be dodged.
                Err(source) if is_absent(&source) => failure = Some(Cause::Bind(source)),
                Err(source) => return Err(error(Cause::Bind(source))),
            }
        }
    }
    let absent = || Cause::Bind(ErrorKind::AddrNotAvailable.into());
    Err(error(failure.unwrap_or_else(absent)))
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn bind_stream(address: SocketAddr) -> io::Result<Socket> {
    let socket = open(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn bind_datagram(address: SocketAddr) -> io::Result<Socket> {
    // Without SO_REUSEADDR: with it a second engine would take the first one's datagrams.
    let socket = open(address, Type::DGRAM, Protocol::UDP)?;
    // As much as the system grants; a smaller buffer still works.
    let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket)
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let kind = kind.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn listen_unix(address: &Address, path: &Path, kind: Type) -> Result<Socket, ListenError> {
    let error = |cause| ListenError {
        address: address.clone(),
        cause,
    };
    if excess_bytes(path) > 0 {
        return Err(error(Cause::PathTooLong));
    }
    let file = address.socket_file();
    // Until it listens: before that, others take its file for a dead process's.
    let _lock = file.map(FolderLock::around);
    if let Some(file) = file {
        remove_stale(file).map_err(error)?;
    }
    let bind = || {
        let socket = Socket::new_raw(Domain::UNIX, kind.nonblocking().cloexec(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        if let Some(file) = file {
            // Before anyone can connect: that needs `listen`.
            fs::set_permissions(file, fs::Permissions::from_mode(UNIX_MODE))?;
        }
        if kind == Type::STREAM {
            socket.listen(BACKLOG)?;
        }
        Ok(socket)
    };
    bind().map_err(|source| error(Cause::Bind(source)))
}

/// Removes the socket that a dead process left at `path`. A [`FolderLock`] keeps others from doing so at the same time.
pub(crate) fn remove_stale(path: &Path) -> Result<(), Cause> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Cause::Bind(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(Cause::NotASocket),
        Ok(_) => {}
    }
    let probe = || {
        let kind = Type::STREAM.nonblocking().cloexec();
        Socket::new_raw(Domain::UNIX, kind, None)?.connect(&SockAddr::unix(path)?)
    };
    match probe() {
        // No process holds the other end. Every other answer comes from a process that does: the backlog is full, or
        // the socket is of another type.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(Cause::Bind)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Cause::Bind(error)),
        _ => Err(Cause::Answered),
    }
}

/// Why an address cannot be listened on: the address, the cause and the remedy.
#[derive(Debug)]
pub struct ListenError {
    address: Address,
    cause: Cause,
}

#[derive(Debug)]
pub(crate) enum Cause {
    Resolve(ResolveError),
    Bind(io::Error),
    PathTooLong,
    NotASocket,
    Answered,
}

impl ListenError {
    /// The address concerned.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What is wrong, without the [`remedy`](Self::remedy).
    pub fn problem(&self) -> String {
        let Self { address, cause } = self;
        match cause {
            Cause::Resolve(source) => format!("cannot resolve the host of {address}: {source}"),
            Cause::Bind(source) => format!("cannot listen on {address}: {source}"),
            Cause::PathTooLong => format!("cannot listen on {address}: the path is too long"),
            Cause::NotASocket => {
                format!("cannot listen on {address}: a file that is no socket is there")
            }
            Cause::Answered => {
                format!("cannot listen on {address}: another process answers there")
            }
        }
    }

    /// What the operator can do about it.
    pub fn remedy(&self) -> String {
        let port = self.address.host_port().map(|host_port| host_port.port);
        match &self.cause {
            Cause::Resolve(_) => "check the name, or write an IP address".into(),
            Cause::PathTooLong => format!("shorten the path to {MAX_UNIX_PATH_BYTES} bytes"),
            Cause::NotASocket => "choose another path, or remove what is there".into(),
            Cause::Answered => "stop the process that serves it, or choose another path".into(),
            Cause::Bind(source) => match (source.kind(), port) {
                (ErrorKind::AddrInUse, Some(port)) => format!(
                    "stop the process that has it (`ss -lnptu 'sport = :{port}'` names it), or choose another port"
                ),
                (ErrorKind::AddrNotAvailable, _) => {
                    "no interface of this machine has it: write 0.0.0.0 or [::] for all of them"
                        .into()
                }
                (ErrorKind::PermissionDenied, Some(1..1024)) => {
                    "a port below 1024 needs root or CAP_NET_BIND_SERVICE: choose a higher one"
                        .into()
                }
                (ErrorKind::NotFound, None) => "make the folder first".into(),
                (ErrorKind::PermissionDenied, None) => {
                    "choose a folder that this user may write to".into()
                }
                _ => "choose another address".into(),
            },
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem(), self.remedy())
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Resolve(source) => Some(source),
            Cause::Bind(source) => Some(source),
            Cause::PathTooLong | Cause::NotASocket | Cause::Answered => None,
        }
    }
}

#[cfg(test)]
mod tests;
