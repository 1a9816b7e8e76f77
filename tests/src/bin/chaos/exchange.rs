//! What goes to and fro in one session, and whether it may: no socket, no clock.

use std::collections::VecDeque;

/// Messages of one session on their way at a time.
const WINDOW: usize = 4;
/// One message in this number travels in parts.
const LARGE_EVERY: usize = 50;
/// A message's head: a zero byte, so that no app takes it for a command, then its session and its number.
const HEAD: usize = 17;

/// What a session sends, and gets for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// Each message comes back as it was.
    Echo,
    /// Each message is a job for a task worker.
    Tasks,
}

/// What may become of its messages while it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Messages {
    /// Each is answered.
    Stay,
    /// A worker's death loses those that it had in progress.
    MayBeLost,
}

#[derive(Debug)]
pub(crate) struct Exchange {
    session: u64,
    script: Script,
    messages: Messages,
    next: u64,
    /// Sent and not answered, in order.
    awaited: VecDeque<u64>,
    /// Sent, and not waited for any more.
    given_up: VecDeque<u64>,
    /// The last that was answered.
    answered: Option<u64>,
}

/// How many more messages are missing after an answer, or fewer, if it is one that had been given up.
pub(crate) type Missing = i64;

impl Exchange {
    pub(crate) fn new(session: u64, script: Script, messages: Messages) -> Exchange {
        Exchange {
            session,
            script,
            messages,
            next: 0,
            awaited: VecDeque::new(),
            given_up: VecDeque::new(),
            answered: None,
        }
    }

