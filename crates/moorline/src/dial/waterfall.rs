//! A timeline as a drawing: a line a step, with a bar from its beginning to its end.

use std::fmt;
use std::os::fd::AsFd;
use std::time::Duration;

use moorline_net::Timeline;
use moorline_net::dial::{Outcome, Step};

use crate::bench::Time;

/// The drawing's share of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// Characters in a line.
    columns: usize,
    is_coloured: bool,
}

/// Where no terminal says how wide it is.
const COLUMNS: usize = 80;
/// A longer bar says no more.
const MOST_COLUMNS: usize = 120;
/// A narrower one is no bar.
const LEAST_BAR: usize = 16;
/// Columns of the time it took.
const TIME: usize = 9;

impl Style {
    /// As wide as the terminal behind `fd`, in colour unless `NO_COLOR` is set.
    pub(super) fn of(fd: &impl AsFd, is_terminal: bool) -> Self {
        let columns = match rustix::termios::tcgetwinsize(fd) {
            Ok(size) if is_terminal && size.ws_col > 0 => usize::from(size.ws_col),
            _ => COLUMNS,
        };
        Self {
            columns: columns.min(MOST_COLUMNS),
            is_coloured: is_terminal
                && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        }
    }
}

/// The drawing of one dial.
pub(super) struct Waterfall<'a> {
    title: &'a str,
    /// The word for a dial that succeeded, such as `connected`.
    done: &'static str,
    timeline: &'a Timeline,
    style: Style,
}

impl<'a> Waterfall<'a> {
    /// The drawing of `timeline` under `title`, which is `done` if the dial succeeded.
    pub(super) fn new(
        title: &'a str,
        done: &'static str,
        timeline: &'a Timeline,
        style: Style,
    ) -> Self {
        Self {
            title,
            done,
            timeline,
            style,
        }
    }
}

impl fmt::Display for Waterfall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.timeline.total().unwrap_or_default();
        let total_time = time(total);
        match self.timeline.outcome() {
            Outcome::Done => writeln!(f, "{}: {} in {total_time}", self.title, self.done)?,
            _ => writeln!(f, "{}: not {} after {total_time}", self.title, self.done)?,
        }
        let rows: Vec<Row<'_>> = self.timeline.steps().iter().map(Row::new).collect();
        let names = rows.iter().map(|row| row.name.chars().count()).max();
        let names = names.unwrap_or(0);
        let outcomes = rows.iter().map(|row| row.outcome_columns()).max();
        // The width of a line beside the bar: two spaces before each part.
        let beside = 2 + names + 2 + 2 + TIME + 2 + outcomes.unwrap_or(0);
        let width = self.style.columns.saturating_sub(beside).max(LEAST_BAR);
        for row in rows {
            let (before, bar) = row.bar(total, width);
            let after = width - before - bar.chars().count();
            let (colour, plain) = match self.style.is_coloured {
                true => (colour(&row.step.outcome), PLAIN),
                false => ("", ""),
            };
            writeln!(
                f,
                "  {:<names$}  {:before$}{colour}{bar}{plain}{:after$}  {:>TIME$}  {}",
                row.name,
                "",
                "",
                time(row.step.took.unwrap_or_default()),
                row.step.outcome,
            )?;
        }
        Ok(())
    }
}

struct Row<'a> {
    step: &'a Step,
    /// The step, and its target.
    name: String,
}

impl<'a> Row<'a> {
    fn new(step: &'a Step) -> Self {
        Self {
            step,
            name: format!("{:<7}  {}", step.kind.as_str(), step.target),
        }
    }

    /// Columns for the outcome. A reason may have any length, and is at the end of its line.
    fn outcome_columns(&self) -> usize {
        match self.step.outcome {
            Outcome::Failed(_) => 0,
            ref other => other.to_string().len(),
        }
    }

    /// The columns before the bar, and the bar.
    fn bar(&self, total: Duration, width: usize) -> (usize, String) {
        const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let total = total.as_secs_f64().max(f64::MIN_POSITIVE);
        let columns = |time: Duration| (time.as_secs_f64() / total).clamp(0.0, 1.0) * width as f64;
        let took = columns(self.step.took.unwrap_or_default());
        // Every step that took time shows, and a bar begins with a whole column.
        let eighths = ((took * 8.0).round() as usize).max(1);
        let start = columns(self.step.start).floor() as usize;
        let before = start.min(width - eighths.div_ceil(8));
        let bar = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
        (before, bar)
    }
}

fn time(duration: Duration) -> Time {
    Time(duration.as_secs_f64() * 1e6)
}

const PLAIN: &str = "\x1b[0m";

fn colour(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "\x1b[32m",
        Outcome::Failed(_) | Outcome::TimedOut => "\x1b[31m",
        _ => "\x1b[2m",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use moorline_net::dial::{StepKind, Target};

    use super::*;

    #[test]
    fn steps_that_overlap_stand_beneath_each_other() {
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        let mut timeline = Timeline::new(began);
        let name = || Target::Name("example.org".into());
        let resolve = timeline.begin(StepKind::Resolve, name(), after(0));
        timeline.end(resolve, Outcome::Done, None, after(100));
        let socket = |text: &str| Target::Socket(text.parse().unwrap());
        timeline.begin(StepKind::Connect, socket("[2001:db8::1]:443"), after(100));
        let second = timeline.begin(StepKind::Connect, socket("192.0.2.1:443"), after(350));
        timeline.end(second, Outcome::Done, None, after(360));
        timeline.finish(Outcome::Done, &Outcome::Cancelled, after(400));
        let style = Style {
            columns: 80,
            is_coloured: false,
        };
        let drawn =
            Waterfall::new("tls://example.org:443", "connected", &timeline, style).to_string();
        assert_eq!(
            drawn,
            "tls://example.org:443: connected in 400 ms\n\
             \x20 resolve  example.org        ███████                          100 ms  ok\n\
             \x20 connect  [2001:db8::1]:443         █████████████████████     300 ms  cancelled\n\
             \x20 connect  192.0.2.1:443                              ▊       10.0 ms  ok\n"
        );
    }

    #[test]
    fn a_dial_without_a_step_is_a_title() {
        let mut timeline = Timeline::new(Instant::now());
        timeline.finish(Outcome::TimedOut, &Outcome::TimedOut, timeline.started());
        let style = Style {
            columns: 0,
            is_coloured: true,
        };
        let drawn = Waterfall::new("tcp://a:1", "connected", &timeline, style).to_string();
        assert_eq!(drawn, "tcp://a:1: not connected after 0.00 µs\n");
    }
}
