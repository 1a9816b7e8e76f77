//! A session that scripts have as a socket.
//!
//! Each byte that has come is in one place: in a message in progress, in what the gateway keeps for the next process, or with the
//! script that has read it. So a reload and a crash lose none and repeat none.
//!
//! A message is in progress until the script waits for more: then it has read what there was, up to a part that is not what it waits
//! for. That part is kept in the gateway. A script that does nothing with its socket for a while does not hold up a reload either:
//! all that it has not read is kept then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use moorline_lua::{ForeignClose, ForeignStream, Unread};
use moorline_worker::app::{SendError, Session};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout_at};

use crate::stream_output::{StreamOutput, TakesNoMore};
use crate::websocket_wire::{NoFrame, WebSocketWire, WrittenFrame};

/// What scripts read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Raw,
    WebSocket,
}

/// As long a script has to read a message of a WebSocket. Longer than processes wait, and not for ever: its end waits for it.
const WEBSOCKET_PATIENCE: Duration = Duration::from_secs(60);
/// The code of a WebSocket that a script has refused (RFC 6455 §7.4.1).
const REFUSED: u16 = 1008;

/// How long it waits for room on the way to the gateway, which is made soon.
const RETRY: Duration = Duration::from_millis(1);
/// What the gateway keeps of a session, at most.
const MOST_KEPT: usize = 1 << 20;
/// A session with this much that nobody reads is not read on …
const HELD_AT: usize = 64 << 10;
/// … until less than this is left.
const RELEASED_AT: usize = HELD_AT / 2;

/// A session, and the socket that scripts have for it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) session: Session,
    pub(crate) socket: ForeignStream,
    /// Another process has served it before this one.
    pub(crate) is_adopted: bool,
    /// How long a script may do nothing with it before it counts as idle.
    patience: Duration,
    /// When a script last did something with it.
    used_at: Cell<Instant>,
    /// Its message hook waits for the script.
    is_in_progress: Cell<bool>,
    progress: Notify,
    pub(crate) output: Rc<StreamOutput>,
    /// Of a WebSocket.
    websocket: Option<RefCell<WebSocketWire>>,
    kept: RefCell<Kept>,
    /// There was no room for what the gateway is to keep.
    lacks_room: Cell<bool>,
    is_retrying: Cell<bool>,
    /// This side has paused it, since nobody reads it.
    is_held: Cell<bool>,
    /// A script has closed it.
    is_closed: Cell<bool>,
}

/// What the gateway keeps of what no script has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// This number of bytes, when scripts had read this number before.
    Bytes { length: usize, taken: u64 },
    /// It was too much, or there is no room for it yet.
    Lost,
}

const NOTHING: Kept = Kept::Bytes {
    length: 0,
    taken: 0,
};

impl Stream {
    pub(crate) fn new(
        session: Session,
        socket: ForeignStream,
        is_adopted: bool,
        patience: Duration,
        kind: StreamKind,
    ) -> Self {
        let is_websocket = kind == StreamKind::WebSocket;
        if is_websocket {
            socket.feed(&WebSocketWire::handshake(&session));
        }
        Self {
            websocket: is_websocket.then(RefCell::default),
            // The process before may have paused it for the same reason.
            is_held: Cell::new(is_adopted && session.is_paused()),
            output: StreamOutput::new(session.clone()),
            session,
            socket,
            is_adopted,
            // What is not read of a WebSocket is not kept.
            patience: match kind {
                StreamKind::Raw => patience,
                StreamKind::WebSocket => WEBSOCKET_PATIENCE,
            },
            used_at: Cell::new(Instant::now()),
            is_in_progress: Cell::new(false),
            progress: Notify::new(),
            kept: RefCell::new(NOTHING),
            lacks_room: Cell::new(false),
            is_retrying: Cell::new(false),
            is_closed: Cell::new(false),
        }
    }

    /// A message has come: it is in progress until the script waits for more.
    pub(crate) async fn message(self: &Rc<Self>, bytes: &[u8], is_text: bool) {
        if self.is_closed.get() {
            return;
        }
        self.is_in_progress.set(true);
        self.output.is_patient.set(true);
        let _ends = Ends(self);
        if self.socket.unread().is_awaited {
            // It has done all that there was to do, however long ago.
            self.used_at.set(Instant::now());
        }
        match &self.websocket {
            Some(_) => self.socket.feed(&WebSocketWire::message(bytes, is_text)),
            None => self.socket.feed(bytes),
        }
        while !self.is_closed.get() && !self.socket.unread().is_awaited {
            let idle_at = self.used_at.get() + self.patience;
            let progress = timeout_at(idle_at, self.progress.notified());
            if progress.await.is_err() && self.used_at.get() + self.patience <= Instant::now() {
                break;
            }
        }
        while !self.output.is_flushed() {
            self.output.flushed().await;
        }
    }

