//! `cargo xtask fuzz` and `cargo xtask miri`: what only nightly Rust can do, and so no part of `test`.

use std::fs;
use std::path::PathBuf;

use crate::steps::{Failure, Shown, program, root};

/// The largest input in bytes: whatever has bounds here has small ones in the targets, and short inputs run fast.
const MAX_INPUT_BYTES: u32 = 4096;
/// An input that takes this time, in seconds, is a finding. Normal ones take microseconds.
const TIMEOUT_SECONDS: u32 = 10;

/// What `cargo xtask fuzz` is told.
#[derive(clap::Args)]
pub(crate) struct Fuzz {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Then keep the fewest inputs that reach what those in fuzz/corpus do not
    #[arg(long)]
    keep: bool,
    /// The one target to run; without it, all of them, one after the other
    target: Option<String>,
}

/// Runs targets until their time is up or one of them has found something.
pub(crate) fn fuzz(args: &Fuzz) -> Result<(), Failure> {
    need_nightly(&["fuzz", "--version"], "cargo install --locked cargo-fuzz")?;
    let all = targets()?;
    let chosen = match &args.target {
        Some(target) if !all.contains(target) => {
            let known = all.join(", ");
            return Err(Failure(format!(
                "there is no target {target}; there are {known}"
            )));
        }
        Some(target) => vec![target.clone()],
        None => all,
    };
    for target in chosen {
        run(&target, args.seconds)?;
        if args.keep {
            keep(&target)?;
        }
    }
    Ok(())
}

/// One file in fuzz/fuzz_targets is one target.
fn targets() -> Result<Vec<String>, Failure> {
    let files = fs::read_dir(root().join("fuzz/fuzz_targets"))
        .map_err(|error| Failure(format!("cannot list the targets: {error}")))?;
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn run(target: &str, seconds: u32) -> Result<(), Failure> {
    let found = found(target);
    fs::create_dir_all(root().join(&found))
        .map_err(|error| Failure(format!("cannot make {}: {error}", found.display())))?;
    // New inputs go into the first folder; the second is only read.
    let arguments = format!(
        "run {target} {} fuzz/corpus/{target} -- -max_total_time={seconds} -max_len={MAX_INPUT_BYTES} \
         -timeout={TIMEOUT_SECONDS} -print_final_stats=1",
        found.display()
    );
    cargo_fuzz(&arguments).run().map_err(|failure| {
        Failure(format!(
            "{failure}\nthe input is in fuzz/artifacts/{target}: mend what it shows, leave a test named for it, \
             and move the input to fuzz/corpus/{target}"
        ))
    })
}

/// Adds the fewest inputs of those found that reach code which those kept do not. How often they reach it is
/// left out of account, or it would be thousands.
fn keep(target: &str) -> Result<(), Failure> {
    let found = found(target);
    let folders = format!("fuzz/corpus/{target} {}", found.display());
    cargo_fuzz(&format!(
        "run {target} {folders} -- -merge=1 -use_counters=0"
    ))
    .run()
}

/// Where the inputs go that are found on this machine.
fn found(target: &str) -> PathBuf {
    PathBuf::from("target/fuzz-found").join(target)
}

fn cargo_fuzz(arguments: &str) -> Shown {
    let (verb, rest) = arguments.split_once(' ').unwrap_or((arguments, ""));
    nightly_cargo(&format!(
        "fuzz {verb} --fuzz-dir fuzz --target-dir target/fuzz {rest}"
    ))
}

/// Interprets the rings' tests, where every access outside its memory, every read of what was never written
/// and every broken alias is an error. Sockets and mappings are beyond it.
pub(crate) fn miri() -> Result<(), Failure> {
    need_nightly(
        &["miri", "--version"],
        "rustup component add --toolchain nightly miri rust-src",
    )?;
    let tests = "miri test --package moorline-ipc --lib --target-dir target/miri -- ring:: hello:: invariants::";
    nightly_cargo(&format!("{tests} --skip send"))
        // The kept inputs are files. Weak memory is loom's matter; Miri's own crashes when what was written as
        // bytes is written as words.
        .env(
            "MIRIFLAGS",
            "-Zmiri-disable-isolation -Zmiri-disable-weak-memory-emulation",
        )
        .run()
}

/// Not installed by itself: a toolchain is its owner's choice.
fn need_nightly(probe: &[&str], remedy: &str) -> Result<(), Failure> {
    if !nightly_cargo("--version").succeeds() {
        return Err(Failure(
            "this needs nightly Rust; install it with:\n  rustup toolchain install nightly --profile minimal"
                .to_owned(),
        ));
    }
    if !nightly_cargo(&probe.join(" ")).succeeds() {
        return Err(Failure(format!(
            "`cargo {}` is missing; install it with:\n  {remedy}",
            probe[0]
        )));
    }
    Ok(())
}

/// Nightly's `cargo` with these arguments, none of which contains a space.
fn nightly_cargo(arguments: &str) -> Shown {
    let words = arguments.split_whitespace();
    program(
        "rustup",
        ["run", "nightly", "cargo"].into_iter().chain(words),
    )
}
