//! The commands that a running engine answers.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use moorline_engine::command::{self, CommandError, Request, Response, Scope};
use moorline_engine::config;
use moorline_engine::control::{PeerChange, Switch};
use moorline_engine::session_id::SessionId;

#[cfg(feature = "tools")]
use crate::bench::{self, BenchArgs, BenchCommand};

use super::output::{print, tell};
use super::{EngineChoice, Failure, Paths, PeerSwitch, finish, hints, look, peers, table};

pub(super) fn reload(paths: &Paths, engine: EngineChoice, tasks: bool) -> ExitCode {
    let scope = if tasks { Scope::Tasks } else { Scope::All };
    let named = engine.config.clone().filter(|_| engine.run_dir.is_none());
    let named = named.or_else(|| paths.default.clone());
    let config = named.map(|named| config::resolved(&named));
    finish(run_dir(paths, engine).and_then(|run_dir| {
        let reload = Request::Reload { scope, config };
        command::ask(&run_dir, reload, |answer| match answer {
            Response::Progress(text) => tell(text),
            Response::Done(text) => tell(format_args!("reloaded: {text}")),
            Response::Refused(_)
            | Response::Unconfirmed(_)
            | Response::Status(_)
            | Response::Sessions(_)
            | Response::Recorded(_)
            | Response::Upstream(_) => {}
        })
        .map_err(|error| match error {
            CommandError::Refused(reason) => hints::not_reloaded(&reason),
            error => hints::unanswered(error),
        })
    }))
}

/// Over how much time an upgrade closes what cannot move, if nothing else is said: clients that come back wait until it has
/// ended.
const CLOSE_REST_OVER: Duration = Duration::from_secs(1);

/// `close_rest`: what cannot move is closed, over a time if one is said.
pub(super) fn upgrade(
    paths: &Paths,
    engine: EngineChoice,
    close_rest: Option<Option<Duration>>,
) -> ExitCode {
    let over = close_rest.map(|over| over.unwrap_or(CLOSE_REST_OVER));
    let request = Request::Upgrade {
        close_rest_ms: over.map(|over| over.as_millis() as u64),
    };
    finish(run_dir(paths, engine).and_then(|run_dir| {
        command::ask(&run_dir, request, |answer| {
            if let Response::Progress(text) | Response::Done(text) = answer {
                tell(text);
            }
        })
        .map_err(|error| match error {
            CommandError::Refused(reason) => hints::not_upgraded(&reason),
            error => hints::unanswered(error),
        })
    }))
}

pub(super) fn stop(paths: &Paths, engine: EngineChoice) -> ExitCode {
    finish(run_dir(paths, engine).and_then(|run_dir| {
        command::stop(&run_dir).map_err(hints::unanswered)?;
        tell("stopped");
        Ok(())
    }))
}

pub(super) fn drain(
    paths: &Paths,
    engine: EngineChoice,
    over: Option<Duration>,
    listener: Option<String>,
) -> ExitCode {
    finish(run_dir(paths, engine).and_then(|run_dir| {
        let over_ms = over.map(|over| u64::try_from(over.as_millis()).unwrap_or(u64::MAX));
        let drain = Request::Drain { over_ms, listener };
        command::ask(&run_dir, drain, |answer| {
            if let Response::Progress(text) | Response::Done(text) = answer {
                tell(text);
            }
        })
        .map_err(hints::unanswered)
    }))
}

/// Closes all of them that are there, and fails if one is not.
pub(super) fn close(paths: &Paths, engine: EngineChoice, ids: &[SessionId]) -> ExitCode {
    finish(run_dir(paths, engine).and_then(|run_dir| {
        let mut refused = Vec::new();
        for &id in ids {
            let close = Request::CloseSession { id };
            let told = |answer| {
                if let Response::Done(text) = answer {
                    tell(format_args!("{id}: {text}"));
                }
            };
            match command::ask(&run_dir, close, told) {
                Ok(()) => {}
                Err(CommandError::Refused(reason)) => refused.push(format!("{id}: {reason}")),
                Err(error) => return Err(hints::unanswered(error)),
            }
        }
        match refused.is_empty() {
            true => Ok(()),
            false => Err(Failure::failed(refused.join("\n       "))),
        }
    }))
}

pub(super) fn accept(
    paths: &Paths,
    engine: EngineChoice,
    listener: String,
    accepts: bool,
) -> ExitCode {
    finish(run_dir(paths, engine).and_then(|run_dir| {
        let accept = Request::Accept { listener, accepts };
        command::ask(&run_dir, accept, tell_done).map_err(hints::unanswered)
    }))
}

fn tell_done(answer: Response) {
    if let Response::Done(text) = answer {
        tell(text);
    }
}

pub(super) fn status(paths: &Paths, engine: EngineChoice, json: bool) -> ExitCode {
    finish(run_dir(paths, engine).and_then(|run_dir| {
        let status = look::status(&run_dir).map_err(hints::unanswered)?;
        let text = match json {
            true => format!("{status:#}\n"),
            false => table::status(&status),
        };
        print(|out| out.write_all(text.as_bytes()))
    }))
}

