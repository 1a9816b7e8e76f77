//! All visitors.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::counts::{Counted, Counts};
use crate::visitor::Visitor;

/// The stack of a visitor's thread.
const STACK_BYTES: usize = 256 << 10;
/// The visitors. They are threads: few, and simple.
#[derive(Debug)]
pub(crate) struct Visitors {
    counts: Arc<Counts>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    count: u16,
}

impl Visitors {
    /// Sends this number of visitors to this listener.
    pub(crate) fn start(door: SocketAddr, count: u16) -> Self {
        let counts = Arc::new(Counts::default());
        let thread = |number| {
            let visitor = Visitor::new(number, door, Arc::clone(&counts));
            let builder = thread::Builder::new().stack_size(STACK_BYTES);
            // With fewer threads there are fewer visitors.
            builder.spawn(|| visitor.stay()).ok()
        };
        let threads: Vec<_> = (1..=count).filter_map(thread).collect();
        Self {
            count: threads.len() as u16,
            counts,
            threads: Mutex::new(threads),
        }
    }

    /// All leave, and are gone when this returns.
    pub(crate) fn leave(&self) {
        self.counts.end();
        let mut threads = self.threads.lock().unwrap_or_else(|it| it.into_inner());
        for thread in threads.drain(..) {
            // A visitor that has panicked has left, too.
            let _ = thread.join();
        }
    }

    pub(crate) fn counted(&self) -> Counted {
        self.counts.at_once(self.count)
    }
}
