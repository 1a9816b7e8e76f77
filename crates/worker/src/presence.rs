//! The members of groups: those of this engine by asking the gateway, those of other nodes by what these announce.

mod watched;

use std::cell::{Ref, RefCell};
use std::rc::{Rc, Weak};

use moorline_cluster::{Membership, PresenceLink, Roster};
use rustc_hash::FxHashMap;
use tokio::sync::watch;

use crate::session_id::SessionId;

pub(crate) use watched::WatchedGroup;

/// The watches of one group.
type Watches = Vec<Weak<WatchedGroup>>;

/// The members of groups, as far as somebody wants to know.
pub(crate) struct Presence {
    /// The members on this node.
    local: RefCell<Roster>,
    /// All of them are known.
    is_known: watch::Sender<bool>,
    /// How many want to know them. While nobody does, the gateway is not asked.
    wanted: watch::Sender<usize>,
    watched: RefCell<FxHashMap<Box<[u8]>, Watches>>,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            local: RefCell::default(),
            is_known: watch::Sender::new(false),
            wanted: watch::Sender::new(0),
            watched: RefCell::default(),
        }
    }
}

/// Somebody wants to know the members on this node, until it is dropped.
pub(crate) struct WantsPresence(Rc<Presence>);

impl WantsPresence {
    pub(crate) fn new(presence: &Rc<Presence>) -> Self {
        presence.wanted.send_modify(|wanted| *wanted += 1);
        Self(presence.clone())
    }
}

impl Drop for WantsPresence {
    fn drop(&mut self) {
        self.0.wanted.send_modify(|wanted| *wanted -= 1);
    }
}

impl Presence {
    /// Waits until somebody wants to know them. Cancel-safe.
    pub(crate) async fn wanted(&self) {
        // The sender is lent here, so it cannot be gone.
        let _ = self.wanted.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Whether somebody wants to know them.
    pub(crate) fn is_wanted(&self) -> bool {
        *self.wanted.borrow() > 0
    }

    /// All members on this node are known now.
    pub(crate) fn set_known(&self) {
        self.is_known.send_replace(true);
    }

    /// Nobody wants to know them.
    pub(crate) fn forget(&self) {
        self.is_known.send_replace(false);
        self.local.take();
    }

    /// Whether there is room again for members that were left out.
    pub(crate) fn begin_again(&self) -> bool {
        self.local.borrow_mut().begin_again()
    }

    /// Waits until all members on this node are known. Cancel-safe.
    pub(crate) async fn known(&self) {
        // The sender is lent here, so it cannot be gone.
        let _ = self.is_known.subscribe().wait_for(|is| *is).await;
    }

    /// The members on this node, as far as they are known.
    pub(crate) fn local(&self) -> Ref<'_, Roster> {
        self.local.borrow()
    }

    /// The label of a member of a group, on whatever node; `None` if it is none, as far as is known.
    pub(crate) fn label(
        &self,
        own: u16,
        far: Option<&PresenceLink>,
        group: &[u8],
        session: u64,
    ) -> Option<Vec<u8>> {
        let node = SessionId::from(session).node();
        if node == own {
            return self.local().label(group, session).map(<[u8]>::to_vec);
        }
        far?.label(node, group, session)
    }

    /// A session of this node is in a group like this now.
    pub(crate) fn set_local(&self, far: Option<&PresenceLink>, membership: &Membership) {
        if !self.local.borrow_mut().set(membership) {
            return;
        }
        if let Some(far) = far {
            far.set(membership);
        }
        self.changed(membership);
    }

    /// Tells those that watch a group.
    pub(crate) fn changed(&self, membership: &Membership) {
        let watched = self.watched.borrow();
        let of_group = watched.get(&*membership.group).into_iter().flatten();
        for group in of_group.filter_map(Weak::upgrade) {
            group.mark(membership.session, membership.label.is_some());
        }
    }

    /// Begins to watch a group. Those that are known to be in it are the first to join.
    pub(crate) fn watch(&self, far: Option<&PresenceLink>, group: &[u8]) -> Rc<WatchedGroup> {
        let new = Rc::new(WatchedGroup::default());
        let mut watched = self.watched.borrow_mut();
        let of_group = watched.entry(group.into()).or_default();
        of_group.retain(|it| it.strong_count() > 0);
        of_group.push(Rc::downgrade(&new));
        self.local()
            .members(group)
            .for_each(|(id, _)| new.mark(id, true));
        let far = far.map(|far| far.members(group)).unwrap_or_default();
        far.iter().for_each(|(_, id, _)| new.mark(*id, true));
        new
    }

    /// A watch has ended.
    pub(crate) fn unwatch(&self, group: &[u8], ended: &Rc<WatchedGroup>) {
        let mut watched = self.watched.borrow_mut();
        if let Some(of_group) = watched.get_mut(group) {
            of_group.retain(|it| !std::ptr::eq(it.as_ptr(), Rc::as_ptr(ended)));
            if of_group.is_empty() {
                watched.remove(group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_one_watch_ends_no_other() {
        let presence = Presence::default();
        let [one, other] = [(); 2].map(|()| presence.watch(None, b"lobby"));
        presence.unwatch(b"lobby", &one);
        let joined = Membership {
            group: b"lobby".to_vec(),
            session: 7,
            label: Some(Vec::new()),
        };
        presence.set_local(None, &joined);
        let label = |id| presence.label(0, None, b"lobby", id);
        assert!(one.take(label).is_none());
        assert_eq!(other.take(label).map(|it| it.session), Some(7));
        presence.unwatch(b"lobby", &other);
        assert!(presence.watched.borrow().is_empty());
    }
}