#[cfg(feature = "tools")]
pub(super) fn bench(paths: &Paths, args: &BenchArgs) -> ExitCode {
    if let Some(BenchCommand::Compare(args)) = &args.other {
        return bench::compare(args);
    }
    let Some(args) = &args.load else {
        return finish(Err(Failure::usage("what to measure is not named")));
    };
    if args.config.is_none() && args.run_dir.is_none() {
        return bench::run(args, None);
    }
    let engine = EngineChoice {
        config: args.config.clone(),
        run_dir: args.run_dir.clone(),
    };
    let mut supervisor = None;
    let found = run_dir(paths, engine).and_then(|run_dir| {
        command::ask(&run_dir, Request::Status, |answer| {
            if let Response::Status(status) = answer {
                supervisor = status["supervisor"]["pid"]
                    .as_u64()
                    .and_then(|pid| u32::try_from(pid).ok());
            }
        })
        .map_err(hints::unanswered)
    });
    match found {
        Ok(()) => bench::run(args, supervisor),
        Err(failure) => finish(Err(failure)),
    }
}

pub(super) fn sessions(paths: &Paths, engine: EngineChoice, json: bool) -> ExitCode {
    finish(run_dir(paths, engine).and_then(|run_dir| {
        let mut answered = Ok(());
        print(|out| {
            let mut written = if json {
                Ok(())
            } else {
                writeln!(out, "{}", table::sessions_head())
            };
            answered = command::ask(&run_dir, Request::Sessions, |answer| {
                let Response::Sessions(rows) = answer else {
                    return;
                };
                for row in rows {
                    if written.is_ok() {
                        written = match json {
                            true => serde_json::to_string(&row)
                                .map_err(io::Error::from)
                                .and_then(|line| writeln!(out, "{line}")),
                            false => writeln!(out, "{}", table::session(&row)),
                        };
                    }
                }
            });
            written
        })?;
        answered.map_err(hints::unanswered)
    }))
}

pub(super) fn upstreams(paths: &Paths, engine: EngineChoice, json: bool) -> ExitCode {
    finish(run_dir(paths, engine).and_then(|run_dir| {
        let upstreams = look::upstreams(&run_dir).map_err(hints::unanswered)?;
        print(|out| {
            if upstreams.is_empty() && !json {
                writeln!(out, "there are no upstreams")?;
            }
            for seen in &upstreams {
                match json {
                    true => writeln!(out, "{}", serde_json::to_string(seen)?)?,
                    false => out.write_all(peers::table(seen).as_bytes())?,
                }
            }
            Ok(())
        })
    }))
}

pub(super) fn set_peer(
    paths: &Paths,
    engine: EngineChoice,
    named: &str,
    switch: &PeerSwitch,
) -> ExitCode {
    let Some((upstream, peer)) = named.split_once('/') else {
        let message = format!(
            "{named:?} names no peer\n  hint: write UPSTREAM/PEER, as in mysql/10.0.0.1:3306"
        );
        return finish(Err(Failure::usage(message)));
    };
    let change = match switch {
        PeerSwitch {
            weight: Some(weight),
            ..
        } => PeerChange::Weight(*weight),
        PeerSwitch { up: true, .. } => PeerChange::Switch(Switch::Up),
        PeerSwitch { drain: true, .. } => PeerChange::Switch(Switch::Drain),
        _ => PeerChange::Switch(Switch::Down),
    };
    finish(run_dir(paths, engine).and_then(|run_dir| {
        let request = Request::SetPeer {
            upstream: upstream.to_owned(),
            peer: peer.to_owned(),
            change,
        };
        command::ask(&run_dir, request, |answer| {
            if let Response::Done(text) = answer {
                tell(format_args!("{text}; {}", lasts(change)));
            }
        })
        .map_err(hints::unanswered)
    }))
}

/// How long a change lasts.
fn lasts(change: PeerChange) -> &'static str {
    match change {
        PeerChange::Switch(_) => "this lasts as long as the gateway lives, also over reloads",
        PeerChange::Weight(_) => {
            "this lasts as long as the gateway lives, or until a reload brings another weight"
        }
    }
}

/// The run folder of the chosen engine, whether it runs or not.
pub(super) fn run_dir(paths: &Paths, engine: EngineChoice) -> Result<PathBuf, Failure> {
    match engine.run_dir {
        Some(run_dir) => Ok(run_dir),
        // Not the whole configuration: it may have been broken since the engine was started.
        None => {
            let path = paths.config(engine.config)?;
            let run_dirs = config::run_dirs(&path).map_err(Failure::usage)?;
            let found = command::find(run_dirs)
                .ok_or_else(|| Failure::usage("no folder is known for the engine"))?;
            refuse_pipe(&path, &found)?;
            Ok(found)
        }
    }
}

/// A pipe that no engine was started with does not say where the engine is.
fn refuse_pipe(path: &Path, run_dir: &Path) -> Result<(), Failure> {
    let is_pipe = fs::metadata(path).is_ok_and(|it| it.file_type().is_fifo());
    if !is_pipe || run_dir.exists() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "no engine was started with {}, and a pipe is not read: name its run folder by `--run-dir`",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_pipe_that_no_engine_was_started_with_is_refused() {
        let (reader, _writer) = io::pipe().expect("a pipe");
        let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        let refused = refuse_pipe(&path, Path::new("/nowhere/at/all")).err();
        let message = refused.map(|it| it.message).unwrap_or_default();
        assert!(message.contains("a pipe is not read"), "{message:?}");
        assert!(refuse_pipe(&path, Path::new("/")).is_ok());
        assert!(refuse_pipe(Path::new("/etc/passwd"), Path::new("/nowhere/at/all")).is_ok());
    }
}
