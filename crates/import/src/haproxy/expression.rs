//! `%[…]` within the name of a backend: what a connection has, and what converters make of it.

use super::acl::Acls;
use super::lookup::{self, Lookup};
use super::map_names::MapNames;
use super::sample::{Naming, Sample};
use crate::note::{Report, Reported};
use crate::toml::{Entry, Table, Value, key};

/// A name that depends on the connection.
pub(super) struct Computed {
    /// A text that is the name of a backend for each connection, or that of the default one.
    pub(super) text: String,
    pub(super) maps: Vec<Table>,
    /// Whether it depends on the client's hello.
    pub(super) asks_hello: bool,
}

impl Computed {
    /// A name that is the same for all.
    pub(super) fn plain(name: &str) -> Self {
        Self {
            text: name.to_owned(),
            maps: Vec::new(),
            asks_hello: false,
        }
    }
}

/// Whether a backend's name depends on the connection.
pub(super) fn is_computed(name: &str) -> bool {
    name.contains('%')
}

/// Reads the name of a rule.
pub(super) fn computed(
    naming: &Naming<'_>,
    acls: &mut Acls<'_>,
    names: &mut MapNames,
    report: &mut Report,
) -> Result<Computed, Reported> {
    let line = naming.line;
    let parts = parts(line.word(1)).map_err(|why| line.refuse(report, why))?;
    if let [NamePart::Expression(expression)] = &parts[..]
        && let Some((before, last)) = split_last(expression)
        && let Some(lookup) = lookup::read(last)
    {
        // Its values name the backends themselves.
        let sample = sample(naming, before, acls, names, report)?;
        let sample = looked_up(&lookup, (sample, naming, true), acls, names, report)?;
        return Ok(Computed {
            text: sample.text,
            maps: sample.maps,
            asks_hello: sample.asks_hello,
        });
    }
    let mut whole = Computed::plain("");
    let mut lower = Vec::new();
    for part in &parts {
        match part {
            NamePart::Literal(text) => whole.text.push_str(text),
            NamePart::Expression(expression) => {
                let sample = sample(naming, expression, acls, names, report)?;
                whole.text.push_str(&sample.text);
                whole.maps.extend(sample.maps);
                whole.asks_hello |= sample.asks_hello;
                lower.push(sample.is_lower);
            }
        }
    }
    let is_lower = lower.contains(&true);
    if is_lower && lower.contains(&false) {
        let why = "has `lower` in some of its parts: write it in all of them, or in none";
        return Err(line.refuse(report, why));
    }
    let table = by_name(naming, &whole.text, &parts, is_lower, names);
    whole.text = format!("${{map.{}}}", table.0);
    whole.maps.push(table.1);
    Ok(whole)
}

/// The map that takes texts for names of backends.
fn by_name(
    naming: &Naming<'_>,
    from: &str,
    parts: &[NamePart<'_>],
    is_lower: bool,
    names: &mut MapNames,
) -> (String, Table) {
    let inner = match is_lower {
        true => "[^A-Z]*",
        false => ".*",
    };
    let shape = parts.iter().map(|part| match part {
        NamePart::Literal(text) => regex::escape(text),
        NamePart::Expression(_) => inner.to_owned(),
    });
    let shape = format!("^{}$", shape.collect::<String>());
    let shape = regex::Regex::new(&shape).ok();
    let fits = |name: &&String| shape.as_ref().is_none_or(|it| it.is_match(name));
    let case = if is_lower { "~*" } else { "~" };
    let values = naming.backends.iter().filter(fits).map(|name| {
        let pattern = format!("{case}^{}$", regex::escape(name));
        let pair = [Value::text(pattern), Value::text(&**name)];
        (Value::List(pair.into()), None)
    });
    let name = names.add(naming.frontend, None);
    let heading = format!("[map.{}]", key(&name));
    let mut table = Table::new(heading, Some(&naming.line.place));
    table.push(Entry::default("from", Value::text(from)));
    table.push(Entry::default("default", Value::text(naming.default)));
    table.push(Entry::default("values", Value::Lines(values.collect())));
    (name, table)
}

enum NamePart<'a> {
    Literal(String),
    /// What stands between `%[` and `]`.
    Expression(&'a str),
}

fn parts(text: &str) -> Result<Vec<NamePart<'_>>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let Some(inner) = after.strip_prefix('[') else {
            return Err(format!(
                "has \"%{after}\", which is not imported: write an expression, such as %[req.ssl_sni]"
            ));
        };
        let end = end(inner, ']').ok_or("has a `%[` without its `]`")?;
        if !literal.is_empty() {
            parts.push(NamePart::Literal(std::mem::take(&mut literal)));
        }
        parts.push(NamePart::Expression(&inner[..end]));
        rest = &inner[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(NamePart::Literal(literal));
    }
    match parts
        .iter()
        .any(|it| matches!(it, NamePart::Literal(text) if text.contains('$')))
    {
        true => Err("has a `$`, which no name of a backend has".into()),
        false => Ok(parts),
    }
}

