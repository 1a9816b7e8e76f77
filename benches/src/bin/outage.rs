//! What clients notice while a server is restarted or reloaded: `outage ADDRESS PATH CLIENTS BEFORE AFTER COMMAND…`.
//!
//! Each client holds a WebSocket session and sends a message once a second, at a time of its own. One that is disconnected connects again
//! at once, and then every 100 ms until it succeeds. After BEFORE seconds the command runs, for instance one that restarts the server; AFTER
//! seconds later it is told how many clients were disconnected, how many messages had no answer, and for how long each of them was away.
//! The server must be started with a limit of open files above CLIENTS.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use moorline_benches::Result;
use moorline_benches::bystander::part;
use moorline_benches::websocket::{BINARY, WebSocket, masked};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use tokio::time::{sleep, sleep_until, timeout};

/// Between two messages of a client.
const PACE: Duration = Duration::from_secs(1);
/// An answer that takes longer is none, and neither is a session that is not open by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to connect again.
const PAUSE: Duration = Duration::from_millis(100);
/// Sessions opened at the same time in the beginning.
const AT_ONCE: usize = 200;

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, clients, before, after, command @ ..] = &arguments[..] else {
        return Err("outage ADDRESS PATH CLIENTS BEFORE AFTER COMMAND…".into());
    };
    let outage = Outage {
        address: address.parse()?,
        path: path.clone(),
        clients: clients.parse()?,
        before: Duration::from_secs(before.parse()?),
        after: Duration::from_secs(after.parse()?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, outage.run(command.to_vec()))
}

struct Outage {
    address: SocketAddr,
    path: String,
    clients: usize,
    before: Duration,
    after: Duration,
}

/// What all clients have noticed so far.
#[derive(Default)]
struct Noticed {
    answers: u64,
    unanswered: u64,
    attempts: u64,
    /// How long each disconnected client had no session.
    away: Vec<Duration>,
    /// Each answer's time, of those since the command was run.
    waits: Vec<Duration>,
}

impl Outage {
    async fn run(self, command: Vec<String>) -> Result {
        let this = Rc::new(self);
        let noticed = Rc::new(RefCell::new(Noticed::default()));
        let mut open = Vec::with_capacity(this.clients);
        while open.len() < this.clients {
            let count = AT_ONCE.min(this.clients - open.len());
            let opening: Vec<_> = (0..count)
                .map(|_| spawn_local(this.clone().open()))
                .collect();
            for session in opening {
                open.push(session.await?.ok_or("a session does not open")?);
            }
        }
        let begun = Instant::now();
        for (number, session) in open.into_iter().enumerate() {
            let first = begun + PACE.mul_f64(number as f64 / this.clients as f64);
            spawn_local(this.clone().client(session, first, noticed.clone()));
        }
        sleep(this.before).await;
        let answers = {
            let mut noticed = noticed.borrow_mut();
            noticed.waits.clear();
            noticed.answers
        };
        println!("{answers} answers in {:.0?} before", this.before);
        let commanded = Instant::now();
        spawn_blocking(move || run(&command)).await??;
        println!("the command took {:.2?}", commanded.elapsed());
        sleep(this.after.saturating_sub(commanded.elapsed())).await;
        noticed.borrow_mut().tell(this.clients);
        Ok(())
    }

    /// Opens a session within the time that it may take.
    async fn open(self: Rc<Self>) -> Option<WebSocket> {
        let opening = WebSocket::open(self.address, &self.path, "");
        let (session, _) = timeout(PATIENCE, opening).await.ok()?.ok()?;
        Some(session)
    }

    /// Asks once a second, and connects again where that is needed.
    async fn client(
        self: Rc<Self>,
        mut session: WebSocket,
        first: Instant,
        noticed: Rc<RefCell<Noticed>>,
    ) {
        let frame = masked(BINARY, &[7; 128]);
        let mut due = first;
        loop {
            let idle = sleep_until(due.into());
            let is_open = tokio::select! {
                () = idle => true,
                // Nothing is to come: it ends.
                _ = session.receive() => false,
            };
            let sent = Instant::now();
            let is_answered = is_open && ask(&mut session, &frame).await;
            let waited = sent.elapsed();
            if is_answered {
                let mut noticed = noticed.borrow_mut();
                noticed.answers += 1;
                noticed.waits.push(waited);
            } else {
                noticed.borrow_mut().unanswered += u64::from(is_open);
                let lost = Instant::now();
                session = self.again(&noticed).await;
                noticed.borrow_mut().away.push(lost.elapsed());
            }
            while due <= Instant::now() {
                due += PACE;
            }
        }
    }

    async fn again(self: &Rc<Self>, noticed: &RefCell<Noticed>) -> WebSocket {
        loop {
            noticed.borrow_mut().attempts += 1;
            if let Some(session) = self.clone().open().await {
                return session;
            }
            sleep(PAUSE).await;
        }
    }
}

async fn ask(session: &mut WebSocket, frame: &[u8]) -> bool {
    let asking = async {
        session.send(frame).await?;
        session.receive().await.map(|_| ())
    };
    matches!(timeout(PATIENCE, asking).await, Ok(Ok(())))
}

fn run(command: &[String]) -> io::Result<()> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let status = Command::new(program).args(arguments).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{program}: {status}"))),
    }
}

impl Noticed {
    fn tell(&mut self, clients: usize) {
        self.away.sort_unstable();
        self.waits.sort_unstable();
        println!(
            "disconnected {} of {clients}, {} attempts to connect again; messages without an answer {}",
            self.away.len(),
            self.attempts,
            self.unanswered,
        );
        if !self.away.is_empty() {
            println!(
                "away p50 {:.0?} p99 {:.0?} max {:.0?}",
                part(&self.away, 0.5),
                part(&self.away, 0.99),
                part(&self.away, 1.0),
            );
        }
        println!(
            "answers since then {}: p50 {:.2?} p99 {:.2?} max {:.2?}",
            self.waits.len(),
            part(&self.waits, 0.5),
            part(&self.waits, 0.99),
            part(&self.waits, 1.0),
        );
    }
}
