//! The hooks of an app: the documentation of each says when it runs, what an error does, and what cancels it.

use std::fs;

use crate::steps::{Failure, root};

const FILE: &str = "crates/worker/src/app.rs";
/// The trait, and the line that ends it.
const TRAIT: &str = "pub trait App";
const END: &str = "\n}\n";
/// The sections of each hook, in order.
const SECTIONS: [&str; 3] = ["# When it runs", "# Errors", "# Cancellation"];

/// Fails with each hook that lacks a section, or has them in another order.
pub(crate) fn have_their_sections() -> Result<(), Failure> {
    let text = fs::read_to_string(root().join(FILE))
        .map_err(|error| Failure(format!("cannot read {FILE}: {error}")))?;
    let hooks = hooks(&text);
    let lacking: Vec<String> = hooks
        .iter()
        .filter(|(_, sections)| *sections != SECTIONS)
        .map(|(hook, sections)| format!("{FILE}: {hook}: has {sections:?}, and needs {SECTIONS:?}"))
        .collect();
    if hooks.is_empty() {
        return Err(Failure(format!("{FILE} has no hooks")));
    }
    match lacking.is_empty() {
        true => {
            println!("{} hooks", hooks.len());
            Ok(())
        }
        false => Err(Failure(lacking.join("\n"))),
    }
}

/// The functions of the trait, each with the sections of its documentation.
fn hooks(text: &str) -> Vec<(&str, Vec<&str>)> {
    let body = text.split(TRAIT).nth(1).unwrap_or_default();
    let body = body.split(END).next().unwrap_or_default();
    let (mut hooks, mut sections) = (Vec::new(), Vec::new());
    for line in body.lines() {
        if let Some(section) = line.strip_prefix("    /// #") {
            sections.push(&line[line.len() - section.len() - 1..]);
        } else if let Some(signature) = line.strip_prefix("    fn ") {
            let name = signature.split('(').next().unwrap_or(signature);
            hooks.push((name, std::mem::take(&mut sections)));
        }
    }
    hooks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hook_is_found_with_the_sections_of_its_own_documentation() {
        let text = "\
/// # Errors
pub trait App {
    /// Starts.
    ///
    /// # When it runs
    /// # Errors
    fn start(
        self,
    ) -> u8;

    /// Ends.
    fn stop() {
        fn inner() {}
    }
}
fn other() {}
";
        let expected = [
            ("start", vec!["# When it runs", "# Errors"]),
            ("stop", vec![]),
        ];
        assert_eq!(hooks(text), expected);
    }

    #[test]
    fn all_hooks_say_when_they_run_what_an_error_does_and_what_cancels_them() {
        if let Err(Failure(found)) = have_their_sections() {
            panic!("{found}");
        }
    }
}
