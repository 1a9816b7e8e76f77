//! A handle that sends through a client from elsewhere.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use rustix::fs::OFlags;
use tokio::sync::Notify;

use super::error::SendError;
use super::file::Prepared;
use super::options::ClientOptions;
use super::output::{MAX_FILES, wrap_file};
use super::queue::Queue;
use super::watermarks::Watermarks;
use crate::framing::Framing;

/// Sends through a client from elsewhere: from other tasks, other threads.
///
/// Its messages lie in a queue of its own, bounded like the client's, until the client is polled. One sender's messages
/// keep their order. Cloning is cheap; dropping it does nothing to the client.
#[derive(Debug, Clone)]
pub struct Sender {
    pub(super) shared: Arc<ClientShared>,
}

/// The state that a client and its senders share.
#[derive(Debug)]
pub(super) struct ClientShared {
    framing: Framing,
    /// There is something for the client to take.
    pending: AtomicBool,
    connected: AtomicBool,
    attempt: AtomicU64,
    gate: Mutex<Gate>,
    /// Senders that wait for room should check again.
    room: Notify,
}

/// The messages and orders from the senders to the client.
#[derive(Debug)]
struct Gate {
    orders: Orders,
    watermarks: Watermarks,
    standing: Standing,
    /// Somebody waits for room.
    waiting: bool,
    waker: Option<Waker>,
}

/// The senders' orders for a client.
///
/// An order is meant for the connection, or for the life, that its sender knew of: it is forgotten when that is over.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) messages: Queue,
    /// How many messages the peer takes those for.
    pub(super) asked: u64,
    pub(super) wanted: Wanted,
    pub(super) half_close: bool,
    pub(super) pause: Option<bool>,
}

/// The order for a client's connection; the greater one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Wanted {
    /// It stays as it is.
    #[default]
    Nothing,
    /// A new one in its place.
    Reconnect,
    /// Its end, once what waits is sent.
    Close,
    /// Its end now.
    CloseNow,
}

impl Sender {
    /// Sends a message as soon as there is room; while the client is full it waits for the low watermark.
    ///
    /// Cancel-safe: dropped before it is ready, nothing is sent. It waits as long as the peer is slow and its
    /// connection lives; wrap it in a timeout to wait for less.
    pub async fn send(&self, payload: &[u8]) -> Result<(), SendError> {
        loop {
            let room = self.shared.room.notified();
            match self.try_send_or_wait(payload, Patience::Waits) {
                Err(SendError::Full { .. }) => room.await,
                sent => return sent,
            }
        }
    }

    /// Sends a message, or says at once why not. Does not block.
    pub fn try_send(&self, payload: &[u8]) -> Result<(), SendError> {
        self.try_send_or_wait(payload, Patience::None)
    }

    fn try_send_or_wait(&self, payload: &[u8], patience: Patience) -> Result<(), SendError> {
        let envelope = self.shared.framing.wrap(payload, false)?;
        let mut gate = self.shared.gate();
        gate.admit(payload.len() as u64, patience)?;
        gate.orders.messages.push(&envelope, payload, 0);
        gate.orders.asked += self.shared.framing.messages_in(payload);
        gate.measure();
        self.shared.wake(&gate);
        Ok(())
    }

    /// Sends `length` bytes of a file from `offset` on as one message; all that follows without a length.
    ///
    /// It is ready once the file is queued, not once it is sent. Another thread opens and checks it, so that the
    /// loop does not wait for the disk. Cancel-safe: dropped before it is ready, nothing is sent. Needs tokio's
    /// runtime.
    ///
    /// # Errors
    /// [`SendError::File`] if it cannot be opened, is no regular file, or is too short, and with a framing by delimiters
    /// or lines, which it may contain; `Full` and `NotConnected` as for [`try_send`](Self::try_send).
    pub async fn send_file(
        &self,
        file: impl Into<FileSource>,
        offset: u64,
        length: Option<u64>,
    ) -> Result<(), SendError> {
        let prepared = prepare(file.into(), offset, length).await?;
        let file = wrap_file(&self.shared.framing, prepared)?;
        let mut gate = self.shared.gate();
        gate.admit(0, Patience::None)?;
        if gate.orders.messages.files() >= MAX_FILES {
            return Err(SendError::Full {
                queued: gate.orders.messages.unwritten(),
            });
        }
        gate.orders.messages.push_file(file);
        gate.orders.asked += 1;
        self.shared.wake(&gate);
        Ok(())
    }

