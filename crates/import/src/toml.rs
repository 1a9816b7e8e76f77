//! TOML text with comments that name the lines it was made from.

use std::fmt::{self, Write};

use crate::note::Place;

/// A file, table by table.
#[derive(Debug, Default)]
pub(crate) struct Document {
    tables: Vec<Table>,
}

/// `[heading]` with its keys.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    heading: String,
    from: Option<Place>,
    entries: Vec<Entry>,
}

/// `key = value`.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: &'static str,
    pub(crate) value: Value,
    /// `None`: it is a default of the file that is imported.
    pub(crate) from: Option<Place>,
}

/// A value of TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<Value>),
    /// A list with a line for each value, and its origin.
    Lines(Vec<(Value, Option<Place>)>),
    Table(Vec<(String, Value)>),
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl Entry {
    pub(crate) fn new(key: &'static str, value: Value, from: &Place) -> Self {
        Self {
            key,
            value,
            from: Some(from.clone()),
        }
    }

    pub(crate) fn default(key: &'static str, value: Value) -> Self {
        Self {
            key,
            value,
            from: None,
        }
    }

    /// The same setting, wherever it was written.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.key == other.key && self.value == other.value
    }
}

impl Table {
    /// `heading` with its brackets.
    pub(crate) fn new(heading: impl Into<String>, from: Option<&Place>) -> Self {
        Self {
            heading: heading.into(),
            from: from.cloned(),
            entries: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(crate) fn extend(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.extend(entries);
    }
}

impl Document {
    pub(crate) fn push(&mut self, table: Table) {
        self.tables.push(table);
    }
}

/// `name` as a key.
pub(crate) fn key(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match !name.is_empty() && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04X}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            write!(f, "\n{table}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.heading)?;
        end_line(f, self.from.as_ref())?;
        for entry in &self.entries {
            write!(f, "{} = ", entry.key)?;
            match &entry.value {
                Value::Lines(lines) => {
                    write!(f, "[")?;
                    end_line(f, entry.from.as_ref())?;
                    for (value, from) in lines {
                        write!(f, "  {value},")?;
                        end_line(f, from.as_ref())?;
                    }
                    writeln!(f, "]")?;
                }
                value => {
                    write!(f, "{value}")?;
                    end_line(f, entry.from.as_ref())?;
                }
            }
        }
        Ok(())
    }
}

fn end_line(f: &mut fmt::Formatter<'_>, from: Option<&Place>) -> fmt::Result {
    match from {
        Some(place) => writeln!(f, "  # {}", place.to_string().escape_debug()),
        None => writeln!(f),
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", quoted(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(values) => {
                write!(f, "[")?;
                for (at, value) in values.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{value}")?;
                }
                write!(f, "]")
            }
            Self::Lines(lines) => {
                let values = lines.iter().map(|(value, _)| value.clone());
                write!(f, "{}", Self::List(values.collect()))
            }
            Self::Table(entries) if entries.is_empty() => write!(f, "{{}}"),
            Self::Table(entries) => {
                write!(f, "{{ ")?;
                for (at, (name, value)) in entries.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{} = {value}", key(name))?;
                }
                write!(f, " }}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_the_lines_that_it_comes_from() {
        let at = |line| Place {
            file: "a.conf".into(),
            line,
        };
        let mut table = Table::new("[map.a]", Some(&at(3)));
        table.push(Entry::new("from", Value::text("a\"\\\n\u{1}"), &at(3)));
        table.push(Entry::default("number", Value::Number(7)));
        let one = (Value::text("x"), Some(at(4)));
        table.push(Entry::new("peers", Value::Lines(vec![one]), &at(3)));
        let mut document = Document::default();
        document.push(table);
        let expected = "\n[map.a]  # a.conf:3\nfrom = \"a\\\"\\\\\\n\\u0001\"  # a.conf:3\nnumber = 7\n\
             peers = [  # a.conf:3\n  \"x\",  # a.conf:4\n]\n";
        assert_eq!(document.to_string(), expected);
    }
}
