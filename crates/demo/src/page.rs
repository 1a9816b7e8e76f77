//! The page with the buttons, over HTTP on a loopback address.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{spawn_blocking, spawn_local};

use crate::acts::{Act, carry_out};
use crate::engine::Doors;
use crate::events::Events;
use crate::site::Site;
use crate::visitors::Visitors;
use crate::watch::EngineState;

const PAGE: &str = include_str!("play.html");
/// Connections at once; more wait.
const CONNECTIONS: usize = 64;
/// Buttons whose acts are not over yet; more are refused.
const ACTS: usize = 8;
const HEAD_TIME: Duration = Duration::from_secs(10);
const BODY_BYTES: usize = 1024;

/// What the page shows and changes.
pub(crate) struct Play {
    pub(crate) site: Arc<Site>,
    pub(crate) visitors: Arc<Visitors>,
    pub(crate) state: Arc<EngineState>,
    pub(crate) events: Arc<Events>,
    pub(crate) doors: Doors,
}

struct Server {
    play: Rc<Play>,
    /// Names by which the page may be asked for: one of another site that leads here must not press buttons.
    hosts: [String; 2],
    acts: Arc<Semaphore>,
}

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, play: Rc<Play>) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let server = Rc::new(Server {
        play,
        hosts: [address.to_string(), format!("localhost:{}", address.port())],
        acts: Arc::new(Semaphore::new(ACTS)),
    });
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let server = Rc::clone(&server);
        spawn_local(async move {
            let service = service_fn(move |request| {
                let server = Rc::clone(&server);
                async move { Ok::<_, Infallible>(answer(request, &server).await) }
            });
            // Whatever goes wrong there, the browser knows it already.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, server: &Server) -> Answer {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !server
        .hosts
        .iter()
        .any(|known| known.eq_ignore_ascii_case(host))
    {
        return text(StatusCode::MISDIRECTED_REQUEST, "this is another host\n");
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => with(StatusCode::OK, "text/html; charset=utf-8", page(server)),
        (&Method::GET, "/demo.json") => json_of(StatusCode::OK, &state(&server.play)),
        (&Method::POST, "/act") => act(request, server).await,
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /, /demo.json and POST /act\n",
        ),
    }
}

/// The page. Its policy lets it speak to the engine, too.
fn page(server: &Server) -> String {
    let Doors { people, admin, .. } = server.play.doors;
    PAGE.replace("PEOPLE_ADDRESS", &people.to_string())
        .replace("ADMIN_ADDRESS", &admin.to_string())
}

fn state(play: &Play) -> Value {
    let status = play.state.last();
    json!({
        "now": play.events.now(),
        "counted": play.visitors.counted(),
        "events": play.events.all(),
        "workers": status["workers"],
        "sessions": status["gateway"]["sessions"],
        "reloads": status["reloads"],
    })
}

async fn act(request: Request<Incoming>, server: &Server) -> Answer {
    // A page of another site cannot send this type without asking, and is not given leave.
    let kind = request.headers().get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "application/json") {
        let wrong = "send JSON, with the content type application/json\n";
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, wrong);
    }
    let body = Limited::new(request.into_body(), BODY_BYTES).collect();
    let body = tokio::time::timeout(HEAD_TIME, body).await;
    let Ok(Ok(body)) = body else {
        return text(
            StatusCode::BAD_REQUEST,
            "the body is too long or too late\n",
        );
    };
    let pressed: Act = match serde_json::from_slice(&body.to_bytes()) {
        Ok(pressed) => pressed,
        Err(error) => {
            return text(
                StatusCode::BAD_REQUEST,
                format!("no such button: {error}\n"),
            );
        }
    };
    let Ok(permit) = Arc::clone(&server.acts).try_acquire_owned() else {
        let many = json!({ "refused": "other buttons are still at work: try again in a moment" });
        return json_of(StatusCode::TOO_MANY_REQUESTS, &many);
    };
    let play = &server.play;
    let (site, events) = (Arc::clone(&play.site), Arc::clone(&play.events));
    let (doors, status) = (play.doors, play.state.last());
    let done = spawn_blocking(move || {
        let done = carry_out(pressed, &site, doors, &status, &events);
        drop(permit);
        done
    });
    match done.await {
        Ok(Ok(done)) => json_of(StatusCode::OK, &json!({ "done": done })),
        Ok(Err(refused)) => json_of(StatusCode::CONFLICT, &json!({ "refused": refused })),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with(status, "text/plain; charset=utf-8", body)
}

fn json_of(status: StatusCode, value: &Value) -> Answer {
    with(status, "application/json", value.to_string())
}

fn with(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws://127.0.0.1:*; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ] {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}
