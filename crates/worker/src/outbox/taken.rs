//! How far the gateway has taken what was sent.

use super::Outbox;

impl Outbox {
    /// How far a link is written, unless something waits for room.
    pub(crate) fn position(&self, link: usize) -> Option<u64> {
        let links = self.links.borrow();
        let Some(link) = links.get(link) else {
            return Some(0);
        };
        link.backlog.is_empty().then(|| link.producer.position())
    }

    /// Whether the gateway has taken what was written up to here.
    pub(crate) fn has_taken(&self, link: usize, position: u64) -> bool {
        let mut links = self.links.borrow_mut();
        let link = links.get_mut(link);
        link.is_none_or(|link| link.producer.taken() >= position)
    }
}
