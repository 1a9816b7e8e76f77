//! Running one thing after the other, and saying how it went.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Why a chore ended early; what the failing command had to say stands above it already.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// One step of a chore.
pub(crate) struct Step {
    /// What the summary calls it.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) run: fn() -> Result<(), Failure>,
}

/// Runs the steps in order up to the first that fails. The last line says what passed, how long each
/// took, and after a failure also what was not run.
pub(crate) fn run(steps: &[Step]) -> Result<(), Failure> {
    let began = Instant::now();
    let mut passed = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        println!("\n── {}/{} {} ──", index + 1, steps.len(), step.name);
        let step_began = Instant::now();
        if let Err(failure) = (step.run)() {
            eprintln!("\n{failure}");
            let not_run: Vec<&str> = steps[index + 1..].iter().map(|step| step.name).collect();
            return Err(Failure(format!(
                "FAILED: {}; passed: {}; not run: {}",
                step.name,
                listed(&passed),
                listed(&not_run),
            )));
        }
        passed.push(format!("{} {}", step.name, seconds(step_began.elapsed())));
    }
    println!(
        "\nall {} steps passed in {}: {}",
        steps.len(),
        seconds(began.elapsed()),
        listed(&passed)
    );
    Ok(())
}

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    names.join(", ")
}

/// As a summary writes a time.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A command that is shown before it runs, from the workspace's root.
pub(crate) struct Shown(Command);

/// `cargo` with these arguments, none of which contains a space.
pub(crate) fn cargo(arguments: &str) -> Shown {
    // Cargo names itself to what it runs, so that a step uses the toolchain that built this program.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments.split(' '));
    Shown(command)
}

/// Another program with its arguments.
pub(crate) fn program<'a>(name: &str, arguments: impl IntoIterator<Item = &'a str>) -> Shown {
    let mut command = Command::new(name);
    command.args(arguments);
    Shown(command)
}

impl Shown {
    /// Adds an argument, which may contain spaces.
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.0.arg(argument);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it and waits; fails unless it succeeds.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let line = self.line();
        println!("$ {line}");
        match self.0.current_dir(root()).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure(format!("`{line}` failed: {status}"))),
            Err(error) => Err(Failure(format!("`{line}` could not be started: {error}"))),
        }
    }

    /// Runs it and gives what it prints to its standard output; fails unless it succeeds.
    pub(crate) fn output(mut self) -> Result<String, Failure> {
        let line = self.line();
        println!("$ {line}");
        let output = self.0.current_dir(root()).stderr(Stdio::inherit()).output();
        match output {
            Ok(output) if output.status.success() => {
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
            Ok(output) => Err(Failure(format!("`{line}` failed: {}", output.status))),
            Err(error) => Err(Failure(format!("`{line}` could not be started: {error}"))),
        }
    }

    /// Whether it succeeds; what it prints is not shown.
    pub(crate) fn succeeds(mut self) -> bool {
        self.0
            .current_dir(root())
            .output()
            .is_ok_and(|output| output.status.success())
    }

    /// As one would type it.
    fn line(&self) -> String {
        let variables = self
            .0
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}='{}'", name.display(), value?.display())));
        let name = Path::new(self.0.get_program())
            .file_name()
            .unwrap_or_default();
        let arguments = self
            .0
            .get_args()
            .map(|argument| argument.display().to_string());
        variables
            .chain([name.display().to_string()])
            .chain(arguments)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
