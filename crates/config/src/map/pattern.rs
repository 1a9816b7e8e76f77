//! Patterns of maps: regular expressions.

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::Entry;
use crate::error::Reported;

/// A compiled pattern is no larger than this in bytes, and neither is what it remembers while it searches.
const MOST_BYTES: usize = 1 << 20;

/// A regular expression. Bytes that are no text match it as nginx's do: classes such as `\w` are of ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapPattern {
    /// In the syntax of the crate `regex`: that of PCRE without look-around and back references.
    pub text: String,
    /// Letters of ASCII match both cases.
    pub ignores_case: bool,
}

impl MapPattern {
    /// Reads `…` or `*…`, what follows the `~`.
    pub fn new(written: &str) -> Self {
        let (text, ignores_case) = match written.strip_prefix('*') {
            Some(text) => (text, true),
            None => (written, false),
        };
        Self {
            text: text.to_owned(),
            ignores_case,
        }
    }

    /// Makes it ready for use.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn compile(&self) -> Result<Regex, String> {
        let built = RegexBuilder::new(&self.text)
            .unicode(false)
            .case_insensitive(self.ignores_case)
            .size_limit(MOST_BYTES)
            .dfa_size_limit(MOST_BYTES)
            .build();
        built.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            error => {
                let text = error.to_string();
                let last = text.lines().next_back().unwrap_or_default();
                last.strip_prefix("error: ").unwrap_or(last).to_owned()
            }
        })
    }
}

/// A pattern, and the names of its groups.
pub(super) fn pattern(
    entry: &Entry<'_>,
    written: &str,
) -> Result<(MapPattern, Vec<Option<String>>), Reported> {
    let pattern = MapPattern::new(written);
    let compiled = pattern.compile().map_err(|problem| {
        entry.refuse(
            &format!("is no pattern: {problem}"),
            "look-around and back references do not exist here; \\ is written twice within \"…\"",
        )
    })?;
    let groups = compiled.capture_names();
    let groups = groups.map(|name| name.map(str::to_owned)).collect();
    Ok((pattern, groups))
}
