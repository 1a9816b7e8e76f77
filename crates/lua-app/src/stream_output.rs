//! What scripts have written to a session, and the gateway has not taken yet.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use moorline_worker::app::{SendError, Session};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep;

/// One for each session that scripts have as a socket.
#[derive(Debug)]
pub(crate) struct StreamOutput {
    session: Session,
    parts: RefCell<VecDeque<Vec<u8>>>,
    bytes: Cell<usize>,
    is_flushing: Cell<bool>,
    /// Whether the client may keep it waiting: a message of it is in progress meanwhile, so that the session stays.
    pub(crate) is_patient: Cell<bool>,
    /// The session is closed behind it.
    is_closing: Cell<bool>,
    flushed: Notify,
}

/// A script may write more at once than a session takes in one message.
const LARGEST_PART: usize = 16 << 10;
/// As much as other sockets of scripts queue.
const MOST_QUEUED: usize = 128 << 20;
/// How long it waits for room on the way to the gateway, which is made soon.
const PAUSE: Duration = Duration::from_millis(1);

/// The session takes no more.
#[derive(Debug)]
pub(crate) struct TakesNoMore;

impl StreamOutput {
    pub(crate) fn new(session: Session) -> Rc<Self> {
        Rc::new(Self {
            session,
            parts: RefCell::default(),
            bytes: Cell::new(0),
            is_flushing: Cell::new(false),
            is_patient: Cell::new(false),
            is_closing: Cell::new(false),
            flushed: Notify::new(),
        })
    }

    /// Sends, or queues. A client that does not read is waited for while a message of it is in progress; else the gateway queues, up
    /// to the listener's `hard_limit`.
    pub(crate) fn write(self: &Rc<Self>, bytes: &[u8]) -> Result<(), TakesNoMore> {
        if self.is_closing.get() || self.bytes.get() > MOST_QUEUED {
            return Err(TakesNoMore);
        }
        for part in bytes.chunks(LARGEST_PART) {
            let sent = match self.is_flushed() {
                true => self.offer(part),
                false => Err(SendError::Full),
            };
            match sent {
                Ok(()) => {}
                Err(SendError::Full) => {
                    self.parts.borrow_mut().push_back(part.to_vec());
                    self.bytes.set(self.bytes.get() + part.len());
                }
                Err(_) => return Err(TakesNoMore),
            }
        }
        self.flush_later();
        Ok(())
    }

    fn offer(&self, part: &[u8]) -> Result<(), SendError> {
        match self.is_patient.get() {
            true => self.session.try_send(part),
            false => self.session.push(part),
        }
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.bytes.get() == 0
    }

    pub(crate) fn kibibytes(&self) -> usize {
        self.bytes.get().div_ceil(1024)
    }

    /// Waits until something that was queued is gone.
    pub(crate) async fn flushed(&self) {
        self.flushed.notified().await;
    }

    /// Closes the session behind what is queued.
    pub(crate) fn close(&self) {
        self.is_closing.set(true);
        if self.is_flushed() {
            // It may have ended by itself.
            let _ = self.session.close();
        }
    }

    /// Closes the session; what is queued is lost.
    pub(crate) fn close_now(&self) {
        self.is_closing.set(true);
        self.drop_all();
        let _ = self.session.close_now();
    }

    fn drop_all(&self) {
        self.parts.take();
        self.bytes.set(0);
        self.flushed.notify_waiters();
    }

    fn flush_later(self: &Rc<Self>) {
        if !self.is_flushed() && !self.is_flushing.replace(true) {
            let this = self.clone();
            spawn_local(async move {
                this.flush().await;
                this.is_flushing.set(false);
                this.flushed.notify_waiters();
            });
        }
    }

    async fn flush(&self) {
        loop {
            let next = self.parts.borrow_mut().pop_front();
            let Some(part) = next else {
                break;
            };
            let sent = loop {
                let sent = match self.is_patient.get() {
                    true => self.session.send(&part).await,
                    false => self.session.push(&part),
                };
                match sent {
                    Err(SendError::Full) => sleep(PAUSE).await,
                    sent => break sent,
                }
            };
            if sent.is_err() {
                return self.drop_all();
            }
            self.bytes.set(self.bytes.get().saturating_sub(part.len()));
        }
        if self.is_closing.get() {
            let _ = self.session.close();
        }
    }
}
