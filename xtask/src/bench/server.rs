//! The servers under measurement, and the CPUs they run on.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Result, number};

const SERVER_CPU: u16 = 0;
const OTHER_CPU: u16 = 1;

/// Where the engine's processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// Gateway and worker on one CPU.
    Together,
    /// Each on a CPU of its own.
    Apart,
}

impl Placement {
    /// A third CPU if there is one: with two, load and worker share.
    pub(super) fn load_cpu(self) -> u16 {
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
pub(super) struct Server {
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
    pub(super) fn engine(release: &Path, placement: Placement) -> Result<Self> {
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

    pub(super) fn plain(release: &Path) -> Result<Self> {
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
    pub(super) fn bench(&self, release: &Path, mode: &str, arguments: &[&str]) -> Result<Value> {
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
