//! What is published to groups over HTTP, the histories of groups, and clients that come back all at once.
//!
//! `publish compare ROUNDS` starts this program as an engine, and as `publish axum`: axum by itself with tokio's broadcast
//! channel, on one thread. A group has 1,000 members. Then 5,000 clients come back at once, and each has missed ten events.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message as Frame, Utf8Bytes, WebSocket as Socket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::routing::{any, post};
use axum::serve::ListenerExt;
use moorline::{App, Context, Message, NoSettings, Opened, Session};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};

use moorline_benches::Result;
use moorline_benches::bystander::{Bystander, part};
use moorline_benches::figures::{Figures, print};
use moorline_benches::http::Http;
use moorline_benches::load::run;
use moorline_benches::server::{Measured, be_the_load};
use moorline_benches::websocket::{BINARY, WebSocket, masked};

const MEMBERS: usize = 1000;
/// Messages of one turn, each when the one before has reached all.
const MESSAGES: usize = 100;
const MESSAGE_BYTES: usize = 128;
const RETURNING: usize = 5000;
const MISSED: usize = 10;
/// After this a client counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "0123456789abcdef";
const ROUTES: &str = "[[listen.route]]\npath = \"/publish/:group\"\nkind = \"publish\"\ntoken = \"0123456789abcdef\"\n\
    [[listen.route]]\npath = \"/:group\"\nkind = \"websocket\"\n";
/// Events have ids for those who speak this.
const RESUMABLE: &str = "Sec-WebSocket-Protocol: moorline.resume.v1\r\n";

/// Keeps events.
const KEPT: &str = "kept";
/// Does not.
const PLAIN: &str = "plain";
/// Sessions of this name join no group.
const NOBODY: &str = "nobody";

/// The engine's app: a session joins the group that its path names.
struct Room;

impl App for Room {
    type Settings = NoSettings;

    async fn start(context: Context, _: NoSettings) -> moorline::Result<Self> {
        context.group(KEPT).keep_events(1000)?;
        Ok(Room)
    }

    async fn open(self: Rc<Self>, session: Session, _: Opened) -> moorline::Result {
        let request = session.request().ok_or("a request")?;
        let name = request.parameter("group").unwrap_or(NOBODY);
        if name != NOBODY {
            let group = session.context().group(name);
            group.join_after(&session, request.last_event_id().unwrap_or_default())?;
        }
        Ok(())
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> moorline::Result {
        Ok(session.send(&message).await?)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match (arguments.get(1).map(String::as_str), arguments.get(2)) {
        (Some("axum"), _) => run(by_axum()),
        (Some("compare"), Some(rounds)) => compare(rounds),
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

type Channel = broadcast::Sender<Utf8Bytes>;

async fn by_axum() -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}/\nready", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // A socket that has no such option has broken already, and says so when it is used.
        let _ = stream.set_nodelay(true);
    });
    let publish = async |State(room): State<Channel>, text: String| {
        let _ = room.send(text.into());
        StatusCode::NO_CONTENT
    };
    let join = async |State(room): State<Channel>, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |socket| member(socket, room.subscribe()).await)
    };
    let app = Router::new()
        .route("/publish/{group}", post(publish))
        .route("/{group}", any(join))
        .with_state(broadcast::channel(64).0);
    Ok(axum::serve(listener, app).await?)
}

