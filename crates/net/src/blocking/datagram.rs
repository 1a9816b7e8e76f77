//! Datagrams, by calls that block.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, mpsc};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::Socket;

use super::connecting::refuse;
use super::error::is_deadline;
use super::options::{DatagramOptions, Deadline, Timeout};
use super::runtime::runtime;
use super::stream::wait;
use crate::address::Address;
use crate::datagram::{self, DatagramError, OpenedSocket, Peer, Received, is_unix};
use crate::dial::{ConnectCause, ConnectError, Dialer, Timeline};
use crate::socket::SocketFile;

/// Sends and receives datagrams by calls that block: to and from one peer if it is connected, else anyone.
///
/// It is [`DatagramClient`](crate::DatagramClient) without a runtime and without batches. Each call takes at most the
/// client's [`Timeout`]. Nothing ends it but dropping it: an error concerns one call, and the next may succeed.
///
/// Sending and receiving take `&self`, so that two threads may do them at once. A Unix socket's file is removed when the
/// client is dropped.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use moorline_net::blocking::{DatagramClient, DatagramOptions};
///
/// let peer = "udp://127.0.0.1:53".parse()?;
/// let client = DatagramClient::connect(&peer, DatagramOptions::default())?;
/// client.send(b"question")?;
/// let mut answer = [0; 1500];
/// let received = client.receive(&mut answer)?;
/// println!("{} bytes from {}", received.bytes, received.peer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DatagramClient {
    /// That of a Unix socket. Above the socket, so that it goes first.
    _file: Option<SocketFile>,
    /// Shared with the dial that connects it.
    socket: Arc<Socket>,
    dialer: Dialer,
    is_connected: bool,
    timeline: Timeline,
    timeout: Timeout,
}

impl DatagramClient {
    /// A client with an address of its own, that talks to anyone: `udp://ip:port`, port 0 for any, or
    /// `unixgram:///path` and `unixgram://@name`. A socket file that a dead process left is replaced. Does not
    /// wait, except that it waits, 250 ms at the most, for a process that replaces one in the same folder.
    ///
    /// It uses the options `socket` and `interface` of a dial; for UDP `via` is refused.
    pub fn bind(own: &Address, options: DatagramOptions) -> Result<Self, ConnectError> {
        let opened = OpenedSocket::bind(own, &options.dial)?;
        let dialer = Dialer::new(options.dial);
        Ok(Self::new(opened, dialer, options.timeout))
    }

    /// A client that talks to one peer: `udp://host:port`, or `unixgram:///path` and `unixgram://@name`, from an
    /// address that the system chooses, for a Unix socket an abstract one.
    ///
    /// Blocks for at most the deadline of the dial, for a name to resolve. Addresses and options are those of
    /// [`DatagramClient::connect`](crate::DatagramClient::connect): `via` is refused.
    pub fn connect(peer: &Address, options: DatagramOptions) -> Result<Self, ConnectError> {
        let dialer = Dialer::new(options.dial);
        let (through, target) = (dialer.clone(), peer.clone());
        let opened = on_runtime(peer, async move {
            OpenedSocket::connect(&through, &target).await
        })?;
        Ok(Self::new(opened, dialer, options.timeout))
    }

    /// From now on it talks to this peer alone; earlier datagrams of others are dropped. Otherwise like
    /// [`connect`](Self::connect), with the options that the client was made with. If it fails, nothing changes.
    pub fn connect_to(&mut self, peer: &Address) -> Result<(), ConnectError> {
        let (socket, dialer, target) = (self.socket.clone(), self.dialer.clone(), peer.clone());
        let connecting = async move { datagram::reconnect(&*socket, &dialer, &target).await };
        self.timeline = on_runtime(peer, connecting)?;
        self.is_connected = true;
        Ok(())
    }

    /// From now on it talks to anyone again, from the same port.
    pub fn disconnect(&mut self) -> io::Result<()> {
        datagram::disconnect(&*self.socket)?;
        self.is_connected = false;
        Ok(())
    }

