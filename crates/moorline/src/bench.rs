//! `moorline bench`: a load generator that checks every answer.
//!
//! One thread, one epoll and reused buffers: it needs little CPU time beside the system calls, which cost a client as
//! much as a server. The results contain its own CPU time. Each connection keeps one request outstanding and compares
//! its answer byte by byte with the expected one.
//!
//! In reading order: `target` and `message` (where to and what), `schedule` (when, with `--rate`), `client` (one
//! connection), `load` (all of them), `latencies` and `series` (how long answers took, and what came when), `echo` and `idle` (the modes), `server` (what the other
//! side spends), `report` and `chart` (what is shown), `saved` (a run in a file) and `machine` (where it ran), `page` (the
//! report as HTML, into a `result_file`), `compare` (two saved runs).

mod chart;
mod client;
mod compare;
mod echo;
mod fault;
mod idle;
mod interrupt;
mod latencies;
mod load;
mod machine;
mod message;
mod page;
mod progress;
mod report;
mod result_file;
mod saved;
mod schedule;
mod series;
mod server;
mod target;
mod time;
mod units;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use compare::Comparison;
use message::Codec;
use moorline_net::Framing;
use result_file::ResultFile;
use saved::Saved;
use target::Target;
pub(crate) use time::Time;

/// Opens connections to a server, sends messages and checks each answer; tells how many requests a
/// second that were, how long they took and what the server spent on them.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub other: Option<BenchCommand>,
    #[command(flatten)]
    pub load: Option<LoadArgs>,
}

/// What `bench` does without load.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum BenchCommand {
    /// Compare two runs that `--save` has written: figures, ratios, and both histograms on one axis.
    Compare(CompareArgs),
}

/// Which runs are compared.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompareArgs {
    /// The run that the other is compared with.
    #[arg(value_name = "A.json")]
    pub a: PathBuf,
    /// The other run.
    #[arg(value_name = "B.json")]
    pub b: PathBuf,
    /// Write the comparison as a page for browsers.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

/// The load.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    /// What each connection does.
    #[arg(value_enum)]
    pub mode: Mode,
    /// Where to: tcp://HOST:PORT, unix:///PATH or ws://HOST:PORT/PATH.
    pub address: Target,
    /// How messages are told apart on tcp:// and unix://: length, line, raw, delimiter=TEXT, or a length with
    /// settings, as for dial: length:width=2,endian=little,counts=message.
    #[arg(long, value_name = "FRAMING", default_value = "length", value_parser = crate::framing::parse)]
    pub framing: Framing,
    /// How many connections at the same time.
    #[arg(long, short, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// How many bytes a message has, for instance 128 or 4KiB.
    #[arg(long, short, default_value = "128", value_parser = units::parse_size)]
    pub size: usize,
    /// How long to measure (idle: to hold the sessions); 10s unless --count is given.
    #[arg(long, short, value_parser = units::parse_duration)]
    pub duration: Option<Duration>,
    /// Send this many requests a second, as in 5000 or 5000/s, however fast the answers come: a clock says when each is due, and
    /// its latency counts from then. Without it each connection sends as soon as it has its answer.
    #[arg(long, value_name = "N", value_parser = units::parse_rate)]
    pub rate: Option<u32>,
    /// End after this many answers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// How long to run before measuring begins (idle: to let the server settle).
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = units::parse_duration)]
    pub warm_up: Duration,
    /// The root of the server's process tree, whose CPU time and memory are told.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Find the server's processes by its configuration.
    #[arg(long, conflicts_with = "pid")]
    pub config: Option<PathBuf>,
    /// Find the server's processes by its run directory.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["pid", "config"])]
    pub run_dir: Option<PathBuf>,
    /// Run the load on this CPU only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..1024))]
    pub cpu: Option<u16>,
    /// Print the results as JSON.
    #[arg(long)]
    pub json: bool,
    /// Write the results as a page for browsers, with charts.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Write the results, with the whole histogram, into a file for `bench compare`.
    #[arg(long, value_name = "FILE.json")]
    pub save: Option<PathBuf>,
}

