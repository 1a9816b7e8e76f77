//! A client that runs by itself.

use std::fmt;
use std::ops::Deref;

use tokio::task::{JoinError, JoinHandle};

use super::handler::Handler;
use super::sender::Sender;
use super::state::Client;

/// A client that runs by itself, with its [`Handler`].
///
/// It is a [`Sender`] too. Dropping it closes the client as [`Sender::close`] does; [`detach`](Self::detach) lets it
/// live on.
pub struct Running<H> {
    sender: Sender,
    /// `None` once it was taken.
    task: Option<JoinHandle<H>>,
}

impl Client {
    /// Lets the client run by itself: it connects, calls the handler, and reconnects as its options say, until it
    /// is closed, or lost for good.
    ///
    /// Its task belongs to the runtime that this is called on, whose callbacks run one at a time. Panics outside a
    /// runtime. A panic of the handler ends this client and nothing else.
    pub fn start<H: Handler + 'static>(mut self, handler: H) -> Running<H> {
        self.started = true;
        let sender = self.sender();
        let task = tokio::spawn(async move {
            let mut handler = handler;
            self.run(&mut handler).await;
            handler
        });
        Running {
            sender,
            task: Some(task),
        }
    }
}

impl<H> Running<H> {
    /// Lets the client live on until it is closed, or lost for good, with or without its senders.
    pub fn detach(mut self) -> Sender {
        self.task = None;
        self.sender.clone()
    }

    /// Waits for the client's end, and returns its handler. An error means that the handler panicked, or that its
    /// runtime has ended.
    ///
    /// Cancel-safe: dropped before it is ready, the client lives on, as after [`detach`](Self::detach).
    pub async fn ended(mut self) -> Result<H, JoinError> {
        let task = self.task.take().expect("taken here alone, by value");
        task.await
    }
}

impl<H> Deref for Running<H> {
    type Target = Sender;

    fn deref(&self) -> &Sender {
        &self.sender
    }
}

impl<H> Drop for Running<H> {
    fn drop(&mut self) {
        if self.task.is_some() {
            self.sender.close();
        }
    }
}

impl<H> fmt::Debug for Running<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}
