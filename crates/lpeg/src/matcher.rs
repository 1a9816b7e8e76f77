//! Runs the instructions of a pattern over a subject.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

use crate::capture::{Capture, CaptureKind, LONGEST_WHOLE, NO_KEY};
use crate::compiler::PegCode;
use crate::instruction::Instruction;
use crate::utf8;

/// The most entries that the limit of the stack may be set to. They take 24 MiB.
pub const MOST_BACKTRACKS: usize = 1_048_576;
/// The most captures of a match. They take 64 MiB.
pub const MOST_CAPTURES: usize = 4_194_304;

/// Matches patterns. It keeps its memory from one match to the next.
#[derive(Debug, Default)]
pub struct Matcher {
    stack: Vec<Backtrack>,
    captures: Vec<Capture>,
    /// How many values functions have returned for the captures that are left.
    values: u32,
    at: u32,
    position: usize,
    most_backtracks: usize,
}

/// Where to go on after a failure, or after a call.
#[derive(Debug, Clone, Copy)]
struct Backtrack {
    at: u32,
    captures: u32,
    values: u32,
    /// [`CALL`] where it is a call.
    position: usize,
}

const CALL: usize = usize::MAX;

/// Why the matcher stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchEvent {
    /// It matches up to this position.
    Matched(usize),
    /// It does not match.
    Failed,
    /// A function decides. The capture with this index is its group: all after it is in it.
    MatchTime {
        /// The index of the group. Its key is the function's.
        group: usize,
        /// Where the match is.
        position: usize,
    },
    /// The work that it was given is done, the match is not.
    Paused,
}

/// Why a match cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchError {
    /// More choices and calls than this limit wait.
    StackOverflow(usize),
    /// There are more than [`MOST_CAPTURES`].
    TooManyCaptures,
}

impl Error for MatchError {}

impl Display for MatchError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::StackOverflow(limit) => {
                write!(f, "backtrack stack overflow (current limit is {limit})")
            }
            Self::TooManyCaptures => write!(f, "too many captures (limit is {MOST_CAPTURES})"),
        }
    }
}

impl Matcher {
    /// Begins a match at a position of the subject. Whatever went before is forgotten.
    pub fn start(&mut self, position: usize, most_backtracks: usize) {
        self.stack.clear();
        self.captures.clear();
        self.values = 0;
        self.at = 0;
        self.position = position;
        self.most_backtracks = most_backtracks.min(MOST_BACKTRACKS);
    }

    /// What was captured until now.
    #[must_use]
    pub fn captures(&self) -> &[Capture] {
        &self.captures
    }

    /// How many of the values that functions have returned still count: the first ones.
    #[must_use]
    pub fn values(&self) -> usize {
        self.values as usize
    }

