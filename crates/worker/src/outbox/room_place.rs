//! A place in the queue for room in a ring.

use std::task::Waker;

use super::Outbox;

/// The place of a sender that waits for room in the ring of one loop; leaves it when it is dropped.
pub(crate) struct RoomPlace<'a> {
    outbox: &'a Outbox,
    link: usize,
    /// Another gateway has other queues.
    epoch: u32,
    ticket: Option<u64>,
}

impl<'a> RoomPlace<'a> {
    pub(crate) fn new(outbox: &'a Outbox, link: usize) -> Self {
        Self {
            outbox,
            link,
            epoch: outbox.epoch(),
            ticket: None,
        }
    }

    /// Waits to be woken when `need` bytes of payload fit.
    pub(crate) fn wait(&mut self, need: usize, waker: &Waker) {
        if self.epoch != self.outbox.epoch() {
            (self.epoch, self.ticket) = (self.outbox.epoch(), None);
        }
        self.outbox
            .await_room(self.link, need, &mut self.ticket, waker);
    }
}

impl Drop for RoomPlace<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket
            && self.epoch == self.outbox.epoch()
        {
            self.outbox.forget_waiter(self.link, ticket);
        }
    }
}
