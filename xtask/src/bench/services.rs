//! Services that call each other.

use std::path::Path;
use std::process::Command;

use super::Result;
use super::report::{Aim, Row};
use super::web::rows;

/// Calls a second, launches a second, and bytes of services, in Rust and in Lua.
pub(super) fn measure(root: &Path, release: &Path, rounds: u8) -> Result<Vec<Row>> {
    let mut command = Command::new(release.join("services"));
    command
        .arg(rounds.to_string())
        .arg(root.join("benches/lua"));
    rows(command, |what, _| {
        let aim = match what {
            "two services, a call at a time" => Aim::AtLeast(5_000_000.0),
            "services of two loops, 256 calls" => Aim::AtLeast(1_500_000.0),
            "two services, a call at a time, in Lua" => Aim::AtLeast(500_000.0),
            "two services, 16 calls at a time, in Lua" => Aim::AtLeast(700_000.0),
            "Lua services that dispatch" => Aim::AtLeast(8_000.0),
            "a Lua service that dispatches" => Aim::AtMost(45.0 * 1024.0),
            "an idle service" => Aim::AtMost(600.0),
            _ => return None,
        };
        Some(aim)
    })
}
