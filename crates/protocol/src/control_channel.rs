//! The control channel between supervisor and role, for use in a runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use moorline_ipc::{Channel, CutOff, Packet, close_elsewhere};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One end of a control channel: whole messages, with descriptors beside them.
pub struct ControlChannel {
    io: AsyncFd<Registered>,
}

impl ControlChannel {
    /// Registers the channel with the present runtime.
    #[expect(
        deprecated,
        reason = "its successor is unsafe, since a type might give up its descriptor while registered; `Registered` owns it"
    )]
    pub fn new(channel: Channel) -> io::Result<Self> {
        Ok(Self {
            io: AsyncFd::new(Registered(Some(channel)))?,
        })
    }

    /// Sends a message, waiting for room. Cancel-safe: it is sent whole or not at all.
    pub async fn send<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_bytes(&encode(message)?, fds).await
    }

    /// The next message, or `None` if the other side is gone. Cancel-safe: a message is returned or still there.
    ///
    /// # Errors
    /// `InvalidData` for one packet that is no message; the next one may be one.
    pub async fn recv<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Descriptors)>> {
        match self.recv_packet().await? {
            Some(Packet { bytes, fds }) => Ok(Some((decode(&bytes)?, fds))),
            None => Ok(None),
        }
    }

    /// [`send`](Self::send) of an encoded message.
    pub async fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.io
            .async_io(Interest::WRITABLE, |it| it.channel()?.send(bytes, fds))
            .await
    }

    /// Waits until there is a message, or the other side is gone.
    pub async fn readable(&self) -> io::Result<()> {
        self.io
            .readable()
            .await
            .map(|mut ready| ready.retain_ready())
    }

    /// Another handle to this end, for a process that goes on with it.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.io.get_ref().channel()?.as_fd().try_clone_to_owned()
    }

    /// [`recv`](Self::recv) without decoding.
    pub async fn recv_packet(&self) -> io::Result<Option<Packet>> {
        self.io
            .async_io(Interest::READABLE, |it| it.channel()?.recv())
            .await
    }
}

/// The descriptors beside a message.
pub type Descriptors = Result<Vec<OwnedFd>, CutOff>;

/// A message as it travels.
pub fn encode<M: Serialize>(message: &M) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(message).map_err(io::Error::other)
}

/// The message in a packet.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> io::Result<M> {
    postcard::from_bytes(bytes).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a malformed control message: {error}"),
        )
    })
}

/// The channel, until it is dropped. Unread messages of the other side are dropped with it, which may take time.
struct Registered(Option<Channel>);

impl Registered {
    fn channel(&self) -> io::Result<&Channel> {
        self.0
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// `AsyncFd` asks for the older trait.
impl AsRawFd for Registered {
    fn as_raw_fd(&self) -> RawFd {
        self.0
            .as_ref()
            .map_or(-1, |channel| channel.as_fd().as_raw_fd())
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(channel) = self.0.take() {
            close_elsewhere(channel);
        }
    }
}