    /// A script has read some of it, written, or waits for more.
    pub(crate) fn progress(self: &Rc<Self>) {
        self.used_at.set(Instant::now());
        if self.is_in_progress.get() {
            self.progress.notify_one();
        } else {
            self.keep_rest();
        }
        let unread = self.socket.unread();
        if self.is_held.get() && (unread.is_awaited || unread.length < RELEASED_AT) {
            self.is_held.set(false);
            let _ = self.session.resume();
        }
    }

    /// A script sends something.
    pub(crate) fn send(&self, bytes: &[u8]) -> bool {
        if self.is_closed.get() {
            return false;
        }
        self.used_at.set(Instant::now());
        let written = match &self.websocket {
            Some(websocket) => self.write_frames(websocket, bytes),
            None => self.output.write(bytes),
        };
        if written.is_err() {
            // What comes behind a gap is of no use.
            self.close(ForeignClose::Now);
        }
        written.is_ok()
    }

    fn write_frames(
        &self,
        websocket: &RefCell<WebSocketWire>,
        bytes: &[u8],
    ) -> Result<(), TakesNoMore> {
        let frames = websocket.borrow_mut().written(bytes);
        for frame in frames.map_err(|NoFrame| TakesNoMore)? {
            match frame {
                WrittenFrame::Message { bytes, is_text } => {
                    self.output.write_message(&bytes, is_text)?;
                }
                WrittenFrame::Ping(payload) => self.socket.feed(&WebSocketWire::pong(&payload)),
                WrittenFrame::Close(Some(code), text) => self.output.close_with(code, text),
                WrittenFrame::Close(None, _) => self.output.close(),
                WrittenFrame::Refused => self.output.close_with(REFUSED, String::new()),
            }
        }
        Ok(())
    }

    /// The session has ended.
    pub(crate) fn end(&self) {
        if self.websocket.is_some()
            && let Some(code) = self.session.close_code()
        {
            let text = self.session.close_text().unwrap_or_default();
            self.socket.feed(&WebSocketWire::close(code, text));
        }
        if self.socket.finish() {
            tracing::warn!(
                listener = self.session.listener(),
                "connections dropped: they have ended, and the script that listens accepts none"
            );
        }
    }

    /// A script closes it.
    pub(crate) fn close(&self, how: ForeignClose) {
        let was_closed = self.is_closed.replace(true);
        self.progress.notify_one();
        // One that has moved is not this process's to close: its scripts go on elsewhere.
        if self.session.is_elsewhere() {
            return;
        }
        match how {
            ForeignClose::Flushed if was_closed => {}
            ForeignClose::Flushed => self.output.close(),
            ForeignClose::Now => self.output.close_now(),
        }
    }

    /// Has the gateway keep what no script has read.
    fn keep_rest(self: &Rc<Self>) {
        self.lacks_room.set(false);
        if self.is_closed.get() || self.websocket.is_some() {
            return;
        }
        let unread = self.socket.unread();
        let before = *self.kept.borrow();
        let now = self.next_kept(before, unread);
        *self.kept.borrow_mut() = now;
        self.retry_later();
        if !unread.is_awaited && unread.length >= HELD_AT && !self.is_held.replace(true) {
            let _ = self.session.pause();
        }
    }

    fn next_kept(&self, before: Kept, unread: Unread) -> Kept {
        let Unread { length, taken, .. } = unread;
        let known = match before {
            Kept::Bytes { length, taken: at } if at == taken => length,
            Kept::Bytes { length: 0, .. } => 0,
            // It is over only when it was read.
            Kept::Lost if length > MOST_KEPT => return Kept::Lost,
            Kept::Bytes { .. } | Kept::Lost => {
                if let Err(error) = self.session.drop_input() {
                    return self.not_kept(&error);
                }
                0
            }
        };
        if length > MOST_KEPT {
            let _ = self.session.lose_input();
            return Kept::Lost;
        }
        if length > known {
            let more = self.socket.copy_unread(known);
            if let Err(error) = self.session.keep_input(&more) {
                // Some of it may be kept.
                let _ = self.session.lose_input();
                return self.not_kept(&error);
            }
        }
        Kept::Bytes { length, taken }
    }

    fn not_kept(&self, error: &SendError) -> Kept {
        self.lacks_room.set(matches!(error, SendError::Full));
        Kept::Lost
    }

    /// Tries again until there is room. The end of a message in progress does it, too.
    fn retry_later(self: &Rc<Self>) {
        if !self.lacks_room.get() || self.is_retrying.replace(true) {
            return;
        }
        let this = self.clone();
        spawn_local(async move {
            while this.lacks_room.get() && !this.is_in_progress.get() {
                sleep(RETRY).await;
                if !this.is_in_progress.get() {
                    this.keep_rest();
                }
            }
            this.is_retrying.set(false);
        });
    }
}

/// A message in progress that ends, also if its hook is dropped.
struct Ends<'a>(&'a Rc<Stream>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.is_in_progress.set(false);
        self.0.output.is_patient.set(false);
        self.0.keep_rest();
    }
}
