//! A picture of everything, for a terminal of any size.

use moorline_engine::admin::text::{duration, plain, size};
use moorline_engine::admin::{Finding, Urgency};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line as TextLine, Span};
use ratatui::widgets::{Paragraph, Sparkline, Wrap};

use super::super::table;
use super::history::{History, Line};
use super::panes::{Pane, TableRow, chosen};
use super::sample::{MOST_SESSIONS, Sample};
use super::screen::Screen;
use super::theme::Theme;

/// What is drawn.
pub(super) struct Picture<'a> {
    pub(super) sample: Option<&'a Sample>,
    /// Why the latest look has found no engine.
    pub(super) away: Option<&'a str>,
    pub(super) history: &'a History,
    pub(super) screen: &'a Screen,
    pub(super) theme: Theme,
}

const KEYS: &str = "1-7 panes  / filter  s sort  r reverse  ? help  q quit";

const HELP: &str = "\
1 to 7, Tab   choose a pane
/             show only rows with a text; Enter keeps it, Esc gives it up
s             sort by the next column, or in the pane's own order
r             reverse the order
up, down      scroll; PageUp, PageDown, Home, too
?             this help; any key closes it
q, Ctrl-C     quit

Sparklines have a mark for each second, the latest at the right.
The sessions are the first 2,000, the one with most queued first.
The line below the title says what is wrong; pane 7 has all of it.";