    /// How many bytes of memory it keeps.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.stack.capacity() * size_of::<Backtrack>()
            + self.captures.capacity() * size_of::<Capture>()
    }

    /// The function of the last group has agreed: the match goes on at a position. Of the values that count, `kept` were there before the
    /// group; those after them are new, and are what the group has captured.
    ///
    /// # Errors
    /// There are too many captures.
    pub fn agree(
        &mut self,
        group: usize,
        position: usize,
        kept: usize,
        count: usize,
    ) -> Result<(), MatchError> {
        let begin = self
            .captures
            .get(group)
            .map_or(position, |open| open.position);
        self.captures.truncate(group);
        self.position = position;
        self.values = kept as u32;
        if count == 0 {
            return Ok(());
        }
        if count > MOST_CAPTURES {
            return Err(MatchError::TooManyCaptures);
        }
        self.values = (kept + count) as u32;
        self.capture(Capture::open(CaptureKind::Group, begin, NO_KEY))?;
        for value in kept..kept + count {
            let kind = CaptureKind::MatchTime;
            self.capture(Capture::whole(kind, position, value as u32, 0))?;
        }
        self.capture(Capture::close(position))
    }

    /// The function of the last group has not agreed.
    #[must_use]
    pub fn refuse(&mut self) -> Option<MatchEvent> {
        match self.fail() {
            true => None,
            false => Some(MatchEvent::Failed),
        }
    }

    /// Runs until the caller must decide something, or until an amount of work is done. A loop, a call, a choice and a failure count as one,
    /// and so do 16 bytes that are looked at at once.
    ///
    /// # Errors
    /// A limit is reached. The match is over then.
    pub fn run(
        &mut self,
        code: &PegCode,
        subject: &[u8],
        work: u32,
    ) -> Result<MatchEvent, MatchError> {
        let mut left = i64::from(work);
        let (mut at, mut position) = (self.at, self.position);
        loop {
            // Every position comes from the subject, and the code ends with `End`.
            let rest = subject.get(position..).unwrap_or_default();
            let instruction = code.instructions[at as usize];
            let length = match instruction {
                Instruction::Behind(length) => match position.checked_sub(length as usize) {
                    Some(before) => {
                        position = before;
                        Some(0)
                    }
                    None => None,
                },
                _ => match consumed(instruction, code, rest) {
                    Consumed::Bytes(length) => {
                        left -= (length / BYTES_AS_WORK) as i64;
                        Some(length)
                    }
                    Consumed::Failed => None,
                    Consumed::Elsewhere(target) => {
                        at = target;
                        continue;
                    }
                    Consumed::Other => {
                        left -= 1;
                        (self.at, self.position) = (at, position);
                        match self.control(instruction)? {
                            Step::Fails => None,
                            Step::Stops(event) => return Ok(event),
                            Step::GoesOn => {
                                (at, position) = (self.at, self.position);
                                if left > 0 {
                                    continue;
                                }
                                return Ok(MatchEvent::Paused);
                            }
                        }
                    }
                },
            };
            if let Some(length) = length {
                position += length;
                at += 1;
                continue;
            }
            left -= 1;
            if !self.fail() {
                return Ok(MatchEvent::Failed);
            }
            (at, position) = (self.at, self.position);
            if left <= 0 {
                return Ok(MatchEvent::Paused);
            }
        }
    }

    /// Does what changes the stack and the captures.
    fn control(&mut self, instruction: Instruction) -> Result<Step, MatchError> {
        let next = self.at + 1;
        match instruction {
            Instruction::Jump(target) => self.at = target,
            Instruction::Choice(target) => {
                self.push(target, self.position)?;
                self.at = next;
            }
            Instruction::Call(target) => {
                self.push(next, CALL)?;
                self.at = target;
            }
            Instruction::Return => self.at = self.stack.pop().map_or(next, |call| call.at),
            Instruction::Commit(target) => {
                self.stack.pop();
                self.at = target;
            }
            Instruction::PartialCommit(target) => {
                if let Some(last) = self.stack.last_mut() {
                    last.position = self.position;
                    last.captures = self.captures.len() as u32;
                    last.values = self.values;
                }
                self.at = target;
            }
            Instruction::BackCommit(target) => {
                if let Some(choice) = self.stack.pop() {
                    self.position = choice.position;
                    self.captures.truncate(choice.captures as usize);
                    self.values = choice.values;
                }
                self.at = target;
            }
            Instruction::FailTwice => {
                self.stack.pop();
                return Ok(Step::Fails);
            }
            Instruction::End => return Ok(Step::Stops(MatchEvent::Matched(self.position))),
            Instruction::MatchTime => {
                self.at = next;
                let (group, position) = (self.last_open(), self.position);
                self.capture(Capture::close(position))?;
                return Ok(Step::Stops(MatchEvent::MatchTime { group, position }));
            }
            Instruction::Open(kind, key) => {
                self.capture(Capture::open(kind, self.position, key))?;
                self.at = next;
            }
            Instruction::Whole(kind, length, key) => {
                let length = usize::from(length);
                let begin = self.position.saturating_sub(length);
                self.capture(Capture::whole(kind, begin, key, length))?;
                self.at = next;
            }
            Instruction::Close => {
                self.close()?;
                self.at = next;
            }
            _ => return Ok(Step::Fails),
        }
        Ok(Step::GoesOn)
    }

    fn push(&mut self, at: u32, position: usize) -> Result<(), MatchError> {
        // LPeg counts the place where a match begins, too.
        if self.stack.len() + 1 >= self.most_backtracks {
            return Err(MatchError::StackOverflow(self.most_backtracks));
        }
        self.stack.push(Backtrack {
            at,
            captures: self.captures.len() as u32,
            values: self.values,
            position,
        });
        Ok(())
    }

    /// Goes back to the last choice. False if there is none.
    fn fail(&mut self) -> bool {
        while let Some(last) = self.stack.pop() {
            if last.position != CALL {
                self.at = last.at;
                self.position = last.position;
                self.captures.truncate(last.captures as usize);
                self.values = last.values;
                return true;
            }
        }
        false
    }

    fn capture(&mut self, capture: Capture) -> Result<(), MatchError> {
        if self.captures.len() >= MOST_CAPTURES {
            return Err(MatchError::TooManyCaptures);
        }
        self.captures.push(capture);
        Ok(())
    }

    /// Ends the last capture that is open.
    fn close(&mut self) -> Result<(), MatchError> {
        let position = self.position;
        if let Some(last) = self.captures.last_mut().filter(|last| last.is_open()) {
            let length = position.saturating_sub(last.position);
            if length <= LONGEST_WHOLE {
                last.make_whole(length);
                return Ok(());
            }
        }
        self.capture(Capture::close(position))
    }

    /// The index of the last capture that is open.
    fn last_open(&self) -> usize {
        let mut closed = 0_usize;
        for (at, capture) in self.captures.iter().enumerate().rev() {
            match capture {
                capture if capture.is_close() => closed += 1,
                capture if capture.is_open() && closed == 0 => return at,
                capture if capture.is_open() => closed -= 1,
                _ => {}
            }
        }
        0
    }
}

