//! Watching the dials of a thread.

use std::cell::RefCell;
use std::rc::Rc;

use crate::timeline::Timeline;

type Watcher = Rc<dyn Fn(&Timeline)>;

thread_local! {
    static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
}

/// Calls `watcher` at the end of each dial on this thread, with its timeline, instead of the watcher before. Dials of other
/// threads, and those whose future is dropped, are not told.
pub fn watch_dials(watcher: impl Fn(&Timeline) + 'static) {
    WATCHER.set(Some(Rc::new(watcher)));
}

/// A dial has ended.
pub(super) fn tell(timeline: &Timeline) {
    // It may dial, or set another watcher. A dial that ends with its thread is told nobody.
    let watcher = WATCHER.try_with(|watcher| watcher.borrow().clone());
    if let Ok(Some(watcher)) = watcher {
        watcher(timeline);
    }
}
