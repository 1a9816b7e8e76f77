//! Calls of other nodes that are in progress here.

use std::cell::{Cell, OnceCell};

use moorline_cluster::FrameHeader;
use tokio::sync::oneshot;

use crate::call_wire::{CallOutcome, Inquiry};

/// Calls, posts and tasks of other nodes that may be in progress. Those beyond are refused as `Full`.
const MOST_INQUIRIES: usize = 1024;
/// Their bytes.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Runs the hook for an inquiry.
type Carrier = Box<dyn Fn(Inquiry, ReplyTo, usize)>;

/// Calls of other nodes that are in progress here.
#[derive(Default)]
pub(crate) struct CallsInHand {
    /// It is there once hooks may run.
    carrier: OnceCell<Carrier>,
    /// Their number and their bytes.
    in_progress: Cell<(usize, usize)>,
}

/// Where an answer goes.
pub(crate) enum ReplyTo {
    /// To a process of another node.
    Afar(FrameHeader),
    /// To a caller in this process.
    Here(oneshot::Sender<(CallOutcome, Vec<u8>)>),
}

impl CallsInHand {
    /// Hooks may run from now on.
    pub(crate) fn connect(&self, carrier: impl Fn(Inquiry, ReplyTo, usize) + 'static) {
        // It is connected once.
        let _ = self.carrier.set(Box::new(carrier));
    }

    /// Begins one with these bytes. If it cannot be taken its way back is returned.
    pub(crate) fn begin(&self, inquiry: Inquiry, to: ReplyTo, bytes: usize) -> Option<ReplyTo> {
        let (number, all_bytes) = self.in_progress.get();
        let is_full = number >= MOST_INQUIRIES || (number > 0 && all_bytes + bytes > MOST_BYTES);
        match self.carrier.get() {
            Some(carrier) if !is_full => {
                self.in_progress.set((number + 1, all_bytes + bytes));
                carrier(inquiry, to, bytes);
                None
            }
            _ => Some(to),
        }
    }

    /// One with these bytes has ended.
    pub(crate) fn end(&self, bytes: usize) {
        let (number, all_bytes) = self.in_progress.get();
        self.in_progress.set((number - 1, all_bytes - bytes));
    }
}
