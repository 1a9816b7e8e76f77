//! `top`: what an engine does, at a glance, in the terminal.
//!
//! - `terminal`: the loop that waits for keys, signals and answers; `once`: one picture as text
//! - `draw`: a picture of everything, with the tables of `panes`; `theme`: its colours
//! - `screen`: what the keys have chosen
//! - `feed`: looks at an engine, or at the one of `demo`
//! - `history`: rates, from one look to the next; `sample`: one look

mod demo;
mod draw;
mod feed;
mod history;
mod once;
mod panes;
mod sample;
mod screen;
mod terminal;
mod theme;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Args;

use super::{EngineChoice, Failure, Paths, control, finish};
use feed::Watched;

/// Show what the running engine does, once a second, in the terminal. Press `?` there for its keys.
#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// Print one picture as text, as without a terminal. The exit code is 0 if the engine is healthy, 1 if something is wrong.
    #[arg(long)]
    once: bool,
    /// Show an engine that does not exist.
    #[arg(long, conflicts_with_all = ["config", "run_dir"])]
    demo: bool,
    #[command(flatten)]
    engine: EngineChoice,
}

/// Shows until it is ended.
pub(super) fn run(paths: &Paths, args: TopArgs) -> ExitCode {
    let source = match args.demo {
        true => Watched::Demo,
        // Also one that does not run yet.
        false => match control::run_dir(paths, args.engine) {
            Ok(run_dir) => Watched::Engine(run_dir),
            Err(failure) => return finish(Err(failure)),
        },
    };
    let is_shown = io::stdout().is_terminal() && io::stdin().is_terminal();
    if args.once || !is_shown {
        return once::print(source);
    }
    if std::env::var_os("TERM").is_some_and(|kind| kind == "dumb") {
        let failure = "this terminal moves no cursor\n  hint: `top --once` prints text";
        return finish(Err(Failure::failed(failure)));
    }
    match terminal::show(source) {
        Ok(code) => code,
        Err(error) => finish(Err(Failure::failed(format!("the terminal: {error}")))),
    }
}
