//! What relaying costs the engine beside nginx and HAProxy, each as one process with one thread.
//!
//! `proxy compare MOORLINE ROUNDS` starts the three on CPU 0, MOORLINE being the program `moorline`. The clients and the peer
//! that echoes run on CPU 1. Each proxy has its turn in each round, each time in another order. Prints as JSON what a request
//! costs each in CPU time, and how many private bytes an idle session has. What is not installed is left out, and named.
//!
//! - `proxies`: the programs and their configurations
//! - `clients`: what asks
//! - `peer`: what answers

mod clients;
mod peer;
mod proxies;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use moorline_benches::Result;
use moorline_benches::load::{Turn, run, turn};
use moorline_benches::server::be_the_load;

use clients::{Asker, Caller, DatagramAsker, Message, Tls};
use peer::Peer;
use proxies::{Proxies, Proxy, Site};

const SESSIONS: usize = 64;
const SMALL_BYTES: usize = 128;
const TURN: Duration = Duration::from_millis(1500);
/// Sessions whose memory is measured.
const IDLE_SESSIONS: usize = 5000;
/// Sessions before these, so that what a proxy allocates once is not counted.
const FIRST_SESSIONS: usize = 64;
/// After so long, what sessions needed for their messages is free again.
const SETTLING: Duration = Duration::from_secs(1);

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Request after request of this size.
    Echo(usize),
    /// The same over TLS.
    TlsEcho(usize),
    /// Connect, one request, close.
    Connect,
    /// The same over TLS, with a whole handshake.
    Handshake,
    /// Datagrams.
    Datagrams,
}

