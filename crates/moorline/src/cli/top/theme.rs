//! Colours. Whatever they say, a word or a mark says it, too.

use ratatui::style::{Color, Modifier, Style};

/// Which styles are used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    has_colours: bool,
}

impl Theme {
    /// Without colours where `NO_COLOR` is set to something: no-color.org.
    pub(super) fn from_environment() -> Self {
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        Self {
            has_colours: !is_refused,
        }
    }

    pub(super) fn plain() -> Self {
        Self { has_colours: false }
    }

    pub(super) fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn warning(self) -> Style {
        self.coloured(Color::Yellow)
    }

    pub(super) fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    pub(super) fn line(self) -> Style {
        self.coloured(Color::Cyan)
    }

    pub(super) fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn coloured(self, colour: Color) -> Style {
        match self.has_colours {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }
}
