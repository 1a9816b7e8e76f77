//! Whether names are fit, and whether there is what texts name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::error::{Report, Reported};
use super::names::Named;
use super::near;
use super::walk::Field;

const LONGEST_NAME: usize = 64;

/// Reports each name that nothing has, and warns of maps that no text has.
pub(super) fn check(report: &Report<'_>) -> Result<(), Reported> {
    let (defined, used) = (report.names.defined.borrow(), report.names.used.borrow());
    let mut result = Ok(());
    for (what, name, place) in used.iter() {
        if !defined.contains_key(&(*what, name.clone())) {
            let known = defined.keys().filter(|(kind, _)| kind == what);
            let meant = near::nearest(name, known.map(|(_, name)| name.as_str()));
            result = Err(unknown(report, *what, name, meant, place.clone()));
        }
    }
    let used: BTreeSet<_> = used
        .iter()
        .map(|(what, name, _)| (*what, name.as_str()))
        .collect();
    for ((what, name), place) in defined.iter() {
        if *what == Named::Map && !used.contains(&(*what, name.as_str())) {
            let line = report.line(place.start);
            report.warn(format!("map {name:?} (line {line}): no text has it"));
        }
    }
    result
}

fn unknown(
    report: &Report<'_>,
    what: Named,
    name: &str,
    meant: Option<&str>,
    place: Range<usize>,
) -> Reported {
    let (message, prefix, hint) = match what {
        Named::Map => (
            format!("there is no map {name:?}"),
            "map",
            format!("write a table [map.{name}]"),
        ),
        Named::Set => (
            format!("no listener sets {name:?}"),
            "set",
            format!("write set = {{ {name} = \"…\" }} in a [[listen]]"),
        ),
        Named::Match => (
            format!("no pattern among `names` has a group {name:?}"),
            "match",
            r"write names = ['~^(?<group>\w+)\.example$'], and ${match.group}".to_owned(),
        ),
    };
    let hint = meant.map_or(hint, |meant| format!("did you mean ${{{prefix}.{meant}}}?"));
    report.error(place, message, hint)
}

/// The name of a table that the file has. `what`: one of them; `kind`: the table's own word; `with`: what it needs.
pub(super) fn known_name(
    field: &Field<'_>,
    (what, kind, with): (&str, &str, &str),
    names: &[String],
) -> Result<String, Reported> {
    let name = field.text()?;
    if names.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let hint = match near::nearest(name, names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write a table [{kind}.{name}] with its {with}"),
    };
    Err(field.refuse(format!("there is no {what} {name:?}"), hint))
}

/// Texts and commands name it without quotes.
pub(super) fn check_name(
    report: &Report<'_>,
    of: &str,
    name: &str,
    place: Range<usize>,
) -> Result<(), Reported> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(is_fit) {
        return Ok(());
    }
    let message = format!("{name:?} is no name of {of}");
    let hint =
        format!("write at most {LONGEST_NAME} letters, digits, hyphens, underscores and dots");
    Err(report.error(place, message, hint))
}

/// Names that must differ, and the places they were first used at.
#[derive(Default)]
pub(super) struct TakenNames(BTreeMap<String, usize>);

impl TakenNames {
    /// Takes a name, or reports the listener that has it.
    pub(super) fn take(
        &mut self,
        report: &Report<'_>,
        span: Range<usize>,
        noun: &str,
        name: &str,
    ) -> Result<(), Reported> {
        if let Some(place) = self.0.get(name) {
            let line = report.line(*place);
            let message = format!("the {noun} {name:?} is already on line {line}");
            return Err(report.error(span, message, format!("give each {noun} a name of its own")));
        }
        self.0.insert(name.to_owned(), span.start);
        Ok(())
    }
}
