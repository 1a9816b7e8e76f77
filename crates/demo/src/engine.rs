//! The engine: a process of its own, and questions to it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use moorline_protocol::command::{self, CommandError, Request, Response, Scope};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{sleep, timeout};

use crate::DemoError;
use crate::site::Site;

/// How long the engine may take to serve, on a busy machine.
const START_TIME: Duration = Duration::from_secs(60);
/// How long it may take to end.
const STOP_TIME: Duration = Duration::from_secs(15);
/// How often it is asked whether it serves.
const PAUSE: Duration = Duration::from_millis(50);
/// The last lines of its output, for who asks why it has ended.
const LINES: usize = 12;
/// A line is cut here.
const LINE_CHARACTERS: usize = 2000;

/// The engine.
pub(crate) struct Engine {
    process: Child,
    output: Output,
}

/// Where the engine listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doors {
    pub(crate) visitors: SocketAddr,
    pub(crate) people: SocketAddr,
    pub(crate) flood: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// What it has written lately.
type Output = Arc<Mutex<VecDeque<String>>>;

impl Engine {
    /// Starts it. Dropping it ends its supervisor at once; [`stop`](Self::stop) waits until all of it has ended.
    pub(crate) fn spawn(program: &Path, site: &Site) -> io::Result<Self> {
        let mut process = Command::new(program)
            .args(["serve", "--end-with-parent"])
            .arg(site.config())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is for the demo, which ends the engine.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let output = Output::default();
        if let Some(lines) = process.stdout.take() {
            spawn_local(keep_lines(lines, Arc::clone(&output)));
        }
        if let Some(lines) = process.stderr.take() {
            spawn_local(keep_lines(lines, Arc::clone(&output)));
        }
        Ok(Self { process, output })
    }

    /// Waits until it serves. It may be dropped at any time.
    pub(crate) async fn serves(&mut self, site: &Arc<Site>) -> Result<Doors, DemoError> {
        let output = &self.output;
        let doors = async {
            loop {
                if let Some(doors) = doors(site, output).await {
                    return doors;
                }
                sleep(PAUSE).await;
            }
        };
        let doors = tokio::select! {
            doors = timeout(START_TIME, doors) => doors.ok(),
            _ = self.process.wait() => None,
        };
        doors.ok_or_else(|| DemoError::Ended(last_lines(&self.output)))
    }

    /// Waits until it ends by itself, and returns its last lines.
    pub(crate) async fn ended(&mut self) -> String {
        // If it cannot be waited for it is not ours any more.
        let _ = self.process.wait().await;
        last_lines(&self.output)
    }

    /// Ends it and all its processes.
    pub(crate) async fn stop(mut self) {
        end(&mut self.process).await;
    }
}

async fn end(process: &mut Child) {
    let pid = process.id().and_then(|pid| Pid::from_raw(pid as i32));
    let Some(pid) = pid else {
        return;
    };
    let _ = kill_process(pid, Signal::TERM);
    if timeout(STOP_TIME, process.wait()).await.is_err() {
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = process.wait().await;
    }
}

/// Where it listens, once a worker is ready and all listeners are there.
async fn doors(site: &Arc<Site>, output: &Output) -> Option<Doors> {
    let admin = lines(output).iter().find_map(|line| {
        let (_, rest) = line.split_once("serves http://")?;
        rest.split('/').next()?.parse().ok()
    })?;
    let site = Arc::clone(site);
    let status = spawn_blocking(move || status(site.run_dir().as_path()));
    let status = status.await.ok()??;
    let is_ready = |worker: &Value| worker["state"] == "ready";
    if !status["workers"].as_array()?.iter().any(is_ready) {
        return None;
    }
    let listeners = status["listeners"].as_array()?;
    let door = |name: &str| {
        let listener = listeners.iter().find(|it| it["name"] == name)?;
        let (_, address) = listener["address"].as_str()?.split_once("://")?;
        address.trim_end_matches('/').parse().ok()
    };
    Some(Doors {
        visitors: door("visitors")?,
        people: door("people")?,
        flood: door("flood")?,
        admin,
    })
}

/// The state of the engine in this run folder, if it answers. It blocks.
pub(crate) fn status(run_dir: &Path) -> Option<Value> {
    let mut status = None;
    let asked = command::ask(run_dir, Request::Status, |answer| {
        if let Response::Status(told) = answer {
            status = Some(told);
        }
    });
    asked.ok().and(status)
}

/// Has the engine in this run folder reload. It blocks until that is over.
pub(crate) fn reload(run_dir: &Path) -> Result<String, CommandError> {
    let mut last = String::new();
    let request = Request::Reload {
        scope: Scope::All,
        config: None,
    };
    command::ask(run_dir, request, |answer| {
        if let Response::Done(text) = answer {
            last = text;
        }
    })?;
    Ok(last)
}

/// Sends a signal to a process of the engine.
pub(crate) fn send(pid: u64, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    Ok(kill_process(pid, signal)?)
}

async fn keep_lines(from: impl AsyncRead + Unpin, output: Output) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = line.chars().take(LINE_CHARACTERS).collect();
        let mut kept = output.lock().unwrap_or_else(|it| it.into_inner());
        // The address of the page comes early, and is kept until it was found.
        if kept.len() >= LINES * 8 {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

fn lines(output: &Output) -> Vec<String> {
    let kept = output.lock().unwrap_or_else(|it| it.into_inner());
    kept.iter().cloned().collect()
}

fn last_lines(output: &Output) -> String {
    let lines = lines(output);
    let first = lines.len().saturating_sub(LINES);
    lines[first..].join("\n")
}
