//! WebSocket messages and handshakes, beside axum's server and, if it is there, one on uWebSockets.

use std::path::Path;

use super::report::{Aim, Row, size};
use super::server::{Listener, Placement, Server};
use super::turns::{Load, Mode, take};
use super::{BenchArgs, CPU_UNIT, Result};

/// A comparison: what is sent, and how much CPU time it may cost beside uWebSockets.
struct Case {
    mode: Mode,
    sessions: u32,
    bytes: u32,
    aim: Aim,
}

const CASES: [Case; 4] = [
    Case {
        mode: Mode::Echo,
        sessions: 64,
        bytes: 128,
        aim: Aim::Ratio(1.1),
    },
    Case {
        mode: Mode::Echo,
        sessions: 64,
        bytes: 16 << 10,
        aim: Aim::Ratio(1.25),
    },
    Case {
        mode: Mode::Echo,
        sessions: 16,
        bytes: 1 << 20,
        aim: Aim::Ratio(1.25),
    },
    // A connection, its handshake and one message.
    Case {
        mode: Mode::Connect,
        sessions: 64,
        bytes: 128,
        aim: Aim::Ratio(1.1),
    },
];

/// CPU of each case. There is an aim beside uWebSockets alone.
pub(super) fn measure(release: &Path, args: &BenchArgs) -> Result<Vec<Row>> {
    let engine = Server::engine(release, Listener::WebSocket, Placement::Together)?;
    let axum = Server::axum(release)?;
    let uwebsockets = args
        .uwebsockets
        .as_deref()
        .map(Server::uwebsockets)
        .transpose()?;
    let mut rows = Vec::new();
    for case in CASES {
        let what = match case.mode {
            Mode::Echo => format!(
                "WebSocket, {}, {} sessions",
                size(case.bytes),
                case.sessions
            ),
            Mode::Connect => "WebSocket handshake".to_owned(),
        };
        let load = Load {
            mode: case.mode,
            sessions: case.sessions,
            bytes: case.bytes,
            placement: Placement::Together,
        };
        let row = |other: &str, engine: &[f64], figures, aim| Row {
            what: format!("{what}, to {other}"),
            unit: CPU_UNIT.into(),
            engine: engine.to_vec(),
            other: figures,
            aim,
        };
        if let Some(uwebsockets) = &uwebsockets {
            let servers = [&engine, &axum, uwebsockets];
            let [engine, axum, uwebsockets] = take(release, args, &what, &load, servers)?;
            rows.push(row("axum", &engine.cpu, axum.cpu, None));
            let aim = Some(case.aim);
            rows.push(row("uWebSockets", &engine.cpu, uwebsockets.cpu, aim));
        } else {
            let [engine, axum] = take(release, args, &what, &load, [&engine, &axum])?;
            rows.push(row("axum", &engine.cpu, axum.cpu, None));
        }
    }
    Ok(rows)
}
