//! The servers under measurement, and the CPUs they run on.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
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

/// What an engine listens for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// Frames of a four-byte length.
    Tcp,
    WebSocket,
}

impl Listener {
    fn config(self) -> &'static str {
        match self {
            Self::Tcp => {
                "address = \"tcp://127.0.0.1:0\"\n\
                 framing = { kind = \"length\", width = 4, endian = \"big\", offset = 0, counts = \"payload\", max = \"2MiB\" }\n"
            }
            Self::WebSocket => {
                "address = \"http://127.0.0.1:0\"\nwebsocket = \"/\"\nmax_message = \"2MiB\"\n"
            }
        }
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

/// The name of an engine's configuration in its folder.
const CONFIG: &str = "moorline.toml";

/// How long to wait until a server is tried again that may listen by then.
const RETRY: Duration = Duration::from_millis(20);

impl Server {
    /// The echo example, with one gateway loop and one worker. It logs no sessions, as the others do not.
    pub(super) fn engine(release: &Path, listener: Listener, placement: Placement) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join(CONFIG);
        fs::write(
            &config,
            format!(
                "[engine]\nrun_dir = {:?}\ngateway_loops = 1\n\n[workers]\ncount = 1\nmax_wait = \"1s\"\n\n[engine.log]\nlevel = \"warn\"\n\n[[listen]]\n{}",
                folder.path().join("run"),
                listener.config()
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
            let worker = number(&server.status(release)?, "/workers/0/pid")?;
            pin(worker as u32, OTHER_CPU)?;
        }
        Ok(server)
    }

    pub(super) fn plain(release: &Path) -> Result<Self> {
        Self::simple(&release.join("plain_echo"))
    }

    pub(super) fn axum(release: &Path) -> Result<Self> {
        Self::simple(&release.join("axum_echo"))
    }

    /// A script of `benches/lua` that serves, with its services on one loop.
    pub(super) fn script(release: &Path, script: &Path) -> Result<Self> {
        let mut command = pinned(&release.join("moorline"));
        command.args(["run", "--loops", "1"]).arg(script);
        Self::listening(command)
    }

    /// One of `benches/src/bin` that takes its address.
    fn simple(program: &Path) -> Result<Self> {
        let mut command = pinned(program);
        command.arg("127.0.0.1:0");
        Self::listening(command)
    }

    fn listening(command: Command) -> Result<Self> {
        let (child, address) = start(command, "listening on ")?;
        Ok(Self {
            child,
            address,
            folder: None,
        })
    }

    /// A program that echoes WebSocket messages on the port it is given. It need not say when it listens.
    pub(super) fn uwebsockets(program: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = pinned(program);
        let child = command
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .map_err(no_taskset)?;
        let mut server = Self {
            child,
            address: format!("ws://127.0.0.1:{port}/"),
            folder: None,
        };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{} ended: {status}", program.display()).into());
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(format!("{} does not listen on {port}", program.display()).into());
            }
            std::thread::sleep(RETRY);
        }
        Ok(server)
    }

    /// The root of its processes: `taskset` becomes the server it starts.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An engine's gateway.
    pub(super) fn gateway_pid(&self, release: &Path) -> Result<u32> {
        Ok(number(&self.status(release)?, "/gateway/pid")? as u32)
    }

    /// What an engine says of itself.
    fn status(&self, release: &Path) -> Result<Value> {
        let folder = self.folder.as_ref().ok_or("only an engine has a status")?;
        let output = Command::new(release.join("examples/echo"))
            .arg("status")
            .arg(folder.path().join(CONFIG))
            .arg("--json")
            .output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs one benchmark against it, with what `pid` and its children spend.
    pub(super) fn bench(
        &self,
        release: &Path,
        mode: &str,
        pid: u32,
        arguments: &[[&str; 2]],
    ) -> Result<Value> {
        let output = Command::new(release.join("moorline"))
            .args(["bench", mode, &self.address, "--json", "--pid"])
            .arg(pid.to_string())
            .args(arguments.as_flattened())
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
                std::thread::sleep(RETRY);
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

fn no_taskset(error: io::Error) -> String {
    format!("`taskset` (package util-linux) does not start: {error}")
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

/// The address that a server says it listens on, as `moorline bench` takes it.
fn listens_on(line: &str) -> Option<String> {
    let rest = ["listening on ", "open "]
        .iter()
        .find_map(|prefix| line.strip_prefix(prefix))?;
    let address = rest.split_whitespace().next()?;
    // An engine says where a browser finds it.
    Some(address.replacen("http://", "ws://", 1))
}

/// Starts a server and waits for the line that begins with `ready`; returns the address it listens on.
fn start(mut command: Command, ready: &'static str) -> Result<(Child, String)> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(no_taskset)?;
    let stdout = child.stdout.take().ok_or("standard output is piped")?;
    let (found, address) = std::sync::mpsc::channel();
    // The thread reads on to the end, so that the server never writes into a closed pipe.
    std::thread::spawn(move || {
        let mut address = None;
        for line in BufReader::new(stdout)
            .lines()
            .map_while(std::io::Result::ok)
        {
            address = listens_on(&line).or(address);
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
