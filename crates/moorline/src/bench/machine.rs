//! Where a run was made, and how.

use std::fs;
use std::thread;

use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// The machine that made the load; the server's, too, if that was on the same one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LoadMachine {
    pub(super) cpu: String,
    /// CPUs that this process may use.
    pub(super) cpus: usize,
    pub(super) memory_bytes: u64,
    pub(super) system: String,
}

impl LoadMachine {
    /// This one. What cannot be read is `unknown` or 0.
    pub(super) fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let system = uname();
        Self {
            cpu: value(&cpuinfo, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            cpus: thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: value(&meminfo, "MemTotal")
                .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok())
                .map_or(0, |kilobytes| kilobytes.saturating_mul(1024)),
            system: format!(
                "{} {} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy(),
                system.machine().to_string_lossy()
            ),
        }
    }
}

/// The value of the first line with this name.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    };
    text.lines().find_map(value)
}

/// The command of this process, as a shell takes it.
pub(super) fn command() -> String {
    let mut arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let program = arguments.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let words = std::iter::once(program).chain(arguments);
    words
        .map(|word| quoted(&word))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_split_it() {
        assert_eq!(quoted("--rate=5000/s"), "--rate=5000/s");
        assert_eq!(quoted("delimiter=a b"), "'delimiter=a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn the_first_value_of_a_name_counts() {
        let text = "processor\t: 0\nmodel name\t: A chip\nmodel name\t: Another\n";
        assert_eq!(value(text, "model name"), Some("A chip"));
        assert_eq!(value(text, "model"), None);
    }
}