    /// The next message, if one more may be on its way.
    pub(crate) fn send(&mut self) -> Option<Vec<u8>> {
        let window = match self.script {
            Script::Echo => WINDOW,
            // Their answers do not say which they are to.
            Script::Tasks => 1,
        };
        if self.awaited.len() >= window {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.awaited.push_back(number);
        Some(self.message(number))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Nothing has come for long. Where messages may be lost, these are; what comes later is no mistake.
    pub(crate) fn give_up(&mut self) -> Result<Missing, String> {
        match self.messages {
            Messages::Stay => Err(format!("no answer to {:?}", self.awaited)),
            Messages::MayBeLost => {
                let missing = self.awaited.len() as Missing;
                self.given_up.extend(self.awaited.drain(..));
                Ok(missing)
            }
        }
    }

    /// An answer has come.
    pub(crate) fn answer(&mut self, answer: &[u8]) -> Result<Missing, String> {
        let number = match self.script {
            Script::Tasks if answer == b"done" => self.awaited.front().copied(),
            Script::Tasks => None,
            Script::Echo => self.number(answer),
        };
        let number = number.ok_or_else(|| {
            let text = String::from_utf8_lossy(&answer[..answer.len().min(60)]);
            format!("an answer of {} bytes to nothing: {text:?}", answer.len())
        })?;
        if let Some(last) = self.answered.filter(|last| *last >= number) {
            return Err(format!("{number} is answered after {last}"));
        }
        if let Some(at) = self.given_up.iter().position(|given| *given == number) {
            self.answered = Some(number);
            self.given_up.drain(..=at);
            return Ok(-1);
        }
        let Some(skipped) = self.awaited.iter().position(|sent| *sent == number) else {
            return Err(format!("{number} is answered and was not sent"));
        };
        if skipped > 0 && self.messages == Messages::Stay {
            return Err(format!("{number} is answered before {:?}", self.awaited));
        }
        self.answered = Some(number);
        self.given_up.clear();
        self.awaited.drain(..=skipped);
        Ok(skipped as Missing)
    }

    fn message(&self, number: u64) -> Vec<u8> {
        match self.script {
            Script::Tasks => b"!task 5ms".to_vec(),
            Script::Echo => {
                let mut message = vec![0];
                message.extend_from_slice(&self.session.to_be_bytes());
                message.extend_from_slice(&number.to_be_bytes());
                message.resize(HEAD + size(number), number as u8);
                message
            }
        }
    }

    /// Which message this is the answer to, if it is one's to the last byte.
    fn number(&self, answer: &[u8]) -> Option<u64> {
        let number = u64::from_be_bytes(answer.get(HEAD - 8..HEAD)?.try_into().ok()?);
        (number < self.next && self.message(number) == answer).then_some(number)
    }
}

/// Bytes behind the head of message `number`.
fn size(number: u64) -> usize {
    // A multiplier that scatters, so that sizes do not rise with the number.
    let scattered = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 40;
    match scattered % LARGE_EVERY {
        0 => 150_000 + scattered % 50_000,
        _ => scattered % 400,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An exchange with all that may be on its way, and those messages.
    fn under_way(messages: Messages) -> (Exchange, Vec<Vec<u8>>) {
        let mut exchange = Exchange::new(7, Script::Echo, messages);
        let sent = std::iter::from_fn(|| exchange.send()).collect();
        (exchange, sent)
    }

    #[test]
    fn answers_in_order_make_room_for_more() {
        let (mut exchange, sent) = under_way(Messages::Stay);
        assert_eq!(sent.len(), WINDOW);
        for message in &sent {
            assert_eq!(exchange.answer(message), Ok(0));
        }
        assert!(exchange.is_over());
        assert!(exchange.send().is_some());
    }

    #[test]
    fn a_doubled_answer_is_found() {
        let (mut exchange, sent) = under_way(Messages::MayBeLost);
        assert_eq!(exchange.answer(&sent[0]), Ok(0));
        let found = exchange.answer(&sent[0]);
        assert_eq!(found, Err("0 is answered after 0".to_owned()));
    }

    #[test]
    fn answers_out_of_order_are_found() {
        let (mut exchange, sent) = under_way(Messages::Stay);
        let found = exchange.answer(&sent[1]);
        assert_eq!(found, Err("1 is answered before [0, 1, 2, 3]".to_owned()));
        let (mut exchange, sent) = under_way(Messages::MayBeLost);
        assert_eq!(exchange.answer(&sent[1]), Ok(1));
        let found = exchange.answer(&sent[0]);
        assert_eq!(found, Err("0 is answered after 1".to_owned()));
    }

    #[test]
    fn a_changed_byte_and_another_sessions_message_are_found() {
        let (mut exchange, mut sent) = under_way(Messages::Stay);
        let mut other = Exchange::new(8, Script::Echo, Messages::Stay);
        let foreign = other.send().unwrap_or_default();
        assert!(exchange.answer(&foreign).is_err());
        sent[0][HEAD] ^= 1;
        assert!(exchange.answer(&sent[0]).is_err());
    }

    #[test]
    fn an_answer_given_up_is_missing_until_it_comes() {
        let (mut exchange, sent) = under_way(Messages::MayBeLost);
        assert_eq!(exchange.give_up(), Ok(WINDOW as Missing));
        assert_eq!(exchange.answer(&sent[0]), Ok(-1));
        let next = exchange.send().unwrap_or_default();
        assert_eq!(exchange.answer(&sent[2]), Ok(-1));
        assert_eq!(exchange.answer(&next), Ok(0));
        assert!(
            exchange.answer(&sent[3]).is_err(),
            "the next one has passed it"
        );
    }

    #[test]
    fn where_nothing_may_be_lost_nothing_is_given_up() {
        let (mut exchange, _) = under_way(Messages::Stay);
        let found = exchange.give_up();
        assert_eq!(found, Err("no answer to [0, 1, 2, 3]".to_owned()));
    }

    #[test]
    fn a_task_has_one_answer() {
        let mut exchange = Exchange::new(7, Script::Tasks, Messages::Stay);
        assert_eq!(exchange.send(), Some(b"!task 5ms".to_vec()));
        assert_eq!(exchange.send(), None);
        assert_eq!(exchange.answer(b"done"), Ok(0));
        assert!(exchange.answer(b"done").is_err());
    }
}
