//! Makes instructions of a pattern.

use crate::byte_set::ByteSet;
use crate::capture::{CaptureKind, LONGEST_WHOLE};
use crate::first::{FirstSet, Scope, first, firsts_of};
use crate::grammar::Grammar;
use crate::instruction::Instruction;
use crate::node::{Branch, NodeKind, PegError};
use crate::peg::Peg;

/// A pattern as instructions.
#[derive(Debug, Default)]
pub struct PegCode {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) sets: Vec<ByteSet>,
    pub(crate) texts: Vec<u8>,
    pub(crate) ranges: Vec<(u32, u32)>,
    /// Calls of the grammar that is being compiled. Each has the number of its rule instead of the place.
    calls: Vec<usize>,
}

impl PegCode {
    /// The instructions of a pattern.
    ///
    /// # Errors
    /// It calls a rule outside of a grammar.
    pub fn new(peg: &Peg) -> Result<Self, PegError> {
        if let Some(key) = open_call(&peg.0) {
            return Err(PegError::OutsideGrammar(key));
        }
        let mut code = Self::default();
        code.add(&peg.0, &ByteSet::FULL, None)?;
        code.push(Instruction::End);
        code.shorten();
        Ok(code)
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.instructions.capacity() * size_of::<Instruction>()
            + self.sets.capacity() * size_of::<ByteSet>()
            + self.texts.capacity()
            + self.ranges.capacity() * 8
    }

    /// A line for each instruction.
    #[must_use]
    pub fn listing(&self) -> String {
        let lines = self.instructions.iter().enumerate();
        lines
            .map(|(at, instruction)| format!("{at:02}: {instruction:?}\n"))
            .collect()
    }

    fn push(&mut self, instruction: Instruction) -> usize {
        self.instructions.push(instruction);
        self.instructions.len() - 1
    }

    fn here(&self) -> u32 {
        // A pattern has far fewer instructions than 2^32.
        self.instructions.len() as u32
    }

    /// Lets instructions go on after the last.
    fn land(&mut self, from: impl IntoIterator<Item = usize>) {
        let here = self.here();
        for at in from {
            if let Some(target) = self.instructions[at].target() {
                *target = here;
            }
        }
    }

    fn set(&mut self, set: ByteSet) -> u32 {
        // Sets repeat within a few patterns, mostly.
        let recent = self.sets.len().saturating_sub(16);
        let known = self.sets[recent..].iter().position(|known| *known == set);
        let at = known.map_or(self.sets.len(), |at| recent + at);
        if known.is_none() {
            self.sets.push(set);
        }
        at as u32
    }

    fn add(
        &mut self,
        branch: &Branch,
        follow: &ByteSet,
        scope: Option<&Scope<'_>>,
    ) -> Result<(), PegError> {
        let part = |part: &Branch| part.shifted(branch.shift);
        match &branch.node.kind {
            NodeKind::True => {}
            NodeKind::False => {
                self.push(Instruction::Fail);
            }
            NodeKind::Text(text) => self.add_text(text),
            NodeKind::Set(set) => {
                let set = self.set(*set);
                self.push(Instruction::Set(set));
            }
            NodeKind::Any(count) => {
                self.push(Instruction::Any(*count));
            }
            NodeKind::Points(from, to) => {
                self.ranges.push((*from, *to));
                self.push(Instruction::Points(self.ranges.len() as u32 - 1));
            }
            NodeKind::Sequence(parts) => self.add_sequence(parts, branch.shift, follow, scope)?,
            NodeKind::Choice(parts) => self.add_choice(parts, branch.shift, follow, scope)?,
            NodeKind::Repeat(body) => self.add_repeat(&part(body), follow, scope)?,
            NodeKind::AtMost(body, times) => self.add_at_most(&part(body), *times, scope)?,
            NodeKind::Not(body) => self.add_not(&part(body), scope)?,
            NodeKind::And(body) => self.add_and(&part(body), scope)?,
            NodeKind::Behind(body, length) => {
                self.push(Instruction::Behind(u32::from(*length)));
                self.add(&part(body), &ByteSet::FULL, scope)?;
            }
            NodeKind::Capture(kind, key, body) => {
                let key = match kind.has_value() && *key != crate::capture::NO_KEY {
                    true => key.saturating_add(branch.shift),
                    false => *key,
                };
                self.add_capture(*kind, key, &part(body), follow, scope)?;
            }
            NodeKind::MatchTime(key, body) => {
                let key = key.saturating_add(branch.shift);
                self.push(Instruction::Open(CaptureKind::Group, key));
                self.add(&part(body), &ByteSet::FULL, scope)?;
                self.push(Instruction::MatchTime);
            }
            NodeKind::Call(key) => {
                let key = key.saturating_add(branch.shift);
                let rule = scope.and_then(|scope| scope.rule(key));
                let rule = rule.ok_or(PegError::OutsideGrammar(key))?;
                let at = self.push(Instruction::Call(rule as u32));
                self.calls.push(at);
            }
            NodeKind::Grammar(grammar) => self.add_grammar(grammar, branch.shift)?,
        }
        Ok(())
    }