    /// Closes the client once what waits is sent, at the latest after its close deadline. Does not wait.
    ///
    /// It has no effect on a client that is neither connected nor connecting.
    pub fn close(&self) {
        self.shared
            .order(|orders| orders.wanted = orders.wanted.max(Wanted::Close));
    }

    /// Closes the client now; what waits is lost. Does not wait.
    ///
    /// Whatever its owner is waiting for ends. Without effect on a client that is neither connected nor about to be.
    pub fn close_now(&self) {
        self.shared.order(|orders| orders.wanted = Wanted::CloseNow);
    }

    /// Replaces the connection by a new one. Does not wait.
    ///
    /// It applies to the present connection: one that has replaced it when the order arrives stays, and while an
    /// attempt runs the order has no effect.
    pub fn reconnect(&self) {
        self.shared
            .order(|orders| orders.wanted = orders.wanted.max(Wanted::Reconnect));
    }

    /// Ends the sending once the queue is sent; receiving continues. Does not wait.
    pub fn half_close(&self) {
        self.shared.order(|orders| orders.half_close = true);
    }

    /// Stops reading for a [`Handler`](super::Handler), see [`Client::pause`](super::Client::pause). Does not wait.
    pub fn pause(&self) {
        self.shared.order(|orders| orders.pause = Some(true));
    }

    /// Reads again. Does not wait.
    pub fn resume(&self) {
        self.shared.order(|orders| orders.pause = Some(false));
    }

    /// Whether there is a connection, as far as was known when the client was last polled.
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Acquire)
    }

    /// The number of the latest attempt to connect; the first is 1.
    pub fn attempt(&self) -> u64 {
        self.shared.attempt.load(Ordering::Acquire)
    }
}

/// Whether a refused sender waits for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Waits,
    None,
}

impl ClientShared {
    pub(super) fn new(options: &ClientOptions) -> Self {
        Self {
            framing: options.framing.clone(),
            pending: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            attempt: AtomicU64::new(0),
            gate: Mutex::new(Gate {
                orders: Orders::default(),
                watermarks: Watermarks::new(options),
                standing: Standing::default(),
                waiting: false,
                waker: None,
            }),
            room: Notify::new(),
        }
    }

    /// The task that polls the client is woken through this one from now on.
    pub(super) fn register(&self, waker: &Waker) {
        self.gate().waker = Some(waker.clone());
    }

    /// Whether there may be something to take. Cheap.
    #[inline]
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// The senders' orders, and their messages if the client has room for them.
    pub(super) fn take(&self, full: bool) -> Orders {
        let mut gate = self.gate();
        let mut orders = std::mem::take(&mut gate.orders);
        if full {
            gate.orders.messages = std::mem::take(&mut orders.messages);
            gate.orders.asked = std::mem::take(&mut orders.asked);
        }
        gate.standing.full = full;
        // Messages that stay are taken when the client tells that it has drained.
        self.pending.store(false, Ordering::Release);
        gate.measure();
        self.give_room(&mut gate);
        orders
    }

    /// The senders' messages, whether there is room for them or not.
    pub(super) fn take_messages(&self) -> Queue {
        let mut gate = self.gate();
        let messages = std::mem::take(&mut gate.orders.messages);
        gate.orders.asked = 0;
        gate.measure();
        self.give_room(&mut gate);
        messages
    }

    /// Whatever was ordered is forgotten: a new life begins.
    pub(super) fn forget_orders(&self) {
        self.gate().forget(Wanted::CloseNow);
    }

