//! Servers on CPU 0, their CPU time and their memory.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::Result;

const SERVER_CPU: &str = "0";
/// An engine's configuration, in its folder.
const CONFIG: &str = "moorline.toml";
const LOAD_CPU: usize = 1;
/// How long a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Until a server is tried again that may listen by then.
const RETRY: Duration = Duration::from_millis(20);

/// A server under measurement; ended when dropped.
#[derive(Debug)]
pub struct Measured {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// An engine's configuration lies here.
    folder: Option<tempfile::TempDir>,
}

impl Measured {
    /// This program as an engine with one loop and one worker. `listener`: further keys of its HTTP listener.
    pub fn engine(listener: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join(CONFIG);
        let run_dir = folder.path().join("run");
        let text = format!(
            "[engine]\nrun_dir = {run_dir:?}\ngateway_loops = 1\n[engine.log]\nlevel = \"warn\"\n\
             [workers]\ncount = 1\nmax_wait = \"1s\"\n\
             [[listen]]\naddress = \"http://127.0.0.1:0\"\n{listener}"
        );
        fs::write(&config, text)?;
        let mut command = pinned(&std::env::current_exe()?);
        command.arg("serve").arg(config);
        Self::start(command, Some(folder))
    }

    /// This program as another server, named by its first argument.
    pub fn other(name: &str) -> Result<Self> {
        let mut command = pinned(&std::env::current_exe()?);
        command.arg(name);
        Self::start(command, None)
    }

    /// A program that is run as `PROGRAM PORT WORD` and need not say when it listens.
    pub fn program(program: &str, word: &str) -> Result<Self> {
        let address = free_address()?;
        let mut command = pinned(Path::new(program));
        command.args([&address.port().to_string(), word]);
        Self::listening(command, address, None)
    }

    /// A command that listens there some time after it has begun. `folder`: what it needs, removed with it.
    pub fn listening(
        mut command: Command,
        address: SocketAddr,
        folder: Option<tempfile::TempDir>,
    ) -> Result<Self> {
        let child = command.stdout(Stdio::null()).spawn()?;
        let mut server = Self {
            child,
            address,
            folder,
        };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > START_TIMEOUT || server.child.try_wait()?.is_some() {
                return Err(format!("{command:?} does not listen on {address}").into());
            }
            std::thread::sleep(RETRY);
        }
        Ok(server)
    }

    fn start(mut command: Command, folder: Option<tempfile::TempDir>) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("it is piped")?;
        let mut lines = BufReader::new(output).lines();
        let mut address = None;
        let address = loop {
            let line = lines.next().ok_or("the server did not come up")??;
            if let Some((_, rest)) = line.split_once("http://") {
                let host = rest.split(['/', ' ']).next().unwrap_or_default();
                address = Some(host.parse()?);
            } else if line.starts_with("ready") {
                break address.ok_or("no address")?;
            }
        };
        // Read to its end, so that the server never writes into a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            child,
            address,
            folder,
        })
    }

    /// The CPU time that its processes have spent so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        let processes = self.processes()?;
        processes.into_iter().map(cpu_time_of).sum()
    }

    /// Has the engine replace its worker. Returns when the new one serves.
    pub fn reload(&self) -> Result {
        let folder = self.folder.as_ref().ok_or("an engine")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("reload").arg(folder.path().join(CONFIG));
        let output = command.stdout(Stdio::null()).status()?;
        if !output.success() {
            return Err("the engine was not reloaded".into());
        }
        Ok(())
    }

    /// What would be free if its processes ended, in bytes.
    pub fn private_memory(&self) -> Result<u64> {
        let mut kilobytes = 0;
        for process in self.processes()? {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
            let private = text.lines().filter(|line| line.starts_with("Private_"));
            let sizes =
                private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            kilobytes += sizes.sum::<u64>();
        }
        Ok(kilobytes * 1024)
    }

    /// Its first process, and those that this one has started.
    fn processes(&self) -> Result<Vec<u32>> {
        let first = self.child.id();
        let mut all = vec![first];
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            if fields.split(' ').nth(1) == Some(first.to_string().as_str()) {
                all.push(pid);
            }
        }
        Ok(all)
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // TERM, so that an engine ends its processes.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let _ = self.child.wait();
    }
}

/// An address of this machine on which nothing listens over TCP.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The CPU time that a process has spent so far.
pub fn cpu_time_of(process: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has ended since counts no more.
        let times = fs::read_to_string(thread?.path().join("schedstat"));
        let times = times.unwrap_or_default();
        let spent = times.split(' ').next().unwrap_or_default();
        nanoseconds += spent.parse::<u64>().unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// A command that runs on the servers' CPU.
pub fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", SERVER_CPU]).arg(program);
    command
}

/// Has this process run beside the servers, with as many open files as it may have.
pub fn be_the_load() -> Result {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let mut cpus = CpuSet::new();
    cpus.set(LOAD_CPU)?;
    sched_setaffinity(Pid::from_raw(0), &cpus)?;
    Ok(())
}
