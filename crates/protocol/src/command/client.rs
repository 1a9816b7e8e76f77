//! The caller's side of the control socket. It blocks, because a command has nothing else to do.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::run_dir::{is_ours, socket_path};

use super::{Request, Response};

/// An engine answers a question at once. One that has not answered after this time hangs, or is stopped. Longer
/// commands have deadlines of their own.
const KNOWN: Duration = Duration::from_secs(10);

/// The first of these run folders in which an engine answers; the first of all if none does.
pub fn find(run_dirs: Vec<PathBuf>) -> Option<PathBuf> {
    let runs =
        |run_dir: &&PathBuf| is_ours(run_dir) && UnixStream::connect(socket_path(run_dir)).is_ok();
    if run_dirs.len() > 1
        && let Some(found) = run_dirs.iter().find(runs)
    {
        return Some(found.clone());
    }
    run_dirs.into_iter().next()
}

/// Sends a request to the engine with this run folder, and passes each answer on until the last.
///
/// # Errors
/// [`CommandError::NotRunning`] if there is no engine, [`CommandError::Refused`] if it refuses,
/// [`CommandError::Unconfirmed`] if it has committed and may not have put it into effect yet, [`CommandError::Lost`] if
/// it ended before it answered, [`CommandError::Silent`] if it does not answer.
pub fn ask(
    run_dir: &Path,
    request: Request,
    mut each: impl FnMut(Response),
) -> Result<(), CommandError> {
    ask_while(run_dir, request, |answer| {
        each(answer);
        true
    })
}

/// [`ask`], until `each` says that it has enough: the engine then stops answering.
///
/// # Errors
/// As [`ask`].
pub fn ask_while(
    run_dir: &Path,
    request: Request,
    mut each: impl FnMut(Response) -> bool,
) -> Result<(), CommandError> {
    let mut answers = connect(run_dir, request)?;
    loop {
        match next(&mut answers)? {
            Some(Response::Refused(reason)) => return Err(CommandError::Refused(reason)),
            Some(Response::Unconfirmed(reason)) => return Err(CommandError::Unconfirmed(reason)),
            Some(answer) => {
                let is_last = answer.is_last();
                if !each(answer) || is_last {
                    return Ok(());
                }
            }
            None => return Err(CommandError::Lost),
        }
    }
}

/// Asks the engine to stop, and returns when it has ended.
///
/// # Errors
/// As [`ask`], but the end of the engine is no error here.
pub fn stop(run_dir: &Path) -> Result<(), CommandError> {
    let mut answers = connect(run_dir, Request::Stop)?;
    loop {
        match next(&mut answers) {
            Ok(Some(Response::Refused(reason))) => return Err(CommandError::Refused(reason)),
            Ok(Some(_)) => {}
            // A supervisor that is killed meanwhile has ended, too.
            Ok(None) => return Ok(()),
            Err(CommandError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

fn connect(run_dir: &Path, request: Request) -> Result<BufReader<UnixStream>, CommandError> {
    let mut stream =
        UnixStream::connect(socket_path(run_dir)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                CommandError::NotRunning {
                    run_dir: run_dir.to_owned(),
                }
            }
            _ => CommandError::Io(error),
        })?;
    match request {
        Request::Status
        | Request::Sessions
        | Request::FindSessions { .. }
        | Request::CloseSession { .. }
        | Request::Accept { .. }
        | Request::Upstreams
        | Request::Recordings
        | Request::Recording { .. }
        | Request::Events
        | Request::SetPeer { .. } => stream.set_read_timeout(Some(KNOWN))?,
        Request::Reload { .. }
        | Request::Upgrade { .. }
        | Request::Stop
        | Request::Drain { .. } => {}
    }
    let mut line = serde_json::to_vec(&request).map_err(io::Error::from)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(BufReader::new(stream))
}

fn next(answers: &mut impl BufRead) -> Result<Option<Response>, CommandError> {
    let mut line = String::new();
    match answers.read_line(&mut line) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(CommandError::Silent);
        }
        Err(error) => return Err(error.into()),
    }
    let answer = serde_json::from_str(&line)
        .map_err(|error| CommandError::Unknown(format!("{error}: {}", line.trim_end())))?;
    Ok(Some(answer))
}

/// Why a command failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum CommandError {
    /// No engine runs with this run folder.
    NotRunning {
        /// Which.
        run_dir: PathBuf,
    },
    /// The engine does not do it, for this reason.
    Refused(String),
    /// The engine has committed, and may not have put it into effect yet, for this reason.
    Unconfirmed(String),
    /// The engine ended, or closed the connection, before it had answered.
    Lost,
    /// The engine runs and does not answer.
    Silent,
    /// The engine gave an answer that this command does not know.
    Unknown(String),
    /// The control socket failed.
    Io(io::Error),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { run_dir } => {
                write!(
                    f,
                    "no engine is running (there is no control socket in {})",
                    run_dir.display()
                )
            }
            Self::Refused(reason) => f.write_str(reason),
            Self::Unconfirmed(reason) => write!(f, "committed, but not yet in effect: {reason}"),
            Self::Lost => f.write_str("the engine ended the conversation before it had answered"),
            Self::Silent => write!(
                f,
                "the engine has not answered within {KNOWN:?}: its supervisor, or its gateway, hangs or was stopped"
            ),
            Self::Unknown(answer) => write!(
                f,
                "the engine gave an answer that this command does not know: {answer}"
            ),
            Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "the engine belongs to another user: {error}")
            }
            Self::Io(error) => write!(f, "the control socket failed: {error}"),
        }
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::NotRunning { .. }
            | Self::Refused(_)
            | Self::Unconfirmed(_)
            | Self::Lost
            | Self::Silent
            | Self::Unknown(_) => None,
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
