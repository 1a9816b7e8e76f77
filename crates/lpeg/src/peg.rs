//! How patterns are made.

use crate::byte_set::ByteSet;
use crate::capture::CaptureKind;
use crate::node::{Branch, NodeKind, PegError};
use crate::utf8;

/// The most rules of a grammar, as in LPeg.
pub const MOST_RULES: usize = 1000;
/// The most bytes that a look behind may have, as in LPeg.
pub const LONGEST_BEHIND: u32 = 255;

/// A pattern. It never changes, and is cheap to clone: patterns that are made of others share their parts.
///
/// Keys stand for values that the caller keeps. Two patterns that were made apart have keys of their own, so that one of them is
/// [`shifted`](Self::shifted) before they are put together.
#[derive(Debug, Clone)]
pub struct Peg(pub(crate) Branch);

impl Peg {
    /// Matches nothing and always succeeds, or always fails.
    #[must_use]
    pub fn constant(succeeds: bool) -> Self {
        Self(Branch::leaf(match succeeds {
            true => NodeKind::True,
            false => NodeKind::False,
        }))
    }

    /// Exactly these bytes.
    ///
    /// # Errors
    /// They are too many for a pattern.
    pub fn text(bytes: &[u8]) -> Result<Self, PegError> {
        match bytes {
            [] => Ok(Self::constant(true)),
            bytes => Ok(Self(Branch::new(NodeKind::Text(bytes.into()))?)),
        }
    }

    /// Any bytes, as many as the number says. Below 0, the place that has fewer bytes before the end.
    ///
    /// # Errors
    /// None: a number fits a pattern.
    pub fn any(count: i32) -> Result<Self, PegError> {
        let bytes = match count.unsigned_abs() {
            0 => return Ok(Self::constant(true)),
            bytes => Self(Branch::leaf(NodeKind::Any(bytes))),
        };
        match count < 0 {
            true => bytes.not(),
            false => Ok(bytes),
        }
    }

    /// One of these bytes.
    #[must_use]
    pub fn set(set: ByteSet) -> Self {
        Self(Branch::leaf(match set.single() {
            Some(byte) => NodeKind::Text(Box::new([byte])),
            None if set == ByteSet::EMPTY => NodeKind::False,
            None if set == ByteSet::FULL => NodeKind::Any(1),
            None => NodeKind::Set(set),
        }))
    }

    /// One code point in UTF-8. None if the range is empty or goes over the last code point.
    #[must_use]
    pub fn points(from: u32, to: u32) -> Option<Self> {
        if from > to || to > utf8::LAST {
            return None;
        }
        Some(match u8::try_from(to) {
            Ok(to) if to <= 0x7f => Self::set(ByteSet::range(from as u8, to)),
            _ => Self(Branch::leaf(NodeKind::Points(from, to))),
        })
    }

    /// The rule whose name has a key.
    #[must_use]
    pub fn call(key: u32) -> Self {
        Self(Branch::leaf(NodeKind::Call(key)))
    }

    /// The same with all keys raised.
    #[must_use]
    pub fn shifted(&self, shift: u32) -> Self {
        Self(self.0.shifted(shift))
    }

    /// This, then another one.
    ///
    /// # Errors
    /// It is too large or too deep.
    pub fn then(&self, next: &Self) -> Result<Self, PegError> {
        match (&self.0.node.kind, &next.0.node.kind) {
            // What fails after a function may not leave it out, so that only the first is looked at.
            (NodeKind::False, _) | (_, NodeKind::True) => Ok(self.clone()),
            (NodeKind::True, _) => Ok(next.clone()),
            _ => {
                let parts = joined(&self.0, &next.0, |kind| match kind {
                    NodeKind::Sequence(parts) => Some(&**parts),
                    _ => None,
                });
                Branch::new(NodeKind::Sequence(parts)).map(Self)
            }
        }
    }

    /// Several patterns, one after the other.
    ///
    /// # Errors
    /// It is too large or too deep.
    pub fn sequence(parts: &[Self]) -> Result<Self, PegError> {
        let parts = parts.iter().map(|part| part.0.clone()).collect();
        Branch::new(NodeKind::Sequence(parts)).map(Self)
    }

    /// This, or another one where this does not match.
    ///
    /// # Errors
    /// It is too large or too deep.
    pub fn or(&self, other: &Self) -> Result<Self, PegError> {
        if let (Some(a), Some(b)) = (self.byte_set(), other.byte_set()) {
            return Ok(Self::set(a.union(&b)));
        }
        match (&self.0.node.kind, &other.0.node.kind) {
            (_, NodeKind::False) => Ok(self.clone()),
            _ if self.0.facts().cannot_fail => Ok(self.clone()),
            (NodeKind::False, _) => Ok(other.clone()),
            _ => {
                let parts = joined(&self.0, &other.0, |kind| match kind {
                    NodeKind::Choice(parts) => Some(&**parts),
                    _ => None,
                });
                Branch::new(NodeKind::Choice(parts)).map(Self)
            }
        }
    }

