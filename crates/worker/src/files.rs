//! Files on their way to the gateway: first the descriptor, then, once the gateway has that, the record. Each takes a credit.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use moorline_ipc::Header;
use rustc_hash::FxHashMap;
use tokio::sync::{Semaphore, oneshot};

use super::commitment::Commitment;
use super::outbox::{Outbox, Room};
use crate::app::{FileError, SendError};
use crate::control_channel::ControlChannel;
use crate::session_id::SessionId;
use crate::wire::{FileSpan, FromProcess};

/// Files of this process that may be under way: each is an open descriptor of the gateway's until its peer has read it.
const FILES: usize = 256;

/// The way of descriptors to the gateway.
pub(crate) struct Files {
    channel: RefCell<Option<Rc<ControlChannel>>>,
    credit: Semaphore,
    under_way: RefCell<FxHashMap<u64, File>>,
    last: Cell<u64>,
}

/// A file on its way.
enum File {
    /// The gateway has not said whether it has the descriptor.
    Passed {
        session: u64,
        span: FileSpan,
        /// Receives the outcome; dropped if the gateway dies first.
        outcome: oneshot::Sender<Result<(), FileError>>,
    },
    /// The gateway has all of it.
    Queued,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            channel: RefCell::default(),
            credit: Semaphore::new(FILES),
            under_way: RefCell::default(),
            last: Cell::new(0),
        }
    }
}

impl Files {
    /// Begins with this gateway, or again with another one; files under way to the old one are lost.
    pub(super) fn connect(&self, channel: ControlChannel) {
        *self.channel.borrow_mut() = Some(Rc::new(channel));
        let lost = std::mem::take(&mut *self.under_way.borrow_mut());
        self.credit.add_permits(lost.len());
    }

    /// A file is sent or given up, or was refused. False if there was none of this number.
    pub(super) fn done(&self, number: u64, is_refused: bool) -> bool {
        let Some(file) = self.under_way.borrow_mut().remove(&number) else {
            return false;
        };
        self.credit.add_permits(1);
        if let (File::Passed { outcome, .. }, true) = (file, is_refused) {
            // The caller may have gone.
            let _ = outcome.send(Err(FileError::Refused));
        }
        true
    }

    /// Passes a file on, waiting for credit and until the gateway has the descriptor. Cancel-safe: the file goes whole
    /// or not at all.
    pub(super) async fn send(
        &self,
        outbox: &Outbox,
        commitment: &Commitment,
        session: u64,
        file: impl AsFd,
        span: FileSpan,
    ) -> Result<(), FileError> {
        let failed = |error| Err(FileError::Session(error));
        // The gateway answers for each descriptor, and only to a process that serves.
        if commitment.is_deadlocked() {
            return failed(SendError::NotServing);
        }
        let Ok(credit) = self.credit.acquire().await else {
            // The semaphore is never closed.
            return failed(SendError::Full);
        };
        let number = self.last.get() + 1;
        self.last.set(number);
        let epoch = outbox.epoch();
        let name = (u128::from(session) << 64 | u128::from(number)).to_le_bytes();
        let channel = self.channel.borrow().clone();
        let sent = match channel {
            Some(channel) => channel.send_bytes(&name, &[file.as_fd()]).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        // Its gateway has died, and the session with it.
        if sent.is_err() || epoch != outbox.epoch() {
            return failed(SendError::Closed);
        }
        credit.forget();
        let (outcome, said) = oneshot::channel();
        let passed = File::Passed {
            session,
            span,
            outcome,
        };
        self.under_way.borrow_mut().insert(number, passed);
        said.await.unwrap_or(failed(SendError::Closed))
    }

    /// The gateway has the descriptor of a file, whose record may follow. False if there is no file of this number.
    pub(super) fn is_there(&self, outbox: &Outbox, number: u64) -> bool {
        let mut under_way = self.under_way.borrow_mut();
        let Some(file) = under_way.get_mut(&number) else {
            return false;
        };
        let File::Passed {
            session,
            span,
            outcome,
        } = std::mem::replace(file, File::Queued)
        else {
            return false;
        };
        drop(under_way);
        let header = Header {
            kind: FromProcess::File as u8,
            session,
            sequence: number,
            ..Header::default()
        };
        // Plain values only: there is nothing in it that could fail to be written.
        let payload = postcard::to_stdvec(&span).unwrap_or_default();
        let link = SessionId::from(session).event_loop();
        // Always: its credit bounds it.
        let _ = outbox.record(link, header, &[&payload], Room::Always);
        // The caller may have gone: the file is sent all the same.
        let _ = outcome.send(Ok(()));
        true
    }
}