/// What each connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Request after request on the same connection.
    Echo,
    /// Connect, one request, close; again and again.
    Connect,
    /// One request, then nothing: what does an idle session cost in memory?
    Idle,
}

/// Runs the benchmark and prints its results.
///
/// `server` is the root of the server's process tree if the caller found it by `--config` or
/// `--run-dir`; `--pid` comes first. Blocks until the end or the first Ctrl-C, after which what was
/// measured until then is printed. Fails (1) if any answer was missing or wrong or nothing could be
/// measured.
pub(crate) fn run(args: &LoadArgs, server: Option<u32>) -> ExitCode {
    exit(measure(args, args.pid.or(server)))
}

/// Compares two saved runs. Fails (1) if a file cannot be read, is not one, or the page cannot be written.
pub(crate) fn compare(args: &CompareArgs) -> ExitCode {
    exit(comparison(args).map(|()| true))
}

fn comparison(args: &CompareArgs) -> Result<(), BenchError> {
    let (a, b) = (Saved::read(&args.a)?, Saved::read(&args.b)?);
    let comparison = Comparison::new(a, b).ok_or(BenchError::Unlike)?;
    if let Some(path) = &args.report {
        ResultFile::begin(path)?.write(&page::of_two(&comparison))?;
    }
    print(&comparison.to_string())
}