const LOADS: [Load; 9] = [
    Load::Echo(SMALL_BYTES),
    Load::Echo(16 << 10),
    Load::Echo(64 << 10),
    Load::Echo(1 << 20),
    Load::Connect,
    Load::Handshake,
    Load::TlsEcho(SMALL_BYTES),
    Load::TlsEcho(64 << 10),
    Load::Datagrams,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["compare", moorline, rounds] => rounds
            .parse()
            .map_err(Into::into)
            .and_then(|rounds| compare(Path::new(moorline), rounds)),
        _ => Err("usage: proxy compare MOORLINE ROUNDS".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(moorline: &Path, rounds: usize) -> Result {
    be_the_load()?;
    let site = Site::new(moorline, Peer::begin()?)?;
    let mut rows = Vec::new();
    let proxies = Proxies::start(&site)?;
    for load in LOADS {
        let mut figures = vec![Vec::new(); proxies.all.len()];
        for round in 0..rounds {
            eprintln!("{}, round {}", load.name(), round + 1);
            for turn in 0..proxies.all.len() {
                let at = (turn + round) % proxies.all.len();
                let proxy = &proxies.all[at];
                if load.is_for(proxy) {
                    figures[at].push(run(measure(load, proxy, &site.tls))?.cpu_us);
                }
            }
        }
        rows.push(row(load.name(), "CPU µs / request", &proxies, &figures));
    }
    let absent = proxies.absent.clone();
    drop(proxies);
    for (what, is_tls) in [("plain", false), ("TLS", true)] {
        // Fresh ones: what earlier sessions have left behind would hold new ones.
        let proxies = Proxies::start(&site)?;
        let mut figures = Vec::new();
        for proxy in &proxies.all {
            eprintln!("{IDLE_SESSIONS} idle sessions, {what}, {}", proxy.name);
            figures.push(vec![run(idle(proxy, is_tls.then_some(&site.tls)))?]);
        }
        let what = format!("relay, an idle session, {what}");
        rows.push(row(what, "private bytes", &proxies, &figures));
    }
    println!("{:#}", json!({ "absent": absent, "rows": rows }));
    Ok(())
}

fn row(what: String, unit: &str, proxies: &Proxies, figures: &[Vec<f64>]) -> Value {
    let figures = proxies.all.iter().zip(figures);
    let figures = figures.map(|(proxy, figures)| (proxy.name.to_owned(), figures.clone().into()));
    let figures: serde_json::Map<String, Value> = figures.collect();
    json!({ "what": what, "unit": unit, "figures": figures })
}

impl Load {
    fn name(self) -> String {
        let size = |bytes: usize| match bytes {
            SMALL_BYTES => format!("{bytes} B"),
            _ if bytes < 1 << 20 => format!("{} KiB", bytes >> 10),
            _ => format!("{} MiB", bytes >> 20),
        };
        match self {
            Self::Echo(bytes) => format!("relay, {}, {SESSIONS} sessions", size(bytes)),
            Self::TlsEcho(bytes) => format!("relay, TLS, {}, {SESSIONS} sessions", size(bytes)),
            Self::Connect => "relay, connect, request, close".to_owned(),
            Self::Handshake => "relay, TLS handshake, request, close".to_owned(),
            Self::Datagrams => format!("relay, UDP, {SMALL_BYTES} B, {SESSIONS} sessions"),
        }
    }

    fn is_for(self, proxy: &Proxy) -> bool {
        self != Self::Datagrams || proxy.datagrams.is_some()
    }
}

/// Gives a proxy its turn.
async fn measure(load: Load, proxy: &Proxy, tls: &Tls) -> Result<Turn> {
    let server = &proxy.server;
    match load {
        Load::Echo(bytes) => {
            let mut askers = Vec::new();
            for _ in 0..SESSIONS {
                askers.push(Asker::connect(proxy.plain, Message::new(bytes)).await?);
            }
            turn(server, askers, TURN).await
        }
        Load::TlsEcho(bytes) => {
            let mut askers = Vec::new();
            for _ in 0..SESSIONS {
                askers.push(tls.connect(proxy.tls, Message::new(bytes)).await?);
            }
            turn(server, askers, TURN).await
        }
        Load::Connect => {
            let caller = |_| Caller::new(proxy.plain, Message::new(SMALL_BYTES), None);
            turn(server, (0..SESSIONS).map(caller).collect(), TURN).await
        }
        Load::Handshake => {
            let caller = |_| Caller::new(proxy.tls, Message::new(SMALL_BYTES), Some(tls.clone()));
            turn(server, (0..SESSIONS).map(caller).collect(), TURN).await
        }
        Load::Datagrams => {
            let address = proxy.datagrams.ok_or("it relays no datagrams")?;
            let mut askers = Vec::new();
            for _ in 0..SESSIONS {
                askers.push(DatagramAsker::connect(address, Message::new(SMALL_BYTES)).await?);
            }
            turn(server, askers, TURN).await
        }
    }
}

/// The private bytes of a session that has been answered once and then says nothing.
async fn idle(proxy: &Proxy, tls: Option<&Tls>) -> Result<f64> {
    let first = hold(proxy, tls, FIRST_SESSIONS).await?;
    tokio::time::sleep(SETTLING).await;
    let before = proxy.server.private_memory()?;
    let sessions = hold(proxy, tls, IDLE_SESSIONS).await?;
    tokio::time::sleep(SETTLING).await;
    let after = proxy.server.private_memory()?;
    drop((first, sessions));
    Ok((after as f64 - before as f64) / IDLE_SESSIONS as f64)
}

/// Sessions, each after one answer. Whatever they are, they end when dropped.
async fn hold(proxy: &Proxy, tls: Option<&Tls>, count: usize) -> Result<Vec<Box<dyn Send>>> {
    let mut sessions: Vec<Box<dyn Send>> = Vec::new();
    for _ in 0..count {
        let message = Message::new(SMALL_BYTES);
        sessions.push(match tls {
            None => Box::new(Asker::connect(proxy.plain, message).await?.asked().await?),
            Some(tls) => Box::new(tls.connect(proxy.tls, message).await?.asked().await?),
        });
    }
    Ok(sessions)
}
