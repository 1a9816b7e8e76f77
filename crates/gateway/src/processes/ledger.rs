//! The unanswered requests of one process: the one bound on what waits here for a process that takes nothing.
//!
//! Each request (a post, a task, a file, a broadcast, a question) is answered by one record. It counts from the moment it
//! comes until that record lies in the ring, so whatever a process does not take, no more than this waits for it. A worker's
//! own limits are lower; one that passes these is broken.

use moorline_ipc::Header;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::ids::MAX_SLOTS;
use crate::ids::SlotId;
use moorline_protocol::wire::{LARGEST_BROADCAST, LARGEST_TRANSFER, ToProcess};

/// Posts to one slot.
const POSTS: usize = 256;
/// Their bytes: one of the largest, or many small ones.
const POST_BYTES: u64 = LARGEST_TRANSFER + 1024 * 1024;
/// Tasks.
const TASKS: usize = 256;
/// Files.
pub(crate) const FILES: usize = 1024;
/// Broadcasts.
const BROADCASTS: usize = 1024;
/// Their bytes, until they have reached all members. A worker's own limit is less than a third of it.
const BROADCAST_BYTES: u64 = 4 * LARGEST_BROADCAST as u64;
/// Questions.
const QUESTIONS: usize = 2048;

/// The open requests of one process.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Ledger {
    posts: FxHashMap<SlotId, Open>,
    tasks: Open,
    files: Open,
    broadcasts: Open,
    questions: Open,
}

/// Requests of one kind.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Open {
    count: usize,
    bytes: u64,
}

/// Something that a process asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    /// To this slot, of this many bytes.
    Post(SlotId, usize),
    Task,
    File,
    /// Of this many bytes.
    Broadcast(usize),
    Question,
}

impl Ledger {
    /// A request has come.
    ///
    /// # Errors
    /// It is one too many.
    pub(crate) fn open(&mut self, request: Request) -> Result<(), String> {
        let (open, bytes, most, most_bytes, what) = match request {
            Request::Post(to, bytes) => {
                let open = self.posts.entry(pair(to)).or_default();
                (open, bytes, POSTS, POST_BYTES, "posts to one slot")
            }
            Request::Task => (&mut self.tasks, 0, TASKS, 0, "tasks"),
            Request::File => (&mut self.files, 0, FILES, 0, "files"),
            Request::Broadcast(bytes) => (
                &mut self.broadcasts,
                bytes,
                BROADCASTS,
                BROADCAST_BYTES,
                "broadcasts",
            ),
            Request::Question => (&mut self.questions, 0, QUESTIONS, 0, "questions"),
        };
        open.count += 1;
        open.bytes += bytes as u64;
        if open.count > most {
            return Err(format!("over {most} {what} whose answers it has not taken"));
        }
        if open.bytes > most_bytes {
            return Err(format!("over {most_bytes} bytes of {what} under way"));
        }
        Ok(())
    }

    /// The receiver of a post, or all members of a broadcast, have its bytes. Its answer is under way.
    pub(crate) fn carried(&mut self, request: Request) {
        match request {
            Request::Post(to, bytes) => {
                if let Some(open) = self.posts.get_mut(&pair(to)) {
                    open.carried(bytes);
                }
            }
            Request::Broadcast(bytes) => self.broadcasts.carried(bytes),
            Request::Task | Request::File | Request::Question => {}
        }
    }

    /// Files that it has no answer for.
    pub(crate) fn files(&self) -> usize {
        self.files.count
    }

    /// Broadcasts that it has no answer for.
    pub(crate) fn broadcasts(&self) -> usize {
        self.broadcasts.count
    }

    /// This record, whole, lies in the process's ring. If it is an answer, its request is over.
    pub(crate) fn answered(&mut self, answer: &Header) {
        let open = match ToProcess::from_u8(answer.kind) {
            Some(ToProcess::PostDone) => match self.posts.get_mut(&pair(SlotId(answer.aux))) {
                Some(open) => open,
                None => return,
            },
            Some(ToProcess::TaskDone) => &mut self.tasks,
            Some(ToProcess::FileDone) => &mut self.files,
            Some(ToProcess::BroadcastDone) => &mut self.broadcasts,
            Some(ToProcess::Answer) => &mut self.questions,
            _ => return,
        };
        debug_assert!(open.count > 0, "an answer to no request: {answer:?}");
        open.count = open.count.saturating_sub(1);
    }
}

impl Open {
    fn carried(&mut self, bytes: usize) {
        debug_assert!(self.bytes >= bytes as u64, "bytes that were not counted");
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}

/// All slots out of range count as one.
fn pair(to: SlotId) -> SlotId {
    to.min(SlotId(MAX_SLOTS as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: ToProcess, aux: u16) -> Header {
        Header {
            kind: kind as u8,
            aux,
            ..Header::default()
        }
    }

    #[test]
    fn a_process_that_takes_its_answers_is_never_broken() {
        let mut ledger = Ledger::default();
        let (broadcast, post) = (Request::Broadcast(1000), Request::Post(SlotId(9), 1 << 26));
        for _ in 0..100_000 {
            ledger.open(broadcast).unwrap();
            ledger.carried(broadcast);
            ledger.answered(&answer(ToProcess::BroadcastDone, 0));
            ledger.open(post).unwrap();
            ledger.carried(post);
            ledger.answered(&answer(ToProcess::PostDone, 9));
        }
    }

    #[test]
    fn a_process_that_takes_no_answers_is_broken_at_a_bound_of_each_kind() {
        for (request, most) in [
            (Request::Post(SlotId(1), 1), POSTS),
            (Request::Task, TASKS),
            (Request::File, FILES),
            (Request::Broadcast(1), BROADCASTS),
            (Request::Question, QUESTIONS),
        ] {
            let mut ledger = Ledger::default();
            for _ in 0..most {
                ledger.open(request).unwrap();
                // It is done, and its answer was not taken.
                ledger.carried(request);
            }
            let reason = ledger.open(request).unwrap_err();
            assert!(reason.contains(&most.to_string()), "{reason}");
        }
    }

    #[test]
    fn slots_that_do_not_exist_share_one_bound() {
        let mut ledger = Ledger::default();
        let many = (MAX_SLOTS as u16..u16::MAX)
            .take_while(|to| ledger.open(Request::Post(SlotId(*to), 0)).is_ok())
            .count();
        assert_eq!(many, POSTS);
    }

    #[test]
    fn bytes_under_way_are_bounded_too() {
        let mut ledger = Ledger::default();
        let broadcast = Request::Broadcast(LARGEST_BROADCAST);
        let many = (0..).take_while(|_| ledger.open(broadcast).is_ok());
        assert_eq!(many.count(), 4);
        let largest = |to| Request::Post(SlotId(to), LARGEST_TRANSFER as usize);
        assert!(ledger.open(largest(0)).is_ok());
        assert!(ledger.open(largest(0)).is_err());
        assert!(ledger.open(largest(1)).is_ok());
    }
}
