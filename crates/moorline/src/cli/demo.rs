//! `demo`: an engine to play with.

use std::process::ExitCode;

use clap::Args;

use super::{Failure, Paths, Served, finish};

/// Start an engine to play with, visitors that stay connected whatever is done to it, and a page with buttons. It needs no file, and
/// leaves none.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How many visitors connect.
    #[arg(long, value_name = "N", default_value_t = 36, value_parser = clap::value_parser!(u16).range(1..=200))]
    visitors: u16,
}

pub(super) fn run(paths: &Paths, args: &DemoArgs) -> ExitCode {
    if let Served::App(_) = paths.served {
        return finish(Err(Failure::usage(
            "only the `moorline` command has the demo, which is in Lua",
        )));
    }
    let program = std::env::current_exe().map_err(Failure::failed);
    finish(
        program.and_then(|program| {
            moorline_demo::run(&program, args.visitors).map_err(Failure::failed)
        }),
    )
}