/// Where this letter stands first outside of parentheses.
fn end(text: &str, letter: char) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, it) in text.char_indices() {
        match it {
            it if it == letter && depth == 0 => return Some(at),
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// The last converter of an expression, and what stands before it.
fn split_last(expression: &str) -> Option<(&str, &str)> {
    let mut at = None;
    let mut begin = 0;
    while let Some(next) = end(&expression[begin..], ',') {
        at = Some(begin + next);
        begin += next + 1;
    }
    let at = at?;
    Some((&expression[..at], &expression[at + 1..]))
}

fn sample(
    naming: &Naming<'_>,
    expression: &str,
    acls: &mut Acls<'_>,
    names: &mut MapNames,
    report: &mut Report,
) -> Result<Sample, Reported> {
    let line = naming.line;
    let Some((before, last)) = split_last(expression) else {
        return fetched(naming, expression, acls, report);
    };
    let mut sample = sample(naming, before, acls, names, report)?;
    if last == "lower" {
        sample.is_lower = true;
        return Ok(sample);
    }
    if let Some(lookup) = lookup::read(last) {
        return looked_up(&lookup, (sample, naming, false), acls, names, report);
    }
    let Some(pattern) = piece(last) else {
        let why = format!("has `{last}`, a converter that is not imported");
        return Err(line.refuse(report, why));
    };
    let name = names.add(naming.frontend, None);
    let mut table = Table::new(format!("[map.{}]", key(&name)), Some(&line.place));
    table.push(Entry::default("from", Value::text(&*sample.text)));
    table.push(Entry::default("default", Value::text("")));
    let pair = [Value::text(format!("~{pattern}")), Value::text("${1}")];
    let values = vec![(Value::List(pair.into()), None)];
    table.push(Entry::default("values", Value::Lines(values)));
    sample.maps.push(table);
    sample.text = format!("${{map.{name}}}");
    sample.subject = None;
    Ok(sample)
}

/// What stands first: what the connection has, or a text.
fn fetched(
    naming: &Naming<'_>,
    fetch: &str,
    acls: &mut Acls<'_>,
    report: &mut Report,
) -> Result<Sample, Reported> {
    let text = |text: &str| Sample {
        text: text.to_owned(),
        maps: Vec::new(),
        is_lower: false,
        subject: None,
        asks_hello: false,
    };
    let constant = fetch
        .strip_prefix("str(")
        .and_then(|it| it.strip_suffix(')'));
    match fetch {
        "src_port" => return Ok(text("${client.port}")),
        "fe_name" => return Ok(text(naming.frontend)),
        _ => {}
    }
    if let Some(constant) = constant {
        return Ok(text(&constant.replace('$', "$$")));
    }
    let subject = acls.subject(naming.line, fetch, report)?;
    Ok(Sample {
        text: subject.variable().to_owned(),
        subject: Some(subject),
        asks_hello: subject.is_of_hello(),
        ..text("")
    })
}

/// The pattern whose first group is what `field` or `word` takes: counted from the first one, between these letters.
fn piece(converter: &str) -> Option<String> {
    /// A pattern repeats that often.
    const MOST: usize = 100;
    let (name, rest) = converter.split_once('(')?;
    let (number, delimiters) = rest.strip_suffix(')')?.split_once(',')?;
    let before: usize = number
        .parse::<usize>()
        .ok()
        .filter(|it| (1..=MOST).contains(it))?
        - 1;
    let delimiters: Vec<String> = delimiters
        .chars()
        .map(|it| regex::escape(&it.to_string()))
        .collect();
    if delimiters.is_empty() {
        return None;
    }
    let one = delimiters.concat();
    match name {
        "field" => Some(format!("^(?:[^{one}]*[{one}]){{{before}}}([^{one}]*)")),
        "word" => Some(format!(
            "^[{one}]*(?:[^{one}]+[{one}]+){{{before}}}([^{one}]+)"
        )),
        _ => None,
    }
}

/// What a lookup makes of a sample.
fn looked_up(
    lookup: &Lookup<'_>,
    (sample, naming, names_backends): (Sample, &Naming<'_>, bool),
    acls: &mut Acls<'_>,
    names: &mut MapNames,
    report: &mut Report,
) -> Result<Sample, Reported> {
    let text = acls.file(naming.line, lookup.file, report)?;
    let name = names.add(naming.frontend, None);
    let table = lookup.table(&name, &text, &sample, (naming, names_backends), report)?;
    let mut maps = sample.maps;
    maps.push(table);
    Ok(Sample {
        text: format!("${{map.{name}}}"),
        maps,
        is_lower: false,
        subject: None,
        asks_hello: sample.asks_hello,
    })
}
