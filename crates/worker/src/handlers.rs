//! The app's hooks: which run at once, which wait, and what is said when they end.

mod calls;
mod requests;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use moorline_ipc::Header;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use self::requests::Mark;
use super::clock;
use super::core::{Core, Event};
use super::exchanges::Exchanges;
use super::hook::{Ended, Failure, HotHook, Slot, begin_slot, poll_slot};
use super::outbox::Room;
use super::sampler::Chosen;
use super::stalls::Hook;
use crate::app::{self, App, Context, Datagram, Message, PostedBy, Session};
use crate::config::{OnCrash, OnError};
use crate::control::ProcessCounter;
use crate::wire::{ERRED, FAILED, FORCE, FROM_TASK, FromProcess, LARGEST_TRANSFER};

/// Datagrams that may be in progress. They have no window as sessions have, so more than these are dropped.
const DATAGRAMS: usize = 1024;

/// The app, and how its hooks are called. `M` and `D` are its two hot ones.
pub(super) struct Handlers<A, M, D> {
    core: Rc<Core>,
    app: Rc<A>,
    on_message: M,
    on_datagram: D,
    datagrams_in_hand: Cell<usize>,
    /// The requests that it is asked about: what is sent there, or dropped, ends the hook.
    asked: RefCell<FxHashMap<u64, oneshot::Sender<()>>>,
    /// The plain requests in progress.
    pub(super) exchanges: Exchanges,
}

type BoxedHook = Pin<Box<dyn Future<Output = app::Result>>>;

/// One of a session's ordered hooks while it runs.
enum Running<F> {
    Open(Option<BoxedHook>),
    Message {
        slot: Slot<F>,
        sequence: u64,
        size: u64,
        chosen: Chosen,
    },
    Close(Option<BoxedHook>),
}

impl<F> Running<F> {
    fn hook(&self) -> Hook {
        match self {
            Running::Open(_) => Hook::Open,
            Running::Message { .. } => Hook::Message,
            Running::Close(_) => Hook::Close,
        }
    }
}

/// Where a post came from, and so where its credit returns to.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    Loop { link: usize, slot: u16, number: u64 },
    Local { slot: u16, number: u64 },
}

