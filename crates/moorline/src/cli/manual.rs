//! `completions` and `man`: the command line as shells and readers want it.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::output::print;
use super::{Cli, Failure, finish};

/// Prints the script for a shell.
pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    finish(print(|out| out.write_all(&script)))
}

/// Writes a page for the command and for each of its subcommands.
pub(super) fn man(folder: &Path) -> ExitCode {
    let written = fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|error| {
            let folder = folder.display();
            Failure::failed(format_args!(
                "cannot write man pages to {folder}: {error}\n  hint: name a folder that you may write to, as in `man ./man1`"
            ))
        });
    finish(written)
}
