//! `flight`: the recordings of crashes, stalls and failed reloads.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use moorline_engine::flight::{
    EXTENSION, FOLDER, FlightEntry, FlightText, RecordedThread, Recording, RecordingError,
    RecordingHead, printable, read_head,
};
use serde_json::{Value, json};

use super::control::run_dir;
use super::output::print;
use super::{EngineChoice, Failure, Paths, finish};

/// Events that are shown without `--all`.
const LAST: usize = 200;

/// List the recordings of crashes, stalls and failed reloads, or show the last events in one.
#[derive(Debug, Args)]
pub(super) struct FlightArgs {
    /// A recording, by its path or its name (NAME.flight); or the configuration of the engine whose recordings are listed.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// All events, and not only the last 200.
    #[arg(long)]
    all: bool,
    /// As JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// The engine's run folder, instead of a configuration.
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
}

pub(super) fn flight(paths: &Paths, args: FlightArgs) -> ExitCode {
    finish(match args.file.as_ref().filter(|file| is_recording(file)) {
        Some(file) => recording_path(paths, &args, file).and_then(|path| show(&path, &args)),
        None => folder(paths, args.file.clone(), &args).and_then(|folder| list(&folder, args.json)),
    })
}

fn is_recording(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == EXTENSION)
}

/// The folder with the recordings of an engine, which need not run.
fn folder(paths: &Paths, config: Option<PathBuf>, args: &FlightArgs) -> Result<PathBuf, Failure> {
    let engine = EngineChoice {
        config,
        run_dir: args.run_dir.clone(),
    };
    Ok(run_dir(paths, engine)?.join(FOLDER))
}

/// A recording at this path, or of this name.
fn recording_path(paths: &Paths, args: &FlightArgs, file: &Path) -> Result<PathBuf, Failure> {
    if file.exists() || file.components().count() > 1 {
        return Ok(file.to_owned());
    }
    Ok(folder(paths, None, args)?.join(file))
}

/// One line for each recording, the latest last.
fn list(folder: &Path, json: bool) -> Result<(), Failure> {
    let found = match fs::read_dir(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return print(|out| match json {
                true => Ok(()),
                false => writeln!(out, "there are no recordings in {}", folder.display()),
            });
        }
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let found: Result<Vec<_>, _> = found.map(|it| it.map(|it| it.path())).collect();
    let mut found = found.map_err(|error| unreadable(folder, &error))?;
    found.retain(|path| is_recording(path));
    found.sort_unstable();
    print(|out| {
        for path in &found {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = printable(&name);
            match (head(path), json) {
                (Ok(head), true) => writeln!(out, "{}", json_head(&head, Some(&name)))?,
                (Ok(head), false) => {
                    let what = printable(&head.what);
                    writeln!(out, "{name}  {what}")?;
                }
                (Err(error), true) => {
                    let line = json!({ "file": name, "error": error.to_string() });
                    writeln!(out, "{line}")?;
                }
                (Err(error), false) => writeln!(out, "{name}  it {error}")?,
            }
        }
        Ok(())
    })
}

fn unreadable(folder: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{} cannot be read: {error}", folder.display()))
}

fn head(path: &Path) -> Result<RecordingHead, RecordingError> {
    read_head(BufReader::new(open(path)?))
}

fn open(path: &Path) -> Result<File, RecordingError> {
    File::open(path).map_err(RecordingError::Unreadable)
}

/// The events of a recording, the latest last.
fn show(path: &Path, args: &FlightArgs) -> Result<(), Failure> {
    let read = open(path).and_then(|file| Recording::decode(BufReader::new(file)));
    let recording = read.map_err(|error| Failure::failed(format!("{} {error}", path.display())))?;
    let entries = recording.timeline();
    let left_out = match args.all {
        true => 0,
        false => entries.len().saturating_sub(LAST),
    };
    let entries = &entries[left_out..];
    print(|out| match args.json {
        true => {
            writeln!(out, "{}", json_head(&recording.head, None))?;
            let mut lines = entries.iter().map(|it| json_entry(&recording.head, it));
            lines.try_for_each(|line| writeln!(out, "{line}"))
        }
        false => timeline(out, &recording.head, entries, left_out),
    })
}

fn timeline(
    out: &mut dyn Write,
    head: &RecordingHead,
    entries: &[FlightEntry],
    left_out: usize,
) -> io::Result<()> {
    let [what, when] = [&head.what, &head.when].map(|text| printable(text));
    let [engine, version] = [&head.engine, &head.moorline].map(|text| printable(text));
    writeln!(out, "{what}")?;
    writeln!(out, "{when}, engine {engine}, Moorline {version}")?;
    writeln!(out, "times are in seconds before that\n")?;
    if left_out > 0 {
        writeln!(out, "({left_out} earlier events: --all shows them)")?;
    }
    let names: Vec<_> = head.threads.iter().map(|it| name(head, it)).collect();
    let shown = entries.iter().map(|entry| names[entry.thread].len());
    let width = shown.max().unwrap_or(0);
    for entry in entries {
        let (seconds, name) = (ago(head, entry), &names[entry.thread]);
        write!(out, "{seconds:>13.6}  {name:<width$}  ")?;
        match &entry.event {
            Some(event) => {
                let listeners = &head.listeners;
                writeln!(out, "{}", FlightText { event, listeners })?;
            }
            None => writeln!(out, "(a record that cannot be read)")?,
        }
    }
    Ok(())
}

/// The name of a thread; with its pid if two processes of the name ran.
fn name(head: &RecordingHead, thread: &RecordedThread) -> String {
    let mut others = head.threads.iter();
    let is_one_of_two = others.any(|it| it.process == thread.process && it.pid != thread.pid);
    match is_one_of_two {
        true => format!("{} (pid {})", thread.name(), thread.pid),
        false => thread.name(),
    }
}

/// Seconds from the end of the recording: not above 0.
fn ago(head: &RecordingHead, entry: &FlightEntry) -> f64 {
    0.0 - head.at_ns.saturating_sub(entry.at_ns) as f64 / 1e9
}

fn json_head(head: &RecordingHead, file: Option<&str>) -> Value {
    let mut line = json!({
        "when": head.when,
        "unix_ms": head.unix_ms,
        "reason": head.reason.as_str(),
        "process": head.process,
        "what": head.what,
        "engine": head.engine,
        "moorline": head.moorline,
    });
    if let Some(file) = file {
        line["file"] = file.into();
    }
    line
}

fn json_entry(head: &RecordingHead, entry: &FlightEntry) -> Value {
    let thread = &head.threads[entry.thread];
    let mut line = json!({
        "seconds": ago(head, entry),
        "process": thread.process,
        "pid": thread.pid,
        "thread": thread.thread,
        "event": null,
    });
    if let Some(event) = &entry.event {
        let listeners = &head.listeners;
        line["event"] = event.kind.as_str().into();
        line["text"] = FlightText { event, listeners }.to_string().into();
        line["session"] = format!("{:016x}", event.session).into();
        line["detail"] = event.detail.into();
        line["number"] = event.number.into();
    }
    line
}
