//! `echo` and `connect`: request after request, in a closed loop.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::thread::set_current_timer_slack;
use rustix::time::{ClockId, clock_gettime};

use super::interrupt::Interrupt;
use super::load::{AfterAnswer, Load, PATIENCE};
use super::progress::Progress;
use super::report::{Outcome, Rates, Report, Run};
use super::server::CpuSample;
use super::target::Source;
use super::{BenchError, Mode, Plan};

pub(super) fn run(plan: &Plan) -> Result<Run, BenchError> {
    let (source, after_answer) = match plan.mode {
        Mode::Connect => (Source::EachTime, AfterAnswer::Reconnect),
        Mode::Echo | Mode::Idle => (Source::WhenShort, AfterAnswer::Request),
    };
    let interrupt = Interrupt::listen().map_err(BenchError::Loop)?;
    let mut load = Load::new(plan, source, after_answer, interrupt)?;
    if let Some(rate) = plan.rate {
        wake_exactly();
        load.after_answer = AfterAnswer::Rest;
        open(plan, &mut load)?;
        load.after_answer = after_answer;
        load.pace(rate);
    } else {
        open(plan, &mut load)?;
    }
    warm_up(plan, &mut load)?;
    let server_before = sample(plan)?;
    let load_before = own_time();
    load.tally.restart();
    if let Some(rate) = plan.rate {
        load.pace(rate);
    }
    let elapsed = until_done(plan, &mut load)?;
    let (intervals, paced) = load.end();
    let load_spent = own_time() - load_before;
    let server_spent = match (sample(plan)?, server_before) {
        (Some(after), Some(before)) => Some(after.since(&before)),
        _ => None,
    };
    let (answers, latency) = (load.tally.answers, load.tally.latency.clone());
    let is_interrupted = load.is_interrupted();
    load.finish()?;
    // With a rate the answers to come count, with the time that they take: the clock has asked for them.
    let latency = match paced {
        Some(_) => load.tally.latency.clone(),
        None => latency,
    };
    let rates = Rates {
        answers,
        latency: &latency,
        server_spent,
        load_spent,
        paced,
    };
    let faults = &load.tally.faults;
    let outcome = Outcome::Rates(rates);
    Ok(Run {
        report: Report::new(plan, elapsed, is_interrupted, faults, outcome),
        intervals: Some(intervals),
        latency: Some(latency),
    })
}

/// Has the kernel wake this thread when a request is due, and not up to 50 µs later.
fn wake_exactly() {
    // Without it requests are begun a little later, and their latency says so.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

/// Opens all connections and shows how far it is.
pub(super) fn open(plan: &Plan, load: &mut Load<'_>) -> Result<(), BenchError> {
    let mut progress = Progress::new(plan.shows_progress, "connecting", plan.connections.into());
    load.open(|opened| progress.set(opened as u64, String::new))
}

fn warm_up(plan: &Plan, load: &mut Load<'_>) -> Result<(), BenchError> {
    let mut progress = Progress::new(
        plan.shows_progress,
        "warming up",
        plan.warm_up.as_millis() as u64,
    );
    let began = Instant::now();
    while began.elapsed() < plan.warm_up && load.alive() > 0 && !load.is_interrupted() {
        load.run()?;
        progress.set(began.elapsed().as_millis() as u64, String::new);
    }
    Ok(())
}

/// Runs until time is up, the count is reached, no connection is left, nothing comes any more or the user interrupts.
/// Returns how long that took.
fn until_done(plan: &Plan, load: &mut Load<'_>) -> Result<Duration, BenchError> {
    let length = plan
        .count
        .or_else(|| plan.duration.map(|duration| duration.as_millis() as u64));
    let mut progress = Progress::new(plan.shows_progress, "measuring", length.unwrap_or(0));
    let began = Instant::now();
    let (mut answers, mut answered) = (0, Duration::ZERO);
    loop {
        load.run()?;
        let elapsed = began.elapsed();
        if load.tally.answers > answers {
            (answers, answered) = (load.tally.answers, elapsed);
        }
        let is_over = plan.duration.is_some_and(|duration| elapsed >= duration)
            || plan.count.is_some_and(|count| answers >= count)
            // With a duration the silence ends with it.
            || (plan.duration.is_none() && elapsed - answered > PATIENCE)
            || load.alive() == 0
            || load.is_interrupted();
        if is_over {
            return Ok(elapsed);
        }
        let position = match plan.count {
            Some(_) => answers,
            None => elapsed.as_millis() as u64,
        };
        progress.set(position, || {
            format!("{:.0} req/s", answers as f64 / elapsed.as_secs_f64())
        });
    }
}

fn sample(plan: &Plan) -> Result<Option<CpuSample>, BenchError> {
    plan.server
        .map(|pid| CpuSample::take(pid).map_err(|cause| BenchError::Server { pid, cause }))
        .transpose()
}

/// CPU time this thread has spent.
fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // A clock that counts from 0 is neither negative nor past its own second.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
