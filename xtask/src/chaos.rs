//! `cargo xtask chaos`: an echo and a chat under load, to which everything happens that may happen to an engine.
//!
//! The program itself is `tests/src/bin/chaos`; here it is built and given a place of its own.

use std::path::PathBuf;

use crate::needs;
use crate::steps::{Failure, cargo, program, root};

/// Harms an echo and a chat under load in every way, and explains every loss.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ChaosArgs {
    /// How long harm is done; counting everyone between two rounds comes on top
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The same seed makes the same plan; without one the clock is it
    #[arg(long)]
    seed: Option<u64>,
    /// Upgrade the gateways beside everything else
    #[arg(long)]
    upgrades: bool,
    /// Print the plan and do nothing
    #[arg(long)]
    plan: bool,
    /// Run every seed that has failed once, each for as long as it took
    #[arg(long, conflicts_with_all = ["seconds", "seed"])]
    kept: bool,
}

impl ChaosArgs {
    /// What every change must pass: a minute, always of the same plan, so that what fails is the change.
    const A_MINUTE: ChaosArgs = ChaosArgs {
        seconds: 60,
        seed: Some(1),
        upgrades: false,
        plan: false,
        kept: false,
    };
}

/// What every change must pass: a minute, and the plans that have found something once.
pub(crate) fn every_change() -> Result<(), Failure> {
    run(&ChaosArgs::A_MINUTE)?;
    run_kept(&ChaosArgs::A_MINUTE)
}

pub(crate) fn run(args: &ChaosArgs) -> Result<(), Failure> {
    cargo("build --workspace --bins --examples --locked").run()?;
    match args.kept {
        true => run_kept(args),
        false => start(args.seconds, args.seed, args),
    }
}

fn run_kept(args: &ChaosArgs) -> Result<(), Failure> {
    kept(include_str!("../../tests/src/bin/chaos/seeds"))?
        .into_iter()
        .try_for_each(|(seed, seconds)| start(seconds, Some(seed), args))
}

/// The seeds of a list, and how many seconds of each. What follows a `#` says what it has found.
fn kept(list: &str) -> Result<Vec<(u64, u32)>, Failure> {
    let lines = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or(line));
    let lines = lines.filter(|line| !line.trim().is_empty());
    let parsed = lines.map(|line| {
        let (seed, seconds) = line.trim().split_once(' ')?;
        Some((seed.parse().ok()?, seconds.trim().parse().ok()?))
    });
    let all: Option<_> = parsed.collect();
    all.ok_or_else(|| {
        Failure("tests/src/bin/chaos/seeds: a line is `SEED SECONDS # why`".to_owned())
    })
}

fn start(seconds: u32, seed: Option<u64>, args: &ChaosArgs) -> Result<(), Failure> {
    let chaos = built().display().to_string();
    let seconds = seconds.to_string();
    let seed = seed.map(|seed| seed.to_string());
    let mut arguments = vec!["--seconds", &seconds];
    if let Some(seed) = &seed {
        arguments.extend(["--seed", seed]);
    }
    if args.upgrades {
        arguments.push("--upgrades");
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
    root().join(target).join("debug/chaos")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_seed_has_its_time_and_perhaps_its_reason() {
        let list = "# why\n\n7 16  # a hang\n18446744073709551615 8\n";
        assert_eq!(kept(list).ok(), Some(vec![(7, 16), (u64::MAX, 8)]));
        assert!(kept("7\n").is_err());
        assert!(kept("7 soon\n").is_err());
    }

    #[test]
    fn the_list_of_kept_seeds_can_be_read() {
        assert!(kept(include_str!("../../tests/src/bin/chaos/seeds")).is_ok());
    }
}
