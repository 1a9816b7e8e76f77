//! What one gateway sends to the next: pieces of any length, with descriptors, over a channel that takes packets.
//!
//! Both ends wait in their own threads, and not for ever.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use moorline_ipc::{Channel, MAX_FDS};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// The version of what is sent. It rises when the form of anything in it changes.
pub(crate) const KEPT_VERSION: u32 = 4;
/// The oldest version that a gateway of this build takes. The form of each release is read by the next one, too: a change that
/// raises [`KEPT_VERSION`] after a release comes with a reader of the form before.
pub(crate) const OLDEST_KEPT: u32 = KEPT_VERSION;
/// Begins what the next gateway says first, before the versions that it takes: the oldest and the newest.
const MAGIC: [u8; 8] = *b"MOORNEXT";
/// Begins what the present gateway answers, before its version.
const ANSWER: [u8; 8] = *b"MOORKEPT";

/// The most bytes of one piece.
pub(crate) const MOST_BYTES: u64 = 1 << 30;
/// The most descriptors of one piece.
const MOST_DESCRIPTORS: u32 = 1 << 22;
/// Bytes in one packet.
const PACKET: usize = 64 * 1024;
/// Too many descriptors are under way: the system is asked again after this time.
const PAUSE: Duration = Duration::from_millis(1);

/// What a gateway of this build says first to the one that it is to follow.
#[must_use]
pub fn greeting() -> Vec<u8> {
    let versions = [OLDEST_KEPT, KEPT_VERSION].map(u32::to_le_bytes);
    [&MAGIC[..], versions.as_flattened()].concat()
}

/// One end.
#[derive(Debug)]
pub(crate) struct Stream {
    channel: Channel,
    /// When it is given up.
    deadline: Instant,
}

impl Stream {
    pub(crate) fn new(channel: Channel, deadline: Instant) -> Self {
        Self { channel, deadline }
    }

    /// It is given up at this time.
    pub(crate) fn end_at(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// The next gateway says which versions it takes.
    pub(crate) fn greet(&self) -> io::Result<()> {
        self.send_packet(&greeting(), &[])
    }

    /// Hears which versions the next gateway takes, and tells it which one comes.
    ///
    /// # Errors
    /// The present one is not among them, or it says nothing of the kind.
    pub(crate) fn expect_greeting(&self) -> io::Result<()> {
        let (hello, _) = self.recv_packet()?;
        let versions = hello.strip_prefix(&MAGIC[..]).and_then(|it| {
            let (oldest, newest) = it.split_first_chunk()?;
            let newest = <[u8; 4]>::try_from(newest).ok()?;
            Some((u32::from_le_bytes(*oldest), u32::from_le_bytes(newest)))
        });
        let Some((oldest, newest)) = versions else {
            return Err(wrong("the new gateway did not greet".to_owned()));
        };
        if !(oldest..=newest).contains(&KEPT_VERSION) {
            return Err(wrong(format!(
                "the new gateway takes versions {oldest} to {newest} of the state of a gateway, and the present one has {KEPT_VERSION}: \
                 restart the engine instead"
            )));
        }
        self.send_packet(&[&ANSWER[..], &KEPT_VERSION.to_le_bytes()].concat(), &[])
    }

    /// Hears which version comes.
    ///
    /// # Errors
    /// It is none that this build takes.
    pub(crate) fn expect_version(&self) -> io::Result<u32> {
        let (answer, _) = self.recv_packet()?;
        let version = answer.strip_prefix(&ANSWER[..]);
        let version = version.and_then(|it| <[u8; 4]>::try_from(it).ok());
        let version = version.map(u32::from_le_bytes);
        let taken = version.filter(|it| (OLDEST_KEPT..=KEPT_VERSION).contains(it));
        taken.ok_or_else(|| {
            wrong("the present gateway sends a version that was not asked for".to_owned())
        })
    }

    /// Sends one piece.
    ///
    /// # Errors
    /// It is too long, the other end is gone, or it takes too long.
    pub(crate) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let (length, count) = (bytes.len() as u64, descriptors.len() as u64);
        if length > MOST_BYTES || count > u64::from(MOST_DESCRIPTORS) {
            return Err(wrong(format!(
                "{length} bytes and {count} descriptors are too many to move"
            )));
        }
        let mut head = length.to_le_bytes().to_vec();
        head.extend((count as u32).to_le_bytes());
        self.send_packet(&head, &[])?;
        let mut parts = bytes.chunks(PACKET);
        let mut groups = descriptors.chunks(MAX_FDS);
        loop {
            let (part, group) = (parts.next(), groups.next());
            if part.is_none() && group.is_none() {
                return Ok(());
            }
            // A packet is never empty.
            let mut packet = vec![0];
            packet.extend_from_slice(part.unwrap_or_default());
            self.send_packet(&packet, group.unwrap_or_default())?;
        }
    }

    /// Receives one piece.
    ///
    /// # Errors
    /// The other end is gone, sends something else, or takes too long.
    pub(crate) fn receive(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let garbled = || wrong("what the present gateway sends is garbled".to_owned());
        let (head, _) = self.recv_packet()?;
        let (length, rest) = head.split_first_chunk::<8>().ok_or_else(garbled)?;
        let count = <[u8; 4]>::try_from(rest).map_err(|_| garbled())?;
        let (length, count) = (u64::from_le_bytes(*length), u32::from_le_bytes(count));
        if length > MOST_BYTES || count > MOST_DESCRIPTORS {
            return Err(garbled());
        }
        let (length, count) = (length as usize, count as usize);
        // It grows with what has come.
        let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
        while bytes.len() < length || descriptors.len() < count {
            let (packet, more) = self.recv_packet()?;
            let (_, part) = packet.split_first().ok_or_else(garbled)?;
            let is_progress = !part.is_empty() || !more.is_empty();
            bytes.extend_from_slice(part);
            descriptors.extend(more);
            if !is_progress || bytes.len() > length || descriptors.len() > count {
                return Err(garbled());
            }
        }
        Ok((bytes, descriptors))
    }

    fn send_packet(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            match self.channel.send(bytes, descriptors) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT)?;
                }
                Err(error) if is_shortage(&error) && Instant::now() < self.deadline => {
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    fn recv_packet(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        loop {
            match self.channel.recv() {
                Ok(Some(packet)) => return Ok((packet.bytes, packet.fds?)),
                Ok(None) => return Err(wrong("the other gateway has gone".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(&self, what: PollFlags) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(wrong("the other gateway takes too long".to_owned()));
        }
        let left = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&self.channel.as_fd(), what)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Too many descriptors are under way, or there is no memory.
fn is_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM)
    )
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
