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
    parts: RefCell<VecDeque<OutputPart>>,
    bytes: Cell<usize>,
    is_flushing: Cell<bool>,
    /// Whether the client may keep it waiting: a message of it is in progress meanwhile, so that the session stays.
    pub(crate) is_patient: Cell<bool>,
    /// The session is closed behind it, with this code and text if it is a WebSocket.
    is_closing: Cell<bool>,
    farewell: RefCell<Option<(u16, String)>>,
    flushed: Notify,
}

/// One message to the session.
#[derive(Debug)]
struct OutputPart {
    bytes: Vec<u8>,
    is_text: bool,
}

/// A script may write more at once than a session takes in one message: this much, or less if its listener allows less.
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
            farewell: RefCell::default(),
            flushed: Notify::new(),
        })
    }

    /// Sends, or queues. A client that does not read is waited for while a message of it is in progress; else the gateway queues, up
    /// to the listener's `hard_limit`.
    pub(crate) fn write(self: &Rc<Self>, bytes: &[u8]) -> Result<(), TakesNoMore> {
        let most = usize::try_from(self.session.max_message()).unwrap_or(usize::MAX);
        for part in bytes.chunks(LARGEST_PART.min(most).max(1)) {
            self.write_message(part, false)?;
        }
        Ok(())
    }

    /// The same of a whole message.
    pub(crate) fn write_message(
        self: &Rc<Self>,
        bytes: &[u8],
        is_text: bool,
    ) -> Result<(), TakesNoMore> {
        if self.is_closing.get() || self.bytes.get() > MOST_QUEUED {
            return Err(TakesNoMore);
        }
        let is_text = is_text && str::from_utf8(bytes).is_ok();
        let sent = match self.is_flushed() {
            true => self.offer(bytes, is_text),
            false => Err(SendError::Full),
        };
        match sent {
            Ok(()) => {}
            Err(SendError::Full) => {
                let bytes = bytes.to_vec();
                // One without a byte counts, too.
                self.bytes.set(self.bytes.get() + bytes.len() + 1);
                let mut parts = self.parts.borrow_mut();
                parts.push_back(OutputPart { bytes, is_text });
            }
            Err(_) => return Err(TakesNoMore),
        }
        self.flush_later();
        Ok(())
    }

    fn offer(&self, bytes: &[u8], is_text: bool) -> Result<(), SendError> {
        match (self.is_patient.get(), str::from_utf8(bytes)) {
            (true, Ok(text)) if is_text => self.session.try_send_text(text),
            (false, Ok(text)) if is_text => self.session.push_text(text),
            (true, _) => self.session.try_send(bytes),
            (false, _) => self.session.push(bytes),
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
        if !self.is_closing.replace(true) && self.is_flushed() {
            self.end_session();
        }
    }

    /// The same with a code and a text of WebSocket.
    pub(crate) fn close_with(&self, code: u16, text: String) {
        if !self.is_closing.get() {
            *self.farewell.borrow_mut() = Some((code, text));
            self.close();
        }
    }

    /// The session may have ended by itself.
    fn end_session(&self) {
        let _ = match self.farewell.take() {
            Some((code, text)) => self.session.close_with_text(code, &text),
            None => self.session.close(),
        };
    }

    /// Closes the session. Its queued output is lost.
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
                let text = str::from_utf8(&part.bytes);
                let sent = match (self.is_patient.get(), text) {
                    (true, Ok(text)) if part.is_text => self.session.send_text(text).await,
                    (true, _) => self.session.send(&part.bytes).await,
                    (false, _) => self.offer(&part.bytes, part.is_text),
                };
                match sent {
                    Err(SendError::Full) => sleep(PAUSE).await,
                    sent => break sent,
                }
            };
            if sent.is_err() {
                return self.drop_all();
            }
            let left = self.bytes.get().saturating_sub(part.bytes.len() + 1);
            self.bytes.set(left);
        }
        if self.is_closing.get() {
            self.end_session();
        }
    }
}