async fn member(mut socket: Socket, mut room: broadcast::Receiver<Utf8Bytes>) {
    loop {
        let sent = tokio::select! {
            text = room.recv() => match text {
                Ok(text) => socket.send(Frame::Text(text)).await,
                Err(_) => return,
            },
            frame = socket.recv() => match frame {
                Some(Ok(frame @ Frame::Binary(_))) => socket.send(frame).await,
                Some(Ok(_)) => Ok(()),
                _ => return,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

fn compare(rounds: &str) -> Result {
    let rounds: usize = rounds.parse()?;
    be_the_load()?;
    let (engine, axum) = (Measured::engine(ROUTES)?, Measured::other("axum")?);
    let all = run(async {
        let mut all = vec![deliveries(&engine, &axum, rounds).await?];
        all.push(histories(&engine, rounds).await?);
        all.extend(returns(&engine, rounds).await?);
        Ok(all)
    })?;
    print(&all);
    Ok(())
}

/// A message, by the engine and by axum.
async fn deliveries(engine: &Measured, axum: &Measured, rounds: usize) -> Result<Figures> {
    let what = format!("publish, {MEMBERS} members, to axum");
    let mut figures = Figures::new(what, "CPU µs / delivery");
    let mut by_engine = Members::join(engine, PLAIN, "").await?;
    let mut by_axum = Members::join(axum, PLAIN, "").await?;
    for round in 1..=rounds {
        eprintln!("{}, round {round}", figures.what);
        let target = format!("/publish/{PLAIN}");
        let (engine, axum) = (by_engine.turn(&target).await?, by_axum.turn(&target).await?);
        figures.push(engine, axum);
    }
    Ok(figures)
}

/// An event, to a group that keeps it and to one that does not.
async fn histories(engine: &Measured, rounds: usize) -> Result<Figures> {
    let what = format!("publish an event, {MEMBERS} members, kept to not");
    let mut figures = Figures::new(what, "CPU µs / delivery");
    let mut kept = Members::join(engine, KEPT, RESUMABLE).await?;
    let mut plain = Members::join(engine, PLAIN, RESUMABLE).await?;
    let target = |group: &str| format!("/publish/{group}?event=said");
    for round in 1..=rounds {
        eprintln!("{}, round {round}", figures.what);
        let (kept, plain) = (
            kept.turn(&target(KEPT)).await?,
            plain.turn(&target(PLAIN)).await?,
        );
        figures.push(kept, plain);
    }
    Ok(figures)
}

/// The members of one group, and who publishes to it.
struct Members<'a> {
    server: &'a Measured,
    publisher: Http,
    /// One of each member for each message.
    received: mpsc::UnboundedReceiver<()>,
}

impl<'a> Members<'a> {
    async fn join(server: &'a Measured, group: &str, fields: &str) -> Result<Self> {
        let (seen, received) = mpsc::unbounded_channel();
        for _ in 0..MEMBERS {
            let path = format!("/{group}");
            let (mut socket, _) = WebSocket::open(server.address, &path, fields).await?;
            // Its answer comes when the session has joined.
            socket.send(&masked(BINARY, b"joined?")).await?;
            while socket.receive().await?.0 != BINARY {}
            let seen = seen.clone();
            tokio::task::spawn_local(async move {
                while socket.receive().await.is_ok() && seen.send(()).is_ok() {}
            });
        }
        Ok(Self {
            server,
            publisher: Http::connect(server.address).await?,
            received,
        })
    }

    /// Publishes some messages; returns the CPU time for each member of each.
    async fn turn(&mut self, target: &str) -> Result<f64> {
        let request = publishing(target, &[b'm'; MESSAGE_BYTES]);
        let mut before = Duration::ZERO;
        for message in 0..=MESSAGES {
            if message == 1 {
                // The first one brings back what the other's turn has displaced.
                before = self.server.cpu_time()?;
            }
            let (status, body) = self.publisher.ask(&request).await?;
            if status != 204 {
                return Err(format!("not published: {status} {}", body.escape_ascii()).into());
            }
            for _ in 0..MEMBERS {
                let received = tokio::time::timeout(PATIENCE, self.received.recv()).await;
                received?.ok_or("no member is left")?;
            }
        }
        let spent = self.server.cpu_time()? - before;
        Ok(spent.as_secs_f64() * 1e6 / (MESSAGES * MEMBERS) as f64)
    }
}

fn publishing(target: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Clients that come back at once: those that have missed something, and as many that have not.
async fn returns(engine: &Measured, rounds: usize) -> Result<[Figures; 3]> {
    let what = format!("{RETURNING} come back, {MISSED} events missed, to none");
    let units = [
        "CPU µs / client",
        "longest wait beside ms",
        "p99 wait beside ms",
    ];
    let mut figures = units.map(|unit| Figures::new(what.clone(), unit));
    let mut publisher = Http::connect(engine.address).await?;
    for round in 1..=rounds {
        eprintln!("{what}, round {round}");
        let first = format!("{round}-first");
        for at in 0..=MISSED {
            let id = match at {
                0 => first.clone(),
                at => format!("{round}-{at}"),
            };
            let target = format!("/publish/{KEPT}?event=said&id={id}");
            let request = publishing(&target, &[b'm'; MESSAGE_BYTES]);
            publisher.ask(&request).await?;
        }
        let missing = storm(engine, &first, MISSED).await?;
        let up_to_date = storm(engine, &format!("{round}-{MISSED}"), 0).await?;
        let pairs = missing.into_iter().zip(up_to_date);
        for (figures, (engine, other)) in figures.iter_mut().zip(pairs) {
            figures.push(engine, other);
        }
    }
    Ok(figures)
}

/// All come back with this id: CPU time of each, and how long a session beside them waits at the most and at p99.
async fn storm(engine: &Measured, last_id: &str, missed: usize) -> Result<[f64; 3]> {
    let request = format!(
        "GET /{NOBODY} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        engine.address
    );
    let address = engine.address;
    let connect = move || async move {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let bystander = Bystander::begin(connect, request);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (before, began) = (engine.cpu_time()?, bystander.elapsed());
    let path: Rc<str> = format!("/{KEPT}?last_event_id={last_id}").into();
    let tasks: Vec<_> = (0..RETURNING)
        .map(|_| {
            let back = come_back(address, path.clone(), missed);
            tokio::task::spawn_local(tokio::time::timeout(PATIENCE, back))
        })
        .collect();
    let mut open = Vec::new();
    for task in tasks {
        open.push(task.await???);
    }
    let (spent, ended) = (engine.cpu_time()? - before, bystander.elapsed());
    let waits = bystander.end()?.during(began, ended);
    let ms = |part_of| part(&waits, part_of).as_secs_f64() * 1e3;
    Ok([
        spent.as_secs_f64() * 1e6 / open.len() as f64,
        ms(1.0),
        ms(0.99),
    ])
}

/// One that has missed this number of events.
async fn come_back(address: SocketAddr, path: Rc<str>, missed: usize) -> Result<WebSocket> {
    let (mut socket, _) = WebSocket::open(address, &path, RESUMABLE).await?;
    socket.send(&masked(BINARY, b"joined?")).await?;
    let mut events = 0;
    while socket.receive().await?.0 != BINARY {
        events += 1;
    }
    match events == missed {
        true => Ok(socket),
        false => Err(format!("{events} events instead of {missed}").into()),
    }
}
