//! What plain HTTP requests cost that the app answers.
//!
//! `requests compare ROUNDS` starts this program as an engine, and as `requests axum`: axum by itself, on one thread. Both answer
//! the same. 64 connections ask again and again.

use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use moorline::{App, Context, Message, NoSettings, Request, Response, Session};
use tokio::net::TcpListener;

use moorline_benches::Result;
use moorline_benches::figures::{Figures, print};
use moorline_benches::http::Http;
use moorline_benches::load::{Client, run, turn};
use moorline_benches::server::{Measured, be_the_load};

const CONNECTIONS: usize = 64;
const TURN: Duration = Duration::from_millis(1500);
const BODY_BYTES: usize = 4 << 10;
const FINE: &str = "fine";
const ROUTES: &str = "[[listen.route]]\npath = \"/api/*rest\"\nkind = \"app\"\n";

/// The engine's app.
struct Web;

impl App for Web {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> moorline::Result<Self> {
        Ok(Web)
    }

    async fn message(self: Rc<Self>, _: Session, _: Message) -> moorline::Result {
        Ok(())
    }

    async fn request(self: Rc<Self>, request: Request) -> moorline::Result<Response> {
        Ok(match (request.method(), request.path()) {
            ("GET", "/api/health") => Response::text(FINE),
            ("POST", "/api/length") => Response::text(request.body().len().to_string()),
            _ => Response::new(404),
        })
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match (arguments.get(1).map(String::as_str), arguments.get(2)) {
        (Some("axum"), _) => run(by_axum()),
        (Some("compare"), Some(rounds)) => compare(rounds),
        _ => return moorline::run(Web::start),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn by_axum() -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}/\nready", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // A socket that has no such option has broken already, and says so when it is used.
        let _ = stream.set_nodelay(true);
    });
    let app = Router::new()
        .route("/api/health", get(async || FINE))
        .route(
            "/api/length",
            post(async |body: Bytes| body.len().to_string()),
        );
    Ok(axum::serve(listener, app).await?)
}

fn compare(rounds: &str) -> Result {
    let rounds: usize = rounds.parse()?;
    be_the_load()?;
    let (engine, axum) = (Measured::engine(ROUTES)?, Measured::other("axum")?);
    let mut all = Vec::new();
    for (what, request, answer) in [
        ("GET", get_request(), FINE.to_owned()),
        ("POST, 4 KiB", post_request(), BODY_BYTES.to_string()),
    ] {
        let what = format!("requests, {what}, {CONNECTIONS} connections, to axum");
        let mut cpu = Figures::new(&*what, "CPU µs / request");
        let mut latency = Figures::new(&*what, "p50 latency µs");
        let (request, answer) = (Rc::from(request), Rc::from(answer));
        for round in 1..=rounds {
            eprintln!("{what}, round {round}");
            let engine = run(ask(&engine, &request, &answer))?;
            let axum = run(ask(&axum, &request, &answer))?;
            cpu.push(engine.cpu_us, axum.cpu_us);
            latency.push(engine.p50_us, axum.p50_us);
        }
        all.extend([cpu, latency]);
    }
    print(&all);
    Ok(())
}

/// As a browser asks, about.
const FIELDS: &str = "Host: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Language: en\r\n\
    Cookie: login=0123456789abcdef0123456789abcdef\r\n";

fn get_request() -> Vec<u8> {
    format!("GET /api/health HTTP/1.1\r\n{FIELDS}\r\n").into_bytes()
}

fn post_request() -> Vec<u8> {
    let head = format!(
        "POST /api/length HTTP/1.1\r\n{FIELDS}Content-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
    );
    let mut request = head.into_bytes();
    request.resize(request.len() + BODY_BYTES, b'7');
    request
}

async fn ask(
    server: &Measured,
    request: &Rc<[u8]>,
    answer: &Rc<str>,
) -> Result<moorline_benches::load::Turn> {
    let mut askers = Vec::new();
    for _ in 0..CONNECTIONS {
        askers.push(Asker {
            connection: Http::connect(server.address).await?,
            request: request.clone(),
            answer: answer.clone(),
        });
    }
    turn(server, askers, TURN).await
}

/// A connection that asks the same again and again.
struct Asker {
    connection: Http,
    request: Rc<[u8]>,
    answer: Rc<str>,
}

impl Client for Asker {
    async fn exchange(&mut self) -> Result {
        let (status, body) = self.connection.ask(&self.request).await?;
        match status == 200 && body == self.answer.as_bytes() {
            true => Ok(()),
            false => Err(format!("a wrong answer: {status} {}", body.escape_ascii()).into()),
        }
    }
}
