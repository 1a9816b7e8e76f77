//! What a loop has done in the last moment, for the flight recorder: events that are too frequent for a record of each.

use moorline_protocol::control::{BEAT, Limit, LoopCounter};
use moorline_protocol::flight::FlightKind;

use crate::cx::Cx;
use crate::processes::Processes;

/// The counts when the last record was written.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// When the next record is due, in the loop's milliseconds.
    due: u64,
    messages: u64,
    limits: [u64; Limit::ALL.len()],
    /// Lines of the log and of access logs that were lost before this process went on.
    lost_before: [u64; 2],
}

impl Activity {
    /// That of a loop that goes on with the counters of another.
    pub(crate) fn after(cx: &Cx) -> Self {
        let count = |counter: LoopCounter| cx.counters.get(counter as usize);
        let limit = |limit| {
            cx.counters
                .get(LoopCounter::Limits as usize + limit as usize)
        };
        Self {
            due: 0,
            messages: count(LoopCounter::Messages),
            limits: Limit::ALL.map(limit),
            lost_before: [
                count(LoopCounter::LogLinesDropped),
                count(LoopCounter::AccessLinesLost),
            ],
        }
    }

    /// Counts lines of the log and of access logs that were lost. They are the process's, not a loop's; one of them says so.
    pub(crate) fn note_lost_lines(&self, cx: &Cx) {
        let [log, access] = self.lost_before;
        let dropped = log + moorline_process::log::dropped();
        cx.counters
            .set(LoopCounter::LogLinesDropped as usize, dropped);
        let lost = access + cx.shared.access_logs.lost();
        cx.counters.set(LoopCounter::AccessLinesLost as usize, lost);
    }

    /// Notes what was done since the last time, if it was anything, and if that is long enough ago.
    #[inline]
    pub(crate) fn note(&mut self, processes: &mut Processes, cx: &Cx) {
        if cx.clock.ms >= self.due {
            self.due = cx.clock.ms + BEAT.as_millis() as u64;
            self.note_now(processes, cx);
        }
    }

    fn note_now(&mut self, processes: &mut Processes, cx: &Cx) {
        let since = |last: &mut u64, counter: usize| {
            let now = cx.counters.get(counter);
            now.saturating_sub(std::mem::replace(last, now))
        };
        let messages = since(&mut self.messages, LoopCounter::Messages as usize);
        let wakes = processes.take_wakes();
        if messages > 0 || wakes > 0 {
            cx.flight.note(FlightKind::Worked, 0, wakes, messages);
        }
        let parks = std::mem::take(&mut processes.parks);
        if parks > 0 {
            cx.flight.note(FlightKind::RingFull, 0, 0, parks);
        }
        for (last, limit) in self.limits.iter_mut().zip(Limit::ALL) {
            let times = since(last, LoopCounter::Limits as usize + limit as usize);
            if times > 0 {
                cx.flight
                    .note(FlightKind::LimitReached, limit as u16, 0, times);
            }
        }
    }
}
