//! Walking the TOML tree: sections that know which keys were read, fields that know their place.
//!
//! Deserialising stops at the first error. Here every step reports what it finds and continues. `Reported` in
//! place of a value says that an error was reported already, so that what depends on the value adds none.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use moorline_net::unit::{self, UnitError};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Report, Reported};
use super::{later, near, reference};

/// A table, and the keys that were read from it.
pub(super) struct Section<'a> {
    pub(super) report: &'a Report<'a>,
    /// As its header is written: `[engine]`, `[[listen]]`; empty for the file itself.
    pub(super) title: &'static str,
    table: &'a DeTable<'a>,
    /// Where its header is.
    pub(super) span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        report: &'a Report<'a>,
        title: &'static str,
        table: &'a Spanned<DeTable<'a>>,
    ) -> Self {
        Self {
            report,
            title,
            table: table.get_ref(),
            span: table.span(),
            asked: RefCell::default(),
        }
    }

    /// Reads one key with `parse`; `None` if it is absent.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(Field<'a>) -> Result<T, Reported>,
    ) -> Result<Option<T>, Reported> {
        debug_assert!(
            reference::is_known(self.title, key),
            "`{key}` of {:?} is not in the reference",
            self.title
        );
        self.asked.borrow_mut().push(key);
        self.table
            .get(key)
            .map(|value| {
                parse(Field {
                    report: self.report,
                    key,
                    value,
                })
            })
            .transpose()
    }

    /// Reads one key that must be there.
    pub(super) fn require<T>(
        &self,
        key: &'static str,
        hint: &str,
        parse: impl FnOnce(Field<'a>) -> Result<T, Reported>,
    ) -> Result<T, Reported> {
        self.read(key, parse)?.ok_or_else(|| {
            self.report.error(
                self.span.clone(),
                format!("{} has no `{key}`", self.title),
                hint,
            )
        })
    }

    /// Whether the key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the key's value is; the section's header if it is not written.
    pub(super) fn place(&self, key: &str) -> Range<usize> {
        self.table
            .get(key)
            .map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// Where the key itself is; the section's header if it is not written.
    pub(super) fn key_place(&self, key: &str) -> Range<usize> {
        self.table
            .get_key_value(key)
            .map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    /// Refuses those of these keys that are written.
    pub(super) fn refuse_keys(&self, keys: &[&str], reason: &str) -> Result<(), Reported> {
        let mut result = Ok(());
        for key in keys.iter().filter(|key| self.has(key)) {
            result = Err(self.report.error(
                self.key_place(key),
                format!("`{key}` {reason}"),
                "remove it",
            ));
        }
        result
    }

    /// Every key was read: refuses the others.
    pub(super) fn finish(self) -> Result<(), Reported> {
        let asked = self.asked.borrow();
        let mut result = Ok(());
        for (key, _) in self
            .table
            .iter()
            .filter(|(key, _)| !asked.contains(&key.get_ref().as_ref()))
        {
            result = Err(self.refuse(key, &asked));
        }
        result
    }

    fn refuse(&self, key: &Spanned<Cow<'_, str>>, asked: &[&'static str]) -> Reported {
        let name = key.get_ref();
        let place = if self.title.is_empty() {
            String::new()
        } else {
            format!(" in {}", self.title)
        };
        if let Some(hint) = later::key(self.title, name) {
            return self.report.error(
                key.span(),
                format!("`{name}`{place} is not in this version"),
                hint,
            );
        }
        let hint = match near::nearest(name, asked.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known here: {}", list(asked.iter().copied())),
        };
        self.report.error(
            key.span(),
            format!("unknown key `{}`{place}", name.escape_debug()),
            hint,
        )
    }
}

/// A value and the key it belongs to.
pub(super) struct Field<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) key: &'static str,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Field<'a> {
    /// Reports an error at the value.
    pub(super) fn refuse(&self, message: impl Into<String>, hint: impl Into<String>) -> Reported {
        self.report.error(self.value.span(), message, hint)
    }

    fn refuse_type(&self, expected: &str, hint: impl Into<String>) -> Reported {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.refuse(format!("`{}` is {found}, not {expected}", self.key), hint)
    }

