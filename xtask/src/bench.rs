//! `cargo xtask bench`: what Moorline costs beside a plain echo server.
//!
//! Both run in turn on the same machine, so that only their ratio counts and a noisy minute strikes both.
//! A is `examples/echo.rs` with one gateway loop and one worker, B is `benches/src/bin/plain_echo.rs`. The servers
//! are pinned to CPU 0 and the load to another, first with all of A on that CPU, then with its worker on
//! a CPU of its own. `tls_echo.rs` does the same for encrypted sessions, `broadcast.rs` for a
//! large group.

mod broadcast;
mod report;

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use report::{Aim, Report, Row};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Compares the engine's echo example with plain tokio servers: CPU per request, latency, memory, TLS.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BenchArgs {
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// How long each measurement takes.
    #[arg(long, default_value = "3s")]
    duration: String,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
    /// Measure this alone.
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Echo over TCP.
    Plain,
    /// Echo over TLS.
    Tls,
    /// Messages to a group of 10,000.
    Broadcast,
    /// Memory of idle sessions.
    Idle,
}

/// Concurrent sessions of each comparison.
const SESSIONS: [u32; 3] = [1, 64, 512];

const MESSAGE_BYTES: u32 = 128;

/// CPU time a request beside the plain server's, with sessions enough that a turn serves several.
const AIM_CPU: Aim = Aim::Ratio(1.0);
/// Latency of one session's requests, gateway and worker on one CPU.
const AIM_LATENCY: Aim = Aim::Ratio(1.25);
const AIM_TLS_CPU: Aim = Aim::Ratio(1.05);
const AIM_IDLE_BYTES: Aim = Aim::AtMost(1.2 * 1024.0);

/// Sessions whose memory is measured.
const IDLE_SESSIONS: u32 = 5000;

const SERVER_CPU: u16 = 0;
const OTHER_CPU: u16 = 1;

/// Turns of each server with TLS for each round of the others: they are a tenth as long.
const TLS_ROUNDS: usize = 6;

/// Builds, measures and prints. Takes some five minutes.
pub(crate) fn run(args: BenchArgs) -> Result {
    let root = workspace_root()?;
    build(&root)?;
    let release = target(&root).join("release");
    let mut rows = Vec::new();
    let measures = |part| args.only.is_none_or(|only| only == part);
    if measures(Part::Plain) {
        rows.extend(plain(&release, &args)?);
    }
    if measures(Part::Tls) {
        rows.extend(tls(&release, TLS_ROUNDS * usize::from(args.rounds))?);
    }
    if measures(Part::Broadcast) {
        rows.extend(broadcast::measure(&release, args.rounds)?);
    }
    if measures(Part::Idle) {
        rows.push(idle(&release)?);
    }
    let commit = commit(&root)?;
    let report = Report { commit, rows };
    if args.json {
        println!("{:#}", report.to_json());
    } else {
        print!("{report}");
    }
    Ok(())
}

/// CPU and latency of echo over TCP.
fn plain(release: &Path, args: &BenchArgs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for placement in [Placement::Together, Placement::Apart] {
        let engine = Server::engine(release, placement)?;
        let plain = Server::plain(release)?;
        for sessions in SESSIONS {
            let what = format!("echo, {MESSAGE_BYTES} B, {sessions} sessions, {placement}");
            let row = |unit, aim| Row {
                what: what.clone(),
                unit,
                engine: Vec::new(),
                plain: Vec::new(),
                aim,
            };
            let is_alone = sessions == 1;
            let is_together = placement == Placement::Together;
            let mut cpu = row(
                "CPU µs / request",
                (is_together && !is_alone).then_some(AIM_CPU),
            );
            let mut latency = row(
                "p50 latency µs",
                (is_together && is_alone).then_some(AIM_LATENCY),
            );
            for round in 1..=args.rounds {
                eprintln!("{what}, round {round}");
                for is_engine in [true, false] {
                    let server = if is_engine { &engine } else { &plain };
                    let result = server.bench(
                        release,
                        "echo",
                        &[
                            "--connections",
                            &sessions.to_string(),
                            "--size",
                            &MESSAGE_BYTES.to_string(),
                            "--duration",
                            &args.duration,
                            "--cpu",
                            &placement.load_cpu().to_string(),
                        ],
                    )?;
                    cpu.add(is_engine, number(&result, "/server_cpu_us_per_request")?);
                    latency.add(is_engine, number(&result, "/latency_us/p50")?);
                }
            }
            rows.extend([cpu, latency]);
        }
    }
    Ok(rows)
}

/// CPU of echo over TLS.
fn tls(release: &Path, rounds: usize) -> Result<Vec<Row>> {
    eprintln!("TLS, {rounds} rounds");
    let output = Command::new(release.join("tls_echo"))
        .arg("compare")
        .arg(release.join("examples/echo"))
        .arg(rounds.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("TLS could not be measured".into());
    }
    let cases: Value = serde_json::from_slice(&output.stdout)?;
    let cases = cases.as_array().ok_or("a list of cases")?;
    let read = |case: &Value| {
        let numbers = |key: &str| -> Result<Vec<f64>> {
            let list = case[key].as_array().ok_or("a list of numbers")?;
            Ok(list.iter().filter_map(Value::as_f64).collect())
        };
        Ok(Row {
            what: format!(
                "TLS echo, {} B, {} sessions, {}",
                number(case, "/message_bytes")?,
                number(case, "/sessions")?,
                Placement::Together
            ),
            unit: "CPU µs / request",
            engine: numbers("engine_us")?,
            plain: numbers("plain_us")?,
            aim: Some(AIM_TLS_CPU),
        })
    };
    cases.iter().map(read).collect()
}

