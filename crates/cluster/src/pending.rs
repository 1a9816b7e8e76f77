//! Calls of this process that are not answered yet.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::frame::FrameHeader;

/// Calls that may wait for answers. Each keeps a place in a map and no bytes.
const MOST_CALLS: usize = 4096;

/// An answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallAnswer {
    /// How the call went: by its user.
    pub outcome: u8,
    /// The worker slot that has answered.
    pub slot: u16,
    /// The bytes.
    pub payload: Bytes,
}

/// Why a call that was sent has no answer. It may have been carried out all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallLoss {
    /// The answer did not come in time.
    Timeout,
    /// The node is lost.
    NodeLost,
    /// The process that had the call has ended.
    ProcessLost,
    /// The connection to NATS broke.
    Unreachable,
}

type Answered = Result<CallAnswer, CallLoss>;

/// Calls of this process that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct PendingCalls {
    last: Cell<u64>,
    calls: RefCell<FxHashMap<u64, Pending>>,
}

#[derive(Debug)]
struct Pending {
    /// The node and the process that it was sent to, once it was.
    to: Option<(u16, u64)>,
    /// The process was gone when it last looked.
    is_doomed: bool,
    answer: oneshot::Sender<Answered>,
}

/// What is known of a process that has a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    There,
    ProcessLost,
    NodeLost,
}

/// A call that is not answered yet. If it is dropped, its answer is, too.
#[derive(Debug)]
pub struct OpenCall {
    number: u64,
    calls: Rc<PendingCalls>,
    answer: oneshot::Receiver<Answered>,
}

impl PendingCalls {
    /// A place for a call; `None` if there are too many.
    pub(crate) fn open(self: &Rc<Self>) -> Option<OpenCall> {
        let mut calls = self.calls.borrow_mut();
        if calls.len() >= MOST_CALLS {
            return None;
        }
        let number = self.last.get() + 1;
        self.last.set(number);
        let (tell, answer) = oneshot::channel();
        let pending = Pending {
            to: None,
            is_doomed: false,
            answer: tell,
        };
        calls.insert(number, pending);
        Some(OpenCall {
            number,
            calls: self.clone(),
            answer,
        })
    }

    /// An answer has come. False: nobody waits for it, or it is of a process that was not asked.
    pub(crate) fn answer(&self, header: &FrameHeader, payload: Bytes) -> bool {
        let mut calls = self.calls.borrow_mut();
        let asked = calls.get(&header.session).and_then(|it| it.to);
        if asked != Some((header.node, header.process)) {
            return false;
        }
        let answer = CallAnswer {
            outcome: header.flags,
            slot: header.aux,
            payload,
        };
        let pending = calls.remove(&header.session);
        pending.is_some_and(|it| it.answer.send(Ok(answer)).is_ok())
    }

    /// Ends the calls to processes that are gone. A goodbye may overtake the last answers: so it looks twice.
    pub(crate) fn look(&self, presence: impl Fn(u16, u64) -> Presence) {
        let mut calls = self.calls.borrow_mut();
        let lost = calls.extract_if(|_, pending| {
            let is_lost = pending
                .to
                .is_some_and(|(node, process)| presence(node, process) != Presence::There);
            std::mem::replace(&mut pending.is_doomed, is_lost) && is_lost
        });
        for (_, pending) in lost {
            let is_of_node = pending
                .to
                .is_some_and(|(node, process)| presence(node, process) == Presence::NodeLost);
            let loss = match is_of_node {
                true => CallLoss::NodeLost,
                false => CallLoss::ProcessLost,
            };
            let _ = pending.answer.send(Err(loss));
        }
    }

    /// The connection is away: answers on their way are lost.
    pub(crate) fn lose_all(&self) {
        let mut calls = self.calls.borrow_mut();
        for (_, pending) in calls.extract_if(|_, pending| pending.to.is_some()) {
            let _ = pending.answer.send(Err(CallLoss::Unreachable));
        }
    }
}

impl OpenCall {
    /// What its frame and the answer are known by.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// It was sent to this process.
    pub(crate) fn sent_to(&self, node: u16, process: u64) {
        if let Some(pending) = self.calls.calls.borrow_mut().get_mut(&self.number) {
            pending.to = Some((node, process));
        }
    }

