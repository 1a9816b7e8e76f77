//! The CPU time of sessions that do nothing but answer pings.
//!
//! `rest compare SESSIONS SECONDS` starts this program as two engines with SESSIONS WebSocket sessions each, one with pings every 25
//! seconds and one without, and prints the CPU time of both in these seconds, as a part of a core for 50,000 sessions.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use moorline::{App, Context, Message, NoSettings, Session};

use moorline_benches::Result;
use moorline_benches::figures::{Figures, print};
use moorline_benches::load::run;
use moorline_benches::server::{Measured, be_the_load};
use moorline_benches::websocket::WebSocket;

/// What the CPU time is told for.
const SCALE: f64 = 50_000.0;
/// The time in which the last sessions open.
const SETTLING: Duration = Duration::from_secs(2);

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

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.get(1).map(String::as_str) {
        Some("compare") => compare(&arguments[2..]),
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

fn compare(arguments: &[String]) -> Result {
    let [sessions, seconds] = arguments else {
        return Err("usage: rest compare SESSIONS SECONDS".into());
    };
    be_the_load()?;
    let window = Duration::from_secs(seconds.parse()?);
    let of = |pings: &str| {
        let listener = format!("websocket = \"/\"\nping_interval = \"{pings}\"\n");
        Resting::begin(Measured::engine(&listener)?, sessions)
    };
    eprintln!("{sessions} sessions at rest, twice");
    let all = [of("25s")?, of("off")?];
    std::thread::sleep(SETTLING);
    let times = || -> Result<[Duration; 2]> {
        let [with_pings, without] = &all;
        Ok([with_pings.server.cpu_time()?, without.server.cpu_time()?])
    };
    let (before, began) = (times()?, Instant::now());
    std::thread::sleep(window);
    let (after, elapsed) = (times()?, began.elapsed().as_secs_f64());
    let sessions: f64 = sessions.parse()?;
    let percent =
        |at: usize| (after[at] - before[at]).as_secs_f64() / elapsed * 100.0 * SCALE / sessions;
    let what = format!("{sessions} sessions at rest, 25 s pings to none");
    let mut figures = Figures::new(what, "% of a core / 50,000");
    figures.push(percent(0), percent(1));
    print(&[figures]);
    Ok(())
}

/// An engine, and the process that has its sessions: one may not have as many open files as both.
struct Resting {
    server: Measured,
    clients: Child,
}

impl Resting {
    fn begin(server: Measured, sessions: &str) -> Result<Self> {
        let mut clients = Command::new(std::env::current_exe()?)
            .args(["hold", &server.address.to_string(), sessions])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = clients.stdout.take().ok_or("it is piped")?;
        let opened = BufReader::new(output).lines().next();
        match opened.transpose()?.as_deref() {
            Some("open") => Ok(Self { server, clients }),
            _ => Err("the sessions are not open".into()),
        }
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        // Without its input it ends, and its sessions with it.
        drop(self.clients.stdin.take());
        let _ = self.clients.wait();
    }
}

/// Holds this number of sessions until its standard input ends.
fn hold(arguments: &[String]) -> Result {
    let [address, sessions] = arguments else {
        return Err("usage: rest hold ADDRESS SESSIONS".into());
    };
    let (address, sessions) = (address.parse()?, sessions.parse()?);
    run(async move {
        for _ in 0..sessions {
            let (mut socket, _) = WebSocket::open(address, "/", "").await?;
            tokio::task::spawn_local(async move {
                while socket.receive().await.is_ok() {}
                eprintln!("a session has ended");
            });
        }
        println!("open");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        end.await??;
        Ok(())
    })
}
