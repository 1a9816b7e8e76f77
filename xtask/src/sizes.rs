//! Small files: a file of more lines than a reader keeps in mind holds a second noun. Clippy looks after functions.

use crate::sources::sources;
use crate::steps::Failure;

/// The most lines of a source file.
const MOST_LINES: usize = 600;

/// Fails with each file that is too long.
pub(crate) fn are_small() -> Result<(), Failure> {
    let files = sources(&["rs"])?;
    let long = files.iter().filter_map(|file| {
        let lines = too_long(&file.text)?;
        Some(format!("{}: {lines} lines", file.path.display()))
    });
    let long: Vec<_> = long.collect();
    match long.is_empty() {
        true => Ok(()),
        false => Err(Failure(format!(
            "over {MOST_LINES} lines, look for the second noun:\n{}",
            long.join("\n")
        ))),
    }
}

/// The lines of a text, if they are too many.
fn too_long(text: &str) -> Option<usize> {
    let lines = text.lines().count();
    (lines > MOST_LINES).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_have_six_hundred_lines_and_no_more() {
        assert_eq!(too_long(&"line\n".repeat(600)), None);
        assert_eq!(too_long(&"line\n".repeat(601)), Some(601));
    }
}
