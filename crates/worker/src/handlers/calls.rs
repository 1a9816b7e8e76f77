//! The hooks for what other nodes ask.

use std::rc::Rc;

use bytes::Bytes;

use super::Handlers;
use crate::answering::Reply;
use crate::app::{App, CallError, Context, Datagram, Message, PostedBy, ServiceCall, Session};
use crate::call_wire::{CallOutcome, Inquiry};
use crate::calls_in_hand::ReplyTo;
use crate::hook::HotHook;
use crate::stalls::Hook;
use crate::{clock, pool};

impl<A, M, D> Handlers<A, M, D>
where
    A: App,
    M: HotHook<A, Session>,
    D: HotHook<A, Datagram>,
{
    /// Carries out what another node asks.
    pub(crate) fn inquiry(self: &Rc<Self>, inquiry: Inquiry, to: ReplyTo, bytes: usize) {
        let reply = Reply::new(self.core.clone(), to, bytes);
        match inquiry {
            Inquiry::Service { name, bytes } => self.service_call(name, &bytes, reply),
            Inquiry::Post(bytes) => self.post_from_afar(&bytes, reply),
            Inquiry::Task {
                slot,
                within,
                bytes,
            } => reply.with_task(slot, within, &bytes),
        }
    }

    fn service_call(self: &Rc<Self>, name: String, bytes: &Bytes, reply: Reply) {
        self.core.counters.handle(0);
        let context = Context::new(self.core.clone());
        let call = ServiceCall::new(name, reply.node(), message(bytes));
        let app = self.app.clone();
        let hook = || async move {
            let called = app.call(context, call).await;
            called.map(Ok).or_else(|error| match error.downcast_ref() {
                Some(CallError::NoSuchService) => Ok(Err(CallOutcome::NoSuchService)),
                _ => Err(error),
            })
        };
        self.free(Hook::Call, Box::pin(None), hook, move |this, _, ended| {
            this.report(Hook::Call, None, &ended);
            match ended {
                Ok(Ok(result)) => reply.send(CallOutcome::Done, result),
                Ok(Err(outcome)) => reply.send(outcome, Vec::new()),
                Err(failure) => reply.send(CallOutcome::Failed, failure.to_string().into_bytes()),
            }
        });
    }

    fn post_from_afar(self: &Rc<Self>, bytes: &Bytes, reply: Reply) {
        self.core.counters.handle_post(0);
        let context = Context::new(self.core.clone());
        let (app, from) = (self.app.clone(), PostedBy::Node(reply.node()));
        let hook = || app.post(context, from, message(bytes));
        self.free(Hook::Post, Box::pin(None), hook, move |this, _, ended| {
            this.report(Hook::Post, None, &ended);
            // Its sender is not told how it went.
            reply.send(CallOutcome::Done, Vec::new());
        });
    }
}

fn message(bytes: &Bytes) -> Message {
    let mut buffer = pool::take(bytes.len());
    buffer.extend_from_slice(bytes);
    let now = clock::now();
    Message::new(buffer, false, now, now)
}
