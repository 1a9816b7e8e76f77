//! The hooks that look at requests over HTTP.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use moorline_ipc::Header;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::Handlers;
use crate::app::{self, App, Content, Context, Datagram, Error, Request, Response, Session};
use crate::clock;
use crate::core::Core;
use crate::exchanges::Exchange;
use crate::hook::{Ended, Failure, HotHook, poll_slot};
use crate::outbox::{Needs, Room, RoomPlace};
use crate::remote;
use crate::stalls::Hook;
use crate::wire::accept::Asking;
use crate::wire::exchange::{LARGEST_PIECE, NO_SESSION};
use crate::wire::{FAILED, FromProcess, LAST};

impl<A, M, D> Handlers<A, M, D>
where
    A: App,
    M: HotHook<A, Session>,
    D: HotHook<A, Datagram>,
{
    /// The request for session `id` need not be answered any more. False: it is not asked about.
    pub(crate) fn forget_request(&self, id: u64) -> bool {
        self.asked.borrow_mut().remove(&id).is_some()
    }

    /// A request asks for session `id`, which does not exist yet.
    pub(crate) fn accept(self: &Rc<Self>, link: usize, id: u64, asking: Asking) {
        let listener = self.core.config.listeners.get(usize::from(asking.listener));
        let request = Request::new(asking, listener);
        let chosen = self.core.sampler.begin_request(&request);
        let (app, epoch) = (self.app.clone(), self.core.outbox.epoch());
        let core = self.core.clone();
        let (unwanted, mut is_unwanted) = oneshot::channel::<()>();
        self.asked.borrow_mut().insert(id, unwanted);
        let hook = || {
            let mark = Mark::new(&core, link, id);
            let mut hook = Box::pin(app.accept(request));
            drop(mark);
            poll_fn(move |cx| {
                if Pin::new(&mut is_unwanted).poll(cx).is_ready() {
                    // Nobody hears it.
                    return Poll::Ready(Ok(app::Accept::refuse(503)));
                }
                let _mark = Mark::new(&core, link, id);
                hook.as_mut().poll(cx)
            })
        };
        self.free(Hook::Accept, Box::pin(None), hook, move |this, _, ended| {
            this.asked.borrow_mut().remove(&id);
            let ended = ended.and_then(|accept| accept.encode().map_err(Failure::Erred));
            let sampler = &this.core.sampler;
            sampler.end_request(chosen, Hook::Accept, id, ended.is_err());
            this.report(Hook::Accept, None, &ended);
            if epoch != this.core.outbox.epoch() {
                return;
            }
            let header = Header {
                kind: FromProcess::Accepted as u8,
                session: id,
                ..Header::default()
            };
            let verdict = ended.unwrap_or_else(|_| app::failed());
            // Always: once for each request that the gateway asks about.
            let _ = this
                .core
                .outbox
                .record(link, header, &[&verdict], Room::Always);
        });
    }

    /// A plain request has come, with its body.
    pub(crate) fn request(
        self: &Rc<Self>,
        link: usize,
        number: u64,
        (asking, body): (Asking, Bytes),
        queued_ns: u64,
    ) {
        self.core.counters.handle(queued_ns);
        let listener = self.core.config.listeners.get(usize::from(asking.listener));
        let request = Request::new(asking, listener).with_body(body);
        let chosen = self.core.sampler.begin_request(&request);
        let is_head = request.method() == "HEAD";
        let exchange = self.exchanges.begin(number);
        let answering = Answering {
            core: self.core.clone(),
            exchange: exchange.clone(),
            link,
            number,
            epoch: self.core.outbox.epoch(),
        };
        let app = self.app.clone();
        let context = Context::new(self.core.clone());
        let hook = || {
            let mut hook = Box::pin(async move {
                match request.is_for_engine() {
                    true => Ok(remote::answer(&context, &request).await),
                    false => app.request(request).await,
                }
            });
            poll_fn(move |cx| match exchange.poll_gone(cx) {
                true => Poll::Ready(Ok(None)),
                false => hook.as_mut().poll(cx).map_ok(Some),
            })
        };
        let this = self.clone();
        self.free(Hook::Request, Box::pin(None), hook, move |_, _, ended| {
            let sampler = &this.core.sampler;
            sampler.end_request(chosen, Hook::Request, number, ended.is_err());
            this.respond(answering, is_head, ended);
        });
    }

    /// A request's hook has ended: with a response, or without one because its client has left.
    fn respond(
        self: Rc<Self>,
        answering: Answering,
        is_head: bool,
        ended: Ended<Option<Response>>,
    ) {
        let encode = |response: Response| response.encode(is_head).map_err(Failure::Erred);
        let ended = ended.and_then(|response| response.map(encode).transpose());
        self.report(Hook::Request, None, &ended);
        let Ok(Some((head, content, length))) = ended else {
            answering.say(FromProcess::Respond, LAST | FAILED, &[]);
            self.exchanges.end(answering.number, &answering.exchange);
            return;
        };
        let room = answering.largest_piece();
        match content {
            Content::Whole(body) if head.len() + body.len() <= room => {
                answering.say(FromProcess::Respond, LAST, &[&head, &body]);
                self.exchanges.end(answering.number, &answering.exchange);
            }
            content => {
                answering.say(FromProcess::Respond, 0, &[&head]);
                spawn_local(self.send_body(answering, content, length));
            }
        }
    }

    /// Sends the body of an answer. It counts as a part of its hook, but may wait for as long as it likes.
    async fn send_body(
        self: Rc<Self>,
        answering: Answering,
        content: Content,
        length: Option<u64>,
    ) {
        let counters = &self.core.counters;
        counters.begin();
        let mut slot = Box::pin(Some(answering.send(content, length)));
        let poll = |cx: &mut std::task::Context<'_>| {
            let _mark = Mark::none(&self.core);
            let waits = &self.core.waits;
            waits.poll::<(), _>(Hook::Request, None, cx, |cx| poll_slot(slot.as_mut(), cx))
        };
        let ended = poll_fn(poll).await;
        drop(slot);
        counters.end();
        let flags = match &ended {
            Ok(Whole::Yes) => LAST,
            Ok(Whole::No) | Err(_) => LAST | FAILED,
        };
        answering.say(FromProcess::Body, flags, &[]);
        self.exchanges.end(answering.number, &answering.exchange);
        self.report(Hook::Request, None, &ended);
        self.core.outbox.show();
        self.core.outbox.keep_pace(clock::now());
    }
}

