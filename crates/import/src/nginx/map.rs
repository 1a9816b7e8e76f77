//! `map`, `geo` and `split_clients`: variables that follow from others.

use super::context::{Context, Made};
use super::tree::Directive;
use super::variables::{literal, template, template_with};
use crate::network;
use crate::note::{Place, Reported};
use crate::toml::{Entry, Table, Value, key};

/// The directives that make variables from others.
const KINDS: &[&str] = &["map", "geo", "split_clients"];

/// Makes the variables of a `stream` block known: they may be used before they are made.
pub(super) fn define(stream: &[Directive], cx: &mut Context<'_>) {
    for directive in stream.iter().filter(|it| KINDS.contains(&&it.name[..])) {
        let Ok(name) = variable(directive, cx) else {
            continue;
        };
        let written = format!("map.{name}");
        if let Some(before) = cx.made.get(&name) {
            let why = format!("makes ${name}, which is made already: see {}", before.place);
            directive.refuse(&mut cx.report, why);
            continue;
        }
        let place = directive.place.clone();
        cx.made.insert(name, Made { written, place });
    }
}

/// The tables of the variables.
pub(super) fn tables(stream: &[Directive], cx: &mut Context<'_>) -> Vec<Table> {
    let directives = stream.iter().filter(|it| KINDS.contains(&&it.name[..]));
    directives
        .filter_map(|directive| {
            let name = variable(directive, cx).ok()?;
            let block = directive.block(&mut cx.report).ok()?;
            let mut table = Table::new(format!("[map.{}]", key(&name)), Some(&directive.place));
            let entries = match &directive.name[..] {
                "map" => map(directive, block, cx),
                "geo" => geo(directive, block, cx),
                _ => split(directive, block, cx),
            };
            table.extend(entries.ok()?);
            Some(table)
        })
        .collect()
}

/// The name of the variable that a directive makes.
fn variable(directive: &Directive, cx: &mut Context<'_>) -> Result<String, Reported> {
    let written = directive.arguments.last().map_or("", String::as_str);
    let name = written.strip_prefix('$').unwrap_or_default();
    let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let count = directive.arguments.len();
    let is_geo = directive.name == "geo";
    if !(count == 2 || (count == 1 && is_geo)) {
        return Err(directive.refuse(&mut cx.report, "has wrong arguments"));
    }
    match !name.is_empty() && name.len() <= 60 && name.chars().all(is_fit) {
        true => Ok(name.to_owned()),
        false => Err(directive.refuse(&mut cx.report, format!("makes no variable by {written:?}"))),
    }
}

fn from(directive: &Directive, cx: &mut Context<'_>) -> Result<Entry, Reported> {
    let from = template(&directive.arguments[0], &directive.place, cx)?;
    Ok(Entry::new("from", Value::text(from), &directive.place))
}

fn pair(key: &str, value: String, place: &Place) -> (Value, Option<Place>) {
    let pair = vec![Value::text(key), Value::text(value)];
    (Value::List(pair), Some(place.clone()))
}

/// The value of an entry.
fn value<'a>(entry: &'a Directive, cx: &mut Context<'_>) -> Result<&'a str, Reported> {
    match (&entry.arguments[..], &entry.block) {
        ([value], None) => Ok(value),
        _ => {
            let message = format!("the entry {:?} has not one value", entry.name);
            Err(cx.report.error(&entry.place, message))
        }
    }
}

fn map(
    directive: &Directive,
    block: &[Directive],
    cx: &mut Context<'_>,
) -> Result<Vec<Entry>, Reported> {
    let mut entries = vec![from(directive, cx)?];
    let mut pairs = Vec::new();
    let mut result = Ok(());
    for entry in block {
        match (&entry.name[..], &entry.arguments[..]) {
            ("hostnames", []) => {
                let flag = Value::Flag(true);
                entries.push(Entry::new("hostnames", flag, &entry.place));
                continue;
            }
            ("volatile", []) => {
                let text = "`volatile` has no effect: a map is looked up where it is used";
                cx.report.remark(&entry.place, text);
                continue;
            }
            _ => {}
        }
        let read = value(entry, cx).and_then(|text| map_value(entry, text, cx));
        match read {
            Err(reported) => result = Err(reported),
            Ok(text) if entry.name == "default" => {
                entries.push(Entry::new("default", Value::text(text), &entry.place));
            }
            Ok(text) => pairs.push(pair(&entry.name, text, &entry.place)),
        }
    }
    entries.push(Entry::default("values", Value::Lines(pairs)));
    result.map(|()| entries)
}

