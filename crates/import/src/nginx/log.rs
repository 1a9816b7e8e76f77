//! `log_format` and `access_log`.

use std::collections::BTreeMap;

use super::context::Context;
use super::scope::Scope;
use super::tree::Directive;
use super::value::{size, time};
use super::variables::template;
use crate::note::Reported;
use crate::number::number;
use crate::toml::{Entry, Table, Value};
use crate::unit;

/// The buffer that nginx has for compression, in bytes.
const GZIP_BUFFER: u64 = 64 << 10;

/// The formats of a `stream` block, and the logs that servers have made of them.
#[derive(Default)]
pub(super) struct Logs {
    /// The keys that each brings.
    formats: BTreeMap<String, Vec<Entry>>,
    /// With their names.
    made: Vec<(String, Vec<Entry>, Table)>,
}

impl Logs {
    pub(super) fn new(stream: &[Directive], cx: &mut Context<'_>) -> Self {
        let mut logs = Self::default();
        for directive in stream.iter().filter(|it| it.name == "log_format") {
            // Its errors are reported.
            let Ok((name, format)) = format(directive, cx) else {
                continue;
            };
            if logs.formats.insert(name, format).is_some() {
                directive.refuse(&mut cx.report, "names a format that is there already");
            }
        }
        logs
    }

    /// The key `access_log` of a server, if it says something of logs.
    pub(super) fn used(&mut self, scope: Scope<'_>, cx: &mut Context<'_>) -> Option<Entry> {
        let directives = scope.all("access_log");
        let mut names = Vec::new();
        for directive in &directives {
            if directive.arguments.first().is_some_and(|it| it == "off") {
                continue;
            }
            if let Ok(name) = self.log(directive, cx) {
                names.push((Value::text(name), Some(directive.place.clone())));
            }
        }
        let first = directives.first()?;
        Some(match names.is_empty() {
            true => Entry::new("access_log", Value::List(Vec::new()), &first.place),
            false => Entry::default("access_log", Value::Lines(names)),
        })
    }

    /// The name of the log that a directive means.
    fn log(&mut self, directive: &Directive, cx: &mut Context<'_>) -> Result<String, Reported> {
        let [path, format, options @ ..] = &directive.arguments[..] else {
            return Err(directive.refuse(&mut cx.report, "has no path or no format"));
        };
        let Some(keys) = self.formats.get(format).cloned() else {
            let why = format!("names {format:?}, which no `log_format` makes");
            return Err(directive.refuse(&mut cx.report, why));
        };
        let mut entries = vec![self::path(path, directive, cx)?];
        entries.extend(keys);
        entries.extend(options_of(options, directive, cx)?);
        let is_same = |other: &[Entry]| {
            let same = other
                .iter()
                .zip(&entries)
                .all(|(one, other)| one.same(other));
            same && other.len() == entries.len()
        };
        if let Some((name, ..)) = self.made.iter().find(|(_, other, _)| is_same(other)) {
            return Ok(name.clone());
        }
        let name = self.free_name(format);
        let heading = format!("[access_log.{}]", crate::toml::key(&name));
        let mut table = Table::new(heading, Some(&directive.place));
        table.extend(entries.iter().cloned());
        self.made.push((name.clone(), entries, table));
        Ok(name)
    }

    fn free_name(&self, format: &str) -> String {
        let fit = |c: char| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        };
        let base: String = format.chars().map(fit).take(50).collect();
        let is_free = |name: &String| self.made.iter().all(|(other, ..)| other != name);
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        // There are more numbers than logs.
        names.find(is_free).unwrap_or(base)
    }

    pub(super) fn tables(self) -> impl Iterator<Item = Table> {
        self.made.into_iter().map(|(_, _, table)| table)
    }
}

fn format(directive: &Directive, cx: &mut Context<'_>) -> Result<(String, Vec<Entry>), Reported> {
    let Some((name, mut parts)) = directive.arguments.split_first() else {
        return Err(directive.refuse(&mut cx.report, "has no name"));
    };
    let mut entries = Vec::new();
    if let Some(escape) = parts.first().and_then(|it| it.strip_prefix("escape=")) {
        if !matches!(escape, "default" | "json" | "none") {
            let why = format!("has an unknown escape {escape:?}");
            return Err(directive.refuse(&mut cx.report, why));
        }
        entries.push(Entry::new("escape", Value::text(escape), &directive.place));
        parts = &parts[1..];
    }
    let text = parts.concat();
    if text.is_empty() {
        return Err(directive.refuse(&mut cx.report, "has no text"));
    }
    let text = template(&text, &directive.place, cx)?;
    entries.insert(0, Entry::new("format", Value::text(text), &directive.place));
    Ok((name.clone(), entries))
}

fn path(text: &str, directive: &Directive, cx: &mut Context<'_>) -> Result<Entry, Reported> {
    let path = match text {
        "/dev/stdout" => "stdout".to_owned(),
        "/dev/stderr" | "stderr" => "stderr".to_owned(),
        text if text.starts_with("syslog:") => {
            let why = "to syslog cannot be expressed: write a file, or \"stderr\" for the service manager";
            return Err(directive.refuse(&mut cx.report, why));
        }
        text => {
            // The folder's own dollar signs begin no variable.
            let folder = super::variables::literal(&cx.folder.to_string_lossy());
            let text = template(text, &directive.place, cx)?;
            let path = std::path::Path::new(&folder).join(text);
            path.to_string_lossy().into_owned()
        }
    };
    Ok(Entry::new("path", Value::text(path), &directive.place))
}

fn options_of(
    options: &[String],
    directive: &Directive,
    cx: &mut Context<'_>,
) -> Result<Vec<Entry>, Reported> {
    let (mut buffer, mut flush, mut gzip, mut condition) = (None, None, None, None);
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let is_right = match name {
            "buffer" => {
                buffer = size(value).filter(|it| *it > 0);
                buffer.is_some()
            }
            "flush" => {
                flush = time(value).filter(|it| *it > 0);
                flush.is_some()
            }
            "gzip" => {
                gzip = if value.is_empty() {
                    Some(1)
                } else {
                    number(value)
                };
                gzip.is_some_and(|level| (1..=9).contains(&level))
            }
            "if" => {
                condition = Some(template(value, &directive.place, cx)?);
                true
            }
            _ => false,
        };
        if !is_right {
            let why = format!("has a wrong option `{option}`");
            return Err(directive.refuse(&mut cx.report, why));
        }
    }
    if gzip.is_some() {
        buffer = buffer.or(Some(GZIP_BUFFER));
    }
    if flush.is_some() && buffer.is_none() {
        return Err(directive.refuse(&mut cx.report, "has `flush` without `buffer`"));
    }
    let entries = [
        ("if", condition.map(Value::text)),
        ("buffer", buffer.map(|it| Value::text(unit::size(it)))),
        ("flush", flush.map(|it| Value::text(unit::duration(it)))),
        ("gzip", gzip.map(Value::Number)),
    ];
    let entries = entries
        .into_iter()
        .filter_map(|(key, value)| Some(Entry::new(key, value?, &directive.place)));
    Ok(entries.collect())
}
