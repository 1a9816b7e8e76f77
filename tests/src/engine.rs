//! An engine as its users run it: an executable and a configuration in a folder, commands, processes, a log.

mod status;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

pub use status::{ListenerStatus, Lost, ProcessStatus, Relays, Reloads, Stall, Status};

use super::process::{self, Process};
use super::{Client, Finish, Finished, PATIENCE, Wire, eventually, happens_within};

/// A folder with an executable and its configuration, in which engines can be started.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    /// What commands are run with: the app as it was first, whatever lies in its place now.
    command: PathBuf,
}

/// A running engine. Dropping it stops it and fails if any process of it is left.
pub struct Engine {
    site: Arc<Site>,
    supervisor: Child,
    addresses: Vec<String>,
}

impl Site {
    /// A site where the app of this name is the executable. `{folder}` in the configuration stands for the site's folder.
    pub fn new(app: &str, config: &str) -> Arc<Site> {
        let folder = tempfile::Builder::new()
            .prefix("moorline-")
            .tempdir()
            .expect("a temporary folder");
        let site = Site {
            folder,
            command: built(app),
        };
        site.install(app);
        site.configure(config);
        Arc::new(site)
    }

    /// A file in the site's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the site's folder at once: nobody sees a part of it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let (draft, place) = (self.path(&format!("{name}.draft")), self.path(name));
        fs::create_dir_all(place.parent().expect("the place is within the folder"))
            .expect("a folder");
        fs::write(&draft, content)
            .and_then(|()| fs::rename(&draft, &place))
            .expect("the folder can be written");
    }

    /// Copies the files of a folder, without those in its folders.
    pub fn copy(&self, from: &Path, to: &str) {
        for file in fs::read_dir(from)
            .expect("the folder can be read")
            .flatten()
        {
            let name = file.file_name();
            let content = fs::read(file.path()).expect("the file can be read");
            self.write(&format!("{to}/{}", name.display()), content);
        }
    }

    /// Replaces the configuration.
    pub fn configure(&self, config: &str) {
        let folder = self
            .folder
            .path()
            .to_str()
            .expect("temporary folders have plain names");
        self.write("moorline.toml", config.replace("{folder}", folder));
    }

    /// Puts another app in place of the executable, as a deployment does: linked beside it, then renamed over it.
    pub fn install(&self, app: &str) {
        let draft = self.path("app.draft");
        let _ = fs::remove_file(&draft);
        fs::hard_link(built(app), &draft)
            .or_else(|_| fs::copy(built(app), &draft).map(|_| ()))
            .and_then(|()| fs::rename(&draft, self.path("app")))
            .expect("the app can be put in place");
    }

    /// Starts an engine and waits until it is ready.
    #[track_caller]
    pub fn start(self: &Arc<Self>) -> Engine {
        self.try_start()
            .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"))
    }

    /// Starts an engine and waits until it is ready, or has ended instead.
    pub fn try_start(self: &Arc<Self>) -> Result<Engine, Finished> {
        self.try_start_by("exec \"$0\" \"$@\"", |_| {})
    }

    /// The same by a shell script whose arguments are the command, and which `prepare` may change the environment of.
    pub fn try_start_by(
        self: &Arc<Self>,
        script: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Engine, Finished> {
        let errors = File::create(self.path("stderr")).expect("the folder can be written");
        // A session of their own makes an engine's processes findable even when they are orphans. setsid and the
        // shell replace themselves by the executable, so that their process id is the supervisor's.
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", script])
            .arg(self.path("app"))
            .arg("serve")
            .arg(self.path("moorline.toml"))
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        prepare(&mut command);
        let mut supervisor = command.spawn().expect("setsid is part of every Debian");
        let output = supervisor.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // It is read to its end, so that the engine never writes into a closed pipe.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut engine = Engine {
            site: self.clone(),
            supervisor,
            addresses: Vec::new(),
        };
        let mut said = String::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) if line.trim() == "ready" => return Ok(engine),
                Ok(line) => {
                    if let Some(address) = line.split_whitespace().find(|word| word.contains("://"))
                        && engine.addresses.last().is_none_or(|last| last != address)
                    {
                        engine.addresses.push(address.to_owned());
                    }
                    said.push_str(&line);
                    said.push('\n');
                }
                Err(RecvTimeoutError::Timeout) => panic!("the engine is not ready: {}", self.log()),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = engine.supervisor.wait().expect("a child can be waited for");
                    return Err(Finished {
                        status,
                        stdout: said,
                        stderr: self.log(),
                    });
                }
            }
        }
    }

    /// Runs the app's command, with the configuration as its last argument, and waits for its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.command(arguments)
            .arg(self.path("moorline.toml"))
            .finish()
    }

    /// The app's command with these arguments, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command
            .args(arguments)
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// What the engine has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("stderr")).unwrap_or_default()).into_owned()
    }

    /// Waits for a line of the log that has all these words in it, and returns it.
    #[track_caller]
    pub fn logged(&self, words: &[&str]) -> String {
        let mut found = None;
        let came = happens_within(PATIENCE, || {
            found = self
                .log()
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)))
                .map(str::to_owned);
            found.is_some()
        });
        assert!(
            came,
            "no line of the log has {words:?} in it:\n{}",
            self.log()
        );
        found.unwrap_or_default()
    }

    /// The probe's journal of its hooks, if the configuration names `{folder}/journal` for it.
    pub fn journal(&self) -> Vec<String> {
        fs::read_to_string(self.path("journal"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Lines of the journal that begin with `start`.
    pub fn journal_of(&self, start: &str) -> Vec<String> {
        self.journal()
            .into_iter()
            .filter(|line| line.starts_with(start))
            .collect()
    }

    /// Waits until the journal has this line.
    #[track_caller]
    pub fn journaled(&self, line: &str) {
        let came = happens_within(PATIENCE, || {
            self.journal().iter().any(|written| written == line)
        });
        assert!(came, "the journal has no {line:?}: {:#?}", self.journal());
    }
}

impl Engine {
    /// Starts the app of this name with this configuration in a folder of its own, and waits until it is ready.
    #[track_caller]
    pub fn start(app: &str, config: &str) -> Engine {
        Site::new(app, config).start()
    }

    /// Where listener number `listener` of the configuration listens, with its real port.
    #[track_caller]
    pub fn address(&self, listener: usize) -> &str {
        let addresses = &self.addresses;
        addresses
            .get(listener)
            .unwrap_or_else(|| panic!("listener {listener} was not announced: {addresses:?}"))
    }

    /// The same as an internet address.
    #[track_caller]
    pub fn socket_address(&self, listener: usize) -> SocketAddr {
        let address = self.address(listener);
        address
            .split_once("://")
            .and_then(|(_, rest)| rest.trim_end_matches('/').parse().ok())
            .unwrap_or_else(|| panic!("{address} is no internet address"))
    }

    /// The folder it was started in, to start another after it.
    pub fn site(&self) -> Arc<Site> {
        self.site.clone()
    }

    pub fn reload(&self) -> Finished {
        self.run(&["reload"])
    }

    /// What `status --json` says.
    #[track_caller]
    pub fn status(&self) -> Status {
        let finished = self.run(&["status", "--json"]).expect_success();
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| {
            panic!("the status has another form ({error}): {}", finished.stdout)
        })
    }

    /// The worker that serves this slot.
    #[track_caller]
    pub fn worker(&self, slot: u16) -> ProcessStatus {
        let mut found = None;
        eventually(&format!("slot {slot} has a ready worker"), || {
            found = self
                .status()
                .ready_workers()
                .into_iter()
                .find(|worker| worker.slot == slot);
            found.is_some()
        });
        found.unwrap_or_else(|| panic!("slot {slot} has no worker"))
    }

    /// Kills the worker of this slot, and returns its process id.
    pub fn kill_worker(&self, slot: u16, signal: Signal) -> i32 {
        let worker = self.worker(slot);
        process::kill(worker.pid, signal);
        worker.pid
    }

    /// Waits until every slot has a ready worker and nothing drains.
    #[track_caller]
    pub fn settled(&self) -> Status {
        eventually("every worker is ready", || {
            self.status()
                .workers
                .iter()
                .all(|worker| worker.state == "ready")
        });
        self.status()
    }

    pub fn supervisor(&self) -> i32 {
        self.supervisor.id() as i32
    }

    /// Every process of it, the supervisor included.
    pub fn processes(&self) -> Vec<Process> {
        process::processes_of_session(self.supervisor())
    }

    /// One question to the probe at the first listener, by a client that leaves after it.
    #[track_caller]
    pub fn ask_once(&self, command: &str) -> String {
        Client::connect(self, 0, Wire::LENGTH).ask(command)
    }

    /// Waits for the supervisor's end.
    pub fn ended(&mut self) -> ExitStatus {
        self.ended_within(PATIENCE)
            .unwrap_or_else(|| panic!("the engine does not end: {}", self.log()))
    }

    /// The supervisor's end, if it comes within this time.
    pub fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let mut status = None;
        happens_within(time, || {
            status = self
                .supervisor
                .try_wait()
                .expect("a child can be waited for");
            status.is_some()
        });
        status
    }

    /// Kills every process of it, as a power failure does.
    pub fn kill_everything(&mut self) {
        for process in self.processes() {
            process::kill(process.pid, Signal::SIGKILL);
        }
        let _ = self.supervisor.wait();
    }
}