fn map_value(entry: &Directive, text: &str, cx: &mut Context<'_>) -> Result<String, Reported> {
    let Some(pattern) = entry.name.strip_prefix('~') else {
        return template(text, &entry.place, cx);
    };
    let pattern = pattern.strip_prefix('*').unwrap_or(pattern);
    let groups = groups(pattern).map_err(|problem| {
        let message = format!(
            "the pattern {:?} cannot be expressed: {problem}",
            entry.name
        );
        cx.report.error(&entry.place, message)
    })?;
    let capture = |name: &str| {
        let is_number = name.parse::<usize>().is_ok();
        let is_group = is_number || groups.iter().any(|group| group == name);
        is_group.then(|| name.to_owned())
    };
    template_with(text, &entry.place, cx, &capture)
}

/// The names of a pattern's groups.
pub(super) fn groups(pattern: &str) -> Result<Vec<String>, String> {
    let regex = compiled(pattern).map_err(|error| {
        let text = error.to_string();
        let last = text.lines().next_back().unwrap_or_default();
        last.strip_prefix("error: ").unwrap_or(last).to_owned()
    })?;
    Ok(regex.capture_names().flatten().map(str::to_owned).collect())
}

/// The number of a pattern's groups.
pub(super) fn count_groups(pattern: &str) -> Option<usize> {
    Some(compiled(pattern).ok()?.captures_len() - 1)
}

fn compiled(pattern: &str) -> Result<regex::bytes::Regex, regex::Error> {
    regex::bytes::RegexBuilder::new(pattern)
        .unicode(false)
        .build()
}

fn geo(
    directive: &Directive,
    block: &[Directive],
    cx: &mut Context<'_>,
) -> Result<Vec<Entry>, Reported> {
    let kind = Entry::new("kind", Value::text("network"), &directive.place);
    let mut entries = vec![kind];
    if directive.arguments.len() == 2 {
        entries.push(from(directive, cx)?);
    }
    let mut pairs: Vec<(String, String, &Place)> = Vec::new();
    let mut result = Ok(());
    for entry in block {
        match (&entry.name[..], &entry.arguments[..]) {
            ("ranges", []) => continue,
            ("proxy" | "proxy_recursive", _) => {
                result = Err(entry.refuse(&mut cx.report, "of `geo` cannot be expressed"));
                continue;
            }
            _ => {}
        }
        let Ok(text) = value(entry, cx) else {
            result = Err(Reported);
            continue;
        };
        let is_deleted = entry.name == "delete";
        let network = if is_deleted { text } else { &entry.name };
        if entry.name == "default" {
            let text = Value::text(literal(text));
            entries.push(Entry::new("default", text, &entry.place));
            continue;
        }
        match addresses(network) {
            None => {
                let message = format!("{network:?} is neither an IP address nor a network");
                result = Err(cx.report.error(&entry.place, message));
            }
            Some(network) => {
                // Of equal ones the last counts.
                pairs.retain(|(other, ..)| *other != network);
                if !is_deleted {
                    pairs.push((network, literal(text), &entry.place));
                }
            }
        }
    }
    let pairs = pairs
        .into_iter()
        .map(|(key, value, place)| pair(&key, value, place));
    entries.push(Entry::default("values", Value::Lines(pairs.collect())));
    result.map(|()| entries)
}

/// A network, or a range of addresses.
fn addresses(text: &str) -> Option<String> {
    let Some((first, last)) = text.split_once('-') else {
        return network::masked(text);
    };
    let [first, last] = [first, last].map(|it| (!it.contains('/')).then(|| network::masked(it))?);
    match (first?, last?) {
        (first, last) if first == last => Some(first),
        (first, last) => Some(format!("{first}-{last}")),
    }
}

fn split(
    directive: &Directive,
    block: &[Directive],
    cx: &mut Context<'_>,
) -> Result<Vec<Entry>, Reported> {
    let kind = Entry::new("kind", Value::text("share"), &directive.place);
    let mut entries = vec![kind, from(directive, cx)?];
    let mut pairs = Vec::new();
    for entry in block {
        let share = entry.name.strip_suffix('%').unwrap_or("0");
        let is_share = share
            .parse::<f64>()
            .is_ok_and(|it| (0.01..=100.0).contains(&it));
        if entry.name != "*" && !is_share {
            let message = format!("{:?} is no share: write 12.5% or *", entry.name);
            return Err(cx.report.error(&entry.place, message));
        }
        let text = value(entry, cx)?;
        let text = template(text, &entry.place, cx)?;
        pairs.push(pair(&entry.name, text, &entry.place));
    }
    entries.push(Entry::default("values", Value::Lines(pairs)));
    Ok(entries)
}
