//! Patterns that call each other.

use rustc_hash::FxHashMap;

use crate::node::{Branch, NodeFacts, NodeKind, PegError};
use crate::peg::{MOST_RULES, Peg};

/// Rules, and which of them the names stand for.
#[derive(Debug)]
pub(crate) struct Grammar {
    pub(crate) rules: Vec<Branch>,
    /// The rule of each name's key, as it is without the shift of the grammar.
    pub(crate) calls: FxHashMap<u32, u32>,
    /// The rules, each after those that it may call before it consumes anything.
    pub(crate) order: Vec<u32>,
    pub(crate) knowledge: Vec<RuleFacts>,
}

/// What is known of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RuleFacts {
    pub(crate) can_be_empty: bool,
    length: Option<u32>,
}

/// A pattern of rules, which begins with the first. The function finds the rule whose name has a key.
///
/// # Errors
/// A name stands for no rule, a rule may run for ever without consuming anything, or it is too large or too deep.
pub fn grammar(rules: &[Peg], find: impl FnMut(u32) -> Option<usize>) -> Result<Peg, PegError> {
    if rules.len() > MOST_RULES {
        return Err(PegError::TooManyRules);
    }
    if rules.is_empty() {
        return Ok(Peg::constant(false));
    }
    let mut grammar = Grammar {
        rules: rules.iter().map(|rule| rule.0.clone()).collect(),
        calls: FxHashMap::default(),
        order: Vec::new(),
        knowledge: vec![RuleFacts::default(); rules.len()],
    };
    grammar.resolve(find)?;
    grammar.learn();
    grammar.put_in_order()?;
    grammar.check_loops()?;
    Branch::new(NodeKind::Grammar(Box::new(grammar))).map(Peg)
}

impl Grammar {
    pub(crate) fn facts(&self) -> NodeFacts {
        let facts = || self.rules.iter().map(Branch::facts);
        let first = self.knowledge.first().copied().unwrap_or_default();
        NodeFacts {
            can_be_empty: first.can_be_empty,
            cannot_fail: self
                .rules
                .first()
                .is_some_and(|rule| rule.facts().cannot_fail),
            length: first.length,
            has_captures: facts().any(|facts| facts.has_captures),
            has_calls: false,
            depth: 1 + facts().map(|facts| facts.depth).max().unwrap_or(0),
            nodes: facts().fold(1, |sum, facts| sum.saturating_add(facts.nodes)),
        }
    }

    pub(crate) fn cost(&self) -> usize {
        self.rules.len() * (size_of::<Branch>() + size_of::<u32>() + size_of::<RuleFacts>())
            + self.calls.len() * 12
    }

    /// The rule that a call in a branch means. None where the branch is not of this grammar.
    pub(crate) fn rule(&self, key: u32) -> Option<usize> {
        self.calls.get(&key).map(|rule| *rule as usize)
    }

    /// Notes which rules the calls mean.
    fn resolve(&mut self, mut find: impl FnMut(u32) -> Option<usize>) -> Result<(), PegError> {
        let mut rest = self.rules.clone();
        while let Some(branch) = rest.pop() {
            if let NodeKind::Call(key) = branch.node.kind {
                let key = key.saturating_add(branch.shift);
                if !self.calls.contains_key(&key) {
                    let rule = find(key).filter(|rule| *rule < self.rules.len());
                    let rule = rule.ok_or(PegError::Undefined(key))?;
                    self.calls.insert(key, rule as u32);
                }
            }
            rest.extend(calling(&branch));
        }
        Ok(())
    }

    /// Learns what rules do from each other, until nothing new is learned. Each round only makes more of them empty or of known length.
    fn learn(&mut self) {
        let mut is_new = true;
        while is_new {
            is_new = false;
            // Rules mostly call those that are written after them.
            for at in (0..self.rules.len()).rev() {
                let rule = &self.rules[at];
                let facts = RuleFacts {
                    can_be_empty: self.can_be_empty(rule),
                    length: self.length(rule),
                };
                is_new |= facts != self.knowledge[at];
                self.knowledge[at] = facts;
            }
        }
    }

    /// Whether a part of a rule may match without consuming a byte.
    pub(crate) fn can_be_empty(&self, branch: &Branch) -> bool {
        match &branch.node.kind {
            _ if !branch.facts().has_calls => branch.facts().can_be_empty,
            NodeKind::Call(key) => self
                .rule(key.saturating_add(branch.shift))
                .is_some_and(|rule| self.knowledge[rule].can_be_empty),
            kind => kind.can_be_empty(|part| self.can_be_empty(&part.shifted(branch.shift))),
        }
    }

