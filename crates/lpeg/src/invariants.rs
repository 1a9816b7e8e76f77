//! What holds for any pattern and any subject: the machine finds what a slow matcher finds, which does what each part of the pattern says.

use crate::byte_set::ByteSet;
use crate::capture::{Capture, CaptureKind, NO_KEY, end_of};
use crate::compiler::PegCode;
use crate::grammar::grammar;
use crate::matcher::{MatchEvent, Matcher};
use crate::naive::{NaiveCapture, NaiveMatch};
use crate::peg::Peg;

/// Any bytes: they make a pattern and a subject.
pub fn matches(data: &[u8]) {
    compare(data);
}

/// Tells how many captures a match has, if there is one.
fn compare(data: &[u8]) -> Option<usize> {
    let mut plan = PegPlan { bytes: data };
    let peg = plan.peg(0);
    // Its calls may lack their grammar.
    let (peg, code) = match PegCode::new(&peg) {
        Ok(code) => (peg, code),
        Err(_) => {
            let peg = plan.grammar(&peg, DEEPEST)?;
            let code = PegCode::new(&peg).ok()?;
            (peg, code)
        }
    };
    let subject: Vec<u8> = plan
        .bytes
        .iter()
        .take(64)
        .map(|byte| letter(*byte))
        .collect();
    let mut naive = NaiveMatch {
        subject: &subject,
        decide,
        steps: 20_000,
        depth: 0,
    };
    let expected = naive.run(&peg.0, 0, None).ok()?;
    let mut matcher = Matcher::default();
    let found = found(&mut matcher, &code, &subject);
    let what = || {
        format!(
            "{peg:?}\n{}{:?}",
            code.listing(),
            subject.escape_ascii().to_string()
        )
    };
    let Some((end, captures)) = expected else {
        assert_eq!(found, None, "{}", what());
        return None;
    };
    assert_eq!(found, Some(end), "{}", what());
    assert_eq!(nested(matcher.captures()), captures, "{}", what());
    let values = matcher.captures().iter();
    let values = values.filter(|capture| capture.kind == CaptureKind::MatchTime);
    let keys: Vec<u32> = values.map(|capture| capture.key).collect();
    let count = matcher.values() as u32;
    assert_eq!(keys, (0..count).collect::<Vec<_>>(), "{}", what());
    Some(captures.len())
}

/// Where a match ends. The matcher is stopped often.
fn found(matcher: &mut Matcher, code: &PegCode, subject: &[u8]) -> Option<usize> {
    matcher.start(0, 100_000);
    loop {
        let event = matcher.run(code, subject, 7);
        match event.expect("the slow matcher reaches no limit either") {
            MatchEvent::Matched(end) => return Some(end),
            MatchEvent::Failed => return None,
            MatchEvent::Paused => {}
            MatchEvent::MatchTime { group, position } => {
                let captures = matcher.captures();
                let values = captures[..group].iter();
                let kept = values
                    .filter(|capture| capture.kind == CaptureKind::MatchTime)
                    .count();
                match decide(captures[group].key, position, subject.len()) {
                    Some((next, count)) => matcher
                        .agree(group, next, kept, count)
                        .expect("there is room for captures"),
                    None => {
                        if matcher.refuse().is_some() {
                            return None;
                        }
                    }
                }
            }
        }
    }
}

/// What the function with a key says.
fn decide(key: u32, position: usize, length: usize) -> Option<(usize, usize)> {
    match key % 4 {
        0 => (!position.is_multiple_of(2)).then_some((position, 0)),
        1 => Some((position, 1)),
        2 => Some((length.min(position + 1), 0)),
        _ => Some((position, 2)),
    }
}

/// A list of captures as a tree.
fn nested(mut captures: &[Capture]) -> Vec<NaiveCapture> {
    let mut list = Vec::new();
    while let Some(first) = captures.first() {
        let end = end_of(captures, 0);
        let (inside, to) = match first.length() {
            Some(length) => (&[][..], first.position + length),
            None => (&captures[1..end - 1], captures[end - 1].position),
        };
        list.push(NaiveCapture {
            kind: first.kind,
            key: match first.kind {
                CaptureKind::MatchTime => 0,
                _ => first.key,
            },
            from: first.position,
            to,
            inside: nested(inside),
        });
        captures = &captures[end..];
    }
    list
}

