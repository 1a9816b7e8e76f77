//! The CPU time of sessions that do nothing but answer pings.
//!
//! `rest compare SESSIONS SECONDS` starts this program as two engines with SESSIONS WebSocket sessions each, one with pings every 25
//! seconds and one without, and prints the CPU time of both in these seconds, as a part of a core for 50,000 sessions.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use moorline_benches::Result;
use moorline_benches::figures::{Figures, print};
use moorline_benches::resting::{self, Resting};
use moorline_benches::server::{Measured, be_the_load};

/// What the CPU time is told for.
const SCALE: f64 = 50_000.0;
/// The time in which the last sessions open.
const SETTLING: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    resting::run_program("compare", compare)
}

fn compare(arguments: &[String]) -> Result {
    let [sessions, seconds] = arguments else {
        return Err("usage: rest compare SESSIONS SECONDS".into());
    };
    be_the_load()?;
    let sessions = sessions.parse()?;
    let window = Duration::from_secs(seconds.parse()?);
    let of = |pings: &str| {
        let listener = format!("websocket = \"/\"\nping_interval = \"{pings}\"\n");
        Resting::begin(Measured::engine(&listener)?, sessions)
    };
    eprintln!("{sessions} sessions at rest, twice");
    let all = [of("25s")?, of("off")?];
    std::thread::sleep(SETTLING);
    let times = || -> Result<[Duration; 2]> {
        let [with_pings, without] = &all;
        Ok([with_pings.server.cpu_time()?, without.server.cpu_time()?])
    };
    let (before, began) = (times()?, Instant::now());
    std::thread::sleep(window);
    let (after, elapsed) = (times()?, began.elapsed().as_secs_f64());
    let scale = SCALE / sessions as f64;
    let percent = |at: usize| (after[at] - before[at]).as_secs_f64() / elapsed * 100.0 * scale;
    let what = format!("{sessions} sessions at rest, 25 s pings to none");
    let mut figures = Figures::new(what, "% of a core / 50,000");
    figures.push(percent(0), percent(1));
    print(&[figures]);
    Ok(())
}
