//! `run`: Lua services in this process.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use moorline_lua::{Ended, RunOptions};

use super::output::warn;

/// Run a Lua script and the services that it launches, in this process, until they end.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The first service's script.
    #[arg(value_name = "SCRIPT.lua")]
    script: PathBuf,
    /// Where services and modules are found, before the script's folder: patterns as in 'service/?.lua;lib/?.lua'.
    #[arg(long, value_name = "PATTERNS")]
    path: Option<String>,
    /// The event loops that services are spread over.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    loops: u8,
    /// What the script gets as its arguments: words.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs it. The exit code is 1 if the first service does not start.
pub(crate) fn run(args: RunArgs) -> ExitCode {
    let mut options = RunOptions::new(args.script);
    options.arguments = args.arguments;
    options.path = args.path;
    options.loops = args.loops;
    match moorline_lua::run(&options) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::NotStarted) => ExitCode::FAILURE,
        Err(error) => {
            warn(format_args!(
                "error: cannot run {}: {error}",
                options.script.display()
            ));
            ExitCode::FAILURE
        }
    }
}
