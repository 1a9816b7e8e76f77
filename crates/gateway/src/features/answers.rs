//! What processes answer to plain HTTP requests.

use bytes::Bytes;
use moorline_ipc::Record;
use tokio::sync::mpsc;

use crate::exchange::{AnswerPiece, Answered, Failure, Further};
use crate::features::exchanges::{Client, Exchange, Exchanges, Outcome, tell_gone};
use crate::ids::ProcessKey;
use crate::tools::Tools;
use moorline_protocol::wire::exchange::{
    ANSWER_WINDOW, AnswerHead, LARGEST_PIECE, PIECE_OVERHEAD, split_answer_head,
};
use moorline_protocol::wire::{FAILED, FromProcess, LAST};

impl Exchanges {
    /// A record of an answer.
    ///
    /// # Errors
    /// It is none that an honest process writes.
    pub(crate) fn answer(
        &mut self,
        at: ProcessKey,
        record: &Record<'_>,
        tools: &mut Tools,
    ) -> Result<(), String> {
        let header = *record.header();
        let number = header.session;
        let is_its = |exchange: &&mut Exchange| exchange.process == Some(at);
        let Some(exchange) = self.open.get_mut(&number).filter(is_its) else {
            return Err("an answer to a request that nobody asked".to_owned());
        };
        if record.len() > LARGEST_PIECE {
            return Err(format!("{} bytes of an answer at once", record.len()));
        }
        let mut bytes = Vec::with_capacity(record.len());
        record.copy_to(&mut bytes);
        let step = AnswerStep {
            is_last: header.flags & LAST != 0,
            is_failed: header.flags & FAILED != 0,
            counted: bytes.len() + PIECE_OVERHEAD,
        };
        // One that ends an answer may pass the window: nothing follows it.
        let under_way = &mut exchange.answer.under_way;
        if *under_way + bytes.len() > ANSWER_WINDOW {
            return Err("more of an answer than its client has taken".to_owned());
        }
        *under_way += step.counted;
        let is_gone = matches!(exchange.client, Client::Gone);
        let is_passed_on = if header.kind == FromProcess::Respond as u8 {
            exchange.begin_answer(step, bytes, tools)?
        } else {
            exchange.go_on(step, bytes.into(), tools)?
        };
        if step.is_last {
            let outcome = match step.is_failed {
                _ if is_gone => Outcome::ClientLeft,
                true => Outcome::Failed,
                false => Outcome::Answered,
            };
            self.end(number, outcome, tools);
        } else if !is_passed_on {
            exchange.client = Client::Gone;
            tell_gone(at, number, tools);
        }
        Ok(())
    }
}

/// What the header of a record says.
#[derive(Debug, Clone, Copy)]
struct AnswerStep {
    is_last: bool,
    is_failed: bool,
    /// What the record counts in the window.
    counted: usize,
}

impl Exchange {
    /// The head has come, or the hook has failed. False: there is no memory for it.
    fn begin_answer(
        &mut self,
        step: AnswerStep,
        bytes: Vec<u8>,
        tools: &Tools,
    ) -> Result<bool, String> {
        if std::mem::replace(&mut self.answer.has_head, true) {
            return Err("two answers to one request".to_owned());
        }
        self.content = None;
        if step.is_failed {
            if !step.is_last || !bytes.is_empty() {
                return Err("a failure that goes on".to_owned());
            }
            self.take_client().fail(Failure::Hook);
            return Ok(true);
        }
        let (head, begins_at) = split_answer_head(&bytes).ok_or("the head of an answer")?;
        if !head.is_sound() {
            return Err("an answer that breaks its head".to_owned());
        }
        let first = Bytes::from(bytes).slice(begins_at..);
        self.answer.left = match self.is_head || !head.has_body() {
            true if step.is_last => Some(0),
            true => return Err("a body of an answer that has none".to_owned()),
            false => head.length,
        };
        self.expect(step, first.len())?;
        Ok(self.pass_head(step, head, first, tools))
    }

    /// A further piece has come, or the end. False: there is no memory for it.
    fn go_on(&mut self, step: AnswerStep, bytes: Bytes, tools: &Tools) -> Result<bool, String> {
        if !self.answer.has_head {
            return Err("the body of an answer before its head".to_owned());
        }
        if step.is_failed && !step.is_last {
            return Err("a failure that goes on".to_owned());
        }
        self.expect(step, bytes.len())?;
        let Client::WaitsForBody(client) = &self.client else {
            return Ok(true);
        };
        // It may have left: then it says so.
        if !bytes.is_empty() {
            let Some(piece) = piece(bytes, step.counted, tools) else {
                self.client = Client::Gone;
                return Ok(false);
            };
            let _ = client.send(Further::Piece(piece));
        }
        if step.is_last && !step.is_failed {
            let _ = client.send(Further::End);
        }
        Ok(true)
    }

    /// This many bytes of the body have come.
    fn expect(&mut self, step: AnswerStep, bytes: usize) -> Result<(), String> {
        let Some(left) = &mut self.answer.left else {
            return Ok(());
        };
        let rest = left.checked_sub(bytes as u64);
        *left = rest.ok_or("an answer that is longer than its length")?;
        match *left {
            0 => Ok(()),
            _ if step.is_last && !step.is_failed => {
                Err("an answer that is shorter than its length".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn pass_head(
        &mut self,
        step: AnswerStep,
        head: AnswerHead,
        first: Bytes,
        tools: &Tools,
    ) -> bool {
        let Client::WaitsForHead(client) = self.take_client() else {
            return true;
        };
        let Some(first) = piece(first, step.counted, tools) else {
            let _ = client.send(Answered::Failed(Failure::Memory));
            return false;
        };
        let rest = (!step.is_last).then(|| {
            let (further, rest) = mpsc::unbounded_channel();
            self.client = Client::WaitsForBody(further);
            rest
        });
        // It may have left: then it says so.
        let _ = client.send(Answered::Head { head, first, rest });
        true
    }

    fn take_client(&mut self) -> Client {
        std::mem::replace(&mut self.client, Client::Gone)
    }
}

/// Counts the bytes of a piece, unless there is no memory for them.
fn piece(bytes: Bytes, counted: usize, tools: &Tools) -> Option<AnswerPiece> {
    let shared = &tools.cx.shared;
    let held = shared
        .http_memory
        .try_hold(counted, shared.held_by_loops())?;
    Some(AnswerPiece {
        bytes,
        counted,
        _held: held,
    })
}
