//! Starting a child: fork and exec of an executable that is held open.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command as StdCommand, Stdio};
use std::sync::OnceLock;

use command_fds::{CommandFdExt, FdMapping};
use moorline_ipc::Channel;
use tokio::process::{Child, Command};

use moorline_protocol::start::{
    CONTROL_FD, EXECUTABLE_FD, HELPER_VARIABLE, HelperStart, ROLE_VARIABLE,
};

/// Open descriptors that only occupy their numbers.
static RESERVED: OnceLock<Vec<File>> = OnceLock::new();

/// Occupies the numbers at which a child finds its descriptors. If they were free, the pipe by which a failed exec is
/// reported could get one of them in the child, and be overwritten.
pub(super) fn reserve_low_descriptors() -> io::Result<()> {
    let mut reserved = Vec::new();
    loop {
        let file = File::open("/dev/null")?;
        if file.as_raw_fd() > EXECUTABLE_FD {
            break;
        }
        reserved.push(file);
    }
    // They were set before, so they are reserved already.
    let _ = RESERVED.set(reserved);
    Ok(())
}

/// Starts a gateway, worker or task worker. The channel is our end of its control channel. `outputs` are its standard
/// output and its standard error.
pub(super) fn role(
    executable: BorrowedFd<'_>,
    title: &str,
    [output, errors]: [OwnedFd; 2],
) -> io::Result<(Child, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    let mut command = command(title);
    command.env(ROLE_VARIABLE, "1");
    command.stdout(output).stderr(errors);
    map(
        &mut command,
        vec![
            (theirs.into(), CONTROL_FD),
            (executable.try_clone_to_owned()?, EXECUTABLE_FD),
        ],
    )?;
    Ok((Command::from(command).spawn()?, ours))
}

/// Starts a helper: the executable gives up rights and then becomes the helper's command, or serves `[admin]` and asks its questions
/// over this stream.
pub(super) fn helper(
    executable: BorrowedFd<'_>,
    title: &str,
    start: &HelperStart,
    questions: Option<OwnedFd>,
) -> io::Result<Child> {
    let mut command = command(title);
    command
        .env(HELPER_VARIABLE, serde_json::to_string(start)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let executable = (executable.try_clone_to_owned()?, EXECUTABLE_FD);
    let questions = questions.map(|questions| (questions, CONTROL_FD));
    map(
        &mut command,
        [executable].into_iter().chain(questions).collect(),
    )?;
    Command::from(command).spawn()
}

fn command(title: &str) -> StdCommand {
    // The number in the child. It works even if the executable's path leads elsewhere by now.
    let mut command = StdCommand::new(format!("/proc/self/fd/{EXECUTABLE_FD}"));
    command.arg0(title).stdin(Stdio::null()).process_group(0);
    command
}

fn map(command: &mut StdCommand, fds: Vec<(OwnedFd, i32)>) -> io::Result<()> {
    let mappings = fds
        .into_iter()
        .map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        })
        .collect();
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    Ok(())
}