impl Deref for Engine {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the engine's log ---\n{}", tail(&self.log()));
            for command in ["status", "sessions"] {
                eprintln!("--- {command} ---\n{}", self.run(&[command]).said());
            }
            self.kill_everything();
            return;
        }
        // The first TERM drains, the second ends at once.
        let deadline = Instant::now() + PATIENCE;
        for patience in [Duration::from_secs(2), deadline - Instant::now()] {
            process::kill(self.supervisor(), Signal::SIGTERM);
            if self.ended_within(patience).is_some() {
                break;
            }
        }
        let gone = happens_within(Duration::from_secs(5), || self.processes().is_empty());
        let left = self.processes();
        self.kill_everything();
        assert!(
            gone,
            "processes are left after the engine's end: {left:#?}\n{}",
            tail(&self.log())
        );
    }
}

/// The last part of a log, enough to see what happened.
fn tail(log: &str) -> &str {
    const CHARACTERS: usize = 20_000;
    let start =
        (log.len().saturating_sub(CHARACTERS)..log.len()).find(|&at| log.is_char_boundary(at));
    &log[start.unwrap_or(0)..]
}

/// Where cargo has put the program of this name: the command, a test app, or an example.
#[track_caller]
pub fn built(program: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its executable");
    let folder = own.parent().expect("an executable lies in a folder");
    // Tests lie one folder below the programs.
    let folder = match folder.parent() {
        Some(above) if folder.ends_with("deps") => above,
        _ => folder,
    };
    let places = [folder.join(program), folder.join("examples").join(program)];
    let found = places.into_iter().find(|place| place.is_file());
    found.unwrap_or_else(|| {
        panic!("{program} is not built: cargo build --workspace --bins --examples")
    })
}