fn exit(outcome: Result<bool, BenchError>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True if every answer was right.
fn measure(args: &LoadArgs, server: Option<u32>) -> Result<bool, BenchError> {
    if args.rate.is_some() && args.mode == Mode::Idle {
        return Err(BenchError::IdleRate);
    }
    // Before the load: a mistake in their names must not cost the results.
    let save = args.save.as_deref().map(ResultFile::begin).transpose()?;
    let page = args.report.as_deref().map(ResultFile::begin).transpose()?;
    allow_descriptors(u64::from(args.connections))?;
    if let Some(cpu) = args.cpu {
        let mut cpus = CpuSet::new();
        cpus.set(usize::from(cpu));
        sched_setaffinity(None, &cpus).map_err(|cause| BenchError::Pin {
            cpu,
            cause: cause.into(),
        })?;
    }
    let plan = Plan::new(args, server)?;
    let began = SystemTime::now();
    let run = match args.mode {
        Mode::Echo | Mode::Connect => echo::run(&plan)?,
        Mode::Idle => idle::run(&plan)?,
    };
    print(&match args.json {
        true => run.report.to_json() + "\n",
        false => run.report.to_string(),
    })?;
    let is_faultless = run.report.is_faultless();
    let saved = Saved::new(run, began);
    if let Some(page) = page {
        page.write(&page::of_run(&saved))?;
    }
    if let Some(save) = save {
        save.write(&saved.to_json())?;
    }
    Ok(is_faultless)
}

fn print(text: &str) -> Result<(), BenchError> {
    match io::stdout().write_all(text.as_bytes()) {
        // The reader, `head` for instance, has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(BenchError::Print),
    }
}

/// Bounded without being asked, yet long enough for a p99.9 that means something.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// The benchmark to run, checked.
struct Plan {
    mode: Mode,
    target: Target,
    codec: Codec,
    connections: u32,
    size: usize,
    /// Requests a second; `None`: as fast as answers come.
    rate: Option<u32>,
    /// `None`: until `count` is reached.
    duration: Option<Duration>,
    count: Option<u64>,
    warm_up: Duration,
    server: Option<u32>,
    shows_progress: bool,
}

impl Plan {
    fn new(args: &LoadArgs, server: Option<u32>) -> Result<Self, BenchError> {
        Ok(Self {
            mode: args.mode,
            codec: Codec::new(&args.address, &args.framing, args.size)
                .map_err(BenchError::Framing)?,
            target: args.address.clone(),
            connections: args.connections,
            size: args.size,
            rate: args.rate,
            duration: match (args.duration, args.count) {
                (None, None) => Some(DEFAULT_DURATION),
                (duration, _) => duration,
            },
            count: args.count,
            warm_up: args.warm_up,
            server,
            shows_progress: !args.json,
        })
    }
}

/// Raises the limit of open descriptors so that `connections` fit.
fn allow_descriptors(connections: u64) -> Result<(), BenchError> {
    /// Standard streams, epoll, the signal handler's pipe, files of /proc.
    const OTHERS: u64 = 64;
    let needed = connections + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    // Root may raise the hard limit too; everybody else gets as far as that.
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    let raised = Rlimit {
        current: Some(needed),
        maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|cause| BenchError::Descriptors {
        connections,
        limit: limit.maximum.unwrap_or(u64::MAX),
        cause: cause.into(),
    })
}

/// Why nothing could be measured.
#[derive(Debug)]
enum BenchError {
    /// The limit of open descriptors is too low and cannot be raised.
    Descriptors {
        connections: u64,
        limit: u64,
        cause: io::Error,
    },
    /// Messages of this size do not go through the framing.
    Framing(String),
    /// Idle sessions send nothing.
    IdleRate,
    /// `--cpu` names a CPU that is not there.
    Pin { cpu: u16, cause: io::Error },
    /// No connection could be opened and used.
    NoConnection { target: String, reason: String },
    /// The server's processes cannot be looked at.
    Server { pid: u32, cause: io::Error },
    /// The generator's own event loop failed.
    Loop(io::Error),
    /// The results could not be written.
    Print(io::Error),
    /// A file for the results cannot be written.
    Write { file: PathBuf, cause: io::Error },
    /// A file cannot be read.
    Read { file: PathBuf, cause: io::Error },
    /// A file is not what `--save` writes.
    Unknown { file: PathBuf, reason: String },
    /// Two runs measured different things.
    Unlike,
}

impl std::fmt::Display for BenchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Descriptors {
                connections,
                limit,
                cause,
            } => write!(
                f,
                "{connections} connections need more open files than the hard limit of {limit} allows \
                 ({cause}); raise it with `ulimit -Hn` or ask for fewer with --connections"
            ),
            Self::Framing(reason) => write!(f, "--framing: {reason}"),
            Self::IdleRate => f.write_str("--rate: idle sessions send nothing; the modes echo and connect do"),
            Self::Pin { cpu, cause } => write!(
                f,
                "the load cannot run on CPU {cpu} ({cause}); `nproc` tells how many there are, counted from 0"
            ),
            Self::NoConnection { target, reason } => {
                write!(f, "no connection to {target} works: {reason}")
            }
            Self::Server { pid, cause } => write!(
                f,
                "the server's process {pid} cannot be looked at ({cause}); is it running, and are you its user or root?"
            ),
            Self::Loop(cause) => write!(f, "the load generator failed: {cause}"),
            Self::Print(cause) => write!(f, "the results could not be written: {cause}"),
            Self::Write { file, cause } => write!(
                f,
                "{} cannot be written: {cause}",
                file.display()
            ),
            Self::Read { file, cause } => write!(
                f,
                "{} cannot be read: {cause}",
                file.display()
            ),
            Self::Unknown { file, reason } => write!(
                f,
                "{} is no run that `bench --save` has written: {reason}",
                file.display()
            ),
            Self::Unlike => f.write_str(
                "one run measured the memory of idle sessions and the other requests; compare runs of the same mode",
            ),
        }
    }
}

impl std::error::Error for BenchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Descriptors { cause, .. }
            | Self::Pin { cause, .. }
            | Self::Server { cause, .. }
            | Self::Loop(cause)
            | Self::Write { cause, .. }
            | Self::Read { cause, .. }
            | Self::Print(cause) => Some(cause),
            Self::NoConnection { .. }
            | Self::Framing(_)
            | Self::IdleRate
            | Self::Unknown { .. }
            | Self::Unlike => None,
        }
    }
}

impl From<rustix::io::Errno> for BenchError {
    /// Errors of the event loop: those of connections and of the server are above.
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Loop(errno.into())
    }
}
