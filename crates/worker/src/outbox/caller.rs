//! The place of the ring task among those who wait for room: it calls the sessions that were refused for want of room.

use super::Outbox;

impl Outbox {
    /// Has the ring task look again when `need` bytes of payload fit, behind those who wait for room by now.
    pub(crate) fn call_ring_task(&self, link: usize, need: usize) {
        if let Some(waker) = &*self.ring_task.borrow()
            && let Some(link) = self.links.borrow_mut().get_mut(link)
        {
            link.waiters.wait(&mut link.caller, need, waker);
        }
        self.schedule();
    }

    /// Whether the ring task was called for the room of this loop. Asking clears the mark.
    pub(crate) fn takes_call(&self, link: usize) -> bool {
        let mut links = self.links.borrow_mut();
        let Some(link) = links.get_mut(link) else {
            return false;
        };
        let is_called = link.caller.is_some_and(|it| !link.waiters.has(it));
        if is_called {
            link.caller = None;
        }
        is_called
    }

    /// Whether `need` bytes of payload fit now.
    pub(crate) fn fits(&self, link: usize, need: usize) -> bool {
        let mut links = self.links.borrow_mut();
        links
            .get_mut(link)
            .is_some_and(|link| link.backlog.is_empty() && link.producer.fits(need))
    }
}
