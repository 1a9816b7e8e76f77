//! A channel between two processes: packets, and descriptors beside them.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg,
    sendmsg, socketpair,
};

/// The most descriptors that one packet may carry. The kernel's own limit (`SCM_MAX_FD`) is 253.
pub const MAX_FDS: usize = 250;

/// The most that the kernel passes with one packet (`SCM_MAX_FD`). There is room for them all: what finds none is closed in
/// the receiver's own thread.
const MOST_RECEIVED: usize = 253;

/// The longest packet in bytes. The default send buffer of a Unix socket (208 KiB) still holds it whole.
pub const MAX_PACKET: usize = 128 * 1024;

/// What came in one packet.
#[derive(Debug)]
pub struct Packet {
    /// All of its bytes.
    pub bytes: Vec<u8>,
    /// The descriptors beside them, which are close-on-exec. If they were cut off, those that arrived are closed.
    pub fds: Result<Vec<OwnedFd>, CutOff>,
}

/// Descriptors that were sent with a packet and did not all arrive: the receiver may open no more, or they were more than
/// [`MAX_FDS`]. The packet's bytes have arrived, so that it can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutOff;

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("descriptors did not arrive: the process may open no more (ulimit -n)")
    }
}

impl std::error::Error for CutOff {}

impl From<CutOff> for io::Error {
    fn from(cut_off: CutOff) -> Self {
        Self::other(cut_off)
    }
}

/// One end of a channel: a Unix socket that keeps the bounds of packets and passes descriptors.
///
/// Neither end ever blocks; register it for readiness and try again on [`io::ErrorKind::WouldBlock`].
/// Dropping it closes the end, which the other one sees as `None`.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Two connected ends, both close-on-exec.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok((Self(one), Self(other)))
    }

    /// Takes over an end that was made by [`Channel::pair`], perhaps in another process.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends one packet, whole or not at all, with copies of the descriptors.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full, `BrokenPipe` when the other end is closed, `InvalidInput` for
    /// an empty packet (it would read as the end), more than [`MAX_PACKET`] bytes or more than [`MAX_FDS`]
    /// descriptors.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.is_empty() || bytes.len() > MAX_PACKET || fds.len() > MAX_FDS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a packet has 1 to {MAX_PACKET} bytes and at most {MAX_FDS} descriptors, not {} and {}",
                    bytes.len(),
                    fds.len()
                ),
            ));
        }
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            // The space holds MAX_FDS, and there are no more.
            let pushed = control.push(SendAncillaryMessage::ScmRights(fds));
            debug_assert!(pushed);
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        retry(|| sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, flags))?;
        Ok(())
    }

    /// Receives one packet with its descriptors. `None`: the other end is closed.
    ///
    /// # Errors
    /// `WouldBlock` when there is none yet. `InvalidData` when the packet was longer than [`Channel::send`] allows; what of
    /// it was received is closed (see [`close_elsewhere`]) and gone, and the next call goes on with the next packet.
    pub fn recv(&self) -> io::Result<Option<Packet>> {
        let Some(length) = self.next_length()? else {
            return Ok(None);
        };
        let mut bytes = vec![0; length.min(MAX_PACKET)];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_RECEIVED))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = retry(|| {
            recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut control,
                flags,
            )
        })?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            close_elsewhere(fds);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a packet of {length} bytes was cut off"),
            ));
        }
        bytes.truncate(received.bytes);
        let fds = if received.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MAX_FDS {
            close_elsewhere(fds);
            Err(CutOff)
        } else {
            Ok(fds)
        };
        Ok(Some(Packet { bytes, fds }))
    }

    /// The length of the packet that [`Channel::recv`] gets next, so that it allocates no more than that.
    fn next_length(&self) -> io::Result<Option<usize>> {
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        let (_, length) = retry(|| recv(&self.0, &mut [0; 1], flags))?;
        Ok((length > 0).then_some(length))
    }
}

/// Drops what came from another process in a thread of its own: to close the last descriptor of a socket may wait for its
/// peer (`SO_LINGER`), of a file for a server far away, and a channel's end holds what its other one has sent.
pub fn close_elsewhere(descriptors: impl Send + 'static) {
    let closes = std::thread::Builder::new().name("closes".to_owned());
    // Without a thread it was dropped here: better late than never.
    let _ = closes.spawn(move || drop(descriptors));
}

/// Calls again after a signal, and after the reset that an end reports once if it was closed with packets
/// unread: what it had sent before is still there to be read, and then comes the end.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR | Errno::CONNRESET) => {}
            outcome => return outcome,
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

#[cfg(test)]
mod tests;
