//! Calls between two nodes, beside requests over bare NATS.
//!
//! `benches/src/bin/cluster.rs` is all of it.

use std::path::Path;
use std::process::Command;

use super::Result;
use super::report::{Aim, Row};
use super::web::rows;

/// CPU time and the median beside those of bare NATS.
const AIM: Aim = Aim::Ratio(1.2);

/// What calls cost, and how long they take.
pub(super) fn measure(release: &Path, rounds: u8) -> Result<Vec<Row>> {
    let mut command = Command::new(release.join("cluster"));
    command.args(["compare", &rounds.to_string()]);
    rows(command, |what, _| {
        let is_rare = what.ends_with("99 %");
        (!is_rare).then_some(AIM)
    })
}
