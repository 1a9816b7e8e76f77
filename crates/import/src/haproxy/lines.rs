//! Lines of HAProxy's syntax, and the sections that they make.

use std::sync::Arc;

use crate::note::{Place, Report, Reported};

/// A line with its words, without quotes, escapes and comments.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) words: Vec<String>,
    pub(super) place: Place,
}

impl Line {
    /// A word, or nothing behind the last one.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// Reports that the line is wrong.
    pub(super) fn refuse(&self, report: &mut Report, why: impl AsRef<str>) -> Reported {
        let name = self.name();
        report.error(&self.place, format!("`{name}` {}", why.as_ref()))
    }

    /// Its first word, with the second one where that says what it is about.
    pub(super) fn name(&self) -> String {
        let has_topic = matches!(
            self.word(0),
            "option" | "timeout" | "tcp-request" | "tcp-response" | "tcp-check" | "no" | "hold"
        );
        match has_topic && self.words.len() > 1 {
            true => format!("{} {}", self.words[0], self.words[1]),
            false => self.word(0).to_owned(),
        }
    }
}

/// A section: its first line, and those that follow.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) head: Line,
    pub(super) lines: Vec<Line>,
}

impl Section {
    /// `frontend`, `backend` …
    pub(super) fn kind(&self) -> &str {
        self.head.word(0)
    }

    pub(super) fn name(&self) -> &str {
        self.head.word(1)
    }
}

/// The words that begin a section.
pub(crate) const SECTIONS: &[&str] = &[
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "resolvers",
    "peers",
    "mailers",
    "userlist",
    "cache",
    "program",
    "http-errors",
    "ring",
    "log-forward",
    "log-profile",
    "fcgi-app",
    "crt-store",
    "traces",
];

/// The sections of a text.
pub(super) fn sections(name: &str, text: &str, report: &mut Report) -> Vec<Section> {
    let file: Arc<str> = name.into();
    let mut sections: Vec<Section> = Vec::new();
    for (at, text) in text.lines().enumerate() {
        let place = Place {
            file: file.clone(),
            line: u32::try_from(at + 1).unwrap_or(u32::MAX),
        };
        let words = match words(text) {
            Ok(words) => words,
            Err(problem) => {
                report.error(&place, problem);
                continue;
            }
        };
        let line = Line { words, place };
        let first = line.word(0);
        if first.is_empty() {
            continue;
        }
        if SECTIONS.contains(&first) {
            let lines = Vec::new();
            sections.push(Section { head: line, lines });
        } else if first.starts_with('.') {
            line.refuse(report, "cannot be expressed: write the lines that hold");
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line);
        } else {
            line.refuse(report, "stands in no section");
        }
    }
    sections
}

/// The words of a line.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, ' ' | '\t' | '\r') => words.extend(word.take()),
            (None, '#') => break,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), letter) if open == letter => quote = None,
            (Some('"'), '$') => {
                return Err(
                    "variables of the environment cannot be expressed: write their values".into(),
                );
            }
            (Some('\''), letter) => word.get_or_insert_default().push(letter),
            (_, '\\') => {
                let escaped = escape(&mut letters, quote)?;
                word.get_or_insert_default().push_str(&escaped);
            }
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(open) = quote {
        return Err(format!("a {open} has no end"));
    }
    words.extend(word);
    Ok(words)
}

/// What a backslash and the letters behind it mean.
fn escape(letters: &mut std::str::Chars<'_>, quote: Option<char>) -> Result<String, String> {
    let Some(letter) = letters.next() else {
        return Err("a backslash stands at the end of the line".into());
    };
    Ok(match (letter, quote) {
        (' ' | '#' | '\\' | '"' | '\'', _) | ('$', Some('"')) => letter.into(),
        ('n', _) => "\n".into(),
        ('r', _) => "\r".into(),
        ('t', _) => "\t".into(),
        ('x', _) => {
            let digits: String = letters.take(2).collect();
            let byte = u8::from_str_radix(&digits, 16);
            match byte {
                // A byte beyond ASCII would be no text.
                Ok(byte) if byte.is_ascii() => char::from(byte).into(),
                _ => return Err(format!("`\\x{digits}` cannot be expressed")),
            }
        }
        (other, _) => format!("\\{other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_haproxy_cuts_them() {
        for (text, expected) in [
            ("  a  b\tc # d", vec!["a", "b", "c"]),
            ("a#b", vec!["a"]),
            (
                r#"a\ b "c d" 'e\ f"' g\#"#,
                vec!["a b", "c d", "e\\ f\"", "g#"],
            ),
            (r#"send "PING\r\n" \x41"#, vec!["send", "PING\r\n", "A"]),
            (r"^a\.b", vec![r"^a\.b"]),
            ("''", vec![""]),
            ("", vec![]),
        ] {
            assert_eq!(words(text).expect("it is right"), expected, "{text}");
        }
        for text in ["\"a", "'", "a\\", "\"$HOME\"", "\\xff"] {
            assert!(words(text).is_err(), "{text}");
        }
    }
}
