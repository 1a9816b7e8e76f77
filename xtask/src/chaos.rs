//! `cargo xtask chaos`: an echo and a chat under load, to which everything happens that may happen to an engine.
//!
//! The program itself is `tests/chaos`; here it is built and given a place of its own.

use std::path::PathBuf;

use crate::needs;
use crate::steps::{Failure, cargo, program, root};

/// Harms an echo and a chat under load in every way, and explains every loss.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// How long harm is done; counting everyone between two rounds comes on top
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The same seed makes the same plan; without one the clock is it
    #[arg(long)]
    seed: Option<u64>,
    /// Print the plan and do nothing
    #[arg(long)]
    plan: bool,
}

impl Args {
    /// What every change must pass: a minute, always of the same plan, so that what fails is the change.
    pub(crate) const EVERY_CHANGE: Args = Args {
        seconds: 60,
        seed: Some(1),
        plan: false,
    };
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    cargo("build --package moorline --examples --locked").run()?;
    let chaos = built().display().to_string();
    let seconds = args.seconds.to_string();
    let seed = args.seed.map(|seed| seed.to_string());
    let mut arguments = vec!["--seconds", &seconds];
    if let Some(seed) = &seed {
        arguments.extend(["--seed", seed]);
    }
    if args.plan {
        arguments.push("--plan");
    }
    if needs::is_root() {
        // What it mounts is seen by nobody else, and is gone when it is, however it ends.
        let apart = ["--mount", "--", &chaos];
        program("unshare", apart.into_iter().chain(arguments)).run()
    } else {
        program(&chaos, arguments).run()
    }
}

fn built() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root().join("target"), PathBuf::from);
    root().join(target).join("debug/examples/chaos")
}
