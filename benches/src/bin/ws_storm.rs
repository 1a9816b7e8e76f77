//! Opens many WebSocket sessions at once, and measures how long that takes, the server's CPU time, and the latency of a session
//! that echoes meanwhile: `ws_storm ADDRESS PATH CLIENTS PID…`. The server must be started with a limit of open files above that.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Between two messages of the session that is measured.
const PACE: Duration = Duration::from_millis(1);
/// A text message `x`, masked with zeros.
const MESSAGE: [u8; 7] = [0x81, 0x81, 0, 0, 0, 0, b'x'];
const ANSWER: usize = 3;
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
    let is_over = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let echo = thread::spawn({
        let (request, is_over) = (request.clone(), is_over.clone());
        move || echo(address, &request, &is_over, begun)
    });
    thread::sleep(Duration::from_secs(1));
    let (before, started) = (cpu(&pids), begun.elapsed());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (open, times) = runtime.block_on(storm(address, request, clients));
    let (took, used) = (begun.elapsed() - started, cpu(&pids) - before);
    is_over.store(true, Ordering::Relaxed);
    let latencies = echo
        .join()
        .map_err(|_| io::Error::other("the echo failed"))??;
    let during = |from: Duration, to: Duration| {
        let within = latencies.iter().filter(|(at, _)| (from..to).contains(at));
        let mut within: Vec<_> = within.map(|(_, latency)| *latency).collect();
        within.sort_unstable();
        within
    };
    let rest = during(Duration::ZERO, started);
    let storm = during(started, started + took);
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

fn part(sorted: &[Duration], part: f64) -> Duration {
    let at = (sorted.len() as f64 * part) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(at.min(last)).copied().unwrap_or_default()
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

/// Echoes until it is over. Returns when each message was sent and how long its answer took. A late answer delays the next
/// message, which counts from when it was due.
fn echo(
    address: SocketAddr,
    request: &str,
    is_over: &AtomicBool,
    begun: Instant,
) -> io::Result<Vec<(Duration, Duration)>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut latencies = Vec::new();
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(&MESSAGE)?;
        stream.read_exact(&mut [0; ANSWER])?;
        latencies.push((due - begun, due.elapsed()));
        due += PACE;
    }
    Ok(latencies)
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
