//! Messages over TCP, beside a plain server on tokio.

use std::path::Path;

use super::report::{Aim, Row, size};
use super::server::{Listener, Placement, Server};
use super::turns::{Load, Mode, take};
use super::{BenchArgs, CPU_UNIT, Result};

/// Concurrent sessions of the comparisons at `MESSAGE_BYTES`.
const SESSIONS: [u32; 3] = [1, 64, 512];
const MESSAGE_BYTES: u32 = 128;

/// Larger messages, and how many sessions send them: fewer of the largest, which fill the sockets' buffers.
const SIZES: [(u32, u32); 4] = [(4 << 10, 64), (16 << 10, 64), (64 << 10, 16), (1 << 20, 16)];

/// Sessions that connect, ask once and close at the same time.
const CONNECTING: u32 = 64;

/// CPU time of a request beside the plain server's, with sessions enough that a turn serves several.
const AIM_CPU: Aim = Aim::Ratio(1.0);
/// Latency of one session's requests, gateway and worker on one CPU.
const AIM_LATENCY: Aim = Aim::Ratio(1.25);
/// CPU time of a larger request.
const AIM_SIZES: Aim = Aim::Ratio(1.08);
/// CPU time of a connection with one request.
const AIM_CONNECT: Aim = Aim::Ratio(1.08);

/// CPU and latency of short messages.
pub(super) fn plain(release: &Path, args: &BenchArgs) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for placement in [Placement::Together, Placement::Apart] {
        let engine = Server::engine(release, Listener::Tcp, placement)?;
        let plain = Server::plain(release)?;
        for sessions in SESSIONS {
            let load = Load {
                mode: Mode::Echo,
                sessions,
                bytes: MESSAGE_BYTES,
                placement,
            };
            let what = echo(&load);
            let [engine, plain] = take(release, args, &what, &load, [&engine, &plain])?;
            let is_alone = sessions == 1;
            let is_together = placement == Placement::Together;
            rows.push(Row {
                what: what.clone(),
                unit: CPU_UNIT.into(),
                engine: engine.cpu,
                other: plain.cpu,
                aim: (is_together && !is_alone).then_some(AIM_CPU),
            });
            rows.push(Row {
                what,
                unit: "p50 latency µs".into(),
                engine: engine.latency,
                other: plain.latency,
                aim: (is_together && is_alone).then_some(AIM_LATENCY),
            });
        }
    }
    Ok(rows)
}

/// CPU of larger messages.
pub(super) fn sizes(release: &Path, args: &BenchArgs) -> Result<Vec<Row>> {
    let loads = SIZES.map(|(bytes, sessions)| Load {
        mode: Mode::Echo,
        sessions,
        bytes,
        placement: Placement::Together,
    });
    let named = loads.map(|load| (echo(&load), load));
    rows(release, args, named, AIM_SIZES)
}

/// CPU of connections that ask once.
pub(super) fn connect(release: &Path, args: &BenchArgs) -> Result<Vec<Row>> {
    let load = Load {
        mode: Mode::Connect,
        sessions: CONNECTING,
        bytes: MESSAGE_BYTES,
        placement: Placement::Together,
    };
    let what = format!("connect, request, close, {}", load.placement);
    rows(release, args, [(what, load)], AIM_CONNECT)
}

fn echo(load: &Load) -> String {
    let (size, sessions, placement) = (size(load.bytes), load.sessions, load.placement);
    format!("echo, {size}, {sessions} sessions, {placement}")
}

/// A row of CPU time for each load, all with the same servers.
fn rows(
    release: &Path,
    args: &BenchArgs,
    loads: impl IntoIterator<Item = (String, Load)>,
    aim: Aim,
) -> Result<Vec<Row>> {
    let engine = Server::engine(release, Listener::Tcp, Placement::Together)?;
    let plain = Server::plain(release)?;
    let row = |(what, load): (String, Load)| {
        let [engine, plain] = take(release, args, &what, &load, [&engine, &plain])?;
        Ok(Row {
            what,
            unit: CPU_UNIT.into(),
            engine: engine.cpu,
            other: plain.cpu,
            aim: Some(aim),
        })
    };
    loads.into_iter().map(row).collect()
}