    /// This where another one does not match.
    ///
    /// # Errors
    /// It is too large or too deep.
    pub fn minus(&self, other: &Self) -> Result<Self, PegError> {
        if let (Some(a), Some(b)) = (self.byte_set(), other.byte_set()) {
            return Ok(Self::set(a.intersection(&b.complement())));
        }
        let parts = Box::new([other.not()?.0, self.0.clone()]);
        Branch::new(NodeKind::Sequence(parts)).map(Self)
    }

    /// As often as it matches, and at least a number of times; below 0, at most.
    ///
    /// # Errors
    /// It is too large or too deep, or it may match nothing and be repeated for ever.
    pub fn repeat(&self, times: i32) -> Result<Self, PegError> {
        let count = times.unsigned_abs();
        if times < 0 {
            return Branch::new(NodeKind::AtMost(self.0.clone(), count)).map(Self);
        }
        if self.0.facts().can_be_empty {
            return Err(PegError::EmptyLoop);
        }
        let rest = Self(Branch::new(NodeKind::Repeat(self.0.clone()))?);
        if count == 0 {
            return Ok(rest);
        }
        if count.saturating_mul(self.0.facts().nodes) > crate::node::MOST_NODES {
            return Err(PegError::TooLarge);
        }
        let parts = std::iter::repeat_n(&self.0, count as usize).chain([&rest.0]);
        Branch::new(NodeKind::Sequence(parts.cloned().collect())).map(Self)
    }

    /// The place where it does not match.
    ///
    /// # Errors
    /// It is too deep.
    pub fn not(&self) -> Result<Self, PegError> {
        Branch::new(NodeKind::Not(self.0.clone())).map(Self)
    }

    /// The place where it matches. Captures in it are lost.
    ///
    /// # Errors
    /// It is too deep.
    pub fn and(&self) -> Result<Self, PegError> {
        Branch::new(NodeKind::And(self.0.clone())).map(Self)
    }

    /// The place that it matches up to.
    ///
    /// # Errors
    /// It has no fixed length, is too long, or captures something.
    pub fn behind(&self) -> Result<Self, PegError> {
        let facts = self.0.facts();
        let length = facts.length.ok_or(PegError::NoFixedLength)?;
        if facts.has_captures {
            return Err(PegError::CapturesBehind);
        }
        let length = u8::try_from(length).map_err(|_| PegError::TooLongBehind)?;
        Branch::new(NodeKind::Behind(self.0.clone(), length)).map(Self)
    }

    /// With what it matches as a capture. What the key is depends on the kind.
    ///
    /// # Errors
    /// It is too deep.
    pub fn capture(&self, kind: CaptureKind, key: u32) -> Result<Self, PegError> {
        Branch::new(NodeKind::Capture(kind, key, self.0.clone())).map(Self)
    }

    /// Where it matches, a function decides whether that is a match. Its value has the key.
    ///
    /// # Errors
    /// It is too deep.
    pub fn match_time(&self, key: u32) -> Result<Self, PegError> {
        Branch::new(NodeKind::MatchTime(key, self.0.clone())).map(Self)
    }

    /// About how many bytes of memory its last node takes. What it is made of, and shares, is not counted.
    #[must_use]
    pub fn cost(&self) -> usize {
        let list = match &self.0.node.kind {
            NodeKind::Text(text) => text.len(),
            NodeKind::Grammar(grammar) => grammar.cost(),
            kind => size_of_val(kind.below()),
        };
        size_of::<crate::node::Node>() + list
    }

    fn byte_set(&self) -> Option<ByteSet> {
        match self.0.node.kind {
            NodeKind::False => Some(ByteSet::EMPTY),
            _ => self.0.set(),
        }
    }
}

/// The parts of two nodes of a kind that is a list, so that a list of lists is one list.
fn joined(
    first: &Branch,
    second: &Branch,
    list: fn(&NodeKind) -> Option<&[Branch]>,
) -> Box<[Branch]> {
    let parts_of = |branch: &Branch| match list(&branch.node.kind) {
        Some(parts) => parts
            .iter()
            .map(|part| part.shifted(branch.shift))
            .collect(),
        None => vec![branch.clone()],
    };
    let mut parts = parts_of(first);
    parts.extend(parts_of(second));
    parts.into_boxed_slice()
}
