//! Information about sessions from the gateway: about one, or about all.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, ready};
use std::time::{Duration, SystemTime};

use futures_core::Stream;

use crate::app::{AskError, Context, Session, SessionId};
use crate::wire::{Answer, Peer, Question, SessionFacts, SessionTls};
use crate::{Asked, Core};

/// Information about a session, as of the moment when the gateway answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// The name of the listener that accepted it.
    pub listener: String,
    /// The other end.
    pub peer: Peer,
    /// When it was accepted.
    pub connected_at: SystemTime,
    /// When something was last received; before that, when it was accepted.
    pub received_at: SystemTime,
    /// When something was last sent; before that, when it was accepted.
    pub sent_at: SystemTime,
    /// The worker slot it belongs to.
    pub worker: u16,
    /// The key that it is [bound](Session::bind) to, or empty.
    pub key: Vec<u8>,
    /// Its [label](Session::set_label); empty if it has none.
    pub label: Vec<u8>,
    /// It is [paused](Session::pause).
    pub paused: bool,
    /// It is [exempt](Session::set_idle_exempt) from `idle_timeout`.
    pub idle_exempt: bool,
    /// Messages received.
    pub messages: u64,
    /// Bytes received. With TLS they are counted without the encryption.
    pub received: u64,
    /// Bytes sent, counted in the same way.
    pub sent: u64,
    /// Bytes queued for its peer.
    pub queued: u64,
    /// The result of its TLS handshake; `None` if it is not encrypted. [`Context::sessions`] leaves out the peer's
    /// certificate.
    pub tls: Option<SessionTls>,
}

impl SessionInfo {
    fn new(core: &Core, facts: SessionFacts) -> Self {
        let time = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        Self {
            id: facts.id.into(),
            listener: core.listener_name(facts.listener).to_owned(),
            peer: facts.peer,
            connected_at: time(facts.connected_at),
            received_at: time(facts.received_at),
            sent_at: time(facts.sent_at),
            worker: facts.worker,
            key: facts.key,
            label: facts.label,
            paused: facts.paused,
            idle_exempt: facts.kept,
            messages: facts.messages,
            received: facts.received,
            sent: facts.sent,
            queued: facts.queued,
            tls: facts.tls.map(|tls| *tls),
        }
    }
}

impl Session {
    /// Asks the gateway how the session is, whichever process serves it. What was sent to it or asked for it before
    /// is part of the answer. Once the session has ended, the process that was with it at the end (and runs its
    /// [`close`](crate::app::App::close) hook) still has the last answer, unless the gateway was lost. Cancel-safe.
    ///
    /// # Errors
    /// [`AskError::NoSuchSession`] once it has ended, elsewhere; [`AskError::Unreachable`] for a session of another node; [`AskError::Full`] with 1024 questions of this process unanswered.
    pub async fn info(&self) -> Result<SessionInfo, AskError> {
        let core = self.shared().core();
        if let Some(facts) = self.shared().last_facts() {
            return Ok(SessionInfo::new(core, facts));
        }
        if self.shared().is_remote() {
            return Err(AskError::Unreachable);
        }
        let asked = core.ask(self.shared().link(), &Question::Session(self.shared().id()))?;
        match asked.await? {
            Answer::Session(Some(facts)) => Ok(SessionInfo::new(core, facts)),
            _ => Err(AskError::NoSuchSession),
        }
    }
}

impl Context {
    /// All sessions of the engine, of all workers and listeners, one after another. The gateway is asked for a page at a time,
    /// so that a million of them neither need memory here nor keep the gateway busy.
    ///
    /// A session that lives the whole time comes once; one that begins or ends meanwhile, once or not at all.
    pub fn sessions(&self) -> Sessions {
        Sessions {
            core: self.core().clone(),
            link: 0,
            place: 0,
            page: VecDeque::new(),
            asked: None,
        }
    }
}

/// The sessions of the engine, as a stream.
///
/// An error ends it. Dropping it at any time is fine.
pub struct Sessions {
    core: Rc<Core>,
    /// The loop and the place in its table from where on to ask next.
    link: usize,
    place: u32,
    page: VecDeque<SessionFacts>,
    asked: Option<Asked>,
}

impl Sessions {
    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<SessionInfo, AskError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn poll_page(&mut self, cx: &mut Task<'_>) -> Poll<Result<(), AskError>> {
        if self.asked.is_none() {
            let question = Question::Sessions(self.place);
            self.asked = Some(self.core.ask(self.link, &question)?);
        }
        if let Some(asked) = &mut self.asked {
            let answer = ready!(Pin::new(asked).poll(cx));
            self.asked = None;
            let Answer::Sessions(page, next) = answer? else {
                return Poll::Ready(Err(AskError::GatewayLost));
            };
            self.page = page.into();
            match next {
                Some(place) => self.place = place,
                None => {
                    self.link += 1;
                    self.place = 0;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream for Sessions {
    type Item = Result<SessionInfo, AskError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(facts) = self.page.pop_front() {
                return Poll::Ready(Some(Ok(SessionInfo::new(&self.core, facts))));
            }
            if self.link >= self.core.outbox.links() {
                return Poll::Ready(None);
            }
            if let Err(error) = ready!(self.poll_page(cx)) {
                self.link = usize::MAX;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
