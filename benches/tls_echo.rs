//! What TLS costs the engine beside a plain tokio and rustls echo server, in turn and on the same CPU.
//!
//! `tls_echo compare ECHO` starts both, ECHO being the engine's echo example: each on CPU 0, the load on
//! another, and prints what a request costs each in CPU time. Medians of alternating rounds; only their ratio
//! counts. Certificate and protocol version are the same for both.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Concurrent sessions and payload bytes of each comparison.
const CASES: [(usize, usize); 4] = [(1, 128), (64, 128), (64, 4096), (16, 65_536)];
/// How often each is measured; the median counts.
const ROUNDS: usize = 7;
const DURATION: Duration = Duration::from_millis(1500);
const HOST: &str = "bench.test";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["serve", folder] => serve(Path::new(folder)),
        ["compare", echo] => compare(Path::new(echo)),
        _ => Err("usage: tls_echo compare ECHO | tls_echo serve FOLDER".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The plain server: a task for each connection, its buffer used again and again.
#[tokio::main(flavor = "current_thread")]
async fn serve(folder: &Path) -> Result {
    let chain = vec![CertificateDer::from_pem_file(folder.join("cert.pem"))?];
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on tls://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A connection that breaks concerns nobody else.
            let _ = echo(acceptor, stream).await;
        });
    }
}

async fn echo(acceptor: TlsAcceptor, stream: tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = vec![0; 4096];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let mut start = 0;
        let mut wanted = 4;
        while let Some(header) = buffer[start..filled].first_chunk::<4>() {
            wanted = 4 + u32::from_be_bytes(*header) as usize;
            if wanted > filled - start {
                break;
            }
            stream.write_all(&buffer[start..start + wanted]).await?;
            stream.flush().await?;
            start += wanted;
            wanted = 4;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        if wanted > buffer.len() {
            buffer.resize(wanted, 0);
        }
    }
}

fn compare(echo: &Path) -> Result {
    let folder = tempfile::tempdir()?;
    write_site(folder.path())?;
    let engine = Server::start(Command::new("taskset").args(["-c", "0"]).arg(echo).args([
        "serve".as_ref(),
        folder.path().join("moorline.toml").as_os_str(),
    ]))?;
    let own = std::env::current_exe()?;
    let plain = Server::start(
        Command::new("taskset")
            .args(["-c", "0"])
            .arg(own)
            .arg("serve")
            .arg(folder.path()),
    )?;
    let pid = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-cp", "1", &pid]).output()?;
    if !pinned.status.success() {
        return Err("the load cannot be pinned to CPU 1".into());
    }
    println!("sessions  bytes  engine µs  plain µs  ratio (median of {ROUNDS}, least to most)");
    for (sessions, bytes) in CASES {
        let mut costs = Vec::new();
        for _ in 0..ROUNDS {
            let engine = engine.measure(folder.path(), sessions, bytes)?;
            let plain = plain.measure(folder.path(), sessions, bytes)?;
            costs.push((engine / plain, engine, plain));
        }
        costs.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (least, most) = (costs[0].0, costs[ROUNDS - 1].0);
        let (ratio, engine, plain) = costs[ROUNDS / 2];
        println!(
            "{sessions:8} {bytes:6} {engine:10.2} {plain:9.2}  {ratio:.3} ({least:.3} to {most:.3})"
        );
    }
    Ok(())
}

/// Certificate, key and configuration.
fn write_site(folder: &Path) -> Result {
    let issued = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    fs::write(folder.join("cert.pem"), issued.cert.pem())?;
    fs::write(folder.join("key.pem"), issued.signing_key.serialize_pem())?;
    let config = r#"
[engine]
run_dir = "run"
gateway_loops = 1
[workers]
count = 1
[[listen]]
address = "tls://127.0.0.1:0"
framing = { kind = "length", width = 4, endian = "big", offset = 0, body = 4, max = "2MiB" }
tls = { certificate = "cert.pem", key = "key.pem" }
"#;
    fs::write(folder.join("moorline.toml"), config)?;
    Ok(())
}

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(command: &mut Command) -> Result<Self> {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take().ok_or("its output is piped")?;
        let mut lines = BufReader::new(output).lines();
        let address = loop {
            let line = lines.next().ok_or("the server has ended")??;
            if let Some((_, rest)) = line.split_once("tls://") {
                let address = rest.split_whitespace().next().unwrap_or_default();
                break address.parse()?;
            }
        };
        // It goes on writing there.
        std::thread::spawn(move || lines.for_each(drop));
        std::thread::sleep(Duration::from_millis(300));
        Ok(Self { process, address })
    }

    /// Microseconds of CPU time for a request, over all of the server's processes.
    fn measure(&self, folder: &Path, sessions: usize, bytes: usize) -> Result<f64> {
        let mut clients = (0..sessions)
            .map(|_| connect(folder, self.address))
            .collect::<Result<Vec<_>>>()?;
        let mut request = (bytes as u32).to_be_bytes().to_vec();
        request.resize(4 + bytes, 7);
        // Everyone once, so that tickets and buffers are there.
        round(&mut clients, &request)?;
        let before = self.cpu_time()?;
        let began = Instant::now();
        let mut requests = 0;
        while began.elapsed() < DURATION {
            round(&mut clients, &request)?;
            requests += sessions;
        }
        let spent = self.cpu_time()? - before;
        Ok(spent.as_secs_f64() * 1e6 / requests as f64)
    }

    /// Of the process and its children: the engine's roles are started by it.
    fn cpu_time(&self) -> Result<Duration> {
        let first = self.process.id().to_string();
        let mut total = Duration::ZERO;
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let Ok(stat) = fs::read_to_string(path.join("stat")) else {
                continue;
            };
            let fields: Vec<&str> = stat
                .rsplit_once(") ")
                .map_or("", |(_, rest)| rest)
                .split(' ')
                .collect();
            let is_it = path.file_name().is_some_and(|name| name == first.as_str());
            if is_it || fields.get(1) == Some(&first.as_str()) {
                total += thread_times(&path)?;
            }
        }
        Ok(total)
    }
}

/// The scheduler's own nanoseconds, which are finer than ticks.
fn thread_times(process: &Path) -> Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(process.join("task"))? {
        let line = fs::read_to_string(thread?.path().join("schedstat"))?;
        total += line
            .split(' ')
            .next()
            .unwrap_or_default()
            .parse::<u64>()
            .unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

impl Drop for Server {
    fn drop(&mut self) {
        // TERM, so that the engine takes its roles along.
        let _ = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        let _ = self.process.wait();
    }
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn connect(folder: &Path, address: SocketAddr) -> Result<Client> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("cert.pem"))?)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = ServerName::try_from(HOST)?;
    let mut connection = ClientConnection::new(Arc::new(config), host)?;
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// One request of each, all outstanding at once.
fn round(clients: &mut [Client], request: &[u8]) -> Result {
    for client in clients.iter_mut() {
        client.write_all(request)?;
    }
    let mut answer = vec![0; request.len()];
    for client in clients {
        client.read_exact(&mut answer)?;
        if answer != request {
            return Err("another answer than the request".into());
        }
    }
    Ok(())
}
