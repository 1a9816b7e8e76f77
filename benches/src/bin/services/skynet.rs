//! Two Lua services that call each other by one configuration: in the engine, and in skynet.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use moorline_benches::Result;
use tempfile::TempDir;

use super::PATIENCE;

/// The services: one calls the other.
const SCRIPTS: [&str; 2] = ["calls.lua", "echo.lua"];

/// A built tree of skynet, and a folder with the services and their configuration.
pub(crate) struct Skynet {
    tree: PathBuf,
    folder: TempDir,
}

impl Skynet {
    /// Copies the services from the folder `scripts`.
    pub(crate) fn new(tree: &Path, scripts: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in SCRIPTS {
            fs::copy(scripts.join(name), folder.path().join(name))?;
        }
        // It runs in its tree, where its own services and modules are.
        let tree = fs::canonicalize(tree)
            .map_err(|error| format!("there is no folder {}: {error}", tree.display()))?;
        Ok(Self { tree, folder })
    }

    /// Calls a second in the engine, and in skynet: the better of one worker thread, which wakes no other, and of one for each CPU.
    pub(crate) fn compare(&self, calls: u32, in_flight: u32) -> Result<(f64, f64)> {
        let config = self.configure(1, calls, in_flight)?;
        let mut engine = Command::new(std::env::current_exe()?.with_file_name("moorline"));
        engine
            .args(["run", "--config"])
            .arg(&config)
            .current_dir(self.folder.path());
        let engine = figure(engine)?;
        let mut best: f64 = 0.0;
        for threads in [1, thread::available_parallelism()?.get()] {
            let config = self.configure(threads, calls, in_flight)?;
            let mut skynet = Command::new(self.tree.join("skynet"));
            skynet.arg(&config).current_dir(&self.tree);
            best = best.max(figure(skynet)?);
        }
        Ok((engine, best))
    }

    /// Writes a configuration. What it does not say is where skynet looks by default: in its tree.
    fn configure(&self, threads: usize, calls: u32, in_flight: u32) -> Result<PathBuf> {
        let path = self.folder.path().join("config");
        let own = self.folder.path().join("?.lua");
        let own = own.to_str().ok_or("the temporary folder's path is text")?;
        let text = format!(
            "thread = {threads}\n\
             harbor = 0\n\
             start = \"calls {calls} {in_flight}\"\n\
             luaservice = [[{own};./service/?.lua]]\n"
        );
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// The first line of a program's output that is a number. The others are its log. The program ends then.
fn figure(mut command: Command) -> Result<f64> {
    let child = command.stdout(Stdio::piped()).spawn();
    let mut program =
        Program(child.map_err(|error| format!("{command:?} does not start: {error}"))?);
    let output = program.0.stdout.take().ok_or("its output is piped")?;
    let (tell, told) = mpsc::channel();
    // It reads on to the end, so that the program never writes into a closed pipe.
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(|line| line.ok()) {
            let _ = tell.send(line);
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut last = String::new();
    while let Ok(line) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        match line.parse() {
            Ok(number) => return Ok(number),
            Err(_) => last = line,
        }
    }
    Err(format!("{command:?} has printed no number of calls; its last line was: {last}").into())
}

/// One that is ended when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
