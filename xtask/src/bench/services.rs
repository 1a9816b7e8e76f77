//! Services that call each other, and that serve clients.

use std::path::Path;
use std::process::Command;

use super::report::{Aim, Row, size};
use super::server::{Placement, Server};
use super::turns::{Load, Mode, take};
use super::web::rows;
use super::{BenchArgs, CPU_UNIT, Result};

/// Sessions of the echo over TCP, and what each of them sends.
const SESSIONS: u32 = 64;
const MESSAGE_BYTES: u32 = 128;
/// CPU time of a request to a service in Lua beside the plain server's.
const AIM_ECHO: Aim = Aim::Ratio(1.45);

/// Calls a second, launches a second, and bytes of services, in Rust and in Lua; and what an echo over TCP costs in Lua.
pub(super) fn measure(root: &Path, release: &Path, args: &BenchArgs) -> Result<Vec<Row>> {
    let mut all = calls(root, release, args)?;
    all.push(echo(root, release, args)?);
    Ok(all)
}

fn echo(root: &Path, release: &Path, args: &BenchArgs) -> Result<Row> {
    let script = Server::script(release, &root.join("benches/lua/tcp_echo.lua"))?;
    let plain = Server::plain(release)?;
    let load = Load {
        mode: Mode::Echo,
        sessions: SESSIONS,
        bytes: MESSAGE_BYTES,
        placement: Placement::Together,
    };
    let what = format!("echo in Lua, {}, {SESSIONS} sessions", size(MESSAGE_BYTES));
    let [script, plain] = take(release, args, &what, &load, [&script, &plain])?;
    Ok(Row {
        what,
        unit: CPU_UNIT.into(),
        engine: script.cpu,
        other: plain.cpu,
        aim: Some(AIM_ECHO),
    })
}

fn calls(root: &Path, release: &Path, args: &BenchArgs) -> Result<Vec<Row>> {
    let mut command = Command::new(release.join("services"));
    command
        .arg(args.rounds.to_string())
        .arg(root.join("benches/lua"))
        .args(&args.skynet);
    rows(command, |what, _| {
        let aim = match what {
            "two services, a call at a time" => Aim::AtLeast(5_000_000.0),
            "services of two loops, 256 calls" => Aim::AtLeast(1_500_000.0),
            "two services, a call at a time, in Lua" => Aim::AtLeast(500_000.0),
            "two services, 16 calls at a time, in Lua" => Aim::AtLeast(700_000.0),
            "Lua services that dispatch" => Aim::AtLeast(8_000.0),
            "a Lua service that dispatches" => Aim::AtMost(45.0 * 1024.0),
            "an idle service" => Aim::AtMost(600.0),
            _ if what.ends_with("to skynet") => Aim::LeastRatio(3.0),
            _ => return None,
        };
        Some(aim)
    })
}
