//! A storm of connections to a local listener: dials beside bare `tokio::net::TcpStream::connect`, in turn.
//!
//! `cargo run --release -p moorline-net --example storm [CONNECTIONS [WAVE [ROUNDS [SOURCES]]]]`
//!
//! Each round opens CONNECTIONS connections in waves, all of a wave at once, spread over source addresses in
//! 127.0.0.0/8, first one way and then the other; the next round begins with the other one. Another thread
//! accepts. Printed are connections per second and this side's CPU for one, and the medians of the ratios of
//! each round's pair.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use moorline_net::{Address, DialOptions, Dialer, listen, local_address};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// The most source addresses.
const MAX_SOURCES: usize = 250;
/// Accepted connections that the listener keeps.
const KEPT: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Dialer,
    Bare,
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| {
        text.parse::<usize>()
            .expect("the arguments are numbers: connections, wave, rounds, sources")
    });
    let connections = arguments.next().unwrap_or(20_000);
    let wave = arguments.next().unwrap_or(2_000);
    let rounds = arguments.next().unwrap_or(10);
    let sources = arguments.next().unwrap_or(64).clamp(1, MAX_SOURCES);
    let target = serve();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let dialers: Vec<Dialer> = (0..sources).map(|n| dialer(source(n))).collect();
    let storm = |way| runtime.block_on(storm(way, target, &dialers, connections, wave));
    // Warm: pages, ports, the listener's queue.
    storm(Way::Dialer);
    storm(Way::Bare);
    let (mut dialed, mut bare) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            dialed.push(storm(Way::Dialer));
            bare.push(storm(Way::Bare));
        } else {
            bare.push(storm(Way::Bare));
            dialed.push(storm(Way::Dialer));
        }
        let (Some(dialed), Some(bare)) = (dialed.last(), bare.last()) else {
            continue;
        };
        println!("round {round}: dialer {dialed}, bare {bare}");
    }
    let ratio = |of: fn(&Storm) -> f64| {
        let pairs = dialed.iter().zip(&bare);
        median(pairs.map(|(dialed, bare)| of(dialed) / of(bare)))
    };
    let rate = |storms: &[Storm]| median(storms.iter().map(|storm| storm.per_second));
    println!(
        "medians: dialer {:.0}/s, bare {:.0}/s; ratios of a round: connections per second {:.3}, CPU {:.3}",
        rate(&dialed),
        rate(&bare),
        ratio(|storm| storm.per_second),
        ratio(|storm| storm.cpu_us),
    );
}

/// What was measured.
struct Storm {
    per_second: f64,
    /// This thread's, for one connection.
    cpu_us: f64,
}

impl std::fmt::Display for Storm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0}/s {:.1} us", self.per_second, self.cpu_us)
    }
}

/// The CPU time of this thread.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("the kernel keeps it");
    let time = |value: TimeVal| Duration::from_micros(value.num_microseconds() as u64);
    time(usage.user_time()) + time(usage.system_time())
}

/// Opens that many connections.
async fn storm(
    way: Way,
    target: SocketAddr,
    dialers: &[Dialer],
    connections: usize,
    wave: usize,
) -> Storm {
    let address: Address = format!("tcp://{target}")
        .parse()
        .expect("a socket address makes an address");
    let (started, cpu_before) = (Instant::now(), cpu());
    let mut opened = 0;
    while opened < connections {
        let mut tasks = JoinSet::new();
        for n in 0..wave.min(connections - opened) {
            match way {
                Way::Dialer => {
                    let dialer = dialers[n % dialers.len()].clone();
                    let address = address.clone();
                    tasks.spawn(async move {
                        reset(dialer.connect(&address).await.expect("it answers"));
                    });
                }
                Way::Bare => {
                    let source = source(n % dialers.len());
                    tasks.spawn(async move {
                        reset(bare(source, target).await.expect("it answers"));
                    });
                }
            }
        }
        opened += tasks.len();
        while let Some(done) = tasks.join_next().await {
            done.expect("no dial fails");
        }
    }
    Storm {
        per_second: opened as f64 / started.elapsed().as_secs_f64(),
        cpu_us: (cpu() - cpu_before).as_secs_f64() * 1e6 / opened as f64,
    }
}

/// Closes without keeping the port back, which would run out.
fn reset(stream: impl AsFd) {
    let socket = SockRef::from(&stream);
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("it is a socket");
}

/// What somebody would write by hand, with the same local address.
async fn bare(source: Option<IpAddr>, target: SocketAddr) -> std::io::Result<TcpStream> {
    match source {
        None => TcpStream::connect(target).await,
        Some(source) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(source, 0))?;
            socket.connect(target).await
        }
    }
}

/// The first is none in particular, as most dials are; then 127.0.1.1 and so on.
fn source(n: usize) -> Option<IpAddr> {
    let last = n.min(MAX_SOURCES) as u8;
    (last > 0).then(|| Ipv4Addr::new(127, 0, 1, last).into())
}

fn dialer(source: Option<IpAddr>) -> Dialer {
    Dialer::new(DialOptions::default().bind(source.map(|ip| SocketAddr::new(ip, 0))))
}

/// A listener in a thread of its own that accepts, and closes late: the other side shall be first.
fn serve() -> SocketAddr {
    let any: Address = "tcp://127.0.0.1:0".parse().expect("it is an address");
    let socket = listen(&any).expect("a port is free");
    let at = local_address(&socket, &any);
    let at = at.host_port().expect("it is a port");
    let at = SocketAddr::new(at.ip().expect("it is an IP address"), at.port);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let listener = TcpListener::from_std(socket.into()).expect("it is registered");
            let mut kept = VecDeque::with_capacity(KEPT);
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    if kept.len() == KEPT {
                        kept.pop_front();
                    }
                    kept.push_back(stream);
                }
            }
        });
    });
    at
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
