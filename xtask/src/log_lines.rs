//! `docs/reference/log-lines.md`: what the engine may log, read from its source.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::sources::{Source, sources};
use crate::steps::Failure;

pub(crate) const PAGE: &str = "docs/reference/log-lines.md";

/// Which process logs what is in a crate.
const PROCESSES: &[(&str, &str)] = &[
    ("supervisor", "Supervisor"),
    ("gateway", "Gateway"),
    ("worker", "Workers and task workers"),
    ("lua-app", "Workers with an app in Lua"),
    ("admin", "The page of `[admin]`"),
    ("process", "Any process of the engine"),
    ("net", "Programs that use the network library"),
];

const LEVELS: &[&str] = &["error", "warn", "info"];

const HEAD: &str = "\
# Log lines

This page lists the lines that the engine may log, by process and level. `cargo xtask docs` reads them from the source, and writes the page.

Words in braces are filled in. Lines have fields behind them, such as `worker`, `session`, `error`, `reason`. `error`: something of the engine, of the
machine or of the app has failed. `warn`: something was refused, lost or given up, as a limit or a setting says. `info`: what happened.
`[engine.log] level` chooses the least level. Errors of the configuration, which `check` and `reload` print, come with file, line and a hint instead.
";

/// The page.
pub(crate) fn page() -> Result<String, Failure> {
    let files = sources(&["rs"])?;
    let mut page = HEAD.to_owned();
    for (name, title) in PROCESSES {
        let lines = lines_of(&files, name);
        if lines.is_empty() {
            continue;
        }
        // A string takes every write.
        let _ = write!(page, "\n## {title}\n\n| level | line |\n| --- | --- |\n");
        for level in LEVELS {
            for (_, line) in lines.iter().filter(|(its, _)| its == level) {
                let line = line.replace('|', "\\|");
                let _ = writeln!(page, "| {level} | {line} |");
            }
        }
    }
    Ok(page)
}

/// The lines of a crate, each once.
fn lines_of(files: &[Source], name: &str) -> BTreeSet<(String, String)> {
    let folder = format!("crates/{name}/src");
    let is_test = |file: &Source| {
        file.path
            .iter()
            .any(|part| part == "tests" || part == "tests.rs")
    };
    let files = files
        .iter()
        .filter(|file| file.path.starts_with(&folder) && !is_test(file));
    files.flat_map(|file| logged(&file.text)).collect()
}

/// The level and the text of each line that a source logs, apart from texts that only repeat another one.
fn logged(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for level in LEVELS {
        let call = format!("{level}!(");
        for (at, _) in source.match_indices(&call) {
            let before = &source[..at];
            let line = before.rsplit('\n').next().unwrap_or_default();
            let is_name = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if is_name || line.contains("//") {
                continue;
            }
            let text = message(&source[at + call.len()..]);
            let has_words = |text: &String| text.split('{').any(says_something);
            if let Some(text) = text.filter(has_words) {
                found.push(((*level).to_owned(), text));
            }
        }
    }
    found
}

/// Whether what is behind a brace has a word in it.
fn says_something(part: &str) -> bool {
    let prose = part.split_once('}').map_or(part, |(_, rest)| rest);
    prose.chars().filter(|c| c.is_alphabetic()).count() > 3
}

/// The first argument of a call that is a text of its own, and not the value of a field.
fn message(arguments: &str) -> Option<String> {
    let (mut depth, mut is_argument_begun) = (0, false);
    let mut letters = arguments.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                let text = literal(&arguments[at + 1..])?;
                if depth == 0 && !is_argument_begun {
                    return Some(text.replace("\\\"", "\"").replace("\\n", " "));
                }
                // Behind the text and its closing quote.
                for _ in 0..text.chars().count() + 1 {
                    letters.next();
                }
                is_argument_begun = true;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return None,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => is_argument_begun = false,
            _ if letter.is_whitespace() => {}
            _ => is_argument_begun = true,
        }
    }
    None
}

/// What stands before the closing quote.
fn literal(text: &str) -> Option<&str> {
    let mut is_escaped = false;
    let end = text.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })?;
    Some(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_call_is_behind_its_fields() {
        let source = "\
            info!(\"serving\");\n\
            tracing::warn!(worker = self.name, why = %f(\"a, b\"), \"{name} is \\\"late\\\" for {wait:?}\", 1);\n\
            // error!(\"a comment\")\n\
            error!(%error, \"{}\", text);\n\
            my_error!(\"another macro\");\n";
        let line = |level: &str, text: &str| (level.to_owned(), text.to_owned());
        assert_eq!(
            logged(source),
            [
                line("warn", "{name} is \"late\" for {wait:?}"),
                line("info", "serving")
            ]
        );
    }
}