/// The way of one answer to its client.
struct Answering {
    core: Rc<Core>,
    exchange: Rc<Exchange>,
    link: usize,
    number: u64,
    epoch: u32,
}

/// Whether a body has gone to its end.
enum Whole {
    Yes,
    /// Its client has left.
    No,
}

impl Answering {
    fn header(&self, kind: FromProcess, flags: u8) -> Header {
        Header {
            kind: kind as u8,
            flags,
            session: self.number,
            ..Header::default()
        }
    }

    /// Says something that is said once. The successor of a gateway that died knows nothing of the request.
    fn say(&self, kind: FromProcess, flags: u8, parts: &[&[u8]]) {
        let outbox = &self.core.outbox;
        if self.epoch == outbox.epoch() {
            let bytes: usize = parts.iter().map(|part| part.len()).sum();
            self.exchange.send(bytes);
            let header = self.header(kind, flags);
            // Always: the gateway bounds the requests.
            let _ = outbox.record(self.link, header, parts, Room::Always);
        }
    }

    /// The most bytes of a record.
    fn largest_piece(&self) -> usize {
        self.core.outbox.max_payload(self.link).min(LARGEST_PIECE)
    }

    /// Sends a body as fast as its client takes it.
    async fn send(&self, content: Content, length: Option<u64>) -> Result<Whole, Error> {
        let mut left = length;
        let mut content = content;
        while let Some(piece) = poll_fn(|cx| self.poll_piece(&mut content, cx)).await {
            let piece = piece?;
            if let Some(left) = &mut left {
                let rest = left.checked_sub(piece.len() as u64);
                *left = rest.ok_or("the body of a response is longer than its length")?;
            }
            for part in piece.chunks(self.largest_piece().max(1)) {
                if !self.send_part(part).await {
                    return Ok(Whole::No);
                }
            }
            if left == Some(0) {
                return Ok(Whole::Yes);
            }
        }
        match left {
            _ if self.exchange.is_gone() => Ok(Whole::No),
            None | Some(0) => Ok(Whole::Yes),
            Some(_) => Err("the body of a response is shorter than its length".into()),
        }
    }

    /// The next piece; none at the end, and if the client has left.
    fn poll_piece(
        &self,
        content: &mut Content,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<app::Result<Bytes>>> {
        if self.exchange.poll_gone(cx) {
            return Poll::Ready(None);
        }
        match content {
            Content::Whole(body) => Poll::Ready(match body.is_empty() {
                true => None,
                false => Some(Ok(std::mem::take(body))),
            }),
            Content::Stream(pieces) => pieces.as_mut().poll_next(cx),
        }
    }

    /// Sends a part of a body when there is room. False: the client has left.
    async fn send_part(&self, part: &[u8]) -> bool {
        let outbox = &self.core.outbox;
        poll_fn(|cx| self.exchange.poll_room(part.len(), cx)).await;
        let mut place = RoomPlace::new(outbox, self.link);
        let header = self.header(FromProcess::Body, 0);
        poll_fn(|cx| {
            if self.exchange.poll_gone(cx) || self.epoch != outbox.epoch() {
                return Poll::Ready(false);
            }
            match outbox.record(self.link, header, &[part], Room::Needed) {
                Ok(()) => {
                    self.exchange.send(part.len());
                    Poll::Ready(true)
                }
                Err(Needs(need)) => {
                    place.wait(need, cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// A session's hook is being polled, or one of none, until this is dropped. If the process ends by a fault meanwhile, no other
/// message in progress there counts that death.
pub(super) struct Mark<'a> {
    core: &'a Core,
    link: usize,
}

impl<'a> Mark<'a> {
    fn new(core: &'a Core, link: usize, session: u64) -> Self {
        core.outbox.mark_polling(link, session);
        Self { core, link }
    }

    /// The mark of a hook that belongs to no session.
    pub(super) fn none(core: &'a Core) -> Self {
        Self::new(core, 0, NO_SESSION)
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        self.core.outbox.mark_polling(self.link, 0);
    }
}
