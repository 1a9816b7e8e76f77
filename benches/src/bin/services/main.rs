//! Services that call each other, beside two tokio tasks that do: in Rust, and in Lua by the program `moorline` beside this one.
//!
//! `services ROUNDS SCRIPTS [SKYNET]` measures all of it ROUNDS times, with the scripts in the folder SCRIPTS. It is meant to be run alone.
//! With a folder SKYNET, the services in Lua run in the `skynet` there, too: see `skynet`.

mod skynet;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::sync::mpsc as answers;
use std::time::{Duration, Instant};

use moorline_actor::{Address, Context, LaunchOptions, Service, System, SystemOptions};
use moorline_benches::Result;
use moorline_benches::figures::{Figures, print};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};

use skynet::Skynet;

/// Calls of one measurement between services of Rust.
const CALLS: u32 = 2_000_000;
/// Calls of one between services of Lua.
const LUA_CALLS: u32 = 500_000;
/// Calls in flight between loops.
const ACROSS_IN_FLIGHT: u32 = 256;
/// Idle services whose memory is measured.
const IDLE: u32 = 1_000_000;
/// Lua services whose memory and launch are measured.
const LUA_IDLE: u32 = 20_000;
/// The longest that a measurement takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.as_slice() {
        [_, rounds, scripts] => compare(rounds, scripts.as_ref(), None),
        [_, rounds, scripts, skynet] => compare(rounds, scripts.as_ref(), Some(skynet.as_ref())),
        _ => Err("usage: services ROUNDS SCRIPTS [SKYNET]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(rounds: &str, scripts: &Path, skynet: Option<&Path>) -> Result {
    let rounds: u32 = rounds.parse()?;
    let skynet = skynet.map(|tree| Skynet::new(tree, scripts)).transpose()?;
    let one = "two services, a call at a time";
    let many = "two services, 16 calls at a time";
    let mut figures = [
        Figures::new(one, "calls / second"),
        Figures::new("services of two loops, 256 calls", "calls / second"),
        Figures::new(format!("{one}, in Lua"), "calls / second"),
        Figures::new(format!("{many}, in Lua"), "calls / second"),
        Figures::new("Lua services that dispatch", "launches / second"),
        Figures::new("a Lua service that dispatches", "bytes"),
        Figures::new("an idle service", "bytes"),
    ];
    let mut beside = [
        (1, "two Lua services, a call at a time, to skynet"),
        (16, "two Lua services, 16 calls at a time, to skynet"),
    ]
    .map(|(in_flight, what)| (in_flight, Figures::new(what, "calls / second")));
    for round in 1..=rounds {
        eprintln!("services, round {round} of {rounds}");
        let task = calls_of_tasks()?;
        figures[0].push(calls(LaunchOptions::default(), 1)?, task);
        figures[1].push(calls(on(1), ACROSS_IN_FLIGHT)?, task);
        for (at, in_flight) in [(2, 1), (3, 16)] {
            let arguments = [LUA_CALLS, in_flight];
            figures[at].push(lua(scripts, "calls.lua", &arguments)?[0], task);
        }
        if let Some(skynet) = &skynet {
            for (in_flight, figures) in &mut beside {
                let (engine, other) = skynet.compare(LUA_CALLS, *in_flight)?;
                figures.push(engine, other);
            }
        }
        let idle = lua(scripts, "idle.lua", &[LUA_IDLE])?;
        figures[4].push_alone(idle[0]);
        figures[5].push_alone(idle[1]);
        figures[6].push_alone(bytes_of_idle()?);
    }
    let mut all = Vec::from(figures);
    if skynet.is_some() {
        all.extend(beside.map(|(_, figures)| figures));
    }
    print(&all);
    Ok(())
}

struct Echo;

impl Service for Echo {
    type Request = u64;
    type Reply = u64;

    async fn handle(self: Rc<Self>, _: Context, number: u64) -> u64 {
        number
    }
}

/// Calls a service of this kind of place, and tells how long it took.
struct Caller {
    on: LaunchOptions,
    in_flight: u32,
    tell: answers::Sender<Duration>,
}

impl Service for Caller {
    type Request = ();
    type Reply = ();

