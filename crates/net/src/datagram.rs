//! Datagrams, over UDP and Unix sockets.

mod batch;
mod error;
mod own;
mod peer;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

pub use batch::Batch;
pub use error::DatagramError;
pub use peer::Peer;

use self::socket::Socket;
use crate::address::Address;
use crate::dial::{ConnectCause, ConnectError, DialOptions, Dialer, StepKind, Timeline};
use crate::socket::SocketFile;

/// The most datagrams that are thrown away when a socket is connected: more than its buffer holds, so that a peer that
/// never stops does not hold it up for ever.
const MOST_DROPPED: usize = 65_536;

/// Sends and receives datagrams: to and from one peer if it is connected, else anyone.
///
/// Nothing ends it but dropping it: an error concerns one call, and the next may succeed. Connected over UDP it hears
/// of its peer's absence, as [`DatagramError::Refused`] from whichever call comes next (ICMP).
///
/// Sending and receiving take `&self`, so that two tasks may do them at once. A Unix socket's file is removed when the
/// client is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use moorline_net::{DatagramClient, DialOptions, Dialer};
///
/// let dialer = Dialer::new(DialOptions::default());
/// let client = DatagramClient::connect(&dialer, &"udp://127.0.0.1:53".parse()?).await?;
/// client.send(b"question").await?;
/// let mut answer = [0; 1500];
/// let received = client.receive(&mut answer).await?;
/// println!("{} bytes from {}", received.bytes, received.peer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DatagramClient {
    /// That of a Unix socket. Above the socket, so that it goes first.
    _file: Option<SocketFile>,
    socket: Socket,
    is_connected: bool,
    timeline: Timeline,
}

/// A datagram that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// How many bytes of it are in the buffer.
    pub bytes: usize,
    /// Who sent it.
    pub peer: Peer,
    /// It was longer than the buffer: the rest is lost.
    pub is_cut: bool,
}

impl DatagramClient {
    /// A client with an address of its own, that talks to anyone: `udp://ip:port`, port 0 for any, or
    /// `unixgram:///path` and `unixgram://@name`. A socket file that a dead process left is replaced. Does not
    /// block, except that it waits, 250 ms at the most, for a process that replaces one in the same folder. Needs a tokio
    /// runtime.
    ///
    /// Of the options `socket` and `interface` are used; for UDP `via` is refused.
    pub fn bind(own: &Address, options: &DialOptions) -> Result<Self, ConnectError> {
        let bound = match own {
            Address::Udp(host_port) => match host_port.ip() {
                Some(ip) => Self::bind_udp(SocketAddr::new(ip, host_port.port), options),
                None => Err(ConnectCause::Invalid(
                    "a name is no address of one's own: write an IP address".into(),
                )),
            },
            Address::Unixgram(path) => Self::bind_unix(path, options),
            _ => Err(no_datagrams(own)),
        };
        bound.map_err(|cause| failed(own, None, cause))
    }

    /// A client that talks to one peer: `udp://host:port`, or `unixgram:///path` and `unixgram://@name`, from an
    /// address that the system chooses, for a Unix socket an abstract one.
    ///
    /// Takes at most the deadline of the dialer's options, for a name to resolve. The addresses of a name are found and
    /// ordered as for a [`Dialer`]; the first to which there is a route is taken, since no handshake tells which one
    /// answers. The options `bind`, `interface`, `family` and `socket` are used; `via` is refused, since no proxy
    /// carries datagrams. Cancel-safe.
    pub async fn connect(dialer: &Dialer, peer: &Address) -> Result<Self, ConnectError> {
        match peer {
            Address::Udp(host_port) => {
                let options = dialer.options();
                let connect = |address| Self::connect_udp(address, options);
                let (mut client, timeline) = dialer.connect_udp(peer, host_port, connect).await?;
                client.timeline = timeline;
                Ok(client)
            }
            Address::Unixgram(_) => {
                let mut client =
                    Self::unix(dialer.options()).map_err(|cause| failed(peer, None, cause))?;
                client.connect_to(dialer, peer).await?;
                Ok(client)
            }
            _ => Err(failed(peer, None, no_datagrams(peer))),
        }
    }

