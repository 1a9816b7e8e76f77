//! What an import says about the file that it reads: errors and remarks, with their lines.

use std::fmt;
use std::sync::Arc;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name, as it was given or as `include` found it.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An error or a remark about a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Where.
    pub place: Place,
    /// What. It has no control characters.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// An error was reported already, so that what depends on the value adds none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reported;

/// More errors than anyone reads.
const MOST_NOTES: usize = 1000;

/// Everything that is said about one file and those that it includes.
#[derive(Debug, Default)]
pub(crate) struct Report {
    errors: Vec<Note>,
    remarks: Vec<Note>,
}

impl Report {
    /// What cannot be imported.
    pub(crate) fn error(&mut self, place: &Place, message: impl Into<String>) -> Reported {
        add(&mut self.errors, place, message.into());
        Reported
    }

    /// What is imported in another way, or has no effect here.
    pub(crate) fn remark(&mut self, place: &Place, message: impl Into<String>) {
        add(&mut self.remarks, place, message.into());
    }

    /// The remarks, or else the errors in the order of the lines.
    pub(crate) fn finish(mut self) -> Result<Vec<Note>, Vec<Note>> {
        // Sorting is stable: files stay in the order in which they were read.
        if self.errors.is_empty() {
            return Ok(self.remarks);
        }
        let first = self.errors[0].place.file.clone();
        self.errors
            .sort_by_key(|note| (note.place.file != first, note.place.line));
        Err(self.errors)
    }
}

fn add(notes: &mut Vec<Note>, place: &Place, message: String) {
    let note = Note {
        place: place.clone(),
        message: message.escape_debug_controls(),
    };
    if notes.len() > MOST_NOTES || notes.contains(&note) {
        return;
    }
    match notes.len() < MOST_NOTES {
        true => notes.push(note),
        false => notes.push(Note {
            message: "this and what follows is left out".to_owned(),
            ..note
        }),
    }
}

/// Text that a terminal may show.
trait Shown {
    fn escape_debug_controls(&self) -> String;
}

impl Shown for str {
    fn escape_debug_controls(&self) -> String {
        let mut shown = String::with_capacity(self.len());
        for letter in self.chars() {
            match letter.is_control() {
                true => shown.extend(letter.escape_debug()),
                false => shown.push(letter),
            }
        }
        shown
    }
}
