//! The hooks that look at requests over HTTP.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use moorline_ipc::Header;
use tokio::sync::oneshot;

use super::Handlers;
use crate::app::{self, App, Datagram, Request, Session};
use crate::core::Core;
use crate::hook::{Failure, HotHook};
use crate::outbox::Room;
use crate::stalls::Hook;
use crate::wire::FromProcess;
use crate::wire::accept::Asking;

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
}

/// A session's hook is being polled, until this is dropped.
struct Mark<'a> {
    core: &'a Core,
    link: usize,
}

impl<'a> Mark<'a> {
    fn new(core: &'a Core, link: usize, session: u64) -> Self {
        core.outbox.mark_polling(link, session);
        Self { core, link }
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        self.core.outbox.mark_polling(self.link, 0);
    }
}
