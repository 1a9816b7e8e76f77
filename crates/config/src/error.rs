//! Mistakes in a configuration, and their places.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::names::Names;

/// Everything that is wrong with a configuration, in the order of the file. Never empty.
///
/// Displayed as `check` prints it: each error with its place, the line with a caret under the faulty part, and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as its path was given.
    pub file: PathBuf,
    /// The line, from 1; 0 if the file as a whole is meant.
    pub line: usize,
    /// The column, counted in characters from 1; 0 if the file as a whole is meant.
    pub column: usize,
    /// The mistake: lower case, no full stop.
    pub message: String,
    /// The remedy.
    pub hint: Option<String>,
    /// The line, fit for a terminal, and the row of carets under it.
    pub quote: Option<(String, String)>,
}

impl ConfigErrors {
    /// One error about the file as a whole.
    pub(super) fn about_file(file: &Path, message: String, hint: &str) -> Self {
        Self(vec![ConfigError::about_file(file, message, hint)])
    }
}

impl ConfigError {
    fn about_file(file: &Path, message: String, hint: &str) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            message,
            hint: Some(hint.into()),
            quote: None,
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        write!(f, " {}", self.message)?;
        if let Some((text, carets)) = &self.quote {
            let number = self.line.to_string();
            write!(
                f,
                "\n  {number} | {text}\n  {:width$} | {carets}",
                "",
                width = number.len()
            )?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// An error was reported; the caller need not report another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reported;

/// Collects the mistakes while the file is walked, so that one run names them all.
pub(super) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    /// Where its lines end, once somebody asks for one.
    line_ends: OnceCell<Vec<usize>>,
    /// Each with the place where it begins, for the order.
    errors: RefCell<Vec<(usize, ConfigError)>>,
    warnings: RefCell<Vec<String>>,
    /// What texts refer to.
    pub(super) names: Names,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            line_ends: OnceCell::new(),
            errors: RefCell::default(),
            warnings: RefCell::default(),
            names: Names::default(),
        }
    }

    /// Reports an error at a range of bytes of the text.
    pub(super) fn error(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Reported {
        self.push(span, message.into(), Some(hint.into()))
    }

    /// Reports an error for which there is no better advice than its message.
    pub(super) fn plain_error(&self, span: Range<usize>, message: impl Into<String>) -> Reported {
        self.push(span, message.into(), None)
    }

    /// Reports an error without a place in the text: something is absent.
    pub(super) fn file_error(&self, message: String, hint: &str) -> Reported {
        self.errors.borrow_mut().push((
            self.text.len(),
            ConfigError::about_file(self.file, message, hint),
        ));
        Reported
    }

    /// Reports a setting that is allowed and probably not intended.
    pub(super) fn warn(&self, message: String) {
        self.warnings.borrow_mut().push(message);
    }

    /// The line that a byte of the text is on, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        let find = || self.text.match_indices('\n').map(|(at, _)| at).collect();
        let ends = self.line_ends.get_or_init(find);
        ends.partition_point(|end| *end < at) + 1
    }

    /// The warnings, or every error in the order of the text.
    pub(super) fn finish(self) -> Result<Vec<String>, ConfigErrors> {
        let mut errors = self.errors.into_inner();
        if errors.is_empty() {
            return Ok(self.warnings.into_inner());
        }
        errors.sort_by_key(|(at, _)| *at);
        Err(ConfigErrors(
            errors.into_iter().map(|(_, error)| error).collect(),
        ))
    }

    fn push(&self, span: Range<usize>, message: String, hint: Option<String>) -> Reported {
        let (line, column, content) = position(self.text, span.start);
        let marked = self
            .text
            .get(span.clone())
            .map_or(1, |text| text.lines().next().unwrap_or("").chars().count());
        let quote = Some(quote(content, column, marked));
        let file = self.file.into();
        self.errors.borrow_mut().push((
            span.start,
            ConfigError {
                file,
                line,
                column,
                message,
                hint,
                quote,
            },
        ));
        Reported
    }
}

/// Line and column (both from 1) of a byte, and its line.
fn position(text: &str, at: usize) -> (usize, usize, &str) {
    // The parser's spans lie on character boundaries; others must not panic either.
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    (
        line,
        column,
        text[line_start..].lines().next().unwrap_or(""),
    )
}

/// The most quoted characters of a line, and how many of them before the marked place: a line of a generated file may
/// be megabytes long.
const QUOTED: usize = 120;
const QUOTED_BEFORE: usize = 60;

fn quote(line: &str, column: usize, marked: usize) -> (String, String) {
    let skipped = if line.chars().count() > QUOTED {
        (column - 1).saturating_sub(QUOTED_BEFORE)
    } else {
        0
    };
    let shown: String = line
        .chars()
        .skip(skipped)
        .take(QUOTED)
        .map(printable)
        .collect();
    let indent = column - 1 - skipped;
    let marked = marked.clamp(1, shown.chars().count().saturating_sub(indent).max(1));
    (
        shown.trim_end().to_owned(),
        format!("{}{}", " ".repeat(indent), "^".repeat(marked)),
    )
}

/// One column on the terminal for each character, and no escape sequences from a file into it.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        control if control.is_control() => '\u{fffd}',
        other => other,
    }
}
