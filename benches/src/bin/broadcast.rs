//! What a message to a group costs: an app of the engine's, the same loop written by hand on tokio, and the load.
//!
//! `broadcast serve CONFIG` is the app: `j` joins the group, a message that begins with `s` goes to all of it, anything
//! else is echoed. `broadcast plain` does the same in one process and on one thread, without limits, deadlines or reload;
//! it too lets others pass after each 64 members. `broadcast compare ROUNDS` starts both, on CPU 0, joins 10,000 members
//! to each and says as JSON how many messages they deliver for a second of CPU time, in turns, and how long somebody who
//! is not a member waits for an answer meanwhile.

use std::cell::RefCell;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream as Socket;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use moorline::{App, Context, Group, Message, NoSettings, Session};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};

/// Members of the group.
const MEMBERS: usize = 10_000;
/// Bytes of each message.
const MESSAGE_BYTES: usize = 128;
/// Broadcasts of one turn: a second of CPU time or so, against a clock of nanoseconds.
const BROADCASTS: usize = 10;
/// Members that are sent to before others may pass; the engine has the same number.
const MEMBERS_AT_ONCE: usize = 64;
/// How long a bystander asks during each broadcast: longer than it takes.
const ASKS_FOR: Duration = Duration::from_millis(150);
const HEADER_BYTES: usize = 4;
const SERVER_CPU: &str = "0";
const LOAD_CPU: &str = "1";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.get(1).map(String::as_str) {
        Some("plain") => plain::run(),
        Some("compare") => compare(arguments.get(2)),
        Some("load") => load(&arguments[2..]),
        _ => return moorline::run(Room::start),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The engine's app.
struct Room(Group);

impl App for Room {
    type Settings = NoSettings;

    async fn start(context: Context, _: NoSettings) -> moorline::Result<Self> {
        Ok(Room(context.group("room")))
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> moorline::Result {
        match message.first() {
            Some(b's') => self.0.send(&message).await?,
            Some(b'j') => {
                self.0.join(&session)?;
                session.send(&message).await?;
            }
            _ => session.send(&message).await?,
        }
        Ok(())
    }
}

/// The same by hand.
mod plain {
    use super::*;

    type Members = Rc<RefCell<Vec<Rc<TcpStream>>>>;

    pub(super) fn run() -> Result<(), Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("listening on tcp://{}\nready", listener.local_addr()?);
            let members = Members::default();
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let (stream, members) = (Rc::new(stream), members.clone());
                tokio::task::spawn_local(async move {
                    // A connection that breaks concerns nobody else.
                    let _ = serve(&stream, &members).await;
                    members
                        .borrow_mut()
                        .retain(|member| !Rc::ptr_eq(member, &stream));
                });
            }
        })
    }

    async fn serve(stream: &Rc<TcpStream>, members: &Members) -> io::Result<()> {
        let mut received = Vec::new();
        loop {
            stream.readable().await?;
            match stream.try_read_buf(&mut received) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            while let Some(header) = received.first_chunk::<HEADER_BYTES>() {
                let size = HEADER_BYTES + u32::from_be_bytes(*header) as usize;
                let Some(frame) = received.get(..size) else {
                    break;
                };
                let frame: Rc<[u8]> = frame.into();
                received.drain(..size);
                match frame.get(HEADER_BYTES) {
                    Some(b's') => broadcast(&frame, members).await,
                    Some(b'j') => {
                        members.borrow_mut().push(stream.clone());
                        send(stream, &frame);
                    }
                    _ => send(stream, &frame),
                }
            }
        }
    }

    async fn broadcast(frame: &Rc<[u8]>, members: &Members) {
        let mut at = 0;
        loop {
            {
                let members = members.borrow();
                let end = members.len().min(at + MEMBERS_AT_ONCE);
                let Some(some) = members.get(at..end).filter(|some| !some.is_empty()) else {
                    return;
                };
                some.iter().for_each(|member| send(member, frame));
                at = end;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Sends at once what the socket takes, and the rest when it does.
    fn send(stream: &Rc<TcpStream>, frame: &Rc<[u8]>) {
        let mut sent = match stream.try_write(frame) {
            Ok(sent) if sent == frame.len() => return,
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            // Its reader sees that.
            Err(_) => return,
        };
        let (stream, frame) = (stream.clone(), frame.clone());
        tokio::task::spawn_local(async move {
            while sent < frame.len() && stream.writable().await.is_ok() {
                sent += stream.try_write(&frame[sent..]).unwrap_or(0);
            }
        });
    }
}

/// Measures both in turns.
fn compare(rounds: Option<&String>) -> Result<(), Box<dyn Error>> {
    let rounds: usize = rounds.ok_or("usage: broadcast compare ROUNDS")?.parse()?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("moorline.toml");
    std::fs::write(
        &config,
        format!(
            "[engine]\nrun_dir = {:?}\ngateway_loops = 1\n[workers]\ncount = 1\nmax_wait = \"1s\"\n\
             [[listen]]\naddress = \"tcp://127.0.0.1:0\"\n\
             framing = {{ kind = \"length\", width = 4, endian = \"big\", offset = 0, counts = \"payload\", max = \"2MiB\" }}\n",
            folder.path().join("run")
        ),
    )?;
    let config = config
        .to_str()
        .ok_or("temporary folders have plain names")?;
    let mut servers = [
        Server::start(&["serve", config])?,
        Server::start(&["plain"])?,
    ];
    for server in &mut servers {
        // What is made once is made before.
        server.ask("deliver 1")?;
    }
    let mut delivered = [const { Vec::new() }; 2];
    let mut longest_ms = [const { Vec::new() }; 2];
    for round in 1..=rounds {
        eprintln!("{MEMBERS} members, round {round}");
        for (server, delivered) in servers.iter_mut().zip(&mut delivered) {
            delivered.push(server.ask(&format!("deliver {BROADCASTS}"))?);
        }
    }
    for _ in 0..rounds {
        for (server, longest_ms) in servers.iter_mut().zip(&mut longest_ms) {
            longest_ms.push(server.ask("wait")?);
        }
    }
    println!(
        "{{\"members\": {MEMBERS}, \"message_bytes\": {MESSAGE_BYTES}, \
         \"delivered_per_cpu_second\": {{\"engine\": {:?}, \"plain\": {:?}}}, \
         \"longest_wait_ms\": {{\"engine\": {:?}, \"plain\": {:?}}}}}",
        delivered[0], delivered[1], longest_ms[0], longest_ms[1]
    );
    Ok(())
}

/// A server, and the process that has its members: both together have more open files than one process may have.
struct Server {
    child: Child,
    load: Child,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start(arguments: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut child = pinned(SERVER_CPU)?
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("it is piped")?).lines();
        let mut address = None;
        let address = loop {
            let line = lines.next().ok_or("the server did not come up")??;
            if let Some(rest) = line.strip_prefix("listening on tcp://") {
                address = rest.split_whitespace().next().map(str::to_owned);
            } else if line == "ready" {
                break address.ok_or("no address")?;
            }
        };
        // Read to its end, so that the server never writes into a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut load = pinned(LOAD_CPU)?
            .args(["load", &address, &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(load.stdout.take().ok_or("it is piped")?).lines();
        Ok(Self {
            child,
            load,
            answers,
        })
    }

    /// Has its load do something, and returns the number that this comes to.
    fn ask(&mut self, what: &str) -> Result<f64, Box<dyn Error>> {
        writeln!(self.load.stdin.as_mut().ok_or("it is piped")?, "{what}")?;
        let answer = self.answers.next().ok_or("the load has ended")??;
        Ok(answer.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Without its input the load ends, and its sessions with it. The engine is asked, so that it ends its processes.
        drop(self.load.stdin.take());
        let _ = self.load.wait();
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

fn pinned(cpu: &str) -> io::Result<Command> {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", cpu])
        .arg(std::env::current_exe()?);
    Ok(command)
}

/// The members of one server's group, and what they are to do.
struct Load {
    server: u32,
    members: Vec<Socket>,
    speaker: Socket,
    bystander: Socket,
}

/// Does what its standard input says, line by line, and answers with a number.
fn load(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [address, server] = arguments else {
        return Err("usage: broadcast load ADDRESS PID".into());
    };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let mut members = Vec::with_capacity(MEMBERS);
    for _ in 0..MEMBERS {
        let mut member = connect(address)?;
        member.write_all(&frame(b'j'))?;
        receive(&mut member)?;
        members.push(member);
    }
    let mut load = Load {
        server: server.parse()?,
        members,
        speaker: connect(address)?,
        bystander: connect(address)?,
    };
    for line in io::stdin().lines() {
        let answer = match line?.split_once(' ') {
            Some((_, broadcasts)) => load.deliver(broadcasts.parse()?)?,
            None => load.wait_beside()?,
        };
        println!("{answer}");
    }
    Ok(())
}

impl Load {
    /// Broadcasts, each when the one before has reached all. Returns the messages for each second of CPU time.
    fn deliver(&mut self, broadcasts: usize) -> io::Result<f64> {
        let before = cpu_time(self.server);
        for _ in 0..broadcasts {
            self.speaker.write_all(&frame(b's'))?;
            self.members.iter_mut().try_for_each(receive)?;
        }
        let spent = cpu_time(self.server) - before;
        Ok((broadcasts * self.members.len()) as f64 / spent.as_secs_f64())
    }

    /// One broadcast, and a session that is no member and asks question after question meanwhile. Returns the longest that
    /// it waits for an answer, in milliseconds.
    fn wait_beside(&mut self) -> io::Result<f64> {
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        self.speaker.write_all(&frame(b's'))?;
        while begun.elapsed() < ASKS_FOR {
            let asked = Instant::now();
            self.bystander.write_all(&frame(b'e'))?;
            receive(&mut self.bystander)?;
            longest = longest.max(asked.elapsed());
        }
        // Nobody read before, so that the load's own work is not measured.
        self.members.iter_mut().try_for_each(receive)?;
        Ok(longest.as_secs_f64() * 1e3)
    }
}

fn connect(address: &str) -> io::Result<Socket> {
    let socket = Socket::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(socket)
}

fn frame(kind: u8) -> Vec<u8> {
    let mut frame = (MESSAGE_BYTES as u32).to_be_bytes().to_vec();
    frame.resize(HEADER_BYTES + MESSAGE_BYTES, kind);
    frame
}

fn receive(socket: &mut Socket) -> io::Result<()> {
    socket.read_exact(&mut [0; HEADER_BYTES + MESSAGE_BYTES])
}

/// CPU time that a process and all under it have used.
fn cpu_time(root: u32) -> Duration {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let names = |path: String| -> Vec<u32> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    };
    let mut time = 0;
    let mut left = vec![root];
    while let Some(pid) = left.pop() {
        for thread in names(format!("/proc/{pid}/task")) {
            let spent = read(format!("/proc/{pid}/task/{thread}/schedstat"));
            let spent = spent
                .split_whitespace()
                .next()
                .and_then(|ns| ns.parse().ok());
            time += spent.unwrap_or(0_u64);
            let children = read(format!("/proc/{pid}/task/{thread}/children"));
            left.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    Duration::from_nanos(time)
}
