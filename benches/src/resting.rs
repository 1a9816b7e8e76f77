//! WebSocket sessions that do nothing but answer pings, held by a process beside the server.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::rc::Rc;

use moorline::{App, Context, Message, NoSettings, Session};

use crate::Result;
use crate::load::run;
use crate::server::Measured;
use crate::websocket::WebSocket;

/// A server, and the process that has its sessions: one may not have as many open files as both.
pub struct Resting {
    /// The server.
    pub server: Measured,
    clients: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Resting {
    /// Opens this number of sessions.
    pub fn begin(server: Measured, sessions: usize) -> Result<Self> {
        let mut clients = Command::new(std::env::current_exe()?)
            .args(["hold", &server.address.to_string(), &sessions.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = clients.stdout.take().ok_or("it is piped")?;
        let mut output = BufReader::new(output).lines();
        match output.next().transpose()?.as_deref() {
            Some("open") => Ok(Self {
                server,
                clients,
                output,
            }),
            _ => Err("the sessions are not open".into()),
        }
    }

    /// How many sessions the server has ended. The others end now.
    pub fn ended(mut self) -> Result<usize> {
        drop(self.clients.stdin.take());
        let line = self.output.next().transpose()?;
        Ok(line.ok_or("a number")?.parse()?)
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        // Without its input it ends, and its sessions with it.
        drop(self.clients.stdin.take());
        let _ = self.clients.wait();
    }
}

/// All of a program that measures such sessions: `measure` is its command of this name. Otherwise it is an engine with an app that does nothing, or
/// it holds sessions.
pub fn run_program(name: &str, measure: impl FnOnce(&[String]) -> Result) -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.get(1).map(String::as_str) {
        Some(it) if it == name => measure(&arguments[2..]),
        Some("hold") => hold(&arguments[2..]),
        _ => return moorline::run(Silent::start),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Silent;

impl App for Silent {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> moorline::Result<Self> {
        Ok(Silent)
    }

    async fn message(self: Rc<Self>, _: Session, _: Message) -> moorline::Result {
        Ok(())
    }
}

/// Holds this number of sessions until its standard input ends. Then it prints how many have ended before.
fn hold(arguments: &[String]) -> Result {
    let [address, sessions] = arguments else {
        return Err("usage: hold ADDRESS SESSIONS".into());
    };
    let (address, sessions) = (address.parse()?, sessions.parse()?);
    run(async move {
        let ended = Rc::new(Cell::new(0));
        for _ in 0..sessions {
            let (mut socket, _) = WebSocket::open(address, "/", "").await?;
            let ended = ended.clone();
            tokio::task::spawn_local(async move {
                while socket.receive().await.is_ok() {}
                ended.set(ended.get() + 1);
                eprintln!("a session has ended");
            });
        }
        println!("open");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        end.await??;
        println!("{}", ended.get());
        Ok(())
    })
}
