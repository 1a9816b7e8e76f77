//! Moorline's configuration from that of nginx (its `stream` block) or of HAProxy (its TCP mode).
//!
//! [`import`] takes the text of a file and gives back TOML whose comments name the lines that each part comes from. What
//! cannot be expressed is an error with its file and line, and all of them are found at once; what has no meaning with
//! Moorline, or another one, is a remark. The core opens no file and no socket: what a file includes is read by the caller's
//! [`Files`].
//!
//! - `nginx`: the `stream` block, from its words to tables
//! - `haproxy`: sections of TCP
//! - `kind`: which of the two programs a file belongs to
//! - `toml`: the text that comes out
//! - `files`: the files that are included
//! - `note`: errors and remarks
//! - `unit`, `number`: durations and sizes, numbers and ports
//! - `network`, `region`: addresses and networks, and networks within networks
//!
//! This crate knows no processes, and the configuration only as text.

#![forbid(unsafe_code)]

mod files;
mod haproxy;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod invariants;
mod kind;
mod network;
mod nginx;
mod note;
mod number;
mod region;
#[cfg(test)]
mod testing;
mod toml;
mod unit;

use std::path::Path;

pub use files::Files;
pub use kind::Kind;
pub use note::{Note, Place};

use note::Report;

/// A file to import.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What comments, errors and remarks call it.
    pub name: &'a str,
    /// Where relative paths in it begin: absolute.
    pub folder: &'a Path,
    /// Its text.
    pub text: &'a str,
}

/// A configuration that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Moorline's configuration.
    pub toml: String,
    /// What has no effect, or another one than where it comes from.
    pub remarks: Vec<Note>,
}

/// Imports a configuration.
///
/// # Errors
/// Everything that cannot be expressed, in order of the lines.
pub fn import(
    source: &Source<'_>,
    kind: Kind,
    files: &mut dyn Files,
) -> Result<Imported, Vec<Note>> {
    let report = Report::default();
    let (document, report) = match kind {
        Kind::Nginx => nginx::import(source, files, report),
        Kind::Haproxy => haproxy::import(source, files, report),
    };
    let remarks = report.finish()?;
    let name = source.name.escape_debug();
    let toml = format!(
        "# Imported from {name}.\n\n# There is no app, so there are no workers.\n[workers]\ncount = 0\n{document}"
    );
    Ok(Imported { toml, remarks })
}
