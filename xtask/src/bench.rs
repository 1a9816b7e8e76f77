//! `cargo xtask bench`: what Moorline costs beside a plain echo server.
//!
//! Both run in turn on the same machine, so that only their ratio counts and a noisy minute strikes both.
//! A is `examples/echo.rs` with one gateway loop and one worker, B is `benches/src/bin/plain_echo.rs`. The servers
//! are pinned to CPU 0 and the load to another, first with all of A on that CPU, then with its worker on
//! a CPU of its own. `tls_echo.rs` does the same for encrypted sessions, `broadcast.rs` for a
//! large group.

mod broadcast;
mod report;
mod server;
mod tls;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use report::{Aim, Report, Row};
use server::{Placement, Server};

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
const AIM_IDLE_BYTES: Aim = Aim::AtMost(1.2 * 1024.0);

/// Sessions whose memory is measured.
const IDLE_SESSIONS: u32 = 5000;

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
        rows.extend(tls::measure(&release, args.rounds)?);
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

fn number(value: &Value, pointer: &str) -> Result<f64> {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .ok_or_else(|| format!("{pointer} is missing in {value}").into())
}
