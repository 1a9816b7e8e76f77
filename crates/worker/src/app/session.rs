//! A session as the app sees it: a handle to a connection that the gateway holds.

use std::fmt;
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use crate::app::event;
use crate::app::{Context, SendError, SessionId};
use crate::wire::{FORCE, LONGEST_CLOSE_TEXT, Peer, SessionTls};
use crate::{Form, Refusal, Room, SessionState};

/// A handle to a session. Clones are cheap and name the same session.
///
/// A handle works as long as its session lives, whichever process serves it. Dropping it does nothing to the session.
/// Messages of one process to a session arrive in order.
///
/// ```no_run
/// use moorline_worker::app::{Message, Result, Session};
///
/// // What a `message` hook may do.
/// async fn answer(session: &Session, message: &Message) -> Result {
///     session.send("it may take a while").await?;
///     session.keep_bytes(message)?;
///     session.set_label("busy")?;
///     if session.try_send("no wait").is_err() {
///         session.close()?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Session(Rc<SessionState>);

impl Session {
    #[inline]
    pub(crate) fn new(state: Rc<SessionState>) -> Self {
        Self(state)
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Rc<SessionState> {
        &self.0
    }

    /// Its id, which no other session ever has.
    #[inline]
    pub fn id(&self) -> SessionId {
        self.0.id().into()
    }

    /// The name of the listener that accepted it; empty if this process has never served it.
    pub fn listener(&self) -> &str {
        self.0
            .listener()
            .map_or("", |listener| self.0.core().listener_name(listener))
    }

    /// The address of the peer; [`Peer::Unknown`] if this process has never served the session.
    pub fn peer(&self) -> &Peer {
        self.0
            .opening()
            .map_or(&Peer::Unknown, |opening| &opening.peer)
    }

    /// When it was accepted; the Unix epoch if this process has never served it.
    pub fn connected_at(&self) -> SystemTime {
        let milliseconds = self.0.opening().map_or(0, |opening| opening.connected_at);
        SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    /// The result of its TLS handshake, with the peer's certificate; `None` if it is not encrypted, or if this process has
    /// never served it.
    pub fn tls(&self) -> Option<&SessionTls> {
        self.0.opening()?.tls.as_deref()
    }

    /// Its outbound queue is over the high watermark. Known only of sessions that this process serves.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// The size of the largest message that it can be sent, in bytes: by its listener's framing and `hard_limit`.
    pub fn max_message(&self) -> u64 {
        self.0.max_message()
    }

    /// Another process serves it, or none: its hooks run here no more.
    pub fn is_elsewhere(&self) -> bool {
        self.0.is_elsewhere()
    }

    /// It has ended, as far as this process knows.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// The WebSocket close code with which its peer has closed it. `None` if the peer gave none, and before the
    /// [`close`](crate::app::App::close) hook.
    pub fn close_code(&self) -> Option<u16> {
        self.0.close_code()
    }

    /// The text that its peer has given with its WebSocket close, at most 123 bytes: anything the peer likes. `None` if it
    /// gave none, and before the [`close`](crate::app::App::close) hook.
    pub fn close_text(&self) -> Option<&str> {
        self.0.close_text()
    }

    /// The context of the process.
    pub fn context(&self) -> Context {
        Context::new(self.0.core().clone())
    }

    /// Sends a message. It waits until the outbound queue is [drained](crate::app::App::drained) if it is full, and until the
    /// ring to the gateway has room. When it returns, the message is on its way; the peer may not have it yet.
    ///
    /// Cancel-safe: a future dropped before its end has sent nothing. Fails at once with
    /// [`SendError::TooLarge`], and with the others when the session ends.
    pub async fn send(&self, bytes: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.send_as(bytes.as_ref(), Form::BYTES).await
    }

    /// [`send`](Self::send) of a WebSocket text message. With other framings it is the same.
    pub async fn send_text(&self, text: impl AsRef<str>) -> Result<(), SendError> {
        self.send_as(text.as_ref().as_bytes(), Form::TEXT).await
    }

    /// Sends a message if there is room now; over the high watermark it refuses with [`SendError::Full`]. It also does so after
    /// 64 KiB to a session without an `await` if any session has become full meanwhile: which one is not known before that; and
    /// while the ring to the gateway has no room. If it was another session, or the ring,
    /// [`drained`](crate::app::App::drained) follows all the same, without [`full`](crate::app::App::full), for a session that
    /// this process serves.
    pub fn try_send(&self, bytes: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.0
            .offer_now(bytes.as_ref(), Form::BYTES)
            .map_err(SendError::from)
    }

    /// [`try_send`](Self::try_send) of a WebSocket text message.
    pub fn try_send_text(&self, text: impl AsRef<str>) -> Result<(), SendError> {
        self.0
            .offer_now(text.as_ref().as_bytes(), Form::TEXT)
            .map_err(SendError::from)
    }

    /// Queues a message, also over the high watermark. The session of a slow peer is closed at the listener's `hard_limit`.
    /// It refuses with [`SendError::Full`] only if the queue to the gateway has reached its bound.
    pub fn push(&self, bytes: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.0
            .offer(bytes.as_ref(), Form::BYTES, Room::Bounded)
            .map_err(SendError::from)
    }

    /// [`push`](Self::push) of a WebSocket text message.
    pub fn push_text(&self, text: impl AsRef<str>) -> Result<(), SendError> {
        self.0
            .offer(text.as_ref().as_bytes(), Form::TEXT, Room::Bounded)
            .map_err(SendError::from)
    }

    /// Sends an event: an id (up to 128 bytes) and a name (up to 64 bytes), each empty for none, and its data. A session of
    /// server-sent events gets all of it, a WebSocket of `moorline.resume.v1` gets it as JSON, any other session gets the data
    /// as text. Apart from that it is as [`send`](Self::send).
    pub async fn send_event(
        &self,
        id: impl AsRef<str>,
        name: impl AsRef<str>,
        data: impl AsRef<str>,
    ) -> Result<(), SendError> {
        let bytes = event::encode(id.as_ref(), name.as_ref(), data.as_ref())?;
        self.send_as(&bytes, Form::EVENT).await
    }

    /// [`send_event`](Self::send_event) as [`try_send`](Self::try_send).
    pub fn try_send_event(
        &self,
        id: impl AsRef<str>,
        name: impl AsRef<str>,
        data: impl AsRef<str>,
    ) -> Result<(), SendError> {
        let bytes = event::encode(id.as_ref(), name.as_ref(), data.as_ref())?;
        Ok(self.0.offer_now(&bytes, Form::EVENT)?)
    }

    /// [`send_event`](Self::send_event) as [`push`](Self::push).
    pub fn push_event(
        &self,
        id: impl AsRef<str>,
        name: impl AsRef<str>,
        data: impl AsRef<str>,
    ) -> Result<(), SendError> {
        let bytes = event::encode(id.as_ref(), name.as_ref(), data.as_ref())?;
        Ok(self.0.offer(&bytes, Form::EVENT, Room::Bounded)?)
    }

    /// Closes the session once all messages to it have been written. A second call returns [`SendError::Closing`].
    pub fn close(&self) -> Result<(), SendError> {
        self.0.close(0, 0, "")
    }

    /// [`close`](Self::close) with this WebSocket close code.
    pub fn close_with(&self, code: u16) -> Result<(), SendError> {
        self.0.close(0, code, "")
    }

    /// [`close`](Self::close) with this WebSocket close code, and a text for the peer. Browsers show it as `event.reason`. A
    /// text over 123 bytes is cut at a character; other framings have no such text.
    pub fn close_with_text(&self, code: u16, text: &str) -> Result<(), SendError> {
        // Ends at zero at the latest, which is a boundary.
        let mut end = text.len().min(LONGEST_CLOSE_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.close(0, code, &text[..end])
    }

    /// Closes the session at once and discards its queue. It works on a session that is closing, too.
    pub fn close_now(&self) -> Result<(), SendError> {
        self.0.close(FORCE, 0, "")
    }

    #[inline]
    async fn send_as(&self, bytes: &[u8], form: Form) -> Result<(), SendError> {
        if self.0.is_remote() {
            return self.0.send_afar(bytes, form).await;
        }
        let core = self.0.core();
        if core.commitment.is_committed() && !core.outbox.is_ahead(self.0.id()) {
            match self.0.offer(bytes, form, Room::Awaited) {
                Ok(()) => return Ok(()),
                Err(Refusal::Never(error)) => return Err(error),
                Err(_) => {}
            }
        }
        self.send_when_possible(bytes, form).await
    }

    #[cold]
    async fn send_when_possible(&self, bytes: &[u8], form: Form) -> Result<(), SendError> {
        let commitment = &self.0.core().commitment;
        commitment.committed_after_start().await;
        let mut place = Place::new(&self.0);
        poll_fn(|cx| {
            let outbox = &self.0.core().outbox;
            if outbox.is_ahead(self.0.id()) {
                // A handler that only sends would never hear that its session is full.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.0.offer(bytes, form, Room::Awaited) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(Refusal::Watermark) => {
                    self.0.await_drained(&mut place.watermark, cx.waker());
                    Poll::Pending
                }
                Err(Refusal::NoRoom(_)) if commitment.is_deadlocked() => {
                    Poll::Ready(Err(SendError::NotServing))
                }
                Err(Refusal::NoRoom(need)) => {
                    outbox.await_room(self.0.link(), need, &mut place.room, cx.waker());
                    Poll::Pending
                }
                Err(Refusal::Never(error)) => Poll::Ready(Err(error)),
            }
        })
        .await
    }
}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Session {}

impl Hash for Session {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("listener", &self.listener())
            .finish()
    }
}

impl From<Refusal> for SendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Watermark | Refusal::NoRoom(_) => SendError::Full,
            Refusal::Never(error) => error,
        }
    }
}

/// The places of a waiting `send` in the two queues; leaves them when it is dropped.
pub(super) struct Place<'a> {
    session: &'a SessionState,
    pub(super) watermark: Option<u64>,
    room: Option<u64>,
}

impl<'a> Place<'a> {
    pub(super) fn new(session: &'a SessionState) -> Self {
        Self {
            session,
            watermark: None,
            room: None,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.watermark {
            self.session.forget_waiter(ticket);
        }
        if let Some(ticket) = self.room {
            self.session
                .core()
                .outbox
                .forget_waiter(self.session.link(), ticket);
        }
    }
}