impl<A, M, D> Handlers<A, M, D>
where
    A: App,
    M: HotHook<A, Session>,
    D: HotHook<A, Datagram>,
{
    pub(super) fn new(core: Rc<Core>, app: Rc<A>, on_message: M, on_datagram: D) -> Rc<Self> {
        Rc::new(Self {
            core,
            app,
            on_message,
            on_datagram,
            datagrams_in_hand: Cell::new(0),
            asked: RefCell::default(),
            exchanges: Exchanges::default(),
        })
    }

    /// A message has arrived: as [`ordered`](Self::ordered), with nothing put together that only a hook needs that
    /// does not end at once.
    #[inline]
    pub(super) fn message(self: &Rc<Self>, session: Session, message: Message, sequence: u64) {
        if session.shared().is_busy.replace(true) {
            session.shared().keep(Event::Message { message, sequence });
            return;
        }
        let size = message.len() as u64;
        let chosen = self.core.sampler.begin();
        let mut slot = self.on_message.slots().take();
        match self.begin_message(&session, slot.as_mut(), message) {
            Poll::Ready(ended) => {
                self.end_message(&session, slot, (sequence, size, chosen), &ended);
                session.shared().is_busy.set(false);
            }
            Poll::Pending => {
                let running = Running::Message {
                    slot,
                    sequence,
                    size,
                    chosen,
                };
                drop(spawn_local(self.clone().go_on(session, running)));
            }
        }
    }

    /// An event has arrived for one of a session's ordered hooks. The hook begins, and ends if it can, before this returns. If
    /// another one runs, the event waits for that.
    pub(super) fn ordered(self: &Rc<Self>, session: Session, event: Event, now: u64) {
        if session.shared().is_busy.replace(true) {
            session.shared().keep(event);
            return;
        }
        match self.begin(&session, event, now) {
            (running, Poll::Ready(ended)) => {
                self.end(&session, running, ended);
                session.shared().is_busy.set(false);
            }
            (running, Poll::Pending) => {
                drop(spawn_local(self.clone().go_on(session, running)));
            }
        }
    }

    /// Runs a hook that did not end at once, then all that has arrived for its session meanwhile.
    async fn go_on(self: Rc<Self>, session: Session, mut running: Running<M::Future>) {
        let waits = &self.core.waits;
        let mut polled = Poll::Pending;
        loop {
            let ended = match polled {
                Poll::Ready(ended) => ended,
                Poll::Pending => {
                    let hook = running.hook();
                    let wait = waits.begin(hook, Some(session.shared().id()));
                    poll_fn(|cx| {
                        waits.poll::<M::Future, _>(hook, wait.as_ref(), cx, |cx| {
                            self.poll(&session, &mut running, cx)
                        })
                    })
                    .await
                }
            };
            self.end(&session, running, ended);
            self.core.outbox.keep_pace(clock::now());
            let Some(event) = session.shared().next_event() else {
                break;
            };
            (running, polled) = self.begin(&session, event, clock::now());
        }
        session.shared().is_busy.set(false);
    }

    /// Begins a hook and polls it once. If it does not end at once it is to be polled again.
    fn begin(
        &self,
        session: &Session,
        event: Event,
        now: u64,
    ) -> (Running<M::Future>, Poll<Ended>) {
        let boxed = |name, make: &mut dyn FnMut(Rc<A>, Session) -> BoxedHook| {
            let mut hook = None;
            let begin = || self.begin_in(session, Pin::new(&mut hook), make);
            let polled = self.core.waits.during(name, begin);
            (hook, polled)
        };
        match event {
            Event::Message {
                mut message,
                sequence,
            } => {
                message.begins(now);
                let size = message.len() as u64;
                let chosen = self.core.sampler.begin();
                let mut slot = self.on_message.slots().take();
                let polled = self.begin_message(session, slot.as_mut(), message);
                let running = Running::Message {
                    slot,
                    sequence,
                    size,
                    chosen,
                };
                (running, polled)
            }
            Event::Open(opened) => {
                let (hook, polled) =
                    boxed(Hook::Open, &mut |app, its| Box::pin(app.open(its, opened)));
                (Running::Open(hook), polled)
            }
            Event::Close(reason) => {
                let (hook, polled) = boxed(Hook::Close, &mut |app, its| {
                    Box::pin(app.close(its, reason))
                });
                (Running::Close(hook), polled)
            }
        }
    }

    #[inline]
    fn begin_message(
        &self,
        session: &Session,
        slot: Pin<&mut Option<M::Future>>,
        message: Message,
    ) -> Poll<Ended> {
        self.core.counters.handle(message.queued_ns());
        self.begin_in(session, slot, |app, its| {
            self.on_message.call(app, its, message)
        })
    }

    /// Begins one of a session's hooks in an empty slot.
    #[inline]
    fn begin_in<F: Future<Output = app::Result>>(
        &self,
        session: &Session,
        slot: Pin<&mut Option<F>>,
        make: impl FnOnce(Rc<A>, Session) -> F,
    ) -> Poll<Ended> {
        let (outbox, state) = (&self.core.outbox, session.shared());
        self.core.counters.begin();
        outbox.mark_polling(state.link(), state.id());
        let polled = begin_slot(slot, || make(self.app.clone(), session.clone()));
        outbox.mark_polling(state.link(), 0);
        polled
    }

    fn poll(
        &self,
        session: &Session,
        running: &mut Running<M::Future>,
        cx: &mut Task<'_>,
    ) -> Poll<Ended> {
        let outbox = &self.core.outbox;
        outbox.mark_polling(session.shared().link(), session.shared().id());
        let polled = match running {
            Running::Message { slot, .. } => poll_slot(slot.as_mut(), cx),
            Running::Open(hook) | Running::Close(hook) => poll_slot(Pin::new(hook), cx),
        };
        outbox.mark_polling(session.shared().link(), 0);
        polled
    }

    fn end(&self, session: &Session, running: Running<M::Future>, ended: Ended) {
        match running {
            Running::Message {
                slot,
                sequence,
                size,
                chosen,
            } => self.end_message(session, slot, (sequence, size, chosen), &ended),
            Running::Open(_) => {
                self.core.counters.end();
                self.say_opened(session);
                self.report(Hook::Open, Some(session), &ended);
                self.core.outbox.show();
                let (on_crash, on_error) = self.rules(session);
                let flags = match ended {
                    Err(Failure::Panicked(_)) if on_crash == OnCrash::Close => FORCE | FAILED,
                    Err(Failure::Erred(_)) if on_error == OnError::Close => ERRED,
                    _ => return,
                };
                // It may have ended meanwhile, and then this is refused. What has arrived for it is handled until
                // the gateway says that it is closed.
                let _ = session.shared().close(flags, 0, "");
            }
            Running::Close(_) => {
                self.core.counters.end();
                self.core.outbox.show();
                self.report(Hook::Close, Some(session), &ended);
            }
        }
    }

    /// The session may change process now.
    fn say_opened(&self, session: &Session) {
        let state = session.shared();
        // The successor of a gateway that died knows nothing of it.
        if state.is_orphaned() {
            return;
        }
        let header = Header {
            kind: FromProcess::Opened as u8,
            session: session.shared().id(),
            ..Header::default()
        };
        // Always: once for each session that the gateway opens.
        let _ = self
            .core
            .outbox
            .record(state.link(), header, &[], Room::Always);
    }

    #[inline]
    fn end_message(
        &self,
        session: &Session,
        slot: Slot<M::Future>,
        (sequence, size, chosen): (u64, u64, Chosen),
        ended: &Ended,
    ) {
        let state = session.shared();
        let sampler = &self.core.sampler;
        sampler.end(chosen, state.id(), failed(ended) != 0);
        self.core.counters.end();
        self.on_message.slots().give_back(slot);
        // The successor of a gateway that died knows nothing of its messages.
        if !state.is_orphaned() {
            let (link, flags) = (state.link(), failed(ended));
            self.core
                .outbox
                .done(link, state.id(), sequence, size, flags);
        }
        if let Err(Failure::Panicked(_)) = ended
            && self.rules(session).0 == OnCrash::Redeliver
        {
            state.await_again(sequence);
        }
        self.report(Hook::Message, Some(session), ended);
    }

    /// What becomes of a session whose handler ends badly.
    fn rules(&self, session: &Session) -> (OnCrash, OnError) {
        let listener = session.shared().listener().map(usize::from);
        let listener = listener.and_then(|listener| self.core.config.listeners.get(listener));
        listener.map_or((OnCrash::Close, OnError::Close), |listener| {
            (listener.on_crash, listener.on_error)
        })
    }

    /// A session's outbound queue has passed its high watermark, or is under the low one again.
    pub(super) fn watermark(self: &Rc<Self>, session: Session, is_full: bool) {
        session.shared().set_full(is_full);
        let (app, its) = (self.app.clone(), session.clone());
        if is_full {
            let hook = || app.full(its);
            self.free(Hook::Full, Box::pin(None), hook, move |this, _, ended| {
                this.report(Hook::Full, Some(&session), &ended)
            });
        } else {
            let hook = || app.drained(its);
            self.free(
                Hook::Drained,
                Box::pin(None),
                hook,
                move |this, _, ended| this.report(Hook::Drained, Some(&session), &ended),
            );
        }
    }

    pub(super) fn datagram(self: &Rc<Self>, from: Datagram, message: Message) {
        if self.datagrams_in_hand.get() >= DATAGRAMS {
            self.core.counters.add(ProcessCounter::Discarded);
            return;
        }
        self.datagrams_in_hand.set(self.datagrams_in_hand.get() + 1);
        self.core.counters.handle(message.queued_ns());
        let hook = || self.on_datagram.call(self.app.clone(), from, message);
        self.free(
            Hook::Datagram,
            self.on_datagram.slots().take(),
            hook,
            |this, slot, ended| {
                this.datagrams_in_hand.set(this.datagrams_in_hand.get() - 1);
                this.on_datagram.slots().give_back(slot);
                this.report(Hook::Datagram, None, &ended);
            },
        );
    }

    pub(super) fn post(self: &Rc<Self>, origin: Origin, message: Message) {
        self.core.counters.handle_post(message.queued_ns());
        let (Origin::Loop { slot, .. } | Origin::Local { slot, .. }) = origin;
        let from = match slot & FROM_TASK {
            0 => PostedBy::Worker(slot),
            _ => PostedBy::Task(slot & !FROM_TASK),
        };
        let (app, epoch) = (self.app.clone(), self.core.outbox.epoch());
        let context = Context::new(self.core.clone());
        let hook = || app.post(context, from, message);
        self.free(Hook::Post, Box::pin(None), hook, move |this, _, ended| {
            this.report(Hook::Post, None, &ended);
            match origin {
                Origin::Local { number, .. } => {
                    this.core.credits.post_done(number);
                }
                Origin::Loop { link, slot, number } if epoch == this.core.outbox.epoch() => {
                    let kind = FromProcess::PostDone as u8;
                    let header = Header {
                        kind,
                        flags: if ended.is_err() { FAILED } else { 0 },
                        aux: slot,
                        session: number,
                        ..Header::default()
                    };
                    // Always: its sender's credits bound it.
                    let _ = this.core.outbox.record(link, header, &[], Room::Always);
                }
                Origin::Loop { .. } => {}
            }
        });
    }

    pub(super) fn task(self: &Rc<Self>, link: usize, number: u64, attempt: u64, message: Message) {
        self.core.counters.handle(message.queued_ns());
        let (app, epoch) = (self.app.clone(), self.core.outbox.epoch());
        let context = Context::new(self.core.clone());
        let hook = || app.task(context, message);
        self.free(Hook::Task, Box::pin(None), hook, move |this, _, ended| {
            this.report(Hook::Task, None, &ended);
            if epoch != this.core.outbox.epoch() {
                return;
            }
            let ended = ended.and_then(|result| match result.len() as u64 {
                0..=LARGEST_TRANSFER => Ok(result),
                size => Err(Failure::Erred(format!(
                    "its result of {size} bytes is over the limit of {LARGEST_TRANSFER}"
                ))),
            });
            let kind = FromProcess::TaskDone as u8;
            let flags = if ended.is_err() { FAILED } else { 0 };
            let header = Header {
                kind,
                flags,
                session: number,
                sequence: attempt,
                ..Header::default()
            };
            let result = ended.unwrap_or_else(|failure| failure.to_string().into_bytes());
            // Always: one for each task that the gateway has given out.
            let _ = this
                .core
                .outbox
                .message(link, header, &result, Room::Always);
        });
    }

    /// Runs a hook that waits for no other, in this empty slot.
    fn free<F, T>(
        self: &Rc<Self>,
        name: Hook,
        mut slot: Slot<F>,
        hook: impl FnOnce() -> F,
        end: impl FnOnce(&Self, Slot<F>, Ended<T>) + 'static,
    ) where
        F: Future<Output = app::Result<T>> + 'static,
        T: 'static,
    {
        self.core.counters.begin();
        let waits = &self.core.waits;
        let begin = || {
            let _mark = mark(name, &self.core);
            begin_slot(slot.as_mut(), hook)
        };
        match waits.during(name, begin) {
            Poll::Ready(ended) => {
                self.core.counters.end();
                end(self, slot, ended);
                self.core.outbox.show();
            }
            Poll::Pending => {
                let this = self.clone();
                let wait = waits.begin(name, None);
                spawn_local(async move {
                    let waits = &this.core.waits;
                    let poll = |cx: &mut Task<'_>| {
                        waits.poll::<F, _>(name, wait.as_ref(), cx, |cx| {
                            let _mark = mark(name, &this.core);
                            poll_slot(slot.as_mut(), cx)
                        })
                    };
                    let ended = poll_fn(poll).await;
                    this.core.counters.end();
                    end(&this, slot, ended);
                    this.core.outbox.show();
                    this.core.outbox.keep_pace(clock::now());
                });
            }
        }
    }

    #[inline]
    fn report<T>(&self, hook: Hook, session: Option<&Session>, ended: &Ended<T>) {
        if let Err(error) = ended {
            self.report_failure(hook, session, error);
        }
    }

    #[cold]
    fn report_failure(&self, hook: Hook, session: Option<&Session>, failure: &Failure) {
        report_failure(&self.core, hook, session, failure);
    }
}

