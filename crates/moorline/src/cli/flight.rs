//! `flight`: the recordings of crashes, stalls and failed reloads.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use moorline_engine::flight::{
    EXTENSION, FOLDER, FlightEntry, FlightText, RecordedThread, RecordingHead, printable,
    read_recording, recordings,
};
use serde_json::json;

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
    let name = folder.display();
    let listed = recordings(folder)
        .map_err(|error| Failure::failed(format!("{name} cannot be read: {error}")))?;
    print(|out| {
        if listed.is_empty() && !json {
            writeln!(out, "there are no recordings in {name}")?;
        }
        for (name, head) in &listed {
            let line = match (head, json) {
                (Ok(head), true) => {
                    let mut line = head.json();
                    line["file"] = name.as_str().into();
                    line.to_string()
                }
                (Ok(head), false) => format!("{name}  {}", printable(&head.what)),
                (Err(error), true) => {
                    json!({ "file": name, "error": error.to_string() }).to_string()
                }
                (Err(error), false) => format!("{name}  it {error}"),
            };
            writeln!(out, "{line}")?;
        }
        Ok(())
    })
}

/// The events of a recording, the latest last.
fn show(path: &Path, args: &FlightArgs) -> Result<(), Failure> {
    let recording = read_recording(path)
        .map_err(|error| Failure::failed(format!("{} {error}", path.display())))?;
    let entries = recording.timeline();
    let left_out = match args.all {
        true => 0,
        false => entries.len().saturating_sub(LAST),
    };
    let entries = &entries[left_out..];
    let head = &recording.head;
    print(|out| match args.json {
        true => {
            writeln!(out, "{}", head.json())?;
            let mut lines = entries.iter().map(|entry| entry.json(head));
            lines.try_for_each(|line| writeln!(out, "{line}"))
        }
        false => timeline(out, head, entries, left_out),
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
        let (seconds, name) = (entry.seconds(head), &names[entry.thread]);
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

/// The longest name that is shown. The file may be anybody's, and a column has a bound.
const LONGEST_NAME: usize = 64;

/// The name of a thread; with its pid if two processes of the name ran.
fn name(head: &RecordingHead, thread: &RecordedThread) -> String {
    let mut others = head.threads.iter();
    let is_one_of_two = others.any(|it| it.process == thread.process && it.pid != thread.pid);
    let name = match is_one_of_two {
        true => format!("{} (pid {})", thread.name(), thread.pid),
        false => thread.name(),
    };
    name.chars().take(LONGEST_NAME).collect()
}