impl Picture<'_> {
    /// Draws it all.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [title, alert, body, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        // A paragraph, unlike a plain line, may have no room at all.
        frame.render_widget(Paragraph::new(self.title()), title);
        frame.render_widget(Paragraph::new(self.alert()), alert);
        match self.sample {
            _ if self.screen.has_help => frame.render_widget(Paragraph::new(HELP), body),
            Some(sample) => self.pane(sample, frame, body),
            None => {}
        }
        frame.render_widget(Paragraph::new(self.keys()), keys);
    }

    /// The panes, with the present one marked.
    fn title(&self) -> TextLine<'_> {
        let panes = Pane::ALL.iter().zip(1..).flat_map(|(pane, number)| {
            let is_shown = *pane == self.screen.pane;
            let (text, style) = match is_shown {
                true => (format!("[{number} {}]", pane.title()), self.theme.chosen()),
                // All of them have room on a line of 80.
                false => (format!(" {number} {} ", pane.title()), Default::default()),
            };
            [Span::styled(text, style)]
        });
        TextLine::from_iter(panes)
    }

    /// Whether all is well, or the worst that is not.
    fn alert(&self) -> TextLine<'_> {
        if let Some(why) = self.away {
            let text = format!("The engine is away: {}", plain(why));
            return TextLine::styled(text, self.theme.bad());
        }
        let Some(sample) = self.sample else {
            return TextLine::raw("asking the engine …");
        };
        let uptime = duration(sample.number("/supervisor/uptime_s"));
        let sessions = sample.number("/gateway/sessions");
        match sample.findings.as_slice() {
            [] => {
                let text = format!("healthy, up {uptime}, {sessions} sessions");
                TextLine::styled(text, self.theme.good())
            }
            [worst, rest @ ..] => {
                let more = match rest.len() {
                    0 => String::new(),
                    more => format!("(and {more} more) "),
                };
                let text = format!("{}{more}{}", mark(worst), worst.what);
                TextLine::styled(text, self.style(worst))
            }
        }
    }

    fn style(&self, finding: &Finding) -> Style {
        match finding.urgency {
            Urgency::Page => self.theme.bad(),
            Urgency::Ticket => self.theme.warning(),
        }
    }

    fn keys(&self) -> TextLine<'_> {
        let screen = self.screen;
        if screen.is_typing {
            return TextLine::styled(format!("/{}_", screen.filter), self.theme.chosen());
        }
        match screen.filter.is_empty() {
            true => TextLine::raw(KEYS),
            false => TextLine::raw(format!("filter: {} (Esc)  {KEYS}", screen.filter)),
        }
    }

    fn pane(&self, sample: &Sample, frame: &mut Frame<'_>, area: Rect) {
        match self.screen.pane {
            Pane::Overview => self.overview(sample, frame, area),
            Pane::Wrong => {
                let text = self.wrong(sample, usize::MAX);
                frame.render_widget(text.scroll((self.scrolled(), 0)), area);
            }
            pane => {
                let lines = self.table(pane, sample, area.height.into()).into_iter();
                let style = |(at, is_bad): (usize, bool)| match is_bad {
                    _ if at == 0 => self.theme.head(),
                    true => self.theme.bad(),
                    false => Style::new(),
                };
                let lines = lines.enumerate();
                let lines = lines.map(|(at, (text, bad))| TextLine::styled(text, style((at, bad))));
                frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
            }
        }
    }

    fn scrolled(&self) -> u16 {
        u16::try_from(self.screen.first).unwrap_or(u16::MAX)
    }

    /// The first of the findings, each with what to do.
    fn wrong(&self, sample: &Sample, most: usize) -> Paragraph<'_> {
        let mut lines = Vec::new();
        for finding in sample.findings.iter().take(most) {
            let text = format!("{}{}", mark(finding), finding.what);
            lines.push(TextLine::styled(text, self.style(finding)));
            lines.push(TextLine::raw(format!("  to do: {}", finding.remedy)));
        }
        if lines.is_empty() {
            lines.push(TextLine::styled("nothing is wrong", self.theme.good()));
        }
        Paragraph::new(lines).wrap(Wrap { trim: false })
    }

    /// Lines of what happens each second, then the figures, then what is wrong as far as there is room.
    fn overview(&self, sample: &Sample, frame: &mut Frame<'_>, area: Rect) {
        let lines = self.lines(sample);
        let high: u16 = if area.height >= 20 { 2 } else { 1 };
        let drawn = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        let figures = table::summary(&sample.status);
        let figures = Paragraph::new(figures).wrap(Wrap { trim: false });
        let [graphs, rest] = Layout::vertical([
            Constraint::Length(drawn.saturating_mul(high)),
            Constraint::Fill(1),
        ])
        .areas(area);
        for (row, (name, line, text)) in graphs.rows().step_by(high.into()).zip(lines) {
            let place = Rect {
                height: high.min(graphs.bottom().saturating_sub(row.y)),
                ..row
            };
            self.graph(frame, place, (name, line, &text));
        }
        let wrong = self.wrong(sample, 3);
        let most = rest.height.saturating_sub(1) / 2;
        let needed = match sample.findings.is_empty() {
            true => 0,
            false => lines_of(sample, 3, rest.width).min(most),
        };
        let [wrong_area, figures_area] =
            Layout::vertical([Constraint::Length(needed), Constraint::Fill(1)]).areas(rest);
        frame.render_widget(wrong, wrong_area);
        frame.render_widget(figures, figures_area);
    }

    /// What is drawn as lines, with its present value.
    pub(super) fn lines(&self, sample: &Sample) -> Vec<(&'static str, Line, String)> {
        let latest = |line: Line| self.history.latest(line);
        let shown = |line: Line| latest(line).map_or("-".to_owned(), |it| it.to_string());
        let mut lines = vec![
            ("sessions", Line::Sessions, shown(Line::Sessions)),
            ("messages/s", Line::Messages, shown(Line::Messages)),
        ];
        if sample.number("/gateway/requests/answered") > 0 {
            lines.push(("requests/s", Line::Requests, shown(Line::Requests)));
        }
        if sample.number("/gateway/relays/begun") > 0 {
            let bytes = latest(Line::RelayedBytes).map_or("-".to_owned(), size);
            lines.push(("relayed/s", Line::RelayedBytes, bytes));
        }
        lines
    }

    fn graph(&self, frame: &mut Frame<'_>, area: Rect, (name, line, text): (&str, Line, &str)) {
        let [label, rest] =
            Layout::horizontal([Constraint::Length(24), Constraint::Fill(1)]).areas(area);
        let text = format!("{name:<11}{text:>11}");
        frame.render_widget(Paragraph::new(text), label);
        let values = self.history.last(line, rest.width.into());
        let missing = usize::from(rest.width).saturating_sub(values.len());
        let bars = std::iter::repeat_n(None, missing).chain(values.into_iter().map(Some));
        let graph = Sparkline::default().data(bars.collect::<Vec<Option<u64>>>());
        frame.render_widget(graph.style(self.theme.line()), rest);
    }

    /// The head of a pane's table and this many of its rows, each with whether something is wrong there.
    pub(super) fn table(&self, pane: Pane, sample: &Sample, most: usize) -> Vec<(String, bool)> {
        let (column, is_reversed) = self.screen.sort();
        let rows = pane.rows(sample, self.history);
        let rows = chosen(rows, &self.screen.filter, (column, is_reversed));
        let widths = widths(pane, &rows);
        let head = pane.heads().iter().enumerate().map(|(at, head)| {
            let mark = match column == Some(at) {
                true if is_reversed => "^",
                true => "v",
                false => "",
            };
            (format!("{head}{mark}"), false)
        });
        let mut lines = vec![(aligned(head, &widths), false)];
        if pane == Pane::Sessions && sample.sessions.len() == MOST_SESSIONS {
            let all = sample.number("/gateway/sessions");
            lines.push((format!("the first {MOST_SESSIONS} of {all}"), false));
        }
        // The last row stays in sight.
        let first = self.screen.first.min(rows.len().saturating_sub(1));
        for row in rows.iter().skip(first).take(most) {
            let cells = row.cells.iter();
            let cells = cells.map(|cell| (cell.text.clone(), cell.number.is_some()));
            lines.push((aligned(cells, &widths), row.is_bad));
        }
        if rows.is_empty() {
            lines.push(("none".to_owned(), false));
        }
        lines
    }
}

