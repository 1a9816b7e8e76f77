//! What patterns are made of.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::rc::Rc;

use crate::byte_set::ByteSet;
use crate::capture::CaptureKind;
use crate::grammar::Grammar;

/// The most nodes of a pattern; one that is used twice counts twice. A pattern of this size takes about 10 MiB.
pub const MOST_NODES: u32 = 262_144;
/// The most levels of a pattern. A walk over one takes a piece of the stack for each level.
pub const MOST_NESTED: u32 = 250;

/// Part of a pattern. Parts are shared between patterns, and never change.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    pub(crate) node: Rc<Node>,
    /// Is added to the keys in it.
    pub(crate) shift: u32,
}

/// A node, and what is known about all that is below it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) facts: NodeFacts,
}

/// What a pattern does.
#[derive(Debug)]
pub(crate) enum NodeKind {
    /// Matches nothing, and never fails.
    True,
    /// Fails.
    False,
    /// These bytes, at least one.
    Text(Box<[u8]>),
    /// One of several bytes.
    Set(ByteSet),
    /// A number of bytes, at least one.
    Any(u32),
    /// A code point in a range.
    Points(u32, u32),
    /// One after the other.
    Sequence(Box<[Branch]>),
    /// The first that matches.
    Choice(Box<[Branch]>),
    /// As often as it matches.
    Repeat(Branch),
    /// As often as it matches, up to a number of times.
    AtMost(Branch, u32),
    /// Matches nothing if this does not match.
    Not(Branch),
    /// Matches nothing if this matches.
    And(Branch),
    /// Matches nothing if this matches a number of bytes before.
    Behind(Branch, u8),
    /// The rule whose name has this key.
    Call(u32),
    /// Patterns that call each other.
    Grammar(Box<Grammar>),
    /// The match captures the text that this pattern matches.
    Capture(CaptureKind, u32, Branch),
    /// A function, whose value has the key, decides whether it matches.
    MatchTime(u32, Branch),
}

/// What is known without the rules that are called. A call counts as one that consumes something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeFacts {
    /// It may match without consuming a byte.
    pub(crate) can_be_empty: bool,
    /// It matches anything.
    pub(crate) cannot_fail: bool,
    /// How many bytes it matches, if that is the same for each match.
    pub(crate) length: Option<u32>,
    pub(crate) has_captures: bool,
    /// It calls rules that are not known yet.
    pub(crate) has_calls: bool,
    pub(crate) depth: u32,
    pub(crate) nodes: u32,
}

/// Why a pattern cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PegError {
    /// What is repeated may match nothing.
    EmptyLoop,
    /// A look behind must have a length.
    NoFixedLength,
    /// A look behind captures nothing.
    CapturesBehind,
    /// The length of a look behind is over the limit.
    TooLongBehind,
    /// It has more than [`MOST_NODES`] nodes.
    TooLarge,
    /// It has more than [`MOST_NESTED`] levels.
    TooDeep,
    /// A grammar has more rules than the limit.
    TooManyRules,
    /// No rule of the grammar has the name with this key.
    Undefined(u32),
    /// The rule with this number may call itself before it consumes anything.
    LeftRecursive(usize),
    /// The rule with this number repeats what may match nothing.
    EmptyLoopInRule(usize),
    /// A rule, whose name has this key, is called outside of a grammar.
    OutsideGrammar(u32),
}

impl Error for PegError {}

impl Display for PegError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyLoop => write!(f, "loop body may accept empty string"),
            Self::NoFixedLength => write!(f, "pattern may not have fixed length"),
            Self::CapturesBehind => write!(f, "pattern have captures"),
            Self::TooLongBehind => write!(f, "pattern too long to look behind"),
            Self::TooLarge => write!(f, "pattern too big (limit is {MOST_NODES} nodes)"),
            Self::TooDeep => write!(f, "pattern too deep (limit is {MOST_NESTED} levels)"),
            Self::TooManyRules => write!(f, "grammar has too many rules"),
            Self::Undefined(key) => write!(f, "rule '{key}' undefined in given grammar"),
            Self::LeftRecursive(rule) => write!(f, "rule '{rule}' may be left recursive"),
            Self::EmptyLoopInRule(rule) => write!(f, "empty loop in rule '{rule}'"),
            Self::OutsideGrammar(key) => write!(f, "rule '{key}' used outside a grammar"),
        }
    }
}

impl Branch {
    /// A node that is not too large and not too deep.
    pub(crate) fn new(kind: NodeKind) -> Result<Self, PegError> {
        let facts = NodeFacts::of(&kind);
        if facts.nodes > MOST_NODES {
            return Err(PegError::TooLarge);
        }
        if facts.depth > MOST_NESTED {
            return Err(PegError::TooDeep);
        }
        Ok(Self::known(kind, facts))
    }

    /// A node with nothing below it.
    pub(crate) fn leaf(kind: NodeKind) -> Self {
        let facts = NodeFacts::of(&kind);
        Self::known(kind, facts)
    }