    /// From now on it talks to this peer alone; what others had sent is dropped. Otherwise like
    /// [`connect`](Self::connect), cancel-safe too. If it fails or is dropped, everything is as before.
    pub async fn connect_to(
        &mut self,
        dialer: &Dialer,
        peer: &Address,
    ) -> Result<(), ConnectError> {
        let connect = |peer: &Peer| Ok(self.socket.connect(peer)?);
        let ((), timeline) = match (peer, &self.socket) {
            (Address::Udp(host_port), Socket::Udp(_)) => {
                let connect = |address| connect(&Peer::Ip(address));
                dialer.connect_udp(peer, host_port, connect).await?
            }
            (Address::Unixgram(path), Socket::Unix(_)) => {
                let connect = |path: &Path| connect(&Peer::unix(path)?);
                dialer.connect_unixgram(peer, path, connect)?
            }
            (Address::Udp(_) | Address::Unixgram(_), _) => {
                let reason = format!("this client's own socket is not for {}://", peer.scheme());
                return Err(failed(peer, None, ConnectCause::Invalid(reason)));
            }
            _ => return Err(failed(peer, None, no_datagrams(peer))),
        };
        self.timeline = timeline;
        self.is_connected = true;
        self.drop_queued();
        Ok(())
    }

    /// From now on it talks to anyone again.
    pub fn disconnect(&mut self) -> io::Result<()> {
        rustix::net::connect_unspec(&self.socket)?;
        self.is_connected = false;
        Ok(())
    }

