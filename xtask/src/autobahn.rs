//! `cargo xtask autobahn`: Autobahn's test suite for WebSocket servers, against an echo.
//!
//! It is no step of `test`: it needs Python 2.7, which no Debian has any more, and takes half an hour. What it says about
//! compression, clients of others say in `tests/tests/clients`.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::steps::{Failure, cargo, program, root};

/// What `cargo xtask autobahn` is told.
#[derive(clap::Args)]
pub(crate) struct AutobahnArgs {
    /// A Python 2.7 with pip
    #[arg(long, default_value = "python2.7")]
    python: String,
    /// The port of the echo
    #[arg(long, default_value_t = 9511)]
    port: u16,
    /// The cases to run, as in `1.* 12.1.*`; without them, all
    #[arg(default_value = "*")]
    cases: Vec<String>,
}

/// The time in which the echo must listen.
const START: Duration = Duration::from_secs(10);

/// Installed with all that it depends on.
const SUITE: &str = "autobahntestsuite==25.10.1";

/// Runs the cases; fails if one of them does.
pub(crate) fn run(args: &AutobahnArgs) -> Result<(), Failure> {
    let folder = root().join("target/autobahn");
    let packages = install(&args.python, &folder)?;
    cargo("build --package moorline-tests --bin echo --locked").run()?;
    let echo = Echo::start(args.port, &folder)?;
    let outcome = suite(args, &folder, &packages);
    drop(echo);
    outcome?;
    judge(&folder)
}

/// The folder of its packages.
fn install(python: &str, folder: &Path) -> Result<PathBuf, Failure> {
    if !program(
        python,
        ["-c", "import sys; assert sys.version_info[:2] == (2, 7)"],
    )
    .succeeds()
    {
        return Err(Failure(format!(
            "{python} is no Python 2.7: name one with --python, as in `--python ~/.pyenv/versions/2.7.18/bin/python`"
        )));
    }
    let packages = folder.join("packages");
    // The last thing that is written. Packages in a folder of their own are not found within `zope` without it.
    let done = packages.join("zope/__init__.py");
    if !done.exists() {
        let arguments = ["-m", "pip", "install", "--quiet", SUITE, "--target"];
        let target = packages.display().to_string();
        program(python, arguments).arg(&target).run()?;
        write(&done, "")?;
    }
    Ok(packages)
}

/// A running echo; dropping it ends it.
struct Echo(Child);

impl Echo {
    fn start(port: u16, folder: &Path) -> Result<Self, Failure> {
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        if listens() {
            return Err(Failure(format!(
                "port {port} is taken: name another with --port"
            )));
        }
        let config = folder.join("moorline.toml");
        let run = folder.join("run");
        let text = format!(
            "[engine]\nrun_dir = {run:?}\n[[listen]]\naddress = \"http://127.0.0.1:{port}\"\nwebsocket = \"/\"\n\
             max_message = \"32MiB\"\nhard_limit = \"64MiB\"\ncompression = {{ server_context_takeover = true, client_context_takeover = true, \
             min_message = \"1B\" }}\n"
        );
        write(&config, &text)?;
        let log = fs::File::create(folder.join("log"))
            .map_err(|error| Failure(format!("cannot write the log: {error}")))?;
        let echo = Command::new(root().join("target/debug/echo"))
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map(Echo)
            .map_err(|error| Failure(format!("the echo cannot be started: {error}")))?;
        let end = Instant::now() + START;
        while !listens() {
            if Instant::now() > end {
                return Err(Failure(
                    "the echo does not listen; see target/autobahn/log".into(),
                ));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(echo)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let _ = self.0.wait();
    }
}

/// Has its client play the cases.
fn suite(args: &AutobahnArgs, folder: &Path, packages: &Path) -> Result<(), Failure> {
    let server = json!({ "agent": "moorline", "url": format!("ws://127.0.0.1:{}/", args.port) });
    let plan = json!({
        "outdir": folder.join("reports"), "servers": [server], "cases": args.cases,
        "exclude-cases": [], "exclude-agent-cases": {}
    });
    let file = folder.join("plan.json");
    write(&file, &plan.to_string())?;
    let file = file.display();
    let start = format!(
        "import sys, autobahntestsuite.wstest as it; sys.argv = ['wstest', '-m', 'fuzzingclient', '-s', '{file}']; it.run()"
    );
    program(&args.python, ["-c"])
        .arg(&start)
        .env("PYTHONPATH", &packages.display().to_string())
        .run()
}

/// Counts the verdicts; fails if one is bad.
fn judge(folder: &Path) -> Result<(), Failure> {
    let report = folder.join("reports/index.json");
    let text = fs::read_to_string(&report).unwrap_or_default();
    let report: Value = serde_json::from_str(&text).unwrap_or_default();
    let cases = report["moorline"].as_object().cloned().unwrap_or_default();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut failed = Vec::new();
    for (case, verdicts) in &cases {
        for verdict in ["behavior", "behaviorClose"].map(|key| verdicts[key].as_str()) {
            let verdict = verdict.unwrap_or("none");
            *counts.entry(verdict).or_default() += 1;
            if !["OK", "NON-STRICT", "INFORMATIONAL"].contains(&verdict) {
                failed.push(format!("{case}: {verdict}"));
            }
        }
    }
    println!(
        "{} cases, verdicts on each and on its close: {counts:?}",
        cases.len()
    );
    match cases.is_empty() || !failed.is_empty() {
        true => Err(Failure(format!(
            "failed: {}; see target/autobahn/reports/index.html",
            failed.join(", ")
        ))),
        false => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(root());
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure(format!("cannot write {}: {error}", path.display())))
}
