//! A storm of connections to a local listener: dials beside bare `tokio::net::TcpStream::connect`, in turn.
//!
//! `cargo run --release -p moorline-net --example storm [CONNECTIONS [WAVE [ROUNDS]]]`
//!
//! Each round opens so many connections in waves, all of a wave at once, spread over source addresses in
//! 127.0.0.0/8, first one way and then the other; the next round begins with the other one. Printed are
//! connections per second, the medians, and the ratio of each round's pair. Another thread accepts and closes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use moorline_net::{Address, DialOptions, Dialer, listen, local_address};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// How many source addresses: with 28,000 ports each, enough for what is still closing.
const SOURCES: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Dialer,
    Bare,
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| {
        text.parse::<usize>()
            .expect("the arguments are numbers: connections, wave, rounds")
    });
    let connections = arguments.next().unwrap_or(20_000);
    let wave = arguments.next().unwrap_or(2_000);
    let rounds = arguments.next().unwrap_or(10);
    let target = serve();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let dialers: Vec<Dialer> = (0..SOURCES).map(|n| dialer(source(n))).collect();
    let storm = |way| runtime.block_on(storm(way, target, &dialers, connections, wave));
    // Warm: pages, ports, the listener's queue.
    storm(Way::Dialer);
    storm(Way::Bare);
    let mut rates = (Vec::new(), Vec::new());
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let (dialed, bare) = if round % 2 == 0 {
            let dialed = storm(Way::Dialer);
            (dialed, storm(Way::Bare))
        } else {
            let bare = storm(Way::Bare);
            (storm(Way::Dialer), bare)
        };
        println!(
            "round {round}: dialer {dialed:.0}/s, bare {bare:.0}/s, ratio {:.3}",
            dialed / bare
        );
        rates.0.push(dialed);
        rates.1.push(bare);
        ratios.push(dialed / bare);
    }
    println!(
        "medians: dialer {:.0}/s, bare {:.0}/s, ratio of a round {:.3}",
        median(&mut rates.0),
        median(&mut rates.1),
        median(&mut ratios)
    );
}

/// Opens that many connections; how many per second.
async fn storm(
    way: Way,
    target: SocketAddr,
    dialers: &[Dialer],
    connections: usize,
    wave: usize,
) -> f64 {
    let address: Address = format!("tcp://{target}")
        .parse()
        .expect("a socket address makes an address");
    let started = Instant::now();
    let mut opened = 0;
    while opened < connections {
        let mut tasks = JoinSet::new();
        for n in 0..wave.min(connections - opened) {
            match way {
                Way::Dialer => {
                    let dialer = dialers[n % dialers.len()].clone();
                    let address = address.clone();
                    tasks.spawn(async move {
                        drop(dialer.connect(&address).await.expect("it answers"))
                    });
                }
                Way::Bare => {
                    let source = source(n);
                    tasks.spawn(
                        async move { drop(bare(source, target).await.expect("it answers")) },
                    );
                }
            }
        }
        opened += tasks.len();
        while let Some(done) = tasks.join_next().await {
            done.expect("no dial fails");
        }
    }
    opened as f64 / started.elapsed().as_secs_f64()
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

/// The first dials from no address in particular, which takes the shortest way; 127.0.1.1 and so on.
fn source(n: usize) -> Option<IpAddr> {
    let last = (n % SOURCES) as u8;
    (last > 0).then(|| Ipv4Addr::new(127, 0, 1, last).into())
}

fn dialer(source: Option<IpAddr>) -> Dialer {
    Dialer::new(DialOptions {
        bind: source.map(|ip| SocketAddr::new(ip, 0)),
        ..DialOptions::default()
    })
}

/// A listener in a thread of its own that accepts and closes, with a reset: no port is kept back.
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
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_zero_linger();
                }
            }
        });
    });
    at
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
