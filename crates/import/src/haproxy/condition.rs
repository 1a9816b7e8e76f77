//! `if` and `unless`: when a rule holds.

use super::acl::{Acls, Asked};
use super::lines::Line;
use crate::note::{Report, Reported};

/// Alternatives of one rule, after all is multiplied out.
const MOST_BRANCHES: usize = 256;

/// When a rule holds: if all of one of these hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition(pub(super) Vec<Branch>);

/// Tests that must hold, or must not, together.
pub(super) type Branch = Vec<Literal>;

/// A test, or its opposite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Literal {
    /// Its number.
    pub(super) test: usize,
    pub(super) is_negated: bool,
}

impl Condition {
    pub(super) fn is_always(&self) -> bool {
        self.0.iter().any(Vec::is_empty)
    }

    /// By the outcome of each test.
    pub(super) fn holds(&self, tests: &[bool]) -> bool {
        let holds = |it: &Literal| tests[it.test] != it.is_negated;
        self.0.iter().any(|branch| branch.iter().all(holds))
    }

    /// Whether it depends on the client's hello.
    pub(super) fn asks_hello(&self, acls: &Acls<'_>) -> bool {
        let mut literals = self.0.iter().flatten();
        literals.any(|it| acls.tests[it.test].subject.is_of_hello())
    }

    /// The tests of which one must hold, if there is nothing else to it.
    pub(super) fn any(&self) -> Option<Vec<usize>> {
        let test = |branch: &Branch| match branch[..] {
            [literal] if !literal.is_negated => Some(literal.test),
            _ => None,
        };
        self.0.iter().map(test).collect()
    }

    fn always() -> Self {
        Self(vec![Vec::new()])
    }

    fn of(asked: &[Asked]) -> Self {
        let branch = |it: &Asked| match *it {
            Asked::Always => Some(Vec::new()),
            Asked::Never => None,
            Asked::Test(test) => Some(vec![Literal {
                test,
                is_negated: false,
            }]),
        };
        Self(asked.iter().filter_map(branch).collect())
    }

    fn and(&self, other: &Self) -> Option<Self> {
        if self.0.len().saturating_mul(other.0.len()) > MOST_BRANCHES {
            return None;
        }
        let mut branches = Vec::new();
        for one in &self.0 {
            for another in &other.0 {
                let mut branch: Branch = one.iter().chain(another).copied().collect();
                branch.sort_unstable();
                branch.dedup();
                let contradicts = branch.windows(2).any(|it| it[0].test == it[1].test);
                if !contradicts && !branches.contains(&branch) {
                    branches.push(branch);
                }
            }
        }
        Some(Self(branches))
    }

    fn not(&self) -> Option<Self> {
        let mut all = Self::always();
        for branch in &self.0 {
            let opposite = branch.iter().map(|it| {
                vec![Literal {
                    test: it.test,
                    is_negated: !it.is_negated,
                }]
            });
            all = all.and(&Self(opposite.collect()))?;
        }
        Some(all)
    }
}

/// Reads the words of a line behind its action. None: the rule always holds.
pub(super) fn condition(
    line: &Line,
    words: &[String],
    acls: &mut Acls<'_>,
    report: &mut Report,
) -> Result<Condition, Reported> {
    let Some((first, words)) = words.split_first() else {
        return Ok(Condition::always());
    };
    if !matches!(&**first, "if" | "unless") {
        return Err(line.refuse(
            report,
            format!("has {first:?} where `if` or `unless` stands"),
        ));
    }
    let mut any = Condition(Vec::new());
    let is_or = |word: &String| word == "||" || word == "or";
    for terms in words.split(is_or) {
        let all = all(line, terms, acls, report)?;
        any.0.extend(all.0);
    }
    let condition = match &**first {
        "if" => Some(any),
        _ => any.not(),
    };
    let condition = condition.filter(|it| it.0.len() <= MOST_BRANCHES);
    condition.ok_or_else(|| line.refuse(report, "has too many conditions: write several rules"))
}

/// Terms that must hold together.
fn all(
    line: &Line,
    terms: &[String],
    acls: &mut Acls<'_>,
    report: &mut Report,
) -> Result<Condition, Reported> {
    let mut all = Condition::always();
    let mut words = terms;
    if words.is_empty() {
        return Err(line.refuse(report, "has an empty condition"));
    }
    while let Some((word, rest)) = words.split_first() {
        let bare = word.trim_start_matches('!');
        let mut is_negated = (word.len() - bare.len()) % 2 == 1;
        words = rest;
        let mut bare = bare;
        // `! name` is `!name`.
        while bare.is_empty() {
            let Some((word, rest)) = words.split_first() else {
                return Err(line.refuse(report, "ends with `!`"));
            };
            bare = word.trim_start_matches('!');
            is_negated ^= (word.len() - bare.len()) % 2 == 1;
            words = rest;
        }
        let asked = match bare {
            "{" => {
                let Some(end) = words.iter().position(|it| it == "}") else {
                    return Err(line.refuse(report, "has a `{` without its `}`"));
                };
                let asked = acls.asked(line, &words[..end], report)?;
                words = &words[end + 1..];
                vec![asked]
            }
            name => acls.named(line, name, report)?,
        };
        let term = Condition::of(&asked);
        let term = match is_negated {
            true => term.not(),
            false => Some(term),
        };
        let both = term.and_then(|term| all.and(&term));
        all = both
            .ok_or_else(|| line.refuse(report, "has too many conditions: write several rules"))?;
    }
    Ok(all)
}
