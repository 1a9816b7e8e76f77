//! One way of a relay: what one side sends and the other one gets.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown};

use crate::ids::{RelayRef, Side};
use crate::pipes::{Pipe, Pipes};

/// A read of this number of bytes is a large one, and one of fewer than the second number a small one: a copy of less costs no
/// more than the calls for a pipe.
const LARGE: usize = 24 * 1024;
const SMALL: usize = 8 * 1024;
/// After this number of large reads, a way moves much.
const BULK: u8 = 2;
/// As many are counted, so that a few small reads in between do not change that.
const PROVEN: u8 = 4;

/// One way of a relay.
#[derive(Debug, Default)]
pub(crate) struct Way {
    pub(crate) phase: WayPhase,
    /// Large reads in a row, up to [`PROVEN`]; a small one counts against one of them.
    streak: u8,
    kept: Unsent,
    /// Bytes that were delivered, without those of TLS itself.
    pub(crate) bytes: u64,
}

/// How far a way has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum WayPhase {
    /// It flows.
    #[default]
    Open,
    /// Its source has ended. What is kept must still be delivered, and then the end.
    Ending,
    /// The other side is gone: what comes is thrown away. This number of reads are still made.
    Discarding(u8),
    /// Nothing more passes.
    Over,
}

/// What was read, and the other side has not taken.
#[derive(Debug, Default)]
enum Unsent {
    #[default]
    Nothing,
    Bytes(Box<KeptBytes>),
    /// This number of bytes is in this pipe.
    Pipe(Box<Pipe>, usize),
}

#[derive(Debug)]
struct KeptBytes {
    bytes: Vec<u8>,
    /// How much of it was taken since.
    taken: usize,
    /// This number of bytes counts as delivered once some are taken.
    uncounted: usize,
}

/// Whether a sink has taken everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    All,
    /// Its socket will report when it takes more.
    Part,
}

impl Way {
    pub(crate) fn is_over(&self) -> bool {
        self.phase == WayPhase::Over
    }

    pub(crate) fn has_kept(&self) -> bool {
        !matches!(self.kept, Unsent::Nothing)
    }

