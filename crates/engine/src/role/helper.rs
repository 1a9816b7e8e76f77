//! A helper: the executable gives up rights, and becomes the user's command or serves `[admin]`.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use moorline_config::{Admin, HelperTask};
use moorline_ipc::inherited;
use moorline_process::open_files;
use moorline_process::rights::{self, Kept};
use moorline_protocol::start::{CONTROL_FD, EXECUTABLE_FD, HelperStart};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// Becomes the user's command, or serves `[admin]`.
pub(super) fn run(start: &str) -> ExitCode {
    let error = match become_helper(start) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    eprintln!("cannot be started: {error}");
    ExitCode::FAILURE
}

fn become_helper(start: &str) -> io::Result<()> {
    drop(inherited(EXECUTABLE_FD)?);
    let start: HelperStart = serde_json::from_str(start)?;
    match &start.task {
        HelperTask::Command(command) => {
            if let Some(soft) = start.open_files {
                open_files::lower_to(soft);
            }
            match become_command(command, &start)? {}
        }
        HelperTask::Admin(admin) => serve(admin, &start),
    }
}

fn become_command(command: &[String], start: &HelperStart) -> io::Result<Infallible> {
    give_up_rights(start)?;
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "its command is empty"))?;
    let error = Command::new(program).args(arguments).exec();
    Err(io::Error::new(error.kind(), format!("{program}: {error}")))
}

fn serve(admin: &Admin, start: &HelperStart) -> io::Result<()> {
    let questions = UnixStream::from(inherited(CONTROL_FD)?);
    let listener = moorline_admin::listen(admin)?;
    give_up_rights(start)?;
    rights::hide_memory()?;
    // The supervisor logs what it prints.
    println!("serves http://{}/", listener.local_addr()?);
    moorline_admin::serve(admin, listener, questions)
}

fn give_up_rights(start: &HelperStart) -> io::Result<()> {
    // Its command lies outside of the `chroot`.
    rights::drop_to(
        start.user.as_deref(),
        start.group.as_deref(),
        None,
        Kept::Nothing,
    )?;
    // It has no control channel that would tell it that the supervisor is gone. Asked for after the
    // change of user, which forgets it.
    set_pdeathsig(Signal::SIGTERM)?;
    Ok(())
}
