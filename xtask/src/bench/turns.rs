//! The same load on several servers in turn.

use std::path::Path;

use super::server::{Placement, Server};
use super::{BenchArgs, Result, number};

/// Before each turn is measured: what the other server's turn has displaced from the caches comes back.
const WARM_UP: &str = "300ms";

/// What `moorline bench` does with each server.
pub(super) struct Load {
    pub(super) mode: Mode,
    pub(super) sessions: u32,
    pub(super) bytes: u32,
    pub(super) placement: Placement,
}

/// What each session of a load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Request after request.
    Echo,
    /// Connect, one request, close.
    Connect,
}

/// What was measured of one server, a figure for each round.
#[derive(Default)]
pub(super) struct Figures {
    /// Microseconds of CPU time for a request.
    pub(super) cpu: Vec<f64>,
    /// Microseconds that half of the requests took at the most.
    pub(super) latency: Vec<f64>,
}

/// Gives each server its turn in each round. Fails if an answer is missing or wrong.
pub(super) fn take<const SERVERS: usize>(
    release: &Path,
    args: &BenchArgs,
    what: &str,
    load: &Load,
    servers: [&Server; SERVERS],
) -> Result<[Figures; SERVERS]> {
    let mut figures = std::array::from_fn(|_| Figures::default());
    for round in 1..=args.rounds {
        eprintln!("{what}, round {round}");
        for (server, figures) in servers.iter().zip(&mut figures) {
            turn(release, args, load, server, figures)?;
        }
    }
    Ok(figures)
}

fn turn(
    release: &Path,
    args: &BenchArgs,
    load: &Load,
    server: &Server,
    figures: &mut Figures,
) -> Result {
    let mode = match load.mode {
        Mode::Echo => "echo",
        Mode::Connect => "connect",
    };
    let [sessions, bytes] = [load.sessions, load.bytes].map(|number| number.to_string());
    let cpu = load.placement.load_cpu().to_string();
    let arguments = [
        ["--connections", &sessions],
        ["--size", &bytes],
        ["--duration", &args.duration],
        ["--warm-up", WARM_UP],
        ["--cpu", &cpu],
    ];
    let result = server.bench(release, mode, server.pid(), &arguments)?;
    figures
        .cpu
        .push(number(&result, "/server_cpu_us_per_request")?);
    figures.latency.push(number(&result, "/latency_us/p50")?);
    Ok(())
}
