//! `idle`: the memory of a session that does nothing.

use std::time::{Duration, Instant};

use super::echo::open;
use super::interrupt::Interrupt;
use super::load::{AfterAnswer, Load};
use super::progress::Progress;
use super::report::{Memory, Outcome, Report, Run};
use super::server::private_memory;
use super::target::Source;
use super::{BenchError, DEFAULT_DURATION, Plan};

/// Opens all sessions with one exchange each, lets the server settle, looks at its memory and holds the
/// sessions to see that they stay.
pub(super) fn run(plan: &Plan) -> Result<Run, BenchError> {
    let interrupt = Interrupt::listen().map_err(BenchError::Loop)?;
    let mut load = Load::new(plan, Source::WhenShort, AfterAnswer::Rest, interrupt)?;
    let before = memory(plan)?;
    open(plan, &mut load)?;
    wait(plan, &mut load, "settling", plan.warm_up)?;
    let sessions = load.alive() as u64;
    let after = memory(plan)?;
    let hold = plan.duration.unwrap_or(DEFAULT_DURATION);
    let held = wait(plan, &mut load, "holding", hold)?;
    let is_interrupted = load.is_interrupted();
    load.finish()?;
    let outcome = Outcome::Memory(Memory {
        sessions,
        bytes: before.zip(after),
    });
    let faults = &load.tally.faults;
    Ok(Run {
        report: Report::new(plan, held, is_interrupted, faults, outcome),
        intervals: None,
        latency: None,
    })
}

/// Lets time pass while it watches the sessions; returns how much has passed.
fn wait(
    plan: &Plan,
    load: &mut Load<'_>,
    stage: &'static str,
    duration: Duration,
) -> Result<Duration, BenchError> {
    let mut progress = Progress::new(plan.shows_progress, stage, duration.as_millis() as u64);
    let began = Instant::now();
    while began.elapsed() < duration && load.alive() > 0 && !load.is_interrupted() {
        load.run()?;
        progress.set(began.elapsed().as_millis() as u64, String::new);
    }
    Ok(began.elapsed())
}

fn memory(plan: &Plan) -> Result<Option<u64>, BenchError> {
    plan.server
        .map(|pid| private_memory(pid).map_err(|cause| BenchError::Server { pid, cause }))
        .transpose()
}