    fn add_text(&mut self, text: &[u8]) {
        match text {
            [byte] => self.push(Instruction::Byte(*byte)),
            text => {
                let at = self.texts.len() as u32;
                self.texts.extend_from_slice(text);
                self.push(Instruction::Text(at, text.len() as u32))
            }
        };
    }

    fn add_sequence(
        &mut self,
        parts: &[Branch],
        shift: u32,
        follow: &ByteSet,
        scope: Option<&Scope<'_>>,
    ) -> Result<(), PegError> {
        // What follows each part, from the last to the first. Only some need it.
        let mut follows = vec![ByteSet::FULL; parts.len()];
        if let Some(last) = follows.last_mut() {
            *last = *follow;
        }
        for at in (1..parts.len()).rev() {
            if needs_follow(&parts[at - 1]) {
                follows[at - 1] = first(&parts[at].shifted(shift), &follows[at], scope).set;
            }
        }
        for (part, follow) in parts.iter().zip(&follows) {
            self.add(&part.shifted(shift), follow, scope)?;
        }
        Ok(())
    }

    /// Skips a pattern if the next byte cannot be its first. Tells the instruction that does so.
    fn add_test(&mut self, first: &FirstSet) -> Option<usize> {
        if first.fits_end {
            return None;
        }
        let test = match first.set.single() {
            Some(byte) => Instruction::TestByte(byte, 0),
            None if first.set == ByteSet::FULL => Instruction::TestAny(0),
            None => Instruction::TestSet(self.set(first.set), 0),
        };
        Some(self.push(test))
    }

    fn add_choice(
        &mut self,
        parts: &[Branch],
        shift: u32,
        follow: &ByteSet,
        scope: Option<&Scope<'_>>,
    ) -> Result<(), PegError> {
        let parts: Vec<Branch> = parts.iter().map(|part| part.shifted(shift)).collect();
        // What the alternatives after each can begin with.
        let mut after = vec![ByteSet::EMPTY; parts.len()];
        for at in (1..parts.len()).rev() {
            let part = first(&parts[at], follow, scope);
            after[at - 1] = after[at].union(&part.set);
        }
        let mut ends = Vec::new();
        for (part, after) in parts.iter().zip(&after).take(parts.len() - 1) {
            let begin = first(part, &ByteSet::FULL, scope);
            let test = self.add_test(&begin);
            // After its first byte nothing else can match, or it cannot fail.
            if test.is_some() && (fails_at_first(part) || begin.set.is_disjoint(after)) {
                self.add(part, follow, scope)?;
                ends.push(self.push(Instruction::Jump(0)));
                self.land(test);
                continue;
            }
            let choice = self.push(Instruction::Choice(0));
            self.add(part, &ByteSet::FULL, scope)?;
            ends.push(self.push(Instruction::Commit(0)));
            self.land(test.into_iter().chain([choice]));
        }
        self.add(&parts[parts.len() - 1], follow, scope)?;
        self.land(ends);
        Ok(())
    }

    fn add_repeat(
        &mut self,
        body: &Branch,
        follow: &ByteSet,
        scope: Option<&Scope<'_>>,
    ) -> Result<(), PegError> {
        if let Some(set) = body.set() {
            let span = match set == ByteSet::FULL {
                true => Instruction::SpanAll,
                false => Instruction::Span(self.set(set)),
            };
            self.push(span);
            return Ok(());
        }
        let begin = first(body, &ByteSet::FULL, scope);
        let start = self.here();
        let test = self.add_test(&begin);
        if test.is_some() && (fails_at_first(body) || begin.set.is_disjoint(follow)) {
            self.add(body, &ByteSet::FULL, scope)?;
            self.push(Instruction::Jump(start));
            self.land(test);
            return Ok(());
        }
        let choice = self.push(Instruction::Choice(0));
        let again = self.here();
        self.add(body, &ByteSet::FULL, scope)?;
        self.push(Instruction::PartialCommit(again));
        self.land(test.into_iter().chain([choice]));
        Ok(())
    }

    fn add_at_most(
        &mut self,
        body: &Branch,
        times: u32,
        scope: Option<&Scope<'_>>,
    ) -> Result<(), PegError> {
        let begin = first(body, &ByteSet::FULL, scope);
        let test = self.add_test(&begin);
        let choice = self.push(Instruction::Choice(0));
        for time in 1..=times {
            self.add(body, &ByteSet::FULL, scope)?;
            let next = self.here() + 1;
            self.push(match time == times {
                true => Instruction::Commit(next),
                false => Instruction::PartialCommit(next),
            });
        }
        self.land(test.into_iter().chain([choice]));
        Ok(())
    }

    fn add_not(&mut self, body: &Branch, scope: Option<&Scope<'_>>) -> Result<(), PegError> {
        let begin = first(body, &ByteSet::FULL, scope);
        let test = self.add_test(&begin);
        if test.is_some() && fails_at_first(body) {
            self.push(Instruction::Fail);
            self.land(test);
            return Ok(());
        }
        let choice = self.push(Instruction::Choice(0));
        self.add(body, &ByteSet::FULL, scope)?;
        self.push(Instruction::FailTwice);
        self.land(test.into_iter().chain([choice]));
        Ok(())
    }

