//! Stuck handlers, as `status` shows them.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use moorline_protocol::control::{Role, START_HOOK, StallKind, StallReport, role_name};
use moorline_protocol::session_id::SessionId;

/// Reports kept for `status`; the log has them all.
const KEPT: usize = 100;
/// Texts of a report are cut to the length that an honest worker would send.
const FRAMES: usize = 200;
const LINE_CHARACTERS: usize = 400;

/// One stuck handler.
#[derive(Debug, Serialize)]
pub(super) struct Stall {
    worker: String,
    pid: u32,
    hook: String,
    session: Option<SessionId>,
    kind: StallKind,
    elapsed_ms: u64,
    /// The innermost frame of the app's own.
    place: Option<String>,
    stack: Vec<String>,
    /// When it was reported, in seconds since the Unix epoch.
    at: u64,
}

impl Stall {
    /// The kind and place of a stall in the start hook, if it is one.
    pub(super) fn of_start(&self) -> Option<(StallKind, &str)> {
        let place = self.place.as_ref().or(self.stack.first())?;
        (self.hook == START_HOOK).then_some((self.kind, place))
    }
}

/// Keeps a report, and the latest ones before it.
pub(super) fn keep(stalls: &mut VecDeque<Stall>, role: Role, pid: u32, report: StallReport) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    if stalls.len() == KEPT {
        stalls.pop_front();
    }
    stalls.push_back(Stall {
        worker: role_name(role),
        pid,
        hook: printable(&report.hook),
        session: report.session,
        kind: report.kind,
        elapsed_ms: report.elapsed_ms,
        place: report.place.as_deref().map(printable),
        stack: report
            .stack
            .iter()
            .take(FRAMES)
            .map(|line| printable(line))
            .collect(),
        at: now.map_or(0, |since| since.as_secs()),
    });
}

fn printable(text: &str) -> String {
    let characters = text.chars().filter(|character| !character.is_control());
    characters.take(LINE_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_cut_to_size() {
        let report = |number: u64| StallReport {
            hook: "message".to_owned(),
            session: Some(number.into()),
            kind: StallKind::Running,
            elapsed_ms: 1,
            place: Some("\u{1b}x".repeat(1000)),
            stack: vec!["\u{1b}x".repeat(1000); 1000],
        };
        let mut stalls = VecDeque::new();
        for number in 0..=KEPT as u64 {
            keep(&mut stalls, Role::Worker(3), 7, report(number));
        }
        assert_eq!(stalls.len(), KEPT);
        let first = &stalls[0];
        assert_eq!(
            (first.session, first.worker.as_str()),
            (Some(1.into()), "worker 3")
        );
        assert_eq!(first.stack, vec!["x".repeat(LINE_CHARACTERS); FRAMES]);
    }
}
