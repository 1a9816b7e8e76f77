//! `map(FILE)` and its kin: the lines of a file become a map.

use std::collections::BTreeSet;

use super::acl::{EMPTY, Subject};
use super::pattern::{self, PatternKind, Written};
use super::sample::{Naming, Sample};
use crate::note::{Report, Reported};
use crate::toml::{Entry, Table, Value, key};

/// A converter that looks a text up in a file.
pub(super) struct Lookup<'a> {
    pub(super) file: &'a str,
    /// What a text without a line becomes.
    default: &'a str,
    way: Way,
}

/// How a text is compared with those of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Exact,
    Address,
    Number,
    /// The longest line counts.
    Begin,
    /// As `-m` has it: the first line counts.
    Pattern(&'static str),
    /// The same by expressions, and values have their groups.
    Groups,
}

/// Reads a converter. `None`: it is another one.
pub(super) fn read(converter: &str) -> Option<Lookup<'_>> {
    let (name, rest) = converter.split_once('(')?;
    let arguments = rest.strip_suffix(')')?;
    let (file, default) = arguments.split_once(',').unwrap_or((arguments, ""));
    let kind = name.strip_prefix("map")?;
    // What comes out is a text all the same.
    let out = ["_str", "_int", "_ip"];
    let kind = match kind {
        "" | "_str" | "_ip" | "_int" => kind,
        kind => out
            .iter()
            .find_map(|it| kind.strip_suffix(it))
            .unwrap_or(kind),
    };
    let way = match kind {
        "" | "_str" => Way::Exact,
        "_ip" => Way::Address,
        "_int" => Way::Number,
        "_beg" => Way::Begin,
        "_end" => Way::Pattern("end"),
        "_sub" => Way::Pattern("sub"),
        "_dom" => Way::Pattern("dom"),
        "_reg" => Way::Pattern("reg"),
        "_regm" => Way::Groups,
        _ => return None,
    };
    Some(Lookup { file, default, way })
}

impl Lookup<'_> {
    /// The map of a file's text. With `naming`: whether its values name backends.
    pub(super) fn table(
        &self,
        name: &str,
        text: &str,
        sample: &Sample,
        (naming, names_backends): (&Naming<'_>, bool),
        report: &mut Report,
    ) -> Result<Table, Reported> {
        let line = naming.line;
        let is_address = sample.subject.is_some_and(Subject::is_address);
        if self.way == Way::Address && !is_address {
            let why = "looks up an address by `map_ip`, which is imported for `src` and `dst`";
            return Err(line.refuse(report, why));
        }
        let names_backends = names_backends && self.way != Way::Groups;
        let value = |value: &str| match names_backends {
            true => naming.backend(value).to_owned(),
            false => value.replace('$', "$$"),
        };
        let mut lines = lines(text);
        if self.way == Way::Begin {
            lines.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
        }
        let default = value(self.default);
        let nothing = value("");
        let mut values = Vec::new();
        // Ports and addresses are always there.
        if sample.asks_hello || sample.subject.is_none() {
            let is_needed = nothing != default || !matches!(self.way, Way::Exact | Way::Number);
            values.extend(is_needed.then(|| (absent(&nothing), None)));
        }
        let mut seen = BTreeSet::new();
        for (from, to) in lines {
            for from in self.keys(from, sample, naming, report)? {
                let to = match self.way {
                    Way::Groups => groups(&value(to)),
                    _ => value(to),
                };
                // The first of several counts.
                if seen.insert(from.clone()) {
                    let pair = [Value::text(from), Value::text(to)];
                    values.push((Value::List(pair.into()), None));
                }
            }
        }
        if self.way == Way::Exact && !sample.is_lower && sample.asks_hello {
            let text = format!("`{}` is compared without regard to case", self.file);
            report.remark(&line.place, text);
        }
        let mut table = Table::new(format!("[map.{}]", key(name)), Some(&line.place));
        if self.way == Way::Address {
            table.push(Entry::default("kind", Value::text("network")));
        }
        table.push(Entry::default("from", Value::text(&*sample.text)));
        table.push(Entry::default("default", Value::text(default)));
        table.push(Entry::default("values", Value::Lines(values)));
        Ok(table)
    }

    /// The keys of a line.
    fn keys(
        &self,
        from: &str,
        sample: &Sample,
        naming: &Naming<'_>,
        report: &mut Report,
    ) -> Result<Vec<String>, Reported> {
        let kind = match self.way {
            // A text in lower case is none with capitals.
            Way::Exact if sample.is_lower && from.chars().any(char::is_uppercase) => {
                return Ok(Vec::new());
            }
            Way::Exact => {
                let begins_pattern = from.starts_with('~');
                return Ok(match begins_pattern {
                    true => vec![format!("~^{}$", regex::escape(from))],
                    false => vec![from.to_ascii_lowercase()],
                });
            }
            Way::Address => PatternKind::Networks,
            Way::Number => PatternKind::Numbers,
            Way::Begin => PatternKind::Texts("beg"),
            Way::Pattern(way) => PatternKind::Texts(way),
            Way::Groups => PatternKind::Texts("reg"),
        };
        let written = Written {
            patterns: vec![from.to_owned()],
            ..Written::default()
        };
        let is_lower = sample.is_lower && !matches!(self.way, Way::Address | Way::Number);
        pattern::keys(naming.line, kind, is_lower, &written, report)
    }
}

/// The pair of a map for a text that is not there: nothing is looked up then.
fn absent(value: &str) -> Value {
    Value::List([Value::text(EMPTY), Value::text(value)].into())
}

/// The lines of a file: a text, and its value.
fn lines(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|it| !it.is_empty() && !it.starts_with('#'));
    let split = |line| match str::split_once(line, [' ', '\t']) {
        Some((from, to)) => (from, to.trim_start()),
        None => (line, ""),
    };
    lines.map(split).collect()
}

/// A value whose `\1` are groups.
fn groups(value: &str) -> String {
    let mut written = String::new();
    let mut letters = value.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek().copied()) {
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                letters.next();
                written.push_str(&format!("${{{digit}}}"));
            }
            ('\\', Some('\\')) => {
                letters.next();
                written.push('\\');
            }
            _ => written.push(letter),
        }
    }
    written
}
