//! A group that is watched: what its watcher was told, and of which sessions there may be something new.

use std::cell::RefCell;
use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

/// A group that is watched. It holds no more than its members and those that were told as such, however slowly it is read: of
/// what happens to a session meanwhile only the outcome is told.
#[derive(Default)]
pub(crate) struct WatchedGroup {
    /// The members that were told, with their labels.
    told: RefCell<FxHashMap<u64, Vec<u8>>>,
    /// Sessions of which there may be something new.
    marked: RefCell<BTreeSet<u64>>,
    news: Notify,
}

/// What is new of a session: its label before and now, `None` while it is no member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WatchNews {
    pub(crate) session: u64,
    pub(crate) before: Option<Vec<u8>>,
    pub(crate) now: Option<Vec<u8>>,
}

impl WatchedGroup {
    /// There may be something new of a session, which is a member or is none.
    pub(super) fn mark(&self, session: u64, is_member: bool) {
        let mut marked = self.marked.borrow_mut();
        if is_member || self.told.borrow().contains_key(&session) {
            marked.insert(session);
            self.news.notify_one();
        } else {
            // It came and went unseen.
            marked.remove(&session);
        }
    }

    /// What is new. `label`: of a member; `None` of others. Cancel-safe.
    pub(crate) async fn next(&self, label: impl Fn(u64) -> Option<Vec<u8>>) -> WatchNews {
        loop {
            if let Some(news) = self.take(&label) {
                return news;
            }
            self.news.notified().await;
        }
    }

    pub(super) fn take(&self, label: impl Fn(u64) -> Option<Vec<u8>>) -> Option<WatchNews> {
        loop {
            let session = self.marked.borrow_mut().pop_first()?;
            let now = label(session);
            let mut told = self.told.borrow_mut();
            let before = match &now {
                Some(label) => told.insert(session, label.clone()),
                None => told.remove(&session),
            };
            if before != now {
                return Some(WatchNews {
                    session,
                    before,
                    now,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many sessions a watch holds.
    fn held(watched: &WatchedGroup) -> usize {
        watched.marked.borrow().len() + watched.told.borrow().len()
    }

    #[test]
    fn only_the_outcome_is_told_and_who_came_and_went_unseen_is_not_held() {
        let watched = WatchedGroup::default();
        for session in 0..100_000 {
            watched.mark(session, true);
            watched.mark(session, false);
        }
        assert_eq!(held(&watched), 0);
        let news = |before: Option<&str>, now: Option<&str>| WatchNews {
            session: 7,
            before: before.map(Into::into),
            now: now.map(Into::into),
        };
        watched.mark(7, true);
        assert_eq!(
            watched.take(|_| Some(b"x".to_vec())),
            Some(news(None, Some("x")))
        );
        // It left and came back.
        watched.mark(7, false);
        watched.mark(7, true);
        assert_eq!(watched.take(|_| Some(b"x".to_vec())), None);
        watched.mark(7, true);
        assert_eq!(
            watched.take(|_| Some(b"y".to_vec())),
            Some(news(Some("x"), Some("y")))
        );
        watched.mark(7, false);
        assert_eq!(watched.take(|_| None), Some(news(Some("y"), None)));
        assert_eq!(held(&watched), 0);
    }
}
