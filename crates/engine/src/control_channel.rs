//! The control channel between supervisor and role, for use in a runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use moorline_ipc::Channel;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One end of a control channel: whole messages, with descriptors beside them.
pub(crate) struct ControlChannel {
    io: AsyncFd<Registered>,
}

impl ControlChannel {
    /// Registers the channel with the runtime that this is called in.
    #[expect(
        deprecated,
        reason = "its successor is unsafe, since a type might give up its descriptor while registered; `Registered` owns it"
    )]
    pub(crate) fn new(channel: Channel) -> io::Result<Self> {
        Ok(Self {
            io: AsyncFd::new(Registered(channel))?,
        })
    }

    /// Sends a message, waiting for room. Cancel-safe: it is sent whole or not at all.
    pub(crate) async fn send<M: Serialize>(
        &self,
        message: &M,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.send_bytes(&encode(message)?, fds).await
    }

    /// The next message, or `None` if the other side is gone. Cancel-safe: a message is returned or still there.
    pub(crate) async fn recv<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        match self.recv_bytes().await? {
            Some((bytes, fds)) => Ok(Some((decode(&bytes)?, fds))),
            None => Ok(None),
        }
    }

    /// [`send`](Self::send) of what is encoded already.
    pub(crate) async fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.io
            .async_io(Interest::WRITABLE, |channel| channel.0.send(bytes, fds))
            .await
    }

    /// [`recv`](Self::recv) without decoding.
    pub(crate) async fn recv_bytes(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        self.io
            .async_io(Interest::READABLE, |channel| channel.0.recv())
            .await
    }
}

/// A message as it travels.
pub(crate) fn encode<M: Serialize>(message: &M) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(message).map_err(io::Error::other)
}

/// The message in a packet.
pub(crate) fn decode<M: DeserializeOwned>(bytes: &[u8]) -> io::Result<M> {
    postcard::from_bytes(bytes).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a control message that is none: {error}"),
        )
    })
}

/// `AsyncFd` asks for the older trait.
struct Registered(Channel);

impl AsRawFd for Registered {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
