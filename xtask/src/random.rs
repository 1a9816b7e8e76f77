//! `cargo xtask random`: a gateway loop under whatever clients, workers and operators do, longer than `test` has time for.
//!
//! The tests are `tests::random` of the gateway: sockets, processes and clock are scripted, from a seed.

use crate::steps::{Failure, cargo};

/// Play through random orders of events in a gateway loop, and check its invariants after each turn.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RandomArgs {
    /// How many new seeds each test runs
    #[arg(long, default_value_t = 200)]
    seeds: u32,
    /// Run this seed alone, as a failure has printed it
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
}

pub(crate) fn run(args: &RandomArgs) -> Result<(), Failure> {
    let tests = "nextest run --package moorline-gateway --lib --locked --profile random";
    let tests = cargo(&format!("{tests} tests::random"));
    match args.seed {
        Some(seed) => tests.env("MOORLINE_SEED", &seed.to_string()),
        None => tests.env("MOORLINE_SEEDS", &args.seeds.to_string()),
    }
    .run()
}
