//! The project's own chores, run as `cargo xtask CHORE`.
//!
//! - `test`: everything that a change must pass, in [`mod@test`]
//! - `check`: a fast look at what has changed, in [`mod@check`]
//! - `docs`: the pages that are written from the code, in [`pages`]
//! - `book`: these pages as a book, in [`book`]
//! - `chaos`: what is promised, while everything happens that may happen, in [`mod@chaos`]
//! - `random`: a scripted gateway loop over many seeds, in [`mod@random`]
//! - `full`: many relays in the size that is promised, in [`mod@full`]
//! - `newcomer`: from a fresh clone to an app that is reloaded under its clients, in [`mod@newcomer`]
//! - `bench`: the engine beside a plain echo server, in [`mod@bench`]
//! - `autobahn`: a WebSocket echo against the test suite of others, in [`mod@autobahn`]
//! - `fuzz` and `miri`: what nightly finds in what comes from outside, in [`nightly`]
//! - `deny`: licences, sources and duplicates of the dependencies, in [`needs`] and here

mod arrows;
mod autobahn;
mod bench;
mod book;
mod chaos;
mod check;
mod crates;
mod entries;
mod errors;
mod features;
mod full;
mod hooks;
mod ignored;
mod log_lines;
mod needs;
mod newcomer;
mod nightly;
mod pages;
mod random;
mod sizes;
mod sources;
mod steps;
mod test;
mod types;
mod way;
mod words;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::steps::{Failure, cargo};

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what the tests need (as root), then check formatting, lints, docs and run every test
    Test,
    /// Check formatting and lints and run the unit tests, of the packages that have changed since `main`
    Check(check::CheckArgs),
    /// Write the references of the configuration and of Lua's names from their tables
    Docs,
    /// Build the pages of `docs/` as a book, with mdbook
    Book,
    /// Name the words that house style replaces
    Words,
    /// Harm an echo and a chat under load in every way, and explain every loss
    Chaos(chaos::ChaosArgs),
    /// Run the tests of many relays in their full size
    Full,
    /// Walk from a fresh clone to an app of one's own that is reloaded under its clients, and time each command
    Newcomer,
    /// Play through random orders of events in a gateway loop, and check its invariants after each turn
    Random(random::RandomArgs),
    /// Compare the engine with a plain echo server: CPU per request, latency, memory
    Bench(bench::BenchArgs),
    /// Run Autobahn's test suite against an echo (Python 2.7)
    Autobahn(autobahn::AutobahnArgs),
    /// Look for inputs that break what must hold for all of them (nightly, cargo-fuzz)
    Fuzz(nightly::Fuzz),
    /// Interpret the tests of the rings, which have the unsafe code (nightly, miri)
    Miri,
    /// Check the dependencies' licences and sources against deny.toml, with cargo-deny
    Deny,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Test => test::run(),
        Chore::Check(args) => check::run(&args),
        Chore::Docs => pages::write().and_then(|()| book::write()),
        Chore::Book => book::build(),
        Chore::Words => words::are_plain(),
        Chore::Chaos(args) => chaos::run(&args),
        Chore::Full => full::run(),
        Chore::Newcomer => newcomer::run(),
        Chore::Random(args) => random::run(&args),
        Chore::Bench(args) => bench::run(args).map_err(|error| Failure(error.to_string())),
        Chore::Autobahn(args) => autobahn::run(&args),
        Chore::Fuzz(args) => nightly::fuzz(&args),
        Chore::Miri => nightly::miri(),
        Chore::Deny => deny(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// It is no step of `test`: cargo-deny takes longer to build than all of Moorline, and its result changes only with
/// `Cargo.lock`. It does not look at advisories, whose list is online.
fn deny() -> Result<(), Failure> {
    needs::cargo_tool("cargo-deny", "deny")?;
    cargo("deny check licenses bans sources").run()
}
