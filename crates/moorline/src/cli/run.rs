//! `run`: Lua services in this process.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use moorline_lua::{Ended, RunOptions};

use super::USAGE;
use super::output::warn;

/// Run a Lua script, or what a configuration of skynet's names, and the services that it launches, in this process, until they end.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The first service's script.
    #[arg(value_name = "SCRIPT.lua", required_unless_present_any = ["config", "sdk"])]
    script: Option<PathBuf>,
    /// A configuration of skynet's: a Lua text that sets `start`, `luaservice`, `thread` and other keys. Paths in it start at the working directory.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["script", "path", "loops", "arguments"])]
    config: Option<PathBuf>,
    /// Runs nothing: writes the headers of Lua for modules in C to DIR/include, and definitions for the Lua language server to DIR/library.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["script", "config", "path", "loops", "arguments"])]
    sdk: Option<PathBuf>,
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

/// Runs it. The exit code is 1 if the first service does not start, 2 if the configuration is wrong.
pub(crate) fn run(args: RunArgs) -> ExitCode {
    if let Some(folder) = &args.sdk {
        return match moorline_lua::write_sdk(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                warn(format_args!("error: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    if let Some(script) = &args.script
        && script.extension().is_some_and(|ending| ending == "toml")
    {
        let name = script.display();
        warn(format_args!(
            "error: {name} is a configuration, and `run` takes a script in Lua\n  hint: `serve {name}` serves it"
        ));
        return ExitCode::from(USAGE);
    }
    let options = match (&args.config, &args.script) {
        (Some(file), _) => RunOptions::from_configuration(file),
        (None, Some(script)) => {
            RunOptions::for_script(script, &args.arguments, args.path.as_deref(), args.loops)
        }
        (None, None) => return ExitCode::from(USAGE),
    };
    let options = match options {
        Ok(options) => options,
        Err(error) => {
            warn(format_args!("error: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    match moorline_lua::run(&options) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::NotStarted) => ExitCode::FAILURE,
        Err(error) => {
            warn(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
