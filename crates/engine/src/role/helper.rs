//! A helper: the executable gives up rights and becomes the user's command.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use moorline_ipc::inherited;
use moorline_process::open_files;
use moorline_process::rights::{self, Kept};
use moorline_protocol::start::{EXECUTABLE_FD, HelperStart};

/// Becomes the user's command.
pub(super) fn run(start: &str) -> ExitCode {
    let error = match become_helper(start) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("cannot be started: {error}");
    ExitCode::FAILURE
}

fn become_helper(start: &str) -> io::Result<std::convert::Infallible> {
    drop(inherited(EXECUTABLE_FD)?);
    let start: HelperStart = serde_json::from_str(start)?;
    if let Some(soft) = start.open_files {
        open_files::lower_to(soft);
    }
    // Its command lies outside of the `chroot`.
    rights::drop_to(
        start.user.as_deref(),
        start.group.as_deref(),
        None,
        Kept::Nothing,
    )?;
    // It has no control channel that would tell it that the supervisor is gone. Asked for after the
    // change of user, which forgets it.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
    let (program, arguments) = start
        .command
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "its command is empty"))?;
    let error = Command::new(program).args(arguments).exec();
    Err(io::Error::new(error.kind(), format!("{program}: {error}")))
}
