//! Tables with names of their own, as `[limit.NAME]`.

use super::error::{Report, Reported};
use super::naming::check_name;
use super::walk::Field;

/// The tables of one kind.
pub(super) struct Tables<T> {
    /// All names, also of those with mistakes.
    pub(super) names: Vec<String>,
    /// The line of each.
    lines: Vec<usize>,
    /// By name.
    pub(super) parsed: Result<Vec<T>, Reported>,
}

impl<T> Tables<T> {
    /// Those that were read, if there were any.
    pub(super) fn of(read: Result<Option<Self>, Reported>) -> Self {
        let none = |parsed| Self {
            names: Vec::new(),
            lines: Vec::new(),
            parsed,
        };
        match read {
            Ok(Some(tables)) => tables,
            Ok(None) => none(Ok(Vec::new())),
            Err(Reported) => none(Err(Reported)),
        }
    }

    /// Warns of those that nothing uses. `kind` names one, and `uses` says what listeners do with it.
    pub(super) fn warn_of_unused(
        &self,
        report: &Report<'_>,
        (kind, uses): (&str, &str),
        is_used: impl Fn(&str) -> bool,
    ) {
        for (name, line) in self.names.iter().zip(&self.lines) {
            if !is_used(name) {
                report.warn(format!(
                    "{kind} {name:?} (line {line}): no listener {uses} it"
                ));
            }
        }
    }
}

/// A kind of tables.
pub(super) struct TableKind {
    /// What errors call one.
    pub(super) one: &'static str,
    /// What errors call all.
    pub(super) all: &'static str,
    /// Any more are a slip.
    pub(super) most: usize,
    pub(super) hint: &'static str,
}

/// Reads the tables of a kind.
pub(super) fn tables<T>(
    field: &Field<'_>,
    kind: &TableKind,
    parse: impl Fn(&Field<'_>, &str) -> Result<T, Reported>,
) -> Result<Tables<T>, Reported> {
    let mut entries: Vec<_> = field.entries(kind.hint)?.collect();
    if entries.len() > kind.most {
        let message = format!("there are over {} {}", kind.most, kind.all);
        return Err(field.refuse(message, "write fewer of them"));
    }
    entries.sort_by(|(one, _), (other, _)| one.get_ref().cmp(other.get_ref()));
    let names = entries.iter().map(|(name, _)| name.get_ref().to_string());
    let lines = entries
        .iter()
        .map(|(name, _)| field.report.line(name.span().start));
    let parsed: Vec<_> = entries
        .iter()
        .map(|(name, entry)| {
            let named = check_name(field.report, kind.one, name.get_ref(), name.span());
            let parsed = parse(entry, name.get_ref());
            named.and(parsed)
        })
        .collect();
    Ok(Tables {
        names: names.collect(),
        lines: lines.collect(),
        parsed: parsed.into_iter().collect(),
    })
}
