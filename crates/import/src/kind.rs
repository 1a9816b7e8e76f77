//! Which program a configuration belongs to.

use crate::haproxy;

/// The program that a configuration belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// nginx: its `stream` block.
    Nginx,
    /// HAProxy: its TCP mode.
    Haproxy,
}

impl Kind {
    /// What a text looks like: HAProxy's begins with a section, whose line has no sign of nginx's.
    pub fn of(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let is_section = lines.next().is_some_and(|line| {
            let first = line.split_whitespace().next().unwrap_or_default();
            haproxy::SECTIONS.contains(&first) && !line.ends_with([';', '{', '}'])
        });
        match is_section {
            true => Self::Haproxy,
            false => Self::Nginx,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_shows_which_program_it_is_for() {
        for (text, kind) in [
            ("# a\n\n  global\n  daemon\n", Kind::Haproxy),
            ("frontend f\n bind :80\n", Kind::Haproxy),
            ("listen f # g\n", Kind::Haproxy),
            ("ring a\n", Kind::Haproxy),
            ("stream {\n}\n", Kind::Nginx),
            ("user x;\n", Kind::Nginx),
            ("listen 80;\n", Kind::Nginx),
            ("", Kind::Nginx),
        ] {
            assert_eq!(Kind::of(text), kind, "{text}");
        }
    }
}