    fn length(&self, branch: &Branch) -> Option<u32> {
        match &branch.node.kind {
            _ if !branch.facts().has_calls => branch.facts().length,
            NodeKind::Call(key) => {
                let rule = self.rule(key.saturating_add(branch.shift))?;
                self.knowledge[rule].length
            }
            kind => kind.length(|part| self.length(&part.shifted(branch.shift))),
        }
    }

    /// Puts each rule after those that it may call before it consumes anything. No rule may be among these itself.
    fn put_in_order(&mut self) -> Result<(), PegError> {
        let left: Vec<Vec<usize>> = self
            .rules
            .iter()
            .map(|rule| {
                let mut found = Vec::new();
                self.left_calls(rule, &mut found);
                found
            })
            .collect();
        let mut is_done = vec![false; left.len()];
        for start in 0..left.len() {
            if is_done[start] {
                continue;
            }
            // The rules on the way, each with the number of calls that were looked at.
            let mut path = vec![(start, 0)];
            while let Some((rule, at)) = path.last_mut() {
                let rule = *rule;
                let Some(called) = left[rule].get(*at).copied() else {
                    is_done[rule] = true;
                    self.order.push(rule as u32);
                    path.pop();
                    continue;
                };
                *at += 1;
                if let Some(begin) = path.iter().position(|(on_path, _)| *on_path == called) {
                    return Err(PegError::LeftRecursive(repeated(&path, begin)));
                }
                if !is_done[called] {
                    path.push((called, 0));
                }
            }
        }
        Ok(())
    }

    /// The rules that a part of a rule may call first. Tells whether it can be empty.
    fn left_calls(&self, branch: &Branch, found: &mut Vec<usize>) -> bool {
        if !branch.facts().has_calls {
            return branch.facts().can_be_empty;
        }
        let below = || {
            let parts = branch.node.kind.below().iter();
            parts.map(|part| part.shifted(branch.shift))
        };
        match &branch.node.kind {
            NodeKind::Call(key) => {
                let rule = self.rule(key.saturating_add(branch.shift));
                if let Some(rule) = rule.filter(|rule| !found.contains(rule)) {
                    found.push(rule);
                }
                rule.is_some_and(|rule| self.knowledge[rule].can_be_empty)
            }
            NodeKind::Sequence(_) => below().all(|part| self.left_calls(&part, found)),
            NodeKind::Choice(_) => {
                let mut can_be_empty = false;
                // Each alternative is looked at, also after one that can be empty.
                for part in below() {
                    can_be_empty |= self.left_calls(&part, found);
                }
                can_be_empty
            }
            kind => {
                let is_body_empty = below().all(|part| self.left_calls(&part, found));
                kind.can_be_empty(|_| is_body_empty)
            }
        }
    }

    /// Only in rules that are used, as LPeg does it.
    fn check_loops(&self) -> Result<(), PegError> {
        let mut is_used = vec![false; self.rules.len()];
        is_used[0] = true;
        for rule in self.calls.values() {
            is_used[*rule as usize] = true;
        }
        for (at, rule) in self.rules.iter().enumerate().filter(|(at, _)| is_used[*at]) {
            let mut rest = vec![rule.clone()];
            while let Some(branch) = rest.pop() {
                if let NodeKind::Repeat(body) = &branch.node.kind
                    && self.can_be_empty(&body.shifted(branch.shift))
                {
                    return Err(PegError::EmptyLoopInRule(at));
                }
                rest.extend(calling(&branch));
            }
        }
        Ok(())
    }
}

/// What is below a branch and calls rules.
fn calling(branch: &Branch) -> impl Iterator<Item = Branch> {
    let parts = branch.node.kind.below().iter();
    parts
        .filter(|part| part.facts().has_calls)
        .map(|part| part.shifted(branch.shift))
}

/// The rule that LPeg names: it follows the calls for as many steps as there may be rules, and names the one where it is then.
fn repeated(path: &[(usize, usize)], begin: usize) -> usize {
    let circle = &path[begin..];
    let steps = MOST_RULES.max(begin) - begin;
    circle[steps % circle.len()].0
}