    pub(crate) fn known(kind: NodeKind, facts: NodeFacts) -> Self {
        Self {
            node: Rc::new(Node { kind, facts }),
            shift: 0,
        }
    }

    pub(crate) fn facts(&self) -> &NodeFacts {
        &self.node.facts
    }

    /// With its keys raised.
    pub(crate) fn shifted(&self, shift: u32) -> Self {
        Self {
            node: Rc::clone(&self.node),
            shift: self.shift.saturating_add(shift),
        }
    }

    /// The set of a pattern that matches one byte.
    pub(crate) fn set(&self) -> Option<ByteSet> {
        match &self.node.kind {
            NodeKind::Set(set) => Some(*set),
            NodeKind::Any(1) => Some(ByteSet::FULL),
            NodeKind::Text(text) => match **text {
                [byte] => Some(ByteSet::from_iter([byte])),
                _ => None,
            },
            _ => None,
        }
    }
}

impl NodeKind {
    /// What is directly below it.
    pub(crate) fn below(&self) -> &[Branch] {
        match self {
            Self::Sequence(parts) | Self::Choice(parts) => parts,
            Self::Repeat(body)
            | Self::AtMost(body, _)
            | Self::Not(body)
            | Self::And(body)
            | Self::Behind(body, _)
            | Self::Capture(_, _, body)
            | Self::MatchTime(_, body) => std::slice::from_ref(body),
            _ => &[],
        }
    }

    /// Whether it may match without consuming a byte, if that of each part below is known.
    pub(crate) fn can_be_empty(&self, of: impl Fn(&Branch) -> bool) -> bool {
        match self {
            Self::True | Self::Repeat(_) | Self::AtMost(..) => true,
            Self::Not(_) | Self::And(_) | Self::Behind(..) => true,
            Self::Sequence(parts) => parts.iter().all(of),
            Self::Choice(parts) => parts.iter().any(of),
            Self::Capture(_, _, body) | Self::MatchTime(_, body) => of(body),
            _ => false,
        }
    }

    /// How many bytes it matches, if that of each part below is known.
    pub(crate) fn length(&self, of: impl Fn(&Branch) -> Option<u32>) -> Option<u32> {
        match self {
            Self::True | Self::False => Some(0),
            Self::Not(_) | Self::And(_) | Self::Behind(..) => Some(0),
            Self::Text(text) => u32::try_from(text.len()).ok(),
            Self::Set(_) => Some(1),
            Self::Any(count) => Some(*count),
            Self::Points(from, to) => {
                let (from, to) = (bytes_of(*from), bytes_of(*to));
                (from == to).then_some(from)
            }
            Self::Sequence(parts) => parts
                .iter()
                .try_fold(0_u32, |sum, part| sum.checked_add(of(part)?)),
            Self::Choice(parts) => {
                let mut lengths = parts.iter().map(of);
                let first = lengths.next()??;
                lengths.all(|length| length == Some(first)).then_some(first)
            }
            Self::Capture(_, _, body) => of(body),
            // Nothing, as often as one likes.
            Self::AtMost(body, _) => of(body).filter(|length| *length == 0),
            _ => None,
        }
    }
}

/// The number of bytes of a code point.
fn bytes_of(point: u32) -> u32 {
    match point {
        0..=0x7f => 1,
        0x80..=0x7ff => 2,
        0x800..=0xffff => 3,
        _ => 4,
    }
}

impl NodeFacts {
    fn of(kind: &NodeKind) -> Self {
        if let NodeKind::Grammar(grammar) = kind {
            return grammar.facts();
        }
        let below = kind.below();
        let nodes = below
            .iter()
            .fold(0_u32, |sum, part| sum.saturating_add(part.facts().nodes));
        let times = match kind {
            NodeKind::AtMost(_, times) => *times,
            _ => 1,
        };
        let own = match kind {
            NodeKind::Text(text) => u32::try_from(text.len() / 16).unwrap_or(u32::MAX),
            _ => 1,
        };
        Self {
            can_be_empty: kind.can_be_empty(|part| part.facts().can_be_empty),
            cannot_fail: match kind {
                NodeKind::True | NodeKind::Repeat(_) | NodeKind::AtMost(..) => true,
                NodeKind::Sequence(parts) => parts.iter().all(|part| part.facts().cannot_fail),
                NodeKind::Choice(parts) => parts.iter().any(|part| part.facts().cannot_fail),
                NodeKind::And(body) | NodeKind::Capture(_, _, body) => body.facts().cannot_fail,
                _ => false,
            },
            length: kind.length(|part| part.facts().length),
            has_captures: matches!(kind, NodeKind::Capture(..) | NodeKind::MatchTime(..))
                || below.iter().any(|part| part.facts().has_captures),
            has_calls: matches!(kind, NodeKind::Call(_))
                || below.iter().any(|part| part.facts().has_calls),
            depth: 1 + below
                .iter()
                .map(|part| part.facts().depth)
                .max()
                .unwrap_or(0),
            nodes: nodes.saturating_mul(times).saturating_add(own.max(1)),
        }
    }
}