    /// Sends one datagram to the peer that it is connected to, waiting for room. Cancel-safe.
    ///
    /// # Errors
    /// [`DatagramError::TooLarge`] for more than 65,507 bytes over IPv4 or 65,527 over IPv6; `Refused` if the
    /// peer was not there for an earlier one: this one was not sent then, another call sends it; `NoPeer`.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), DatagramError> {
        self.check(bytes, self.is_connected)?;
        let sent = self.socket.when_writable(|socket| {
            rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        });
        sent.await
            .map(drop)
            .map_err(|error| send_error(bytes, error))
    }

    /// Sends one datagram to `peer`, waiting for room. Cancel-safe.
    ///
    /// # Errors
    /// As for [`send`](Self::send). [`DatagramError::Full`] if a Unix peer's queue is full and this client is not
    /// connected to it: then the system does not tell when it has room again.
    pub async fn send_to(&self, bytes: &[u8], peer: &Peer) -> Result<(), DatagramError> {
        self.check(bytes, true)?;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if let Socket::Unix(_) = self.socket {
            let sent = peer.send(&self.socket, bytes, flags).map(drop);
            return sent.map_err(|error| send_error(bytes, error.into()));
        }
        let sent = self
            .socket
            .when_writable(|socket| peer.send(socket, bytes, flags));
        sent.await
            .map(drop)
            .map_err(|error| send_error(bytes, error))
    }

    /// The next datagram, waiting for it. Cancel-safe: none is lost.
    ///
    /// # Errors
    /// [`DatagramError::Refused`] and `Unreachable` are news of something that was sent earlier.
    pub async fn receive(&self, buffer: &mut [u8]) -> Result<Received, DatagramError> {
        let received = self
            .socket
            .when_readable(|socket| receive_now(socket, buffer));
        received.await.map_err(DatagramError::from)
    }

    /// Receives as many datagrams as are there and `batch` has room for, waiting for the first, over UDP with
    /// one system call for all. Returns how many. Cancel-safe: none is lost.
    pub async fn receive_batch(&self, batch: &mut Batch) -> Result<usize, DatagramError> {
        let received = self.socket.when_readable(|socket| match self.socket {
            Socket::Udp(_) => batch.receive_udp(socket),
            Socket::Unix(_) => batch.receive_unix(socket),
        });
        received.await.map_err(DatagramError::from)
    }

    /// Sends several datagrams, over UDP with one system call, waiting for room for the first. Returns how many
    /// went: the rest is for another call. No peer is the one that it is connected to. Cancel-safe.
    ///
    /// # Errors
    /// As for [`send`](Self::send), about the first of them.
    pub async fn send_batch(
        &self,
        datagrams: &[(&[u8], Option<Peer>)],
    ) -> Result<usize, DatagramError> {
        let Some((first, peer)) = datagrams.first() else {
            return Ok(0);
        };
        self.check(first, self.is_connected || peer.is_some())?;
        let sent = self.socket.when_writable(|socket| match self.socket {
            Socket::Udp(_) => batch::send_udp(socket, datagrams),
            Socket::Unix(_) => batch::send_unix(socket, datagrams),
        });
        match sent.await {
            Ok(count) => Ok(count),
            Err(error) => Err(send_error(first, error)),
        }
    }

    /// What connecting it took. Empty if it never was.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The address that it receives at. `Unnamed` for a Unix socket without one.
    pub fn own(&self) -> io::Result<Peer> {
        Ok(Peer::from_any(Some(rustix::net::getsockname(
            &self.socket,
        )?)))
    }

    fn bind_udp(own: SocketAddr, options: &DialOptions) -> Result<Self, ConnectCause> {
        options.check_udp()?;
        let socket = options.udp_socket(own)?;
        socket.bind(&own.into())?;
        Ok(Self::new(Socket::udp(socket)?, None))
    }

    fn connect_udp(peer: SocketAddr, options: &DialOptions) -> Result<Self, ConnectCause> {
        let socket = options.udp_socket(peer)?;
        options.bind_udp(&socket)?;
        socket.connect(&peer.into())?;
        let mut client = Self::new(Socket::udp(socket)?, None);
        client.is_connected = true;
        client.drop_queued();
        Ok(client)
    }

    fn bind_unix(own: &Path, options: &DialOptions) -> Result<Self, ConnectCause> {
        let (socket, file) = own::at(own, options)?;
        Ok(Self::new(Socket::unix(socket)?, file))
    }

    fn unix(options: &DialOptions) -> Result<Self, ConnectCause> {
        Ok(Self::new(Socket::unix(own::anywhere(options)?)?, None))
    }

    fn new(socket: Socket, file: Option<SocketFile>) -> Self {
        Self {
            _file: file,
            socket,
            is_connected: false,
            timeline: Timeline::new(Instant::now()),
        }
    }

    /// What came before it was connected may be from anyone.
    fn drop_queued(&self) {
        for _ in 0..MOST_DROPPED {
            // Anything but emptiness is something thrown away: a datagram, or news of one sent earlier.
            let thrown = rustix::net::recv(&self.socket, &mut [0u8; 1][..], RecvFlags::DONTWAIT);
            if let Err(Errno::AGAIN) = thrown {
                return;
            }
        }
    }

    fn check(&self, bytes: &[u8], has_peer: bool) -> Result<(), DatagramError> {
        match self.socket.most_bytes() {
            _ if !has_peer => Err(DatagramError::NoPeer),
            Some(max) if bytes.len() > max => Err(DatagramError::TooLarge {
                size: bytes.len(),
                max: Some(max),
            }),
            _ => Ok(()),
        }
    }
}

impl AsFd for DatagramClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn receive_now(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    let room = buffer.len();
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let (_, bytes, peer) = rustix::net::recvfrom(socket, buffer, flags)?;
    Ok(Received {
        bytes: bytes.min(room),
        peer: Peer::from_any(peer),
        is_cut: bytes > room,
    })
}

fn send_error(bytes: &[u8], error: io::Error) -> DatagramError {
    // A Unix socket's buffer sets its limit, and the path's MTU can set UDP's.
    if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) {
        return DatagramError::TooLarge {
            size: bytes.len(),
            max: None,
        };
    }
    error.into()
}

fn no_datagrams(address: &Address) -> ConnectCause {
    if let Address::Kcp(_) = address {
        return ConnectCause::no_kcp();
    }
    ConnectCause::Invalid(format!(
        "{}:// carries no datagrams: write udp://host:port or unixgram:///path",
        address.scheme()
    ))
}

fn failed(address: &Address, step: Option<StepKind>, cause: ConnectCause) -> ConnectError {
    ConnectError::new(
        address.to_string(),
        step,
        cause,
        Timeline::new(Instant::now()),
    )
}
