//! `cargo xtask bench`: what Moorline costs beside a plain echo server.
//!
//! Both run in turn on the same machine, so that only their ratio counts and a noisy minute strikes both. The engine is
//! `examples/echo.rs` with one gateway loop and one worker. The other is `benches/src/bin/plain_echo.rs`, or
//! `axum_echo.rs` for WebSocket sessions. The servers are pinned to CPU 0 and the load to another, first with all of the
//! engine on that CPU, then with its worker on a CPU of its own. `tls_echo.rs` does the same for encrypted sessions,
//! `broadcast.rs` for a large group. `web.rs` lists what is measured of HTTP, and `proxy.rs` is the part beside other proxies.

mod broadcast;
mod cluster;
mod comparison;
mod echo;
mod idle;
mod program;
mod proxy;
mod report;
mod server;
mod services;
mod tls;
mod turns;
mod web;
mod websocket;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use serde_json::Value;

use report::Report;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Compares the engine's echo example with plain tokio servers: CPU per request, latency, memory, WebSocket, TLS.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BenchArgs {
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// How long each measurement takes; those of TLS, broadcasts and memory have a length of their own.
    #[arg(long, default_value = "1500ms")]
    duration: String,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
    /// Measure this alone; several with commas between.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<Part>,
    /// Compare WebSocket sessions with this program too, an echo server on uWebSockets. It is run as `PATH PORT`,
    /// listens there on 127.0.0.1, and echoes messages of 1 MiB and less on every path. It does not compress, unless a
    /// word follows: `shared` (without context takeover) or `dedicated` (with it).
    #[arg(long, value_name = "PATH")]
    uwebsockets: Option<PathBuf>,
    /// Compare Lua services with skynet, too: a folder in which it was built, with the program `skynet`.
    #[arg(long, value_name = "DIR")]
    skynet: Option<PathBuf>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Echo over TCP of short messages.
    Plain,
    /// Echo over TCP of larger messages.
    Sizes,
    /// Connections that ask once and close.
    Connect,
    /// Echo and handshakes of WebSocket sessions.
    #[value(name = "websocket")]
    WebSocket,
    /// Echo over TLS.
    Tls,
    /// Messages to a group of 10,000.
    Broadcast,
    /// Calls between two nodes, beside requests over bare NATS.
    Cluster,
    /// Memory of idle sessions.
    Idle,
    /// Compressed WebSocket messages.
    Deflate,
    /// Plain HTTP requests that the app answers.
    Requests,
    /// What is published to groups, and clients that come back.
    Publish,
    /// CPU time of idle sessions.
    Rest,
    /// 200,000 idle sessions on this machine.
    Million,
    /// Relays, beside nginx and HAProxy.
    Proxy,
    /// Services that call each other, in Rust and in Lua, and an echo over TCP in Lua.
    Services,
    /// The size of programs.
    Program,
}

/// What most comparisons are measured in.
const CPU_UNIT: &str = "CPU µs / request";

/// Builds, measures and prints. Takes some twenty minutes.
pub(crate) fn run(args: BenchArgs) -> Result {
    let root = workspace_root()?;
    if let Some(folder) = &args.skynet {
        has_skynet(folder)?;
    }
    build(&root)?;
    let release = target(&root).join("release");
    let mut rows = Vec::new();
    let parts = match args.only.as_slice() {
        [] => Part::value_variants(),
        only => only,
    };
    let mut relays = None;
    for part in parts {
        rows.extend(match part {
            Part::Plain => echo::plain(&release, &args)?,
            Part::Sizes => echo::sizes(&release, &args)?,
            Part::Connect => echo::connect(&release, &args)?,
            Part::WebSocket => websocket::measure(&release, &args)?,
            Part::Tls => tls::measure(&release, args.rounds)?,
            Part::Broadcast => broadcast::measure(&release, args.rounds)?,
            Part::Cluster => cluster::measure(&release, args.rounds)?,
            Part::Idle => idle::measure(&release)?,
            Part::Deflate => web::deflate(&release, &args)?,
            Part::Requests => web::requests(&release, &args)?,
            Part::Publish => web::publish(&release, &args)?,
            Part::Rest => web::rest(&release)?,
            Part::Million => web::million(&release)?,
            Part::Proxy => {
                relays = Some(proxy::measure(&release, args.rounds)?);
                Vec::new()
            }
            Part::Services => services::measure(&root, &release, &args)?,
            Part::Program => program::measure(&root, &release)?,
        });
    }
    let commit = commit(&root)?;
    let report = Report {
        commit,
        rows,
        relays,
    };
    if args.json {
        println!("{:#}", report.to_json());
    } else {
        print!("{report}");
    }
    Ok(())
}

/// Before anything is built: whether skynet was.
fn has_skynet(folder: &Path) -> Result {
    match folder.join("skynet").is_file() {
        true => Ok(()),
        false => Err(format!(
            "there is no program `skynet` in {}: build skynet there with `make linux`, or give --skynet the folder where it was built",
            folder.display()
        )
        .into()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_skynet_is_refused() {
        let folder = tempfile::tempdir().expect("there is room");
        let refused = has_skynet(folder.path()).expect_err("it is empty");
        assert!(
            refused
                .to_string()
                .starts_with("there is no program `skynet` in ")
        );
        std::fs::write(folder.path().join("skynet"), "").expect("there is room");
        assert!(has_skynet(folder.path()).is_ok());
    }
}
