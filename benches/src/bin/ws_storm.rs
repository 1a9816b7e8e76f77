//! Opens many WebSocket sessions at once, and measures how long that takes, the server's CPU time, and the latency of a session
//! that echoes meanwhile: `ws_storm ADDRESS PATH CLIENTS PID…`. The server must be started with a limit of open files above that.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use moorline_benches::bystander::{Bystander, part};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// After this a client counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (address, path, clients) = (arguments.next(), arguments.next(), arguments.next());
    let (Some(address), Some(path), Some(clients)) = (address, path, clients) else {
        return Err(io::Error::other("ws_storm ADDRESS PATH CLIENTS PID…"));
    };
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let clients: usize = clients.parse().map_err(io::Error::other)?;
    let pids: Vec<String> = arguments.collect();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let bystander = Bystander::begin(address, request.clone());
    thread::sleep(Duration::from_secs(1));
    let (before, started) = (cpu(&pids), bystander.elapsed());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (open, times) = runtime.block_on(storm(address, request, clients));
    let (took, used) = (bystander.elapsed() - started, cpu(&pids) - before);
    let waits = bystander.end()?;
    let rest = waits.during(Duration::ZERO, started);
    let storm = waits.during(started, started + took);
    println!(
        "clients {} of {clients} in {took:.2?}; server {:.1} µs a handshake; handshake p50 {:.0?} p99 {:.0?}; \
         echo at rest p99 {:.2?}, in the storm p50 {:.2?} p99 {:.2?} max {:.2?} of {}",
        open.len(),
        used.as_secs_f64() * 1e6 / open.len().max(1) as f64,
        part(&times, 0.5),
        part(&times, 0.99),
        part(&rest, 0.99),
        part(&storm, 0.5),
        part(&storm, 0.99),
        part(&storm, 1.0),
        storm.len(),
    );
    Ok(())
}

/// Opens all at once; returns those that are open, and how long each took, in order.
async fn storm(
    address: SocketAddr,
    request: String,
    clients: usize,
) -> (Vec<tokio::net::TcpStream>, Vec<Duration>) {
    let request: Arc<str> = request.into();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let request = request.clone();
            tokio::spawn(async move {
                let begun = Instant::now();
                let opened = tokio::time::timeout(PATIENCE, open(address, &request)).await;
                opened.ok()?.ok().map(|stream| (stream, begun.elapsed()))
            })
        })
        .collect();
    let (mut open, mut times) = (Vec::new(), Vec::new());
    for task in tasks {
        if let Ok(Some((stream, took))) = task.await {
            open.push(stream);
            times.push(took);
        }
    }
    times.sort_unstable();
    (open, times)
}

async fn open(address: SocketAddr, request: &str) -> io::Result<tokio::net::TcpStream> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 1024];
    let mut length = 0;
    while !head[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut head[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => length += bytes,
        }
    }
    match head.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(stream),
        false => Err(io::Error::other("refused")),
    }
}

/// The CPU time of these processes.
fn cpu(pids: &[String]) -> Duration {
    let threads = pids.iter().flat_map(|pid| {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
        threads.into_iter().flatten().flatten()
    });
    let nanoseconds = threads.map(|thread| {
        let times = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let first = times.split_whitespace().next();
        first.map_or(0, |it| it.parse().unwrap_or(0))
    });
    Duration::from_nanos(nanoseconds.sum())
}