    /// How long each later call may take.
    pub fn set_timeout(&mut self, timeout: Timeout) {
        self.timeout = timeout;
    }

    /// Sends one datagram to the peer that it is connected to, waiting for room.
    ///
    /// # Errors
    /// [`DatagramError::TooLarge`] for more than 65,507 bytes over IPv4 or 65,527 over IPv6; `Refused` if the
    /// peer was not there for an earlier one: this one was not sent then, another call sends it; `NoPeer`; `TimedOut`,
    /// and nothing was sent.
    pub fn send(&self, bytes: &[u8]) -> Result<(), DatagramError> {
        self.check(bytes, self.is_connected)?;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = self.when(PollFlags::OUT, || {
            rustix::net::send(&*self.socket, bytes, flags)
        });
        sent.map(drop).map_err(|error| send_error(bytes, error))
    }

    /// Sends one datagram to `peer`, waiting for room.
    ///
    /// # Errors
    /// As for [`send`](Self::send). [`DatagramError::Full`] if a Unix peer's queue is full: the system tells only those
    /// that are connected to it when it has room again.
    pub fn send_to(&self, bytes: &[u8], peer: &Peer) -> Result<(), DatagramError> {
        self.check(bytes, true)?;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let send = || peer.send(&*self.socket, bytes, flags);
        let sent = match is_unix(&*self.socket) {
            true => send().map_err(io::Error::from),
            false => self.when(PollFlags::OUT, send),
        };
        sent.map(drop).map_err(|error| send_error(bytes, error))
    }

    /// The next datagram, waiting for it.
    ///
    /// # Errors
    /// [`DatagramError::TimedOut`] if none came; `Refused` and `Unreachable` are news of something that was sent earlier.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received, DatagramError> {
        let received = self.when(PollFlags::IN, || {
            datagram::receive_now(self.socket.as_fd(), buffer)
        });
        received.map_err(error_of)
    }

    /// The timeline of connecting it. Empty if it was never connected.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The address that it receives at. `Unnamed` for a Unix socket without one.
    pub fn own(&self) -> io::Result<Peer> {
        let own = rustix::net::getsockname(&*self.socket)?;
        Ok(Peer::from_any(Some(own)))
    }

    fn new(opened: OpenedSocket, dialer: Dialer, timeout: Timeout) -> Self {
        Self {
            _file: opened.file,
            socket: Arc::new(opened.socket),
            dialer,
            is_connected: opened.is_connected,
            timeline: opened.timeline,
            timeout,
        }
    }

    fn check(&self, bytes: &[u8], has_peer: bool) -> Result<(), DatagramError> {
        datagram::check(bytes, has_peer, datagram::most_bytes(&*self.socket))
    }

    /// Does what may have to wait, until it need not.
    fn when<T>(
        &self,
        what: PollFlags,
        mut call: impl FnMut() -> Result<T, Errno>,
    ) -> io::Result<T> {
        let deadline: Deadline = self.timeout.deadline();
        loop {
            match call() {
                Err(Errno::AGAIN) => wait(self.socket.as_fd(), what, deadline)?,
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }
}

impl AsFd for DatagramClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits for what the thread of all blocking clients' dials does.
fn on_runtime<T: Send + 'static>(
    peer: &Address,
    work: impl Future<Output = Result<T, ConnectError>> + Send + 'static,
) -> Result<T, ConnectError> {
    let broke = |error| refuse(peer, ConnectCause::Io(error));
    let (sender, done) = mpsc::sync_channel(1);
    runtime().map_err(broke)?.spawn(async move {
        let _ = sender.send(work.await);
    });
    // It ends without a result only if it panics.
    done.recv()
        .unwrap_or_else(|_| Err(broke(io::Error::other("the dial broke off"))))
}

fn send_error(bytes: &[u8], error: io::Error) -> DatagramError {
    match is_deadline(&error) {
        true => DatagramError::TimedOut,
        false => datagram::send_error(bytes, error),
    }
}

fn error_of(error: io::Error) -> DatagramError {
    match is_deadline(&error) {
        true => DatagramError::TimedOut,
        false => error.into(),
    }
}