/// Private bytes of an idle session, the engine's and the plain server's.
fn idle(release: &Path) -> Result<Row> {
    let bytes = |server: Server| {
        eprintln!("{IDLE_SESSIONS} idle sessions");
        let sessions = IDLE_SESSIONS.to_string();
        let arguments = ["--connections", &sessions, "--duration", "1s"];
        let result = server.bench(release, "idle", &arguments)?;
        number(&result, "/server_bytes_per_session")
    };
    Ok(Row {
        what: "an idle session".into(),
        unit: "private bytes",
        engine: vec![bytes(Server::engine(release, Placement::Together)?)?],
        plain: vec![bytes(Server::plain(release)?)?],
        aim: Some(AIM_IDLE_BYTES),
    })
}

/// What is measured: the commit, and whether the tree differs from it.
fn commit(root: &Path) -> Result<String> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["describe", "--always", "--dirty", "--exclude", "*"])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Where cargo builds.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn workspace_root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("xtask lies in a folder of the workspace")?
        .to_owned())
}

fn build(root: &Path) -> Result {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--bins", "--example", "echo"])
        .args(["--package", "moorline", "--package", "moorline-benches"])
        .args(["--package", "moorline-examples"])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the release build failed".into())
    }
}

/// Where the engine's processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placement {
    /// Gateway and worker on one CPU.
    Together,
    /// Each on a CPU of its own.
    Apart,
}

impl Placement {
    /// A third CPU if there is one: with two, load and worker share.
    fn load_cpu(self) -> u16 {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        match self {
            Self::Apart if cpus > 2 => OTHER_CPU + 1,
            Self::Together | Self::Apart => OTHER_CPU,
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Together => "one CPU",
            Self::Apart => "two CPUs",
        })
    }
}

/// A server under measurement; ended when dropped.
struct Server {
    child: Child,
    address: String,
    /// Its configuration lies here; plain servers have none.
    folder: Option<tempfile::TempDir>,
}

/// How long a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long an engine may take to stop after it was told to, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

impl Server {
    fn engine(release: &Path, placement: Placement) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("moorline.toml");
        fs::write(
            &config,
            format!(
                "[engine]\nrun_dir = {:?}\ngateway_loops = 1\n\n[workers]\ncount = 1\nmax_wait = \"1s\"\n\n\
                 [[listen]]\naddress = \"tcp://127.0.0.1:0\"\n\
                 framing = {{ kind = \"length\", width = 4, endian = \"big\", offset = 0, counts = \"payload\", max = \"2MiB\" }}\n",
                folder.path().join("run")
            ),
        )?;
        let echo = release.join("examples/echo");
        let mut command = pinned(&echo);
        command.arg("serve").arg(&config);
        let (child, address) = start(command, "ready")?;
        let server = Self {
            child,
            address,
            folder: Some(folder),
        };
        if placement == Placement::Apart {
            let output = Command::new(&echo)
                .arg("status")
                .arg(&config)
                .arg("--json")
                .output()?;
            let status: Value = serde_json::from_slice(&output.stdout)?;
            pin(number(&status, "/workers/0/pid")? as u32, OTHER_CPU)?;
        }
        Ok(server)
    }

    fn plain(release: &Path) -> Result<Self> {
        let mut command = pinned(&release.join("plain_echo"));
        command.arg("127.0.0.1:0");
        let (child, address) = start(command, "listening on ")?;
        Ok(Self {
            child,
            address,
            folder: None,
        })
    }

    /// Runs one benchmark against it. `taskset` becomes the server it starts, so the child's id is the
    /// root of its processes.
    fn bench(&self, release: &Path, mode: &str, arguments: &[&str]) -> Result<Value> {
        let output = Command::new(release.join("moorline"))
            .args(["bench", mode, &self.address, "--json", "--pid"])
            .arg(self.child.id().to_string())
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!(
                "the benchmark found errors: {}",
                String::from_utf8_lossy(&output.stdout)
            )
            .into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.folder.is_some() {
            // Asked to stop, the engine ends all its processes; killed, it would leave that to them. Should
            // asking fail, killing remains.
            let _ = Command::new("kill")
                .arg(self.child.id().to_string())
                .status();
            let asked = Instant::now();
            while asked.elapsed() < STOP_TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", &SERVER_CPU.to_string()])
        .arg(program);
    command
}

fn pin(pid: u32, cpu: u16) -> Result {
    let status = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid"])
        .args([cpu.to_string(), pid.to_string()])
        .stdout(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`taskset` could not move process {pid} to CPU {cpu}").into())
    }
}

/// Starts a server and waits for the line that begins with `ready`; returns the address it listens on.
fn start(mut command: Command, ready: &'static str) -> Result<(Child, String)> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`taskset` (package util-linux) does not start: {error}"))?;
    let stdout = child.stdout.take().ok_or("standard output is piped")?;
    let (found, address) = std::sync::mpsc::channel();
    // The thread reads on to the end, so that the server never writes into a closed pipe.
    std::thread::spawn(move || {
        let mut address = None;
        for line in BufReader::new(stdout)
            .lines()
            .map_while(std::io::Result::ok)
        {
            if let Some(rest) = line.strip_prefix("listening on ") {
                address = rest.split_whitespace().next().map(str::to_owned);
            }
            if line.starts_with(ready)
                && let Some(address) = address.take()
            {
                // Nobody waits any more after a timeout.
                let _ = found.send(address);
            }
        }
    });
    match address.recv_timeout(START_TIMEOUT) {
        Ok(address) => Ok((child, address)),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(format!("{command:?} did not come up: {error}").into())
        }
    }
}

fn number(value: &Value, pointer: &str) -> Result<f64> {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .ok_or_else(|| format!("{pointer} is missing in {value}").into())
}