    /// Tells the senders how the client stands.
    pub(super) fn tell(&self, standing: Standing) {
        self.connected.store(standing.connected, Ordering::Release);
        self.attempt.store(standing.attempt, Ordering::Release);
        let mut gate = self.gate();
        let before = std::mem::replace(&mut gate.standing, standing);
        if !standing.alive {
            gate.forget(Wanted::CloseNow);
        } else if before.attempt != standing.attempt || before.connected && !standing.connected {
            gate.forget(Wanted::Reconnect);
        } else if !before.connected && standing.connected && gate.orders.wanted == Wanted::Reconnect
        {
            // There is a new one already.
            gate.orders.wanted = Wanted::Nothing;
        }
        if !gate.orders.messages.is_empty() && !standing.full {
            self.pending.store(true, Ordering::Release);
        }
        self.give_room(&mut gate);
    }

    /// Wakes senders that wait for room, if there is room or there never will be.
    fn give_room(&self, gate: &mut Gate) {
        if gate.waiting && !(gate.standing.intake == Intake::Open && gate.is_full()) {
            gate.waiting = false;
            self.room.notify_waiters();
        }
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        let mut gate = self.gate();
        if gate.standing.alive {
            change(&mut gate.orders);
            self.wake(&gate);
        }
    }

    fn wake(&self, gate: &Gate) {
        if !self.pending.swap(true, Ordering::AcqRel)
            && let Some(waker) = &gate.waker
        {
            waker.wake_by_ref();
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // Nothing in here is left half-done by a panic.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// It is connected, or about to be: there is something to give orders about.
    pub(super) alive: bool,
    pub(super) connected: bool,
    pub(super) attempt: u64,
    pub(super) intake: Intake,
    /// Its own queue is full.
    pub(super) full: bool,
}

/// Whether a client takes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Intake {
    /// There is no connection, and nothing is kept for the next one.
    #[default]
    None,
    /// The end of sending is wanted or told.
    Ended,
    Open,
}

impl Intake {
    pub(super) fn check(self) -> Result<(), SendError> {
        match self {
            Self::Open => Ok(()),
            Self::Ended => Err(SendError::Closing),
            Self::None => Err(SendError::NotConnected),
        }
    }
}

impl Gate {
    /// Forgets the orders for a connection that is over, and for its client up to this one.
    fn forget(&mut self, most: Wanted) {
        self.orders.half_close = false;
        self.orders.pause = None;
        if self.orders.wanted <= most {
            self.orders.wanted = Wanted::Nothing;
        }
    }

    fn admit(&mut self, bytes: u64, patience: Patience) -> Result<(), SendError> {
        self.standing.intake.check()?;
        let queued = self.orders.messages.unwritten();
        if self.standing.full || !self.watermarks.admits(queued, bytes) {
            self.waiting |= patience == Patience::Waits;
            return Err(SendError::Full { queued });
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.standing.full || self.watermarks.is_full()
    }

    fn measure(&mut self) {
        self.watermarks.update(self.orders.messages.unwritten());
    }
}

/// A file to send: its path, or the file itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileSource {
    /// Opened when it is sent.
    Path(PathBuf),
    /// Open already; its own position does not matter.
    File(File),
}

impl From<File> for FileSource {
    fn from(file: File) -> Self {
        Self::File(file)
    }
}

impl From<PathBuf> for FileSource {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Path> for FileSource {
    fn from(path: &Path) -> Self {
        Self::Path(path.into())
    }
}

impl From<&str> for FileSource {
    fn from(path: &str) -> Self {
        Self::Path(path.into())
    }
}

/// Opens and checks a file on a thread that may wait for the disk.
pub(super) async fn prepare(
    file: FileSource,
    offset: u64,
    length: Option<u64>,
) -> Result<Prepared, SendError> {
    tokio::task::spawn_blocking(move || {
        let file = match file {
            FileSource::Path(path) => open(&path)?,
            FileSource::File(file) => file,
        };
        Prepared::new(file, offset, length)
    })
    .await
    .map_err(io::Error::other)
    .and_then(|prepared| prepared)
    .map_err(SendError::File)
}

/// Opens a file without waiting for anybody: opening a FIFO would wait for its writer.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}
