//! What holds for any text as a configuration of another program.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Files, Kind, Source, import};

/// Any text as nginx's configuration: it is imported, or each error has its line, in words that are fit for a terminal.
pub fn nginx(data: &[u8]) {
    imported(data, Kind::Nginx);
}

/// The same as HAProxy's.
pub fn haproxy(data: &[u8]) {
    imported(data, Kind::Haproxy);
}

/// The text itself, up to a number of times, whatever is included.
struct Again<'a> {
    text: &'a str,
    left: u32,
}

impl Files for Again<'_> {
    fn read(&mut self, _: &Path) -> io::Result<String> {
        self.left = self.left.checked_sub(1).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.text.to_owned())
    }

    fn matching(&mut self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec![pattern.to_owned()])
    }
}

fn imported(data: &[u8], kind: Kind) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let source = Source {
        name: "a.conf",
        folder: Path::new("/etc"),
        text,
    };
    let mut files = Again { text, left: 3 };
    let notes = match import(&source, kind, &mut files) {
        Ok(imported) => {
            assert!(imported.toml.starts_with("# Imported from a.conf."));
            imported.remarks
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "it is refused without a reason");
            errors
        }
    };
    for note in notes {
        let text = note.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    #[test]
    fn kept_inputs_break_no_invariant_of_imported_files() {
        replay("nginx", super::nginx);
        replay("haproxy", super::haproxy);
    }
}
