//! What the keys have chosen.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::panes::Pane;

/// The most characters of a filter.
const MOST_FILTER: usize = 64;
/// Rows that a page key moves by.
const PAGE: usize = 10;

/// What the keys have chosen.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) pane: Pane,
    /// The column by which each pane is sorted, and whether from its other end.
    pub(super) sorts: [(Option<usize>, bool); Pane::ALL.len()],
    /// Only rows with this text are shown.
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) has_help: bool,
    /// The first row that is shown.
    pub(super) first: usize,
    pub(super) is_over: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            pane: Pane::Overview,
            sorts: [(None, false); Pane::ALL.len()],
            filter: String::new(),
            is_typing: false,
            has_help: false,
            first: 0,
            is_over: false,
        }
    }
}

impl Screen {
    /// The column by which the present pane is sorted, and whether from its other end.
    pub(super) fn sort(&self) -> (Option<usize>, bool) {
        self.sorts[self.pane as usize]
    }

    /// Obeys a key.
    pub(super) fn press(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if has_control => self.is_over = true,
            _ if has_control => {}
            _ if self.is_typing => self.type_key(key.code),
            // Any key closes it.
            _ if self.has_help => self.has_help = false,
            code => self.command(code),
        }
    }

    fn type_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if self.filter.chars().count() < MOST_FILTER && !c.is_control() => {
                self.filter.push(c);
            }
            _ => {}
        }
        self.first = 0;
    }

    fn command(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('q') => self.is_over = true,
            KeyCode::Char('?' | 'h') => self.has_help = true,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s') => {
                let columns = self.pane.columns();
                let (sort, _) = &mut self.sorts[self.pane as usize];
                *sort = match *sort {
                    None => Some(0),
                    Some(column) => Some(column + 1),
                };
                *sort = sort.filter(|column| *column < columns);
            }
            KeyCode::Char('r') => {
                let (_, is_reversed) = &mut self.sorts[self.pane as usize];
                *is_reversed = !*is_reversed;
            }
            KeyCode::Up | KeyCode::Char('k') => self.first = self.first.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.first = self.first.saturating_add(1),
            KeyCode::PageUp => self.first = self.first.saturating_sub(PAGE),
            KeyCode::PageDown => self.first = self.first.saturating_add(PAGE),
            KeyCode::Home => self.first = 0,
            KeyCode::Tab | KeyCode::Right => self.go(self.pane.next(1)),
            KeyCode::BackTab | KeyCode::Left => self.go(self.pane.next(Pane::ALL.len() - 1)),
            KeyCode::Char(c) => {
                let digit = c.to_digit(10).and_then(|digit| digit.checked_sub(1));
                if let Some(pane) = digit.and_then(|at| Pane::ALL.get(at as usize)) {
                    self.go(*pane);
                }
            }
            _ => {}
        }
    }

    fn go(&mut self, pane: Pane) {
        self.pane = pane;
        self.first = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(screen: &mut Screen, keys: &str) {
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                c => KeyCode::Char(c),
            };
            screen.press(KeyEvent::new(code, KeyModifiers::NONE));
        }
    }

    #[test]
    fn digits_choose_panes_and_columns_come_in_turn() {
        let mut screen = Screen::default();
        press(&mut screen, "2s");
        assert_eq!(
            (screen.pane, screen.sort()),
            (Pane::Workers, (Some(0), false))
        );
        press(&mut screen, &"s".repeat(Pane::Workers.columns()));
        assert_eq!(screen.sort(), (None, false));
        press(&mut screen, "r98");
        assert_eq!((screen.pane, screen.sort()), (Pane::Workers, (None, true)));
    }

    #[test]
    fn a_filter_is_typed_kept_and_given_up_and_its_letters_are_no_commands() {
        let mut screen = Screen::default();
        press(&mut screen, "/qqx\u{8}\n");
        assert_eq!((screen.filter.as_str(), screen.is_over), ("qq", false));
        press(&mut screen, "\u{1b}");
        assert_eq!(screen.filter, "");
        press(&mut screen, "/");
        press(&mut screen, &"x".repeat(10_000));
        assert_eq!(screen.filter.len(), MOST_FILTER);
        press(&mut screen, "\nq");
        assert!(screen.is_over);
    }

    #[test]
    fn control_c_ends_it_also_while_a_filter_is_typed() {
        let mut screen = Screen::default();
        press(&mut screen, "/");
        screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(screen.is_over);
    }
}