/// How many bytes that are looked at at once count as much as an instruction.
const BYTES_AS_WORK: usize = 16;

enum Step {
    GoesOn,
    Fails,
    Stops(MatchEvent),
}

/// What an instruction that looks at bytes has found.
enum Consumed {
    Bytes(usize),
    Failed,
    /// The next byte does not pass a test.
    Elsewhere(u32),
    /// The instruction does something else.
    Other,
}

#[inline]
fn consumed(instruction: Instruction, code: &PegCode, rest: &[u8]) -> Consumed {
    let bytes = |is_there: bool, length: usize| match is_there {
        true => Consumed::Bytes(length),
        false => Consumed::Failed,
    };
    let set_of = |set: u32| &code.sets[set as usize];
    let test = |passes: bool, target: u32| match passes {
        true => Consumed::Bytes(0),
        false => Consumed::Elsewhere(target),
    };
    match instruction {
        Instruction::Byte(byte) => bytes(rest.first() == Some(&byte), 1),
        Instruction::Set(set) => bytes(
            rest.first().is_some_and(|byte| set_of(set).contains(*byte)),
            1,
        ),
        Instruction::TestByte(byte, target) => test(rest.first() == Some(&byte), target),
        Instruction::TestSet(set, target) => {
            let set = set_of(set);
            test(rest.first().is_some_and(|byte| set.contains(*byte)), target)
        }
        Instruction::TestAny(target) => test(!rest.is_empty(), target),
        Instruction::Any(count) => bytes(rest.len() >= count as usize, count as usize),
        Instruction::Text(at, length) => {
            let (at, length) = (at as usize, length as usize);
            bytes(rest.starts_with(&code.texts[at..at + length]), length)
        }
        Instruction::Span(set) => {
            let set = set_of(set);
            let end = rest.iter().position(|byte| !set.contains(*byte));
            Consumed::Bytes(end.unwrap_or(rest.len()))
        }
        Instruction::SpanAll => Consumed::Bytes(rest.len()),
        Instruction::Points(range) => match utf8::decode(rest) {
            Some((point, length)) => {
                let (from, to) = code.ranges[range as usize];
                bytes((from..=to).contains(&point), length)
            }
            None => Consumed::Failed,
        },
        _ => Consumed::Other,
    }
}
