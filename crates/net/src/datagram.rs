//! Datagrams, over UDP and Unix sockets.

mod batch;
mod error;
mod open;
mod own;
mod peer;
mod receive;
mod socket;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::SendFlags;

pub use batch::Batch;
pub use error::DatagramError;
#[cfg(feature = "blocking")]
pub(crate) use open::is_unix;
pub(crate) use open::{OpenedSocket, disconnect, reconnect};
pub use peer::Peer;
pub use receive::Received;
pub(crate) use receive::receive_now;

use self::socket::DatagramSocket;
#[cfg(feature = "blocking")]
pub(crate) use self::socket::most_bytes;
use crate::address::Address;
use crate::dial::{ConnectError, DialOptions, Dialer, Timeline};
use crate::socket::SocketFile;

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
    socket: DatagramSocket,
    is_connected: bool,
    timeline: Timeline,
}

impl DatagramClient {
    /// A client with an address of its own, that talks to anyone: `udp://ip:port`, port 0 for any, or
    /// `unixgram:///path` and `unixgram://@name`. A socket file that a dead process left is replaced. Does not
    /// block, except that it waits, 250 ms at the most, for a process that replaces one in the same folder. Needs a tokio
    /// runtime.
    ///
    /// It uses the options `socket` and `interface`; for UDP `via` is refused.
    pub fn bind(own: &Address, options: &DialOptions) -> Result<Self, ConnectError> {
        let opened = OpenedSocket::bind(own, options)?;
        Self::on_runtime(opened, own)
    }

    /// A client that talks to one peer: `udp://host:port`, or `unixgram:///path` and `unixgram://@name`, from an
    /// address that the system chooses, for a Unix socket an abstract one.
    ///
    /// Takes at most the deadline of the dialer's options, for a name to resolve. The addresses of a name are found and
    /// ordered as for a [`Dialer`]; the first to which there is a route is taken, since no handshake tells which one
    /// answers. The options `bind`, `interface`, `family` and `socket` are used; `via` is refused, since no proxy
    /// carries datagrams. Cancel-safe.
    pub async fn connect(dialer: &Dialer, peer: &Address) -> Result<Self, ConnectError> {
        let opened = OpenedSocket::connect(dialer, peer).await?;
        Self::on_runtime(opened, peer)
    }

    fn on_runtime(opened: OpenedSocket, address: &Address) -> Result<Self, ConnectError> {
        let OpenedSocket {
            socket,
            file,
            is_connected,
            timeline,
        } = opened;
        match DatagramSocket::new(socket) {
            Ok(socket) => Ok(Self {
                _file: file,
                socket,
                is_connected,
                timeline,
            }),
            Err(error) => Err(ConnectError::new(
                address.to_string(),
                None,
                error.into(),
                timeline,
            )),
        }
    }

    /// From now on it talks to this peer alone; earlier datagrams of others are dropped. Otherwise like
    /// [`connect`](Self::connect), cancel-safe too. If it fails or is dropped, nothing changes.
    pub async fn connect_to(
        &mut self,
        dialer: &Dialer,
        peer: &Address,
    ) -> Result<(), ConnectError> {
        self.timeline = reconnect(&self.socket, dialer, peer).await?;
        self.is_connected = true;
        Ok(())
    }

    /// From now on it talks to anyone again, from the same port.
    pub fn disconnect(&mut self) -> io::Result<()> {
        disconnect(&self.socket)?;
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
        if let DatagramSocket::Unix(_) = self.socket {
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
            DatagramSocket::Udp(_) => batch.receive_udp(socket),
            DatagramSocket::Unix(_) => batch.receive_unix(socket),
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
            DatagramSocket::Udp(_) => batch::send_udp(socket, datagrams),
            DatagramSocket::Unix(_) => batch::send_unix(socket, datagrams),
        });
        match sent.await {
            Ok(count) => Ok(count),
            Err(error) => Err(send_error(first, error)),
        }
    }

    /// The timeline of connecting it. Empty if it was never connected.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The address that it receives at. `Unnamed` for a Unix socket without one.
    pub fn own(&self) -> io::Result<Peer> {
        Ok(Peer::from_any(Some(rustix::net::getsockname(
            &self.socket,
        )?)))
    }

    fn check(&self, bytes: &[u8], has_peer: bool) -> Result<(), DatagramError> {
        check(bytes, has_peer, self.socket.most_bytes())
    }
}

impl AsFd for DatagramClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Refuses what cannot be sent.
pub(crate) fn check(
    bytes: &[u8],
    has_peer: bool,
    most_bytes: Option<usize>,
) -> Result<(), DatagramError> {
    match most_bytes {
        _ if !has_peer => Err(DatagramError::NoPeer),
        Some(max) if bytes.len() > max => Err(DatagramError::TooLarge {
            size: bytes.len(),
            max: Some(max),
        }),
        _ => Ok(()),
    }
}

pub(crate) fn send_error(bytes: &[u8], error: io::Error) -> DatagramError {
    // A Unix socket's buffer sets its limit, and the path's MTU can set UDP's.
    if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) {
        return DatagramError::TooLarge {
            size: bytes.len(),
            max: None,
        };
    }
    error.into()
}
