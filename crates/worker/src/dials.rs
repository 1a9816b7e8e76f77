//! The connections that the app makes on the process's thread, for the flight recorder.

use std::cell::Cell;
use std::time::Duration;

use moorline_net::dial::{Outcome, StepKind};
use moorline_net::{Timeline, watch_dials};

use crate::flight::{FlightKind, FlightLog, now_ns};

/// The steps of one dial that are noted: it cannot push out all other events.
const STEPS: usize = 16;

/// Notes the dials of this thread from now on.
pub(super) fn note_dials(flight: FlightLog) {
    let last = Cell::new(0_u32);
    watch_dials(move |timeline| {
        last.set(last.get().wrapping_add(1));
        note(&flight, u64::from(last.get()), timeline);
    });
}

fn note(flight: &FlightLog, dial: u64, timeline: &Timeline) {
    let total = timeline.total().unwrap_or_default();
    let begun = now_ns().saturating_sub(nanoseconds(total));
    for step in timeline.steps().iter().take(STEPS) {
        let took = step.took.unwrap_or_default();
        let kind = match step.kind {
            StepKind::Resolve => 0,
            StepKind::Connect => 1,
            StepKind::Proxy => 2,
            StepKind::Tls => 3,
            _ => u8::MAX,
        };
        let detail = u16::from_be_bytes([kind, how(&step.outcome)]);
        let at = begun.saturating_add(nanoseconds(step.start + took));
        let errno = step.errno.and_then(|it| u16::try_from(it).ok());
        let named = u64::from(errno.unwrap_or(0)) << u32::BITS | dial;
        let took = microseconds(took);
        flight.note_at(at, (FlightKind::DialStep, detail), named, took);
    }
    let detail = u16::from(how(timeline.outcome()));
    flight.note(FlightKind::Dialed, detail, dial, microseconds(total));
}

fn how(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Running => 0,
        Outcome::Done => 1,
        Outcome::Failed(_) => 2,
        Outcome::TimedOut => 3,
        Outcome::Cancelled => 4,
        _ => u8::MAX,
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
