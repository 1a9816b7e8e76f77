//! An engine of real processes, in a folder of its own.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::status::{Json, Status, WorkerStatus};

/// How long anything that must happen may take: far more than it needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a stop may take before it is forced, when an engine is dropped.
const GRACE: Duration = Duration::from_secs(3);
/// The time between two looks at an awaited condition.
const LOOK: Duration = Duration::from_millis(10);

/// An app's program as its users run it: supervisor, gateway and workers, in a temporary folder.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // In an integration test: env!("CARGO_BIN_EXE_chat")
/// let program = "target/debug/chat";
/// let engine = moorline::testing::Engine::start(program, r#"
///     [[listen]]
///     address = "tcp://127.0.0.1:0"
///     framing = { kind = "line", max = "64KiB" }
/// "#)?;
/// let stream = std::net::TcpStream::connect(engine.address(0))?;
/// engine.crash_worker(0);
/// engine.reload()?;
/// assert!(engine.stop()?.success());
/// # Ok(())
/// # }
/// ```
///
/// All methods block. Dropping it stops all its processes and removes the folder; while a test panics it first prints the
/// end of the engine's log.
#[derive(Debug)]
pub struct Engine {
    folder: PathBuf,
    supervisor: Child,
    addresses: Vec<String>,
}

/// Why an engine did not start, or a command failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The folder cannot be written, or the program cannot be put there or run.
    Io(io::Error),
    /// The engine ended before it was ready, or was not ready within 30 seconds.
    NotReady {
        /// What it has printed, and its log.
        log: String,
    },
    /// A command of the program failed.
    Failed {
        /// What it has printed.
        output: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot run the engine: {error}"),
            Self::NotReady { log: text } | Self::Failed { output: text } => {
                f.write_str(text.trim())
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::NotReady { .. } | Self::Failed { .. } => None,
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Engine {
    /// Starts `program serve` with this configuration, and waits until it is ready. Port 0 in an address means any free
    /// port; relative paths begin in the engine's own folder.
    ///
    /// # Errors
    /// [`StartError::Io`] if the program cannot be started, [`StartError::NotReady`] if it ends before it is ready.
    pub fn start(program: impl AsRef<Path>, config: &str) -> Result<Self, StartError> {
        let folder = make_folder()?;
        let started = Self::start_in(&folder, program.as_ref(), config);
        if started.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        started
    }

    fn start_in(folder: &Path, program: &Path, config: &str) -> Result<Self, StartError> {
        place(program, folder)?;
        fs::write(folder.join("moorline.toml"), config)?;
        let mut supervisor = command(folder)
            .arg("serve")
            .arg("moorline.toml")
            .stdout(Stdio::piped())
            .stderr(File::create(folder.join("log"))?)
            .process_group(0)
            .spawn()?;
        let output = supervisor.stdout.take();
        let mut engine = Self {
            folder: folder.to_owned(),
            supervisor,
            addresses: Vec::new(),
        };
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Read to its end, so that the engine never writes into a closed pipe.
            for line in BufReader::new(output.into_iter().next()?).lines() {
                let _ = sender.send(line.ok()?);
            }
            Some(())
        });
        let mut printed = String::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) if line.trim() == "ready" => return Ok(engine),
                Ok(line) => {
                    let address = line.split_whitespace().find(|word| word.contains("://"));
                    engine.addresses.extend(address.map(str::to_owned));
                    printed = printed + &line + "\n";
                }
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {
                    return Err(StartError::NotReady {
                        log: printed + &engine.log(),
                    });
                }
            }
        }
    }

    /// The address of the listener with this number, counted from 0, with its real port. Panics if there is none, or if
    /// it is a Unix socket.
    #[track_caller]
    pub fn address(&self, listener: usize) -> SocketAddr {
        let address = self.addresses.get(listener);
        address
            .and_then(|address| address.split_once("://"))
            .and_then(|(_, rest)| rest.trim_end_matches('/').parse().ok())
            .unwrap_or_else(|| panic!("listener {listener} has no port: {:?}", self.addresses))
    }

    /// Its folder: configuration, log, and whatever the app writes there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Replaces the configuration, for the next [`reload`](Self::reload).
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn configure(&self, config: &str) -> io::Result<()> {
        fs::write(self.folder.join("moorline.toml"), config)
    }

    /// Puts another build of the program in place, for the next [`reload`](Self::reload).
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn install(&self, program: impl AsRef<Path>) -> io::Result<()> {
        place(program.as_ref(), &self.folder)
    }

    /// Reloads, and waits for the commit.
    ///
    /// # Errors
    /// [`StartError::Failed`] if the reload fails, and nothing has changed: with its reason.
    pub fn reload(&self) -> Result<(), StartError> {
        self.run(&["reload"]).map(|_| ())
    }

    /// Runs a command of the program, such as `["sessions", "--json"]`, for this engine; returns what it prints.
    ///
    /// # Errors
    /// [`StartError::Failed`] if it fails: with what it has printed; [`StartError::Io`] if it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Result<String, StartError> {
        let mut command = command(&self.folder);
        let Output {
            status,
            stdout,
            stderr,
        } = command.args(arguments).arg("moorline.toml").output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match status.success() {
            true => Ok(text(&stdout)),
            false => Err(StartError::Failed {
                output: text(&stdout) + &text(&stderr),
            }),
        }
    }

    /// How it is. Panics if it does not answer.
    #[track_caller]
    pub fn status(&self) -> Status {
        let text = self.run(&["status", "--json"]);
        let text = text.unwrap_or_else(|error| panic!("the status: {error}"));
        let json: Result<Json, _> = serde_json::from_str(&text);
        json.unwrap_or_else(|error| panic!("the status: {error}: {text}"))
            .into()
    }

    /// Kills the worker of this slot, and waits until another process serves it. Panics if none does within 30 seconds.
    #[track_caller]
    pub fn crash_worker(&self, slot: u16) {
        let worker = self.worker(slot, |_| true);
        // It may have ended by itself meanwhile.
        let _ = pid(worker.pid).map(|pid| kill_process(pid, Signal::KILL));
        self.worker(slot, |next| next.pid != worker.pid);
    }

    /// Stops it, and waits for its end.
    ///
    /// # Errors
    /// The program cannot be waited for.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        self.terminate();
        self.ended_within(PATIENCE)?
            .ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// The ready worker of a slot, once there is one like this.
    #[track_caller]
    fn worker(&self, slot: u16, is_wanted: impl Fn(&WorkerStatus) -> bool) -> WorkerStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            let mut ready = status.workers.into_iter().filter(|it| it.is_ready);
            if let Some(worker) = ready.find(|it| it.slot == slot && is_wanted(it)) {
                return worker;
            }
            assert!(
                Instant::now() < deadline,
                "no worker in slot {slot} within {PATIENCE:?}"
            );
            sleep(LOOK);
        }
    }

    fn terminate(&self) {
        if let Some(pid) = pid(self.supervisor.id().cast_signed()) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    fn ended_within(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(status) = self.supervisor.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            sleep(LOOK);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().rev().take(100).collect();
            eprintln!("--- the engine's log ---");
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        // The first TERM drains, the second ends at once.
        for _ in 0..2 {
            self.terminate();
            if matches!(self.ended_within(GRACE), Ok(Some(_))) {
                break;
            }
        }
        if let Some(group) = pid(self.supervisor.id().cast_signed()) {
            // Usually the group is empty by now.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.supervisor.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn pid(pid: i32) -> Option<Pid> {
    Pid::from_raw(pid)
}

/// A command for the program in this folder, not yet running.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(folder.join("app"));
    command
        .env("XDG_RUNTIME_DIR", folder)
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// Puts a program into the folder, in one step: no process ever sees a part of it.
fn place(program: &Path, folder: &Path) -> io::Result<()> {
    let draft = folder.join("app.draft");
    let _ = fs::remove_file(&draft);
    fs::hard_link(program, &draft).or_else(|_| fs::copy(program, &draft).map(|_| ()))?;
    fs::rename(draft, folder.join("app"))
}

fn make_folder() -> io::Result<PathBuf> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("moorline-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        match fs::create_dir(&folder) {
            // Left by an earlier process of this id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|()| folder),
        }
    }
}
