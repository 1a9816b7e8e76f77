//! What a pattern is compiled to.

use crate::capture::CaptureKind;

/// A step of the machine. Targets are indices of the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// A number of bytes of any kind.
    Any(u32),
    Byte(u8),
    /// A byte of a set.
    Set(u32),
    /// Bytes of the texts: from a place on, a number of them.
    Text(u32, u32),
    /// As many bytes of a set as there are.
    Span(u32),
    /// All bytes to the end.
    SpanAll,
    /// A code point, as many as the list of ranges has.
    Points(u32),
    /// Goes back by a number of bytes.
    Behind(u32),
    /// Goes on elsewhere if the next byte is another one.
    TestByte(u8, u32),
    /// Goes on elsewhere if the next byte is not in a set.
    TestSet(u32, u32),
    /// Goes on elsewhere at the end.
    TestAny(u32),
    Jump(u32),
    /// Notes where to go on after a failure.
    Choice(u32),
    /// Forgets that, and goes on elsewhere.
    Commit(u32),
    /// Notes the place and the captures of now instead, and goes on elsewhere.
    PartialCommit(u32),
    /// Goes back to the place that was noted, and on elsewhere.
    BackCommit(u32),
    /// Forgets what was noted, and fails.
    FailTwice,
    Fail,
    Call(u32),
    Return,
    /// It matches.
    End,
    Open(CaptureKind, u32),
    Close,
    /// A capture of a number of bytes before.
    Whole(CaptureKind, u8, u32),
    /// The end of what a function decides about.
    MatchTime,
}

impl Instruction {
    /// Where it may go on.
    pub(crate) fn target(&mut self) -> Option<&mut u32> {
        match self {
            Self::TestByte(_, target)
            | Self::TestSet(_, target)
            | Self::TestAny(target)
            | Self::Jump(target)
            | Self::Choice(target)
            | Self::Commit(target)
            | Self::PartialCommit(target)
            | Self::BackCommit(target)
            | Self::Call(target) => Some(target),
            _ => None,
        }
    }
}