    fn add_and(&mut self, body: &Branch, scope: Option<&Scope<'_>>) -> Result<(), PegError> {
        if let (Some(length), false) = (body.facts().length, body.facts().has_captures) {
            self.add(body, &ByteSet::FULL, scope)?;
            self.push(Instruction::Behind(length));
            return Ok(());
        }
        let choice = self.push(Instruction::Choice(0));
        self.add(body, &ByteSet::FULL, scope)?;
        let back = self.push(Instruction::BackCommit(0));
        self.land([choice]);
        self.push(Instruction::Fail);
        self.land([back]);
        Ok(())
    }

    fn add_capture(
        &mut self,
        kind: CaptureKind,
        key: u32,
        body: &Branch,
        follow: &ByteSet,
        scope: Option<&Scope<'_>>,
    ) -> Result<(), PegError> {
        let length = body.facts().length.map(|length| length as usize);
        if let Some(length) = length.filter(|length| *length <= LONGEST_WHOLE)
            && !body.facts().has_captures
        {
            self.add(body, follow, scope)?;
            self.push(Instruction::Whole(kind, length as u8, key));
            return Ok(());
        }
        self.push(Instruction::Open(kind, key));
        self.add(body, follow, scope)?;
        self.push(Instruction::Close);
        Ok(())
    }

    fn add_grammar(&mut self, grammar: &Grammar, base: u32) -> Result<(), PegError> {
        let firsts = firsts_of(grammar, base);
        let scope = Scope {
            grammar,
            base,
            firsts: &firsts,
        };
        let begin = self.push(Instruction::Call(0));
        let end = self.push(Instruction::Jump(0));
        let outer = std::mem::replace(&mut self.calls, vec![begin]);
        let mut places = Vec::with_capacity(grammar.rules.len());
        for rule in &grammar.rules {
            places.push(self.here());
            self.add(&rule.shifted(base), &ByteSet::FULL, Some(&scope))?;
            self.push(Instruction::Return);
        }
        for at in std::mem::replace(&mut self.calls, outer) {
            if let Instruction::Call(rule) = &mut self.instructions[at] {
                *rule = places[*rule as usize];
            }
        }
        self.land([end]);
        Ok(())
    }

    /// Leaves out jumps to jumps, and returns from calls that only return.
    fn shorten(&mut self) {
        for at in 0..self.instructions.len() {
            if let Some(target) = self.instructions[at].target().copied() {
                let end = self.end_of_jumps(target);
                self.instructions[at]
                    .target()
                    .into_iter()
                    .for_each(|target| *target = end);
            }
            self.instructions[at] = match self.instructions[at] {
                Instruction::Call(target) => {
                    let next = self.end_of_jumps(at as u32 + 1);
                    match self.instructions[next as usize] {
                        Instruction::Return => Instruction::Jump(target),
                        _ => continue,
                    }
                }
                Instruction::Jump(target) => match self.instructions[target as usize] {
                    short @ (Instruction::Return
                    | Instruction::Fail
                    | Instruction::FailTwice
                    | Instruction::End) => short,
                    Instruction::Commit(target) => Instruction::Commit(self.end_of_jumps(target)),
                    _ => continue,
                },
                _ => continue,
            };
        }
    }

    /// Where jumps from a place lead.
    fn end_of_jumps(&self, from: u32) -> u32 {
        let mut at = from;
        // There is no circle of jumps only, or it would be a loop over nothing.
        for _ in 0..self.instructions.len() {
            match self.instructions[at as usize] {
                Instruction::Jump(target) => at = target,
                _ => break,
            }
        }
        at
    }
}

/// The key of the first call that is in no grammar. It need not be in what is compiled: a part may be left out.
fn open_call(branch: &Branch) -> Option<u32> {
    match &branch.node.kind {
        _ if !branch.facts().has_calls => None,
        NodeKind::Call(key) => Some(key.saturating_add(branch.shift)),
        kind => {
            let mut parts = kind.below().iter();
            parts.find_map(|part| open_call(&part.shifted(branch.shift)))
        }
    }
}

/// Whether a pattern is compiled otherwise when it is known what follows.
fn needs_follow(branch: &Branch) -> bool {
    match &branch.node.kind {
        NodeKind::Choice(_) | NodeKind::Repeat(_) => true,
        NodeKind::Capture(_, _, body) => needs_follow(body),
        NodeKind::Sequence(parts) => parts.last().is_some_and(needs_follow),
        _ => false,
    }
}

/// Whether a pattern fails by its first byte or not at all.
fn fails_at_first(branch: &Branch) -> bool {
    match &branch.node.kind {
        NodeKind::False => true,
        NodeKind::Capture(_, _, body) | NodeKind::And(body) => fails_at_first(body),
        NodeKind::Sequence(parts) => parts.split_first().is_some_and(|(first, rest)| {
            fails_at_first(first) && rest.iter().all(|part| part.facts().cannot_fail)
        }),
        NodeKind::Choice(parts) => parts.iter().all(fails_at_first),
        _ => branch.set().is_some(),
    }
}