    /// Waits for the answer, up to the deadline. Dropping the future gives the call up.
    ///
    /// # Errors
    /// There is none.
    pub async fn answer(mut self, until: Instant) -> Result<CallAnswer, CallLoss> {
        match timeout_at(until, &mut self.answer).await {
            // It cannot be dropped unanswered before this one is.
            Ok(answered) => answered.unwrap_or(Err(CallLoss::ProcessLost)),
            Err(_) => Err(CallLoss::Timeout),
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.calls.calls.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::frame::FrameKind;

    fn header(node: u16, process: u64, number: u64) -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Answer,
            flags: 3,
            aux: 1,
            node,
            process,
            position: 0,
            session: number,
        }
    }

    fn answered(call: &mut OpenCall) -> Option<Answered> {
        call.answer.try_recv().ok()
    }

    #[test]
    fn only_the_process_that_was_asked_answers_and_only_once() {
        let calls = Rc::<PendingCalls>::default();
        let mut call = calls.open().expect("there is room");
        let number = call.number();
        assert!(!calls.answer(&header(2, 7, number), Bytes::new()), "unsent");
        call.sent_to(2, 7);
        for wrong in [header(3, 7, number), header(2, 8, number), header(2, 7, 99)] {
            assert!(!calls.answer(&wrong, Bytes::new()));
        }
        assert!(calls.answer(&header(2, 7, number), Bytes::from_static(b"x")));
        assert!(!calls.answer(&header(2, 7, number), Bytes::new()), "twice");
        let answer = CallAnswer {
            outcome: 3,
            slot: 1,
            payload: Bytes::from_static(b"x"),
        };
        assert_eq!(answered(&mut call), Some(Ok(answer)));
    }

    #[test]
    fn a_call_that_is_dropped_gives_its_place_back() {
        let calls = Rc::<PendingCalls>::default();
        let mut open: Vec<_> = (0..MOST_CALLS)
            .map(|_| calls.open().expect("there is room"))
            .collect();
        assert!(calls.open().is_none());
        let dropped = open.pop().expect("there are many");
        let number = dropped.number();
        dropped.sent_to(2, 7);
        drop(dropped);
        assert!(!calls.answer(&header(2, 7, number), Bytes::new()), "late");
        assert!(calls.open().is_some());
    }

    #[test]
    fn a_lost_process_ends_its_calls_at_the_second_look() {
        let calls = Rc::<PendingCalls>::default();
        let mut to_lost = calls.open().expect("there is room");
        let mut to_other = calls.open().expect("there is room");
        let mut unsent = calls.open().expect("there is room");
        to_lost.sent_to(2, 7);
        to_other.sent_to(3, 9);
        let presence = |node, _| match node {
            2 => Presence::ProcessLost,
            _ => Presence::NodeLost,
        };
        calls.look(presence);
        assert_eq!(answered(&mut to_lost), None);
        calls.look(presence);
        assert_eq!(answered(&mut to_lost), Some(Err(CallLoss::ProcessLost)));
        assert_eq!(answered(&mut to_other), Some(Err(CallLoss::NodeLost)));
        assert_eq!(answered(&mut unsent), None);
    }

    #[test]
    fn one_that_was_gone_for_a_look_only_keeps_its_calls() {
        let calls = Rc::<PendingCalls>::default();
        let mut call = calls.open().expect("there is room");
        call.sent_to(2, 7);
        for presence in [
            Presence::ProcessLost,
            Presence::There,
            Presence::ProcessLost,
        ] {
            calls.look(|_, _| presence);
            assert_eq!(answered(&mut call), None);
        }
        calls.lose_all();
        assert_eq!(answered(&mut call), Some(Err(CallLoss::Unreachable)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_deadline() {
        let calls = Rc::<PendingCalls>::default();
        let call = calls.open().expect("there is room");
        let until = Instant::now() + Duration::from_secs(10);
        assert_eq!(call.answer(until).await, Err(CallLoss::Timeout));
        assert!(calls.calls.borrow().is_empty());
    }
}
