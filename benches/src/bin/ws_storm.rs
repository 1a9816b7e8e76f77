//! Opens many WebSocket sessions at once, and measures how long that takes, the server's CPU time and how it is shared among the
//! loops of an engine, and the latency of a session that echoes meanwhile: `ws_storm ADDRESS[,CERTIFICATE] PATH CLIENTS PID…`.
//! With the PEM file of the server's certificate, for `localhost`, it speaks TLS. The server must be started with a limit of
//! open files above that.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use moorline_benches::bystander::{Bystander, part};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

/// After this a client counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);
const HOST: &str = "localhost";

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (target, path, clients) = (arguments.next(), arguments.next(), arguments.next());
    let (Some(target), Some(path), Some(clients)) = (target, path, clients) else {
        return Err(io::Error::other(
            "ws_storm ADDRESS[,CERTIFICATE] PATH CLIENTS PID…",
        ));
    };
    let target = Target::parse(&target)?;
    let clients: usize = clients.parse().map_err(io::Error::other)?;
    let pids: Vec<String> = arguments.collect();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        target.address
    );
    let bystander = target.clone().bystander(request.clone());
    thread::sleep(Duration::from_secs(1));
    let (before, started) = (Spent::by(&pids), bystander.elapsed());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (open, times) = runtime.block_on(storm(target, request, clients));
    let (took, spent) = (bystander.elapsed() - started, Spent::by(&pids));
    let waits = bystander.end()?;
    let rest = waits.during(Duration::ZERO, started);
    let storm = waits.during(started, started + took);
    println!(
        "clients {} of {clients} in {took:.2?}; server {:.1} µs a handshake{}; handshake p50 {:.0?} p99 {:.0?}; \
         echo at rest p99 {:.2?}, in the storm p50 {:.2?} p99 {:.2?} max {:.2?} of {}",
        open.len(),
        (spent.all - before.all).as_secs_f64() * 1e6 / open.len().max(1) as f64,
        spent.shares_since(&before),
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

/// Where the clients connect to.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

/// What a session is opened over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Opened = Box<dyn Stream>;

impl Target {
    fn parse(text: &str) -> io::Result<Self> {
        let (address, certificate) = match text.split_once(',') {
            Some((address, certificate)) => (address, Some(certificate)),
            None => (text, None),
        };
        Ok(Self {
            address: address.parse().map_err(io::Error::other)?,
            tls: certificate.map(|it| trust(Path::new(it))).transpose()?,
        })
    }

    fn bystander(self, request: String) -> Bystander {
        Bystander::begin(move || async move { self.connect().await }, request)
    }

    async fn connect(&self) -> io::Result<Opened> {
        let stream = tokio::net::TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let stream = TlsConnector::from(tls.clone()).connect(host()?, stream);
        Ok(Box::new(stream.await?))
    }

    async fn open(&self, request: &str) -> io::Result<Opened> {
        ask(self.connect().await?, request).await
    }
}

fn host() -> io::Result<ServerName<'static>> {
    ServerName::try_from(HOST).map_err(io::Error::other)
}

/// Believes a server with this certificate.
fn trust(certificate: &Path) -> io::Result<Arc<ClientConfig>> {
    let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(io::Error::other)?;
    let config = ClientConfig::builder().with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Opens all at once; returns those that are open, and how long each took, in order.
async fn storm(target: Target, request: String, clients: usize) -> (Vec<Opened>, Vec<Duration>) {
    let request: Arc<str> = request.into();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (target, request) = (target.clone(), request.clone());
            tokio::spawn(async move {
                let begun = Instant::now();
                let opened = tokio::time::timeout(PATIENCE, target.open(&request)).await;
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

async fn ask(mut stream: Opened, request: &str) -> io::Result<Opened> {
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

/// CPU time of processes.
#[derive(Default)]
struct Spent {
    all: Duration,
    /// Of each thread that is a loop of a gateway, by its name.
    loops: BTreeMap<String, Duration>,
}

impl Spent {
    fn by(pids: &[String]) -> Self {
        let mut spent = Self::default();
        let threads = pids.iter().flat_map(|pid| {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
            threads.into_iter().flatten().flatten()
        });
        for thread in threads {
            let read = |file| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
            let times = read("schedstat");
            let first = times.split_whitespace().next();
            let time = Duration::from_nanos(first.map_or(0, |it| it.parse().unwrap_or(0)));
            spent.all += time;
            let name = read("comm");
            if name.starts_with("loop ") {
                *spent.loops.entry(name.trim().to_owned()).or_default() += time;
            }
        }
        spent
    }

    /// What part each loop has of the time of all.
    fn shares_since(&self, before: &Self) -> String {
        let since = |(name, time): (&String, &Duration)| {
            let earlier = before.loops.get(name).copied().unwrap_or_default();
            (name.clone(), (*time - earlier).as_secs_f64())
        };
        let loops: Vec<_> = self.loops.iter().map(since).collect();
        let all: f64 = loops.iter().map(|(_, time)| time).sum();
        let share = |(name, time): &(String, f64)| format!(", {name} {:.0} %", time / all * 100.0);
        loops.iter().map(share).collect()
    }
}