    /// Whether it goes on once its sink takes more.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.has_kept() || self.phase == WayPhase::Ending
    }

    /// Bytes of memory that it holds.
    pub(crate) fn held(&self) -> usize {
        match &self.kept {
            Unsent::Bytes(kept) => kept.bytes.len(),
            // Those are the kernel's.
            Unsent::Nothing | Unsent::Pipe(..) => 0,
        }
    }

    /// Bytes that are kept and not taken.
    pub(crate) fn left(&self) -> usize {
        match &self.kept {
            Unsent::Nothing => 0,
            Unsent::Bytes(kept) => kept.bytes.len() - kept.taken,
            Unsent::Pipe(_, bytes) => *bytes,
        }
    }

    /// Keeps bytes that no peer has taken any of so far.
    pub(crate) fn keep_uncounted(&mut self, bytes: &[u8]) {
        self.keep_sealed(bytes, bytes.len());
    }

    /// Keeps bytes that are made of so much plaintext, of which no peer has taken any so far.
    pub(crate) fn keep_sealed(&mut self, sealed: &[u8], plaintext: usize) {
        self.keep(sealed);
        if let Unsent::Bytes(kept) = &mut self.kept {
            kept.uncounted += plaintext;
        }
    }

    /// Takes out the bytes that are kept.
    pub(crate) fn take_kept(&mut self) -> Vec<u8> {
        match std::mem::take(&mut self.kept) {
            Unsent::Bytes(mut kept) => kept.bytes.split_off(kept.taken),
            Unsent::Nothing | Unsent::Pipe(..) => Vec::new(),
        }
    }

    /// Keeps these bytes behind those that are kept.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.kept {
            Unsent::Bytes(kept) => kept.bytes.extend_from_slice(bytes),
            // A pipe is for ways without TLS, whose bytes come from there alone.
            Unsent::Nothing | Unsent::Pipe(..) => {
                let bytes = bytes.to_vec();
                self.kept = Unsent::Bytes(Box::new(KeptBytes {
                    bytes,
                    taken: 0,
                    uncounted: 0,
                }));
            }
        }
    }

    /// Forgets what is kept.
    pub(crate) fn drop_kept(&mut self) {
        self.kept = Unsent::Nothing;
    }

    /// Keeps this number of bytes that are in a pipe.
    pub(crate) fn keep_pipe(&mut self, pipe: Pipe, bytes: usize) {
        self.kept = Unsent::Pipe(Box::new(pipe), bytes);
    }

    /// Its sink has taken some of what is in its pipe, if it has one.
    pub(crate) fn note_moved(&self, relay: RelayRef, from: Side, now: u64) {
        if let Unsent::Pipe(pipe, _) = &self.kept {
            pipe.note_borrower(relay, from, now);
        }
    }

    /// Takes what is in its pipe into memory, and puts the pipe back.
    ///
    /// # Errors
    /// The bytes are lost.
    pub(crate) fn leave_pipe(&mut self, pipes: &mut Pipes) -> Result<(), Errno> {
        let Unsent::Pipe(pipe, bytes) = &self.kept else {
            return Ok(());
        };
        let bytes = pipe.read(*bytes)?;
        let kept = Unsent::Bytes(Box::new(KeptBytes {
            bytes,
            taken: 0,
            uncounted: 0,
        }));
        if let Unsent::Pipe(pipe, _) = std::mem::replace(&mut self.kept, kept) {
            pipes.put_back(*pipe);
        }
        Ok(())
    }

    /// This number of bytes came at once.
    pub(crate) fn note_read(&mut self, bytes: usize) {
        if bytes >= LARGE {
            self.streak = (self.streak + 1).min(PROVEN);
        } else if bytes < SMALL {
            self.streak = self.streak.saturating_sub(1);
        }
    }

    /// Whether it moves much.
    pub(crate) fn is_bulk(&self) -> bool {
        self.streak >= BULK
    }

    /// Sends what is kept.
    ///
    /// # Errors
    /// The sink is gone.
    pub(crate) fn send_kept(
        &mut self,
        sink: &OwnedFd,
        pipes: &mut Pipes,
    ) -> Result<Delivery, Errno> {
        let kept = match &mut self.kept {
            Unsent::Nothing => return Ok(Delivery::All),
            Unsent::Bytes(kept) => kept,
            Unsent::Pipe(pipe, bytes) => {
                *bytes -= pipe.empty(sink, *bytes)?;
                if *bytes > 0 {
                    return Ok(Delivery::Part);
                }
                if let Unsent::Pipe(pipe, _) = std::mem::take(&mut self.kept) {
                    pipes.put_back(*pipe);
                }
                return Ok(Delivery::All);
            }
        };
        let sent = send(sink, &kept.bytes[kept.taken..])?;
        kept.taken += sent;
        if sent > 0 {
            self.bytes += std::mem::take(&mut kept.uncounted) as u64;
        }
        if kept.taken < kept.bytes.len() {
            return Ok(Delivery::Part);
        }
        // An idle relay keeps no memory.
        self.kept = Unsent::Nothing;
        Ok(Delivery::All)
    }

    /// Sends bytes of a way that keeps none, and keeps what is not taken.
    ///
    /// # Errors
    /// The sink is gone. Nothing of the bytes is kept.
    pub(crate) fn send(&mut self, sink: &OwnedFd, bytes: &[u8]) -> Result<Delivery, Errno> {
        let sent = send(sink, bytes)?;
        if sent == bytes.len() {
            return Ok(Delivery::All);
        }
        self.keep(&bytes[sent..]);
        Ok(Delivery::Part)
    }

    /// Tells the sink that nothing more comes.
    pub(crate) fn tell_end(&mut self, sink: &OwnedFd) {
        // A sink that has gone cannot be told, and its own way says so.
        let _ = rustix::net::shutdown(sink, Shutdown::Write);
        self.phase = WayPhase::Over;
    }
}

/// Sends as much as the socket takes now.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