    /// A string that is fit to be shown: not empty, no control characters.
    pub(super) fn text(&self) -> Result<&'a str, Reported> {
        let text = self.string()?;
        if text.is_empty() {
            return Err(self.refuse(
                format!("`{}` is empty", self.key),
                "leave it out or write something",
            ));
        }
        if text.chars().any(char::is_control) {
            return Err(self.refuse(
                format!("`{}` has control characters", self.key),
                "write it in printable characters",
            ));
        }
        Ok(text)
    }

    /// Any string.
    pub(super) fn string(&self) -> Result<&'a str, Reported> {
        let hint = format!("write {} = \"…\"", self.key);
        self.value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.refuse_type("a string", hint))
    }

    /// The bytes of any string, or an array of their numbers.
    pub(super) fn bytes(&self, hint: &str) -> Result<Vec<u8>, Reported> {
        if !self.is_array() {
            return Ok(self.string()?.as_bytes().to_vec());
        }
        let bytes: Vec<_> = self.array(hint)?.map(|byte| byte.number(0..=255)).collect();
        bytes.into_iter().collect()
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Result<bool, Reported> {
        self.value
            .get_ref()
            .as_bool()
            .ok_or_else(|| self.refuse_type("true or false", "write true or false, without quotes"))
    }

    /// A whole number within limits.
    pub(super) fn number<T: TryFrom<u64>>(
        &self,
        limits: RangeInclusive<u64>,
    ) -> Result<T, Reported> {
        let hint = format!(
            "write a whole number from {} to {}",
            limits.start(),
            limits.end()
        );
        let Some(integer) = self.value.get_ref().as_integer() else {
            return Err(self.refuse_type("a whole number", hint));
        };
        u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| limits.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                self.refuse(
                    format!("`{}` is {integer}, out of its limits", self.key),
                    hint,
                )
            })
    }

    /// A duration with its unit.
    pub(super) fn duration(&self) -> Result<Duration, Reported> {
        self.quantity(unit::duration, unit::DURATION_EXAMPLES)
    }

    /// A duration with its unit, longer than zero.
    pub(super) fn timeout(&self) -> Result<Duration, Reported> {
        let duration = self.duration()?;
        if duration.is_zero() {
            return Err(self.refuse(
                format!("`{}` is zero", self.key),
                "leave the key out for its default, or write a longer time",
            ));
        }
        Ok(duration)
    }

    /// A size in bytes with its unit, more than zero.
    pub(super) fn size(&self) -> Result<u64, Reported> {
        let size = self.quantity(unit::size, unit::SIZE_EXAMPLES)?;
        if size == 0 {
            return Err(self.refuse(
                format!("`{}` is zero", self.key),
                "leave the key out for its default, or write a larger size",
            ));
        }
        Ok(size)
    }

    fn quantity<T>(
        &self,
        parse: fn(&str) -> Result<T, UnitError>,
        examples: &str,
    ) -> Result<T, Reported> {
        match self.value.get_ref() {
            DeValue::String(text) => parse(text).map_err(|UnitError { message, hint, .. }| {
                self.refuse(format!("`{}`: {message}", self.key), hint)
            }),
            DeValue::Integer(_) | DeValue::Float(_) => Err(self.refuse(
                format!("`{}` is a bare number", self.key),
                format!("write a unit, such as {examples}"),
            )),
            _ => Err(self.refuse_type(
                "a string with a unit",
                format!("write a unit, such as {examples}"),
            )),
        }
    }

    /// A path; a relative one is relative to `base`.
    pub(super) fn path(&self, base: &Path) -> Result<PathBuf, Reported> {
        let path = base.join(self.text()?);
        // `base` is absolute, so this only removes `.` and doubled slashes.
        Ok(std::path::absolute(&path).unwrap_or(path))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Reported> {
        let word = self.string()?;
        let words = || choices.iter().map(|(word, _)| *word);
        choices
            .iter()
            .find(|(choice, _)| *choice == word)
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let hint = match near::nearest(word, words()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("write one of {}", list(words())),
                };
                self.refuse(
                    format!("`{}` is {word:?}, which is none of its words", self.key),
                    hint,
                )
            })
    }

    /// Whether it is an array.
    pub(super) fn is_array(&self) -> bool {
        self.value.get_ref().as_array().is_some()
    }

    /// The values of an array.
    pub(super) fn array(
        &self,
        hint: &str,
    ) -> Result<impl ExactSizeIterator<Item = Field<'a>> + use<'a>, Reported> {
        let (report, key) = (self.report, self.key);
        match self.value.get_ref().as_array() {
            Some(array) => Ok(array.iter().map(move |value| Field { report, key, value })),
            None => Err(self.refuse_type("an array", hint)),
        }
    }

    /// Whether it is a string.
    pub(super) fn is_text(&self) -> bool {
        self.value.get_ref().as_str().is_some()
    }

    /// The values of a table whose keys are names, with these.
    pub(super) fn entries(
        &self,
        hint: &str,
    ) -> Result<impl Iterator<Item = (&'a Spanned<Cow<'a, str>>, Field<'a>)> + use<'a>, Reported>
    {
        let (report, key) = (self.report, self.key);
        match self.value.get_ref().as_table() {
            Some(table) => Ok(table
                .iter()
                .map(move |(name, value)| (name, Field { report, key, value }))),
            None => Err(self.refuse_type("a table", hint)),
        }
    }

    /// A table.
    pub(super) fn section(&self, title: &'static str, hint: &str) -> Result<Section<'a>, Reported> {
        let Some(table) = self.value.get_ref().as_table() else {
            return Err(self.refuse_type("a table", hint));
        };
        Ok(Section {
            report: self.report,
            title,
            table,
            span: self.value.span(),
            asked: RefCell::default(),
        })
    }
}

/// `a`, `b` and `c`.
fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