fn mark(finding: &Finding) -> &'static str {
    match finding.urgency {
        Urgency::Page => "WRONG: ",
        Urgency::Ticket => "warning: ",
    }
}

/// How many lines the first findings take at this width, or more where words are long.
fn lines_of(sample: &Sample, most: usize, width: u16) -> u16 {
    let width = usize::from(width.max(1));
    let lines = sample.findings.iter().take(most).map(|finding| {
        let long = [finding.what.len() + 9, finding.remedy.len() + 9];
        long.map(|length| length.div_ceil(width))
            .iter()
            .sum::<usize>()
    });
    u16::try_from(lines.sum::<usize>()).unwrap_or(u16::MAX)
}

/// The width of each column, in characters.
fn widths(pane: Pane, rows: &[TableRow]) -> Vec<usize> {
    // One more for the mark of the order.
    let mut widths: Vec<_> = pane.heads().iter().map(|head| head.len() + 1).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    widths
}

/// Cells side by side; numbers stand at the right of their columns.
fn aligned(cells: impl Iterator<Item = (String, bool)>, widths: &[usize]) -> String {
    let mut line = String::new();
    for ((text, is_number), width) in cells.zip(widths) {
        let width = *width;
        line += &match is_number {
            true => format!("{text:>width$}  "),
            false => format!("{text:<width$}  "),
        };
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::Duration;

    use super::super::demo::Demo;
    use super::*;

    /// What is shown on a terminal of this size.
    fn shown(sample: &Sample, screen: &Screen, (width, height): (u16, u16)) -> String {
        let mut history = History::default();
        for at in 0..3 {
            history.add(sample, Duration::from_secs(at));
        }
        let picture = Picture {
            sample: Some(sample),
            away: None,
            history: &history,
            screen,
            theme: Theme::plain(),
        };
        let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
        let Ok(_) = terminal.draw(|frame| picture.draw(frame));
        let rows = terminal
            .backend()
            .buffer()
            .content()
            .chunks(width.max(1).into());
        let rows = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
        rows.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_pane_fits_every_terminal_with_and_without_something_wrong() {
        let mut demo = Demo::default();
        let looks: Vec<_> = (0..60).map(|_| demo.look()).collect();
        let empty = Sample::new(serde_json::Value::Null, Vec::new(), Vec::new());
        for sample in [&looks[0], &looks[50], &empty] {
            for pane in Pane::ALL {
                for has_help in [false, true] {
                    let screen = Screen {
                        pane,
                        has_help,
                        ..Screen::default()
                    };
                    for size in [
                        (80, 24),
                        (40, 10),
                        (1, 1),
                        (3, 2),
                        (200, 80),
                        (0, 0),
                        (80, 1),
                    ] {
                        shown(sample, &screen, size);
                    }
                }
            }
        }
    }

    #[test]
    fn a_line_of_80_has_all_panes_and_the_overview_what_is_wrong() {
        let mut demo = Demo::default();
        let ill = (0..50).map(|_| demo.look()).last().expect("some");
        let text = shown(&ill, &Screen::default(), (80, 24));
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.contains("[1 overview]") && first.contains("7 wrong"),
            "{text}"
        );
        assert!(
            text.contains("WRONG: Worker 2 (pid 4005) has given no sign of life"),
            "{text}"
        );
        assert!(
            text.contains("to do: A handler computes or blocks there."),
            "{text}"
        );
        assert!(text.contains("gateway     pid 4002"), "{text}");
    }

    #[test]
    fn a_filter_and_an_order_choose_rows() {
        let sample = Demo::default().look();
        let mut screen = Screen {
            pane: Pane::Sessions,
            filter: "PLAYER 1".to_owned(),
            ..Screen::default()
        };
        let rows = |screen: &Screen| shown(&sample, screen, (120, 40)).matches("player").count();
        assert_eq!(rows(&screen), 11);
        screen.filter = "none such".to_owned();
        assert_eq!(rows(&screen), 0);
    }

    #[test]
    fn what_peers_and_scripts_say_is_never_drawn_raw() {
        let evil = "\u{1b}]0;x\u{7}\u{9b}2J";
        let mut demo = Demo::default();
        let mut sample = demo.look();
        sample.sessions[0].label = evil.to_owned();
        sample.sessions[0].peer = evil.to_owned();
        sample.upstreams[0].peers[0].address = evil.to_owned();
        sample.status["workers"][0]["state"] = evil.into();
        sample.status["listeners"][0]["name"] = evil.into();
        sample.status["gateway"]["closed"][evil] = 7.into();
        let sample = Sample::new(sample.status, sample.upstreams, sample.sessions);
        for pane in Pane::ALL {
            let screen = Screen {
                pane,
                ..Screen::default()
            };
            let text = shown(&sample, &screen, (200, 60));
            let raw = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(raw, None, "{pane:?}: {text}");
        }
    }
}
