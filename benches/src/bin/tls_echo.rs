//! What TLS costs the engine beside a plain tokio and rustls echo server, in turn and on the same CPU.
//!
//! `tls_echo compare ECHO ROUNDS` starts both, ECHO being the engine's echo example: each on CPU 0, the load on
//! another, and prints as JSON what a message costs each in CPU time. Rounds are short and alternate, so that a noisy
//! second strikes both; only the ratio of their medians counts. Certificate, protocol version and cipher are the
//! same for both.
//!
//! `tls_echo idle ECHO SESSIONS` prints how many private bytes an idle session has in the engine's gateway and in the
//! plain server.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Concurrent sessions and payload bytes of each comparison.
const CASES: [(usize, usize); 6] = [
    (1, 128),
    (64, 128),
    (512, 128),
    (64, 4096),
    (64, 16_384),
    (16, 65_536),
];
/// How long one server is measured before the other has its turn.
const TURN: Duration = Duration::from_millis(300);
const HOST: &str = "bench.test";
/// The name of the engine's configuration.
const CONFIG: &str = "moorline.toml";
/// What each session sends before it rests.
const IDLE_MESSAGE_BYTES: usize = 128;
/// After so long, what sessions needed for their messages is free again.
const SETTLING: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["serve", folder] => serve(Path::new(folder)),
        ["compare", echo, rounds] => rounds
            .parse()
            .map_err(Into::into)
            .and_then(|rounds| compare(Path::new(echo), rounds)),
        ["idle", echo, sessions] => sessions
            .parse()
            .map_err(Into::into)
            .and_then(|sessions| idle(Path::new(echo), sessions)),
        _ => Err(
            "usage: tls_echo compare ECHO ROUNDS | tls_echo idle ECHO SESSIONS | tls_echo serve FOLDER"
                .into(),
        ),
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

fn compare(echo: &Path, rounds: usize) -> Result {
    let folder = tempfile::tempdir()?;
    let (engine, plain) = start(folder.path(), echo)?;
    let pid = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-cp", "1", &pid]).output()?;
    if !pinned.status.success() {
        return Err("the load cannot be pinned to CPU 1".into());
    }
    let mut cases = Vec::new();
    for (sessions, bytes) in CASES {
        let mut engine_load = engine.load(folder.path(), sessions, bytes)?;
        let mut plain_load = plain.load(folder.path(), sessions, bytes)?;
        let (mut engine_us, mut plain_us) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            engine_us.push(engine.measure(&mut engine_load)?);
            plain_us.push(plain.measure(&mut plain_load)?);
        }
        cases.push(json!({
            "sessions": sessions,
            "message_bytes": bytes,
            "engine_us": engine_us,
            "plain_us": plain_us,
        }));
    }
    println!("{:#}", Value::from(cases));
    Ok(())
}

/// Prints the memory of idle sessions.
fn idle(echo: &Path, sessions: usize) -> Result {
    let limit = getrlimit(Resource::RLIMIT_NOFILE)?.1;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    let folder = tempfile::tempdir()?;
    let (engine, plain) = start(folder.path(), echo)?;
    let status = Command::new(echo)
        .arg("status")
        .arg(folder.path().join(CONFIG))
        .arg("--json")
        .output()?;
    let status: Value = serde_json::from_slice(&status.stdout)?;
    let gateway = status["gateway"]["pid"].as_u64().ok_or("a gateway")?;
    let bytes = |server: &Server, pid: u64| -> Result<f64> {
        let before = private_memory(pid)?;
        let mut load = server.load(folder.path(), sessions, IDLE_MESSAGE_BYTES)?;
        load.round()?;
        std::thread::sleep(SETTLING);
        let after = private_memory(pid)?;
        Ok((after as f64 - before as f64) / sessions as f64)
    };
    println!(
        "{:#}",
        json!({
            "gateway_bytes_per_session": bytes(&engine, gateway)?,
            "plain_bytes_per_session": bytes(&plain, plain.process.id().into())?,
        })
    );
    Ok(())
}

/// What would be free if the process ended, in bytes.
fn private_memory(pid: u64) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kilobytes: u64 = text
        .lines()
        .filter(|line| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    Ok(kilobytes * 1024)
}

/// The engine and the plain server, both on CPU 0.
fn start(folder: &Path, echo: &Path) -> Result<(Server, Server)> {
    write_site(folder)?;
    let mut engine = Command::new("taskset");
    engine.args(["-c", "0"]).arg(echo);
    engine.arg("serve").arg(folder.join(CONFIG));
    let mut plain = Command::new("taskset");
    plain.args(["-c", "0"]).arg(std::env::current_exe()?);
    plain.arg("serve").arg(folder);
    Ok((Server::start(&mut engine)?, Server::start(&mut plain)?))
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
framing = { kind = "length", width = 4, endian = "big", offset = 0, counts = "payload", max = "2MiB" }
tls = { certificate = "cert.pem", key = "key.pem" }
"#;
    fs::write(folder.join(CONFIG), config)?;
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

    fn load(&self, folder: &Path, sessions: usize, bytes: usize) -> Result<Load> {
        let clients = (0..sessions)
            .map(|_| connect(folder, self.address))
            .collect::<Result<Vec<_>>>()?;
        let mut request = (bytes as u32).to_be_bytes().to_vec();
        request.resize(4 + bytes, 7);
        Ok(Load { clients, request })
    }

    /// Microseconds of CPU time for a message, over all of the server's processes.
    fn measure(&self, load: &mut Load) -> Result<f64> {
        // Everyone once, so that tickets have come and what the other server's turn has displaced is here again.
        load.round()?;
        let before = self.cpu_time()?;
        let began = Instant::now();
        let mut messages = 0;
        while began.elapsed() < TURN {
            load.round()?;
            messages += load.clients.len();
        }
        let spent = self.cpu_time()? - before;
        Ok(spent.as_secs_f64() * 1e6 / messages as f64)
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

/// The sessions that one server is measured with.
struct Load {
    clients: Vec<Client>,
    request: Vec<u8>,
}

impl Load {
    /// One message of each, all outstanding at once.
    fn round(&mut self) -> Result {
        for client in self.clients.iter_mut() {
            client.write_all(&self.request)?;
        }
        let mut answer = vec![0; self.request.len()];
        for client in &mut self.clients {
            client.read_exact(&mut answer)?;
            if answer != self.request {
                return Err("another answer than the message".into());
            }
        }
        Ok(())
    }
}
