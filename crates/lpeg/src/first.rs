//! With which bytes a pattern can begin.

use crate::byte_set::ByteSet;
use crate::grammar::Grammar;
use crate::node::{Branch, NodeKind};
use crate::utf8;

/// The bytes that a pattern, or what follows it, can begin with. It fails before any other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstSet {
    pub(crate) set: ByteSet,
    /// It may match at the end of the subject.
    pub(crate) fits_end: bool,
    /// A function may be asked before it is known whether there is a byte. It must not be left out.
    asks: bool,
}

/// The grammar that a branch is in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) grammar: &'a Grammar,
    /// What the keys of its rules are raised by.
    pub(crate) base: u32,
    /// How each rule begins. Those that are not known yet begin with anything.
    pub(crate) firsts: &'a [FirstSet],
}

impl Scope<'_> {
    /// The rule that a key means.
    pub(crate) fn rule(&self, key: u32) -> Option<usize> {
        self.grammar.rule(key.wrapping_sub(self.base))
    }
}

impl FirstSet {
    /// What nothing is known of.
    pub(crate) const ANYTHING: Self = Self {
        set: ByteSet::FULL,
        fits_end: true,
        asks: false,
    };

    fn one_of(set: ByteSet) -> Self {
        Self {
            set,
            fits_end: false,
            asks: false,
        }
    }
}

/// What a branch can begin with, if `follow` are the bytes that may come after it.
pub(crate) fn first(branch: &Branch, follow: &ByteSet, scope: Option<&Scope<'_>>) -> FirstSet {
    let of = |part: &Branch, follow: &ByteSet| first(&part.shifted(branch.shift), follow, scope);
    let unknown = FirstSet {
        set: *follow,
        ..FirstSet::ANYTHING
    };
    match &branch.node.kind {
        NodeKind::True => unknown,
        NodeKind::False => FirstSet::one_of(ByteSet::EMPTY),
        NodeKind::Text(text) => FirstSet::one_of(text.iter().copied().take(1).collect()),
        NodeKind::Set(set) => FirstSet::one_of(*set),
        NodeKind::Any(_) => FirstSet::one_of(ByteSet::FULL),
        NodeKind::Points(from, to) => FirstSet::one_of(ByteSet::range(
            utf8::first_byte(*from),
            utf8::first_byte(*to),
        )),
        NodeKind::Sequence(parts) => in_sequence(parts, branch.shift, follow, scope),
        NodeKind::Choice(parts) => {
            let none = FirstSet::one_of(ByteSet::EMPTY);
            parts.iter().fold(none, |sum, part| {
                let part = of(part, follow);
                FirstSet {
                    set: sum.set.union(&part.set),
                    fits_end: sum.fits_end || part.fits_end,
                    asks: sum.asks || part.asks,
                }
            })
        }
        NodeKind::Not(body) | NodeKind::And(body) => {
            of_look(&branch.node.kind, of(body, &ByteSet::FULL), body, follow)
        }
        NodeKind::Repeat(body) | NodeKind::AtMost(body, _) => {
            let body = of(body, &ByteSet::FULL);
            FirstSet {
                set: body.set.union(follow),
                fits_end: true,
                asks: body.asks,
            }
        }
        NodeKind::Behind(..) => unknown,
        NodeKind::Capture(_, _, body) => of(body, follow),
        // The function may match where its body ends or further.
        NodeKind::MatchTime(_, body) => {
            let body = of(body, &ByteSet::FULL);
            FirstSet {
                asks: body.fits_end,
                ..body
            }
        }
        NodeKind::Call(key) => scope
            .and_then(|scope| Some(scope.firsts[scope.rule(key.saturating_add(branch.shift))?]))
            .unwrap_or(FirstSet::ANYTHING),
        NodeKind::Grammar(grammar) => {
            let firsts = firsts_of(grammar, branch.shift);
            firsts.first().copied().unwrap_or(FirstSet::ANYTHING)
        }
    }
}

/// What can come where something matches or not, if that begins with `first`.
fn of_look(kind: &NodeKind, first: FirstSet, body: &Branch, follow: &ByteSet) -> FirstSet {
    match (kind, body.set()) {
        (NodeKind::And(_), _) => FirstSet {
            set: first.set.intersection(follow),
            ..first
        },
        (_, Some(set)) => FirstSet {
            set: set.complement(),
            ..FirstSet::ANYTHING
        },
        (_, None) => FirstSet {
            set: *follow,
            fits_end: true,
            asks: first.asks,
        },
    }
}

/// What a sequence can begin with: its first part, and what follows each that may be empty.
fn in_sequence(
    parts: &[Branch],
    shift: u32,
    follow: &ByteSet,
    scope: Option<&Scope<'_>>,
) -> FirstSet {
    let can_be_empty = |part: &Branch| match scope {
        Some(scope) if part.facts().has_calls => {
            // A grammar's own keys are without its shift.
            let own = Branch {
                shift: part.shift.saturating_add(shift).wrapping_sub(scope.base),
                ..part.clone()
            };
            scope.grammar.can_be_empty(&own)
        }
        _ => part.facts().can_be_empty,
    };
    let count = parts.iter().take_while(|part| can_be_empty(part)).count();
    let (empty, rest) = parts.split_at(count);
    let mut known = match rest.first() {
        Some(part) => first(&part.shifted(shift), &ByteSet::FULL, scope),
        None => FirstSet {
            set: *follow,
            ..FirstSet::ANYTHING
        },
    };
    for part in empty.iter().rev() {
        let part = first(&part.shifted(shift), &known.set, scope);
        known = FirstSet {
            set: part.set,
            // Where it needs a byte, the sequence does.
            fits_end: part.fits_end && (known.fits_end || part.asks || known.asks),
            asks: part.fits_end && (part.asks || known.asks),
        };
    }
    known
}

/// How each rule of a grammar begins. What follows a call is not known.
pub(crate) fn firsts_of(grammar: &Grammar, base: u32) -> Vec<FirstSet> {
    let mut firsts = vec![FirstSet::ANYTHING; grammar.rules.len()];
    for rule in &grammar.order {
        let at = *rule as usize;
        let scope = Scope {
            grammar,
            base,
            firsts: &firsts,
        };
        firsts[at] = first(
            &grammar.rules[at].shifted(base),
            &ByteSet::FULL,
            Some(&scope),
        );
    }
    firsts
}
