//! One picture of an engine as text, for scripts and pipes.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use moorline_engine::admin::Urgency;

use super::super::output::{print as write_out, warn};
use super::super::table::{self, verdict};
use super::draw::Picture;
use super::feed::{Depth, EVERY, Eye, Watched};
use super::history::History;
use super::panes::Pane;
use super::sample::Sample;
use super::screen::Screen;
use super::theme::Theme;

/// Looks twice, for the rates, and prints what there is. It exits with 0 if the engine is healthy.
pub(super) fn print(source: Watched) -> ExitCode {
    let mut eye = Eye::new(source);
    let mut history = History::default();
    let mut sample = None;
    for at in [Duration::ZERO, EVERY] {
        sleep(at);
        match eye.look(Depth::Shallow) {
            Ok(seen) => {
                history.add(&seen, at);
                sample = Some(seen);
            }
            Err(why) => {
                warn(format_args!("error: {why}"));
                return ExitCode::FAILURE;
            }
        }
    }
    let Some(sample) = sample else {
        return ExitCode::FAILURE;
    };
    let text = head(&sample) + &picture(&sample, &history);
    match write_out(|out| out.write_all(text.as_bytes())) {
        Ok(()) if sample.findings.is_empty() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// What is wrong, whole: a line for each sentence.
fn head(sample: &Sample) -> String {
    let mut text = verdict(sample.findings.len());
    text.push('\n');
    for finding in &sample.findings {
        let mark = match finding.urgency {
            Urgency::Page => "WRONG  ",
            Urgency::Ticket => "warning",
        };
        text += &format!(
            "{mark}  {}\n         to do: {}\n",
            finding.what, finding.remedy
        );
    }
    text.push('\n');
    text
}

/// The figures of the overview, the processes, and the listeners.
fn picture(sample: &Sample, history: &History) -> String {
    let screen = Screen::default();
    let picture = Picture {
        sample: Some(sample),
        away: None,
        history,
        screen: &screen,
        theme: Theme::plain(),
    };
    let mut text = String::new();
    for (name, _, value) in picture.lines(sample) {
        text += &format!("{name:<11} {value}\n");
    }
    text += &table::summary(&sample.status);
    for pane in [Pane::Workers, Pane::Listeners] {
        text.push('\n');
        for (line, _) in picture.table(pane, sample, usize::MAX) {
            text += &line;
            text.push('\n');
        }
    }
    text
}