    async fn handle(self: Rc<Self>, context: Context, (): ()) {
        let Ok(echo) = context.launch(self.on, |_| Ok(Echo)).await else {
            return;
        };
        let start = Instant::now();
        let (ended, mut all_ended) = mpsc::channel::<()>(1);
        for _ in 1..self.in_flight {
            let (context, ended) = (context.clone(), ended.clone());
            let calls = CALLS / self.in_flight;
            context.clone().spawn(async move {
                call(&context, echo, calls).await;
                drop(ended);
            });
        }
        drop(ended);
        call(&context, echo, CALLS / self.in_flight).await;
        all_ended.recv().await;
        let _ = self.tell.send(start.elapsed());
    }
}

async fn call(context: &Context, echo: Address<Echo>, calls: u32) {
    for number in 0..u64::from(calls) {
        let _ = context.call(echo, number).await;
    }
}

fn on(index: usize) -> LaunchOptions {
    LaunchOptions {
        on: Some(index),
        ..LaunchOptions::default()
    }
}

/// Calls a second between two services.
fn calls(on: LaunchOptions, in_flight: u32) -> Result<f64> {
    let system = System::start(SystemOptions {
        loops: on.on.map_or(1, |_| 2),
        ..SystemOptions::default()
    })?;
    let (tell, told) = answers::channel();
    let caller = system.launch(self::on(0), move |_| {
        Ok(Caller {
            on,
            in_flight,
            tell,
        })
    })?;
    system.send(caller, ());
    let took = told.recv_timeout(PATIENCE)?;
    Ok(f64::from(CALLS) / took.as_secs_f64())
}

/// The same by hand: two tasks of one thread, a channel for requests and one for each answer.
fn calls_of_tasks() -> Result<f64> {
    let runtime = Builder::new_current_thread().build()?;
    let calls = async {
        let (ask, mut asked) = mpsc::channel::<(u64, oneshot::Sender<u64>)>(64);
        spawn_local(async move {
            while let Some((number, answer)) = asked.recv().await {
                let _ = answer.send(number);
            }
        });
        let start = Instant::now();
        for number in 0..u64::from(CALLS) {
            let (answer, answered) = oneshot::channel();
            if ask.send((number, answer)).await.is_ok() {
                let _ = answered.await;
            }
        }
        f64::from(CALLS) / start.elapsed().as_secs_f64()
    };
    Ok(LocalSet::new().block_on(&runtime, calls))
}

/// Bytes of memory for each idle service.
fn bytes_of_idle() -> Result<f64> {
    let system = System::start(SystemOptions::default())?;
    let before = resident()?;
    let mut last = None;
    for _ in 0..IDLE {
        last = Some(system.launch(LaunchOptions::default(), |_| Ok(Echo))?);
    }
    let last = last.ok_or("there are services")?;
    let (tell, told) = answers::channel();
    struct Last(Address<Echo>, answers::Sender<()>);
    impl Service for Last {
        type Request = ();
        type Reply = ();
        async fn handle(self: Rc<Self>, context: Context, (): ()) {
            let _ = context.call(self.0, 1).await;
            let _ = self.1.send(());
        }
    }
    let caller = system.launch(LaunchOptions::default(), move |_| Ok(Last(last, tell)))?;
    system.send(caller, ());
    told.recv_timeout(PATIENCE)?;
    Ok((resident()? - before) / f64::from(IDLE))
}

/// What this process has in memory.
fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: f64 = kilobytes.ok_or("RssAnon is there")?.parse()?;
    Ok(kilobytes * 1024.0)
}

/// The numbers that a script prints in its last line.
fn lua(scripts: &Path, name: &str, arguments: &[u32]) -> Result<Vec<f64>> {
    let moorline = std::env::current_exe()?.with_file_name("moorline");
    let output = Command::new(moorline)
        .arg("run")
        .arg(scripts.join(name))
        .args(arguments.iter().map(u32::to_string))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().last().unwrap_or_default();
    let numbers: Vec<f64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match output.status.success() && !numbers.is_empty() {
        true => Ok(numbers),
        false => Err(format!("{name} has failed: {text}").into()),
    }
}
