//! A slow matcher, which does what each node says and nothing else. The tests compare the other one with it.

use crate::capture::{CaptureKind, NO_KEY};
use crate::grammar::Grammar;
use crate::node::{Branch, NodeKind};
use crate::utf8;

/// A capture and those in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NaiveCapture {
    pub(crate) kind: CaptureKind,
    pub(crate) key: u32,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) inside: Vec<NaiveCapture>,
}

/// What a function says of a match up to a position: where it goes on and the number of values, or nothing.
pub(crate) type NaiveDecision = fn(u32, usize, usize) -> Option<(usize, usize)>;

/// A match that runs.
pub(crate) struct NaiveMatch<'a> {
    pub(crate) subject: &'a [u8],
    pub(crate) decide: NaiveDecision,
    /// The steps that are left. A pattern may take very many.
    pub(crate) steps: u32,
    pub(crate) depth: u32,
}

/// The steps are used up.
#[derive(Debug)]
pub(crate) struct NaiveEnd;

/// Where a match ends and what it has captured, or nothing.
type NaiveResult = Result<Option<(usize, Vec<NaiveCapture>)>, NaiveEnd>;

/// The grammars that a branch is in, the innermost first.
#[derive(Clone, Copy)]
pub(crate) struct NaiveScope<'a> {
    grammar: &'a Grammar,
    base: u32,
}

/// The most calls within calls.
const DEEPEST: u32 = 200;

impl NaiveMatch<'_> {
    pub(crate) fn run(
        &mut self,
        branch: &Branch,
        at: usize,
        scope: Option<NaiveScope<'_>>,
    ) -> NaiveResult {
        self.steps = self.steps.checked_sub(1).ok_or(NaiveEnd)?;
        if self.depth > DEEPEST {
            return Err(NaiveEnd);
        }
        self.depth += 1;
        let result = self.step(branch, at, scope);
        self.depth -= 1;
        result
    }

    fn step(&mut self, branch: &Branch, at: usize, scope: Option<NaiveScope<'_>>) -> NaiveResult {
        let rest = &self.subject[at..];
        let after = |is_there: bool, length: usize| is_there.then(|| (at + length, Vec::new()));
        let below = |part: &Branch| part.shifted(branch.shift);
        Ok(match &branch.node.kind {
            NodeKind::True => after(true, 0),
            NodeKind::False => None,
            NodeKind::Text(text) => after(rest.starts_with(text), text.len()),
            NodeKind::Set(set) => after(rest.first().is_some_and(|byte| set.contains(*byte)), 1),
            NodeKind::Any(count) => after(rest.len() >= *count as usize, *count as usize),
            NodeKind::Points(from, to) => utf8::decode(rest)
                .filter(|(point, _)| (from..=to).contains(&point))
                .and_then(|(_, length)| after(true, length)),
            NodeKind::Sequence(parts) => {
                let (mut end, mut all) = (at, Vec::new());
                for part in parts {
                    let Some((next, captures)) = self.run(&below(part), end, scope)? else {
                        return Ok(None);
                    };
                    end = next;
                    all.extend(captures);
                }
                Some((end, all))
            }
            NodeKind::Choice(parts) => {
                let mut tried = parts.iter().map(|part| self.run(&below(part), at, scope));
                tried.find_map(Result::transpose).transpose()?
            }
            NodeKind::Repeat(body) => self.repeat(&below(body), at, u32::MAX, scope)?,
            NodeKind::AtMost(body, times) => self.repeat(&below(body), at, *times, scope)?,
            NodeKind::Not(body) => after(self.run(&below(body), at, scope)?.is_none(), 0),
            NodeKind::And(body) => after(self.run(&below(body), at, scope)?.is_some(), 0),
            NodeKind::Behind(body, length) => match at.checked_sub(usize::from(*length)) {
                Some(before) => after(self.run(&below(body), before, scope)?.is_some(), 0),
                None => None,
            },
            NodeKind::Capture(kind, key, body) => {
                let key = match kind.has_value() && *key != NO_KEY {
                    true => key + branch.shift,
                    false => *key,
                };
                let found = self.run(&below(body), at, scope)?;
                found.map(|(end, inside)| (end, vec![capture(*kind, key, at, end, inside)]))
            }
            NodeKind::MatchTime(key, body) => match self.run(&below(body), at, scope)? {
                Some((end, _)) => self.decided(key + branch.shift, at, end),
                None => None,
            },
            NodeKind::Call(key) => {
                let scope = scope.expect("the pattern was compiled");
                let rule = scope.grammar.rule(key + branch.shift - scope.base);
                let rule = &scope.grammar.rules[rule.expect("the pattern was compiled")];
                self.run(&rule.shifted(scope.base), at, Some(scope))?
            }
            NodeKind::Grammar(grammar) => {
                let base = branch.shift;
                let scope = NaiveScope { grammar, base };
                self.run(&grammar.rules[0].shifted(base), at, Some(scope))?
            }
        })
    }

    fn repeat(
        &mut self,
        body: &Branch,
        at: usize,
        times: u32,
        scope: Option<NaiveScope<'_>>,
    ) -> NaiveResult {
        let (mut end, mut all) = (at, Vec::new());
        for _ in 0..times {
            let Some((next, captures)) = self.run(body, end, scope)? else {
                break;
            };
            end = next;
            all.extend(captures);
        }
        Ok(Some((end, all)))
    }

    fn decided(&self, key: u32, at: usize, end: usize) -> Option<(usize, Vec<NaiveCapture>)> {
        let (next, count) = (self.decide)(key, end, self.subject.len())?;
        let values = vec![capture(CaptureKind::MatchTime, 0, next, next, Vec::new()); count];
        let group = match values.is_empty() {
            true => Vec::new(),
            false => vec![capture(CaptureKind::Group, NO_KEY, at, next, values)],
        };
        Some((next, group))
    }
}

fn capture(
    kind: CaptureKind,
    key: u32,
    from: usize,
    to: usize,
    inside: Vec<NaiveCapture>,
) -> NaiveCapture {
    NaiveCapture {
        kind,
        key,
        from,
        to,
        inside,
    }
}