/// Counts and logs that a hook has ended badly. A panic was logged where it happened.
#[cold]
pub(super) fn report_failure(
    core: &Core,
    hook: Hook,
    session: Option<&Session>,
    failure: &Failure,
) {
    let counter = match hook {
        Hook::Close => ProcessCounter::CloseFailures,
        _ => ProcessCounter::Failures,
    };
    let (hook, id) = (
        hook.as_str(),
        session.map(|session| tracing::field::display(session.id())),
    );
    let listener = session.map(Session::listener);
    match failure {
        Failure::Panicked(_) => core.counters.add(counter),
        Failure::Erred(error) => {
            core.counters.add(counter);
            core.counters.add(ProcessCounter::Returned);
            tracing::error!(hook, session = id, listener, %error, "a handler returned an error");
        }
        // The end of its own session is logged elsewhere. The end of another one may be news.
        Failure::Closed(error) if session.is_some_and(|session| !session.is_closed()) => {
            tracing::info!(hook, session = id, listener, %error, "a hook stopped early: it sent to a session that is closed");
        }
        Failure::Closed(error) => {
            tracing::debug!(hook, session = id, listener, %error, "a hook stopped early");
        }
    }
}

/// Notes that a hook of no session is polled, until the result is dropped. `accept` notes the session that is asked for.
#[inline]
fn mark(name: Hook, core: &Core) -> Option<Mark<'_>> {
    (name != Hook::Accept).then(|| Mark::none(core))
}

/// The flags that say how a hook has ended.
fn failed<T>(ended: &Ended<T>) -> u8 {
    match ended {
        Err(Failure::Panicked(_)) => FAILED,
        Err(Failure::Erred(_)) => ERRED,
        Err(Failure::Closed(_)) | Ok(_) => 0,
    }
}
