//! Many sessions that do nothing: their memory, their CPU time, and a reload under them.
//!
//! `million measure SESSIONS SECONDS` starts this program as engines with one gateway loop and one worker each, until all of them together have SESSIONS
//! WebSocket sessions: a process may have too few open files for all. It prints what one session costs the engine and the kernel.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use moorline_benches::Result;
use moorline_benches::figures::{Figures, print};
use moorline_benches::resting::{self, Resting};
use moorline_benches::server::{Measured, be_the_load};

/// Sessions of one engine: fewer than a process may have open files by a common hard limit.
const SESSIONS_OF_ONE: usize = 17_000;
/// The time in which the last sessions open.
const SETTLING: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    resting::run_program("measure", measure)
}

fn measure(arguments: &[String]) -> Result {
    let [sessions, seconds] = arguments else {
        return Err("usage: million measure SESSIONS SECONDS".into());
    };
    let (sessions, window): (usize, _) = (sessions.parse()?, seconds.parse()?);
    be_the_load()?;
    let engines: Vec<Measured> = (0..sessions.div_ceil(SESSIONS_OF_ONE))
        .map(|_| Measured::engine("websocket = \"/\"\n"))
        .collect::<Result<_>>()?;
    let counts = shares(sessions, engines.len());
    let empty = State::of(engines.iter())?;
    let mut all = Vec::new();
    for (engine, count) in engines.into_iter().zip(counts) {
        eprintln!("{count} sessions");
        all.push(Resting::begin(engine, count)?);
    }
    std::thread::sleep(SETTLING);
    let open = State::of(all.iter().map(|it| &it.server))?;
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(window));
    let rested = State::of(all.iter().map(|it| &it.server))?;
    let elapsed = began.elapsed();
    let mut longest = Duration::ZERO;
    for resting in &all {
        let asked = Instant::now();
        resting.server.reload()?;
        longest = longest.max(asked.elapsed());
    }
    std::thread::sleep(SETTLING);
    let mut ended = 0;
    for resting in all {
        ended += resting.ended()?;
    }
    let of_one = |bytes: u64| bytes as f64 / sessions as f64;
    let row = |what: &str, unit, figure| {
        let mut figures = Figures::new(format!("{sessions} sessions at rest, {what}"), unit);
        figures.push_alone(figure);
        figures
    };
    let cpu = (rested.cpu - open.cpu).as_secs_f64() / elapsed.as_secs_f64() * 100.0;
    let opening = (open.cpu - empty.cpu).as_secs_f64() * 1e6 / sessions as f64;
    // The kernel has the client's socket of each too.
    let kernel = of_one(open.kernel.saturating_sub(empty.kernel)) / 2.0;
    let private = of_one(open.private.saturating_sub(empty.private));
    print(&[
        row("all processes, of one", "private bytes", private),
        row("kernel, of one socket", "bytes", kernel),
        row("pings every 25 s", "% of a core", cpu),
        row("opening one", "CPU µs", opening),
        row("longest reload", "s", longest.as_secs_f64()),
        row("ended by the reloads", "sessions", ended as f64),
    ]);
    Ok(())
}

/// What the engines and the kernel have and have spent.
#[derive(Debug, Default)]
struct State {
    private: u64,
    kernel: u64,
    cpu: Duration,
}

impl State {
    fn of<'a>(engines: impl Iterator<Item = &'a Measured>) -> Result<Self> {
        let mut state = Self {
            kernel: kernel_memory()?,
            ..Self::default()
        };
        for engine in engines {
            state.private += engine.private_memory()?;
            state.cpu += engine.cpu_time()?;
        }
        Ok(state)
    }
}

/// How many sessions each of the engines gets.
fn shares(sessions: usize, engines: usize) -> Vec<usize> {
    let each = sessions / engines;
    let more = sessions % engines;
    (0..engines)
        .map(|at| each + usize::from(at < more))
        .collect()
}

/// The kernel's memory for its objects, in bytes: sockets, files, entries of epoll sets.
fn kernel_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find(|line| line.starts_with("Slab:"));
    let kilobytes: u64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .ok_or("the kernel's memory")?
        .parse()?;
    Ok(kilobytes * 1024)
}