/// The few bytes that patterns and subjects are made of, so that they meet.
fn letter(byte: u8) -> u8 {
    match byte % 8 {
        0..3 => b'a',
        3..5 => b'b',
        5 => b'c',
        6 => 0xc3,
        _ => 0xa9,
    }
}

/// Bytes as choices. When none is left, they are zeros.
struct PegPlan<'a> {
    bytes: &'a [u8],
}

/// The most levels of a pattern here, without those of grammars.
const DEEPEST: u32 = 6;

impl PegPlan<'_> {
    fn next(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }

    /// A pattern. Where it cannot be made, a part of it.
    fn peg(&mut self, depth: u32) -> Peg {
        let choice = self.next();
        if depth > DEEPEST || choice.is_multiple_of(5) {
            return self.leaf();
        }
        let first = self.peg(depth + 1);
        let made = match choice % 16 {
            0..4 => first.then(&self.peg(depth + 1)),
            4..7 => first.or(&self.peg(depth + 1)),
            7 => first.minus(&self.peg(depth + 1)),
            8 | 9 => first.repeat(i32::from(self.next() % 6) - 3),
            10 => first.not(),
            11 => first.and(),
            12 => first.behind(),
            13 => first.capture(self.kind(), self.key()),
            14 => first.match_time(u32::from(self.next() % 64)),
            _ => return self.grammar(&first, depth + 1).unwrap_or(first),
        };
        made.unwrap_or(first).shifted(u32::from(choice / 64))
    }

    fn leaf(&mut self) -> Peg {
        let byte = self.next();
        let letters = [letter(byte >> 5), letter(byte >> 3), letter(byte >> 1)];
        match byte % 16 {
            0..7 => Peg::text(&letters[..1 + usize::from(byte / 100)]).ok(),
            7 => Some(Peg::constant(byte >= 128)),
            8 => Peg::any(i32::from(byte / 64) - 1).ok(),
            9 => Peg::points(u32::from(byte / 4), 0xe0 + u32::from(byte)),
            10 | 11 => Some(Peg::set(letters.into_iter().collect())),
            12 => Some(Peg::set(ByteSet::range(letters[0], letters[1]))),
            // Rules have the keys 0 and 1, if they were not shifted.
            _ => Some(Peg::call(u32::from(byte / 128))),
        }
        .unwrap_or_else(|| Peg::constant(true))
    }

    fn kind(&mut self) -> CaptureKind {
        match self.next() % 5 {
            0 => CaptureKind::Simple,
            1 => CaptureKind::Table,
            2 => CaptureKind::Number,
            3 => CaptureKind::Position,
            _ => CaptureKind::Group,
        }
    }

    fn key(&mut self) -> u32 {
        match self.next() {
            0..64 => NO_KEY,
            byte => byte.into(),
        }
    }

    /// Two rules. Names are even and odd keys.
    fn grammar(&mut self, first: &Peg, depth: u32) -> Option<Peg> {
        let rules = [first.clone(), self.peg(depth)];
        grammar(&rules, |key| Some(key as usize % 2)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::compare;

    include!("../../../fuzz/replay.rs");

    #[test]
    fn kept_inputs_break_no_invariant_of_patterns() {
        replay("patterns", super::matches);
    }

    #[test]
    fn the_machine_finds_what_the_slow_matcher_finds() {
        let (mut matched, mut captured) = (0, 0);
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let data: Vec<u8> = (0..96).map(|_| random.u8(..)).collect();
            println!("seed {seed}");
            let captures = compare(&data);
            matched += usize::from(captures.is_some());
            captured += usize::from(captures.is_some_and(|count| count > 0));
        }
        assert!(matched > 5_000 && captured > 1_000, "{matched} {captured}");
    }
}
