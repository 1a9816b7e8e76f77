//! Messages that wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::message::{Kind, Message};

/// How much may wait in one mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxLimits {
    /// From this number of messages on the length is reported, and again each time it has doubled; the same length once in 10 s.
    /// Default: 1,024.
    pub warn_at: usize,
    /// Above this number of messages the services that send to it are paused until half of them are handled: they finish the
    /// message that they handle, and get no other. Default: 65,536.
    ///
    /// Services of one loop that would wait for each other are not paused. A pause for a service of another loop lasts 100 ms at most,
    /// then the paused one handles a message: it may be what that one waits for.
    pub messages: usize,
    /// The same in bytes of payload. Default: 64 MiB.
    pub bytes: usize,
    /// The hard limit, as a multiple of the two: above it messages are refused. Default: 16.
    pub hard: usize,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self {
            warn_at: 1 << 10,
            messages: 1 << 16,
            bytes: 64 << 20,
            hard: 16,
        }
    }
}

/// One service's messages, oldest first.
#[derive(Debug)]
pub(crate) struct Mailbox {
    messages: VecDeque<Message>,
    bytes: usize,
    /// The length at which it is reported next.
    report_at: usize,
    /// The last report, and its length.
    reported: Option<(Instant, usize)>,
    is_full: bool,
    lost: u64,
}

/// What a message has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// The length has reached a threshold.
    Longer(usize),
    /// It is above its bound now: senders are to pause.
    Filled,
}

/// For how long a length that was reported is not reported again: a mailbox may fill and drain many times a second.
const QUIET: Duration = Duration::from_secs(10);

/// An empty mailbox keeps room for this many messages.
const KEPT: usize = 64;

impl Mailbox {
    pub(crate) fn new(limits: &MailboxLimits) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            report_at: limits.warn_at,
            reported: None,
            is_full: false,
            lost: 0,
        }
    }

    /// Puts a message behind the others. Refuses it at the hard limit, and tells how many it has refused.
    ///
    /// Always inline: the parts of a message go from where they are made to their place in the mailbox. A copy of what was written in
    /// parts a moment ago costs a processor more than all the rest of this.
    #[inline(always)]
    pub(crate) fn push(&mut self, message: Message, limits: &MailboxLimits) -> Result<Change, u64> {
        let is_long = self.messages.len() + 1 >= self.report_at || limits.hard == 0;
        if is_long || self.is_over(limits.messages, limits.bytes) {
            return self.push_to_many(message, limits);
        }
        self.bytes += message.payload.size();
        self.messages.push_back(message);
        Ok(Change::None)
    }

    #[cold]
    fn push_to_many(&mut self, message: Message, limits: &MailboxLimits) -> Result<Change, u64> {
        let is_full = self.is_over(limits.messages, limits.bytes);
        let hard = |limit: usize| limit.saturating_mul(limits.hard);
        // An answer is awaited, and its number is bounded by that of the calls; that of wake-ups by what is waited for.
        let is_bounded = message.kind.is_answer() || message.kind == Kind::WOKEN;
        if !is_bounded && self.is_over(hard(limits.messages), hard(limits.bytes)) {
            self.lost += 1;
            return Err(self.lost);
        }
        self.bytes += message.payload.size();
        self.messages.push_back(message);
        if is_full && !self.is_full {
            self.is_full = true;
            return Ok(Change::Filled);
        }
        if self.messages.len() >= self.report_at {
            self.report_at *= 2;
            return Ok(self.longer(Instant::now()));
        }
        Ok(Change::None)
    }

    #[inline]
    fn is_over(&self, messages: usize, bytes: usize) -> bool {
        self.messages.len() >= messages || self.bytes >= bytes
    }

    fn longer(&mut self, now: Instant) -> Change {
        let length = self.messages.len();
        match self.reported {
            Some((at, reported)) if length <= reported && now < at + QUIET => Change::None,
            _ => {
                self.reported = Some((now, length));
                Change::Longer(length)
            }
        }
    }

    /// Takes the oldest message. It may have [drained](Self::is_drained) the mailbox.
    #[inline]
    pub(crate) fn pop(&mut self, limits: &MailboxLimits) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.payload.size();
        if self.messages.is_empty() {
            self.report_at = limits.warn_at;
            if self.messages.capacity() > KEPT {
                self.messages = VecDeque::new();
            }
        }
        Some(message)
    }

    /// Whether it was above its bound, and is down to half of it. Only the first look after that finds it so.
    #[inline]
    pub(crate) fn is_drained(&mut self, limits: &MailboxLimits) -> bool {
        let is_drained = self.is_full
            && self.messages.len() <= limits.messages / 2
            && self.bytes <= limits.bytes / 2;
        if is_drained {
            self.is_full = false;
        }
        is_drained
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What is left when the service ends.
    pub(crate) fn into_messages(self) -> VecDeque<Message> {
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ServiceId;
    use crate::message::Payload;

    fn message(kind: Kind, size: usize) -> Message {
        Message {
            source: ServiceId::NONE,
            session: 0,
            kind,
            payload: Payload::Bytes(vec![0; size]),
        }
    }

    const LIMITS: MailboxLimits = MailboxLimits {
        warn_at: 2,
        messages: 4,
        bytes: 100,
        hard: 2,
    };

    #[test]
    fn a_mailbox_warns_at_doubling_lengths_fills_refuses_and_drains() {
        let mut mailbox = Mailbox::new(&LIMITS);
        let text = || message(Kind(0), 1);
        let pushed: Vec<_> = (0..8)
            .map(|_| mailbox.push(text(), &LIMITS).expect("there is room"))
            .collect();
        let none = Change::None;
        assert_eq!(
            pushed,
            [
                none,
                Change::Longer(2),
                none,
                Change::Longer(4),
                Change::Filled,
                none,
                none,
                Change::Longer(8)
            ]
        );
        assert!(mailbox.push(text(), &LIMITS).is_err());
        assert!(mailbox.push(message(Kind::RESPONSE, 1), &LIMITS).is_ok());
        assert!(mailbox.push(message(Kind::WOKEN, 1), &LIMITS).is_ok());
        let mut drained = Vec::new();
        while mailbox.pop(&LIMITS).is_some() {
            drained.push(mailbox.is_drained(&LIMITS));
        }
        let at = drained.iter().position(|is_drained| *is_drained);
        assert_eq!((drained.len(), at), (10, Some(7)));
        assert_eq!(drained.iter().filter(|is_drained| **is_drained).count(), 1);
    }

    #[test]
    fn a_length_that_was_reported_is_reported_again_after_a_while_or_when_it_is_longer() {
        let mut mailbox = Mailbox::new(&LIMITS);
        let text = || message(Kind(0), 1);
        for _ in 0..2 {
            mailbox.push(text(), &LIMITS).expect("there is room");
        }
        let now = Instant::now();
        assert_eq!(mailbox.longer(now), Change::None);
        mailbox.messages.push_back(text());
        assert_eq!(mailbox.longer(now), Change::Longer(3));
        assert_eq!(mailbox.longer(now + QUIET / 2), Change::None);
        assert_eq!(mailbox.longer(now + QUIET), Change::Longer(3));
    }

    #[test]
    fn bytes_count_as_messages_do() {
        let mut mailbox = Mailbox::new(&LIMITS);
        let mut push = || mailbox.push(message(Kind(0), 100), &LIMITS);
        assert_eq!(push().ok(), Some(Change::None));
        assert_eq!(push().ok(), Some(Change::Filled));
        assert!(push().is_err());
    }
}
