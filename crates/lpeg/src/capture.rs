//! What a match yields.

/// A key that stands for nothing.
pub const NO_KEY: u32 = u32::MAX;

/// An entry in the list of captures: one that is whole, or the opening or the end of one with others in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// Where it begins; with [`CaptureKind::Close`], where the one that it ends has ended.
    pub position: usize,
    /// The key that the pattern was made with, or [`NO_KEY`].
    pub key: u32,
    /// What it is.
    pub kind: CaptureKind,
    /// 0 when it is open, else its length and 1.
    size: u8,
}

/// The longest capture that is one entry, in bytes.
pub(crate) const LONGEST_WHOLE: usize = u8::MAX as usize - 1;

/// What a capture is. The keys of some are values of the caller's, of others numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureKind {
    /// The end of the last that is open.
    Close,
    /// The text itself.
    Simple,
    /// The position.
    Position,
    /// A value.
    Constant,
    /// An argument of the match. The key is its number.
    Argument,
    /// What the group with a name has captured.
    Back,
    /// Values together; with a key, under a name.
    Group,
    /// A text with other captures instead of what they have matched.
    Substitution,
    /// A table of captures.
    Table,
    /// What a function makes of captures.
    Function,
    /// What a table has for the first capture.
    Query,
    /// A template that is filled with captures.
    Template,
    /// One of several captures. The key is its number, or 0 for none.
    Number,
    /// A function that folds captures into one.
    Fold,
    /// A function that changes the capture before.
    Accumulator,
    /// A value that a function has returned while the match ran. The key is its number.
    MatchTime,
}

impl CaptureKind {
    /// Whether the key is a value of the caller's.
    pub(crate) fn has_value(self) -> bool {
        !matches!(
            self,
            Self::Close | Self::Argument | Self::Number | Self::MatchTime
        )
    }
}

impl Capture {
    /// One that others may be in.
    pub(crate) fn open(kind: CaptureKind, position: usize, key: u32) -> Self {
        Self {
            position,
            key,
            kind,
            size: 0,
        }
    }

    /// One with nothing in it. At most [`LONGEST_WHOLE`] bytes.
    pub(crate) fn whole(kind: CaptureKind, position: usize, key: u32, length: usize) -> Self {
        Self {
            position,
            key,
            kind,
            size: length as u8 + 1,
        }
    }

    pub(crate) fn close(position: usize) -> Self {
        Self::whole(CaptureKind::Close, position, NO_KEY, 0)
    }

    /// Its length in bytes, if it is whole; none if others follow that are in it, up to its end.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        usize::from(self.size).checked_sub(1)
    }

    /// Whether it ends another one.
    #[must_use]
    pub fn is_close(&self) -> bool {
        self.kind == CaptureKind::Close
    }

    /// Makes an open one whole.
    pub(crate) fn make_whole(&mut self, length: usize) {
        self.size = length as u8 + 1;
    }

    /// Whether others may follow that are in it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.size == 0
    }
}

/// The index after a capture that has ended, and after all that is in it.
#[must_use]
pub fn end_of(captures: &[Capture], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, capture) in captures.iter().enumerate().skip(at) {
        if capture.is_open() {
            depth += 1;
        } else if capture.is_close() {
            depth = depth.saturating_sub(1);
        }
        if depth == 0 {
            return index + 1;
        }
    }
    captures.len()
}
