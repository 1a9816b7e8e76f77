//! `cargo xtask full`: the tests of many relays in the size that is promised, which takes minutes.
//!
//! The tests are `endurance` and `storm` of the stream proxy: 2,000 relays over 20 reloads, 10,000 half-closes, plain and
//! encrypted, and peers that die, freeze and vanish under load.

use crate::steps::{Failure, cargo};

pub(crate) fn run() -> Result<(), Failure> {
    cargo("build --package moorline --locked").run()?;
    let tests =
        "nextest run --package moorline-tests --test proxy --locked --no-capture endurance storm";
    cargo(tests).env("MOORLINE_FULL", "1").run()
}
