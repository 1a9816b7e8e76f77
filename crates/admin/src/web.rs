//! Connections, and what a request gets.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use moorline_config::Admin;
use moorline_protocol::flight::is_recording;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::acts;
use crate::answer::{Answer, HTML, JSON, not_allowed, said, silent, with};
use crate::engine::{Engine, Seen, json};
use crate::exposition::Format;
use crate::metrics;
use crate::sessions::SessionQuery;
use crate::stream::NoAnswer;

/// Connections at once; more wait until one has ended.
const CONNECTIONS: usize = 64;
/// How long the head of a request may take, and how long a connection may wait for the next one.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The most bytes of a head.
const HEAD_BYTES: usize = 16 << 10;
/// After this time a connection ends with its request in progress …
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// … which may take so long.
const LAST_TIME: Duration = Duration::from_secs(15);
/// After accepting has failed: then there may be descriptors again.
const PAUSE: Duration = Duration::from_millis(100);

/// The paths, for who asks for another one.
const PATHS: &str =
    "there are /, /metrics, /status.json, /upstreams.json, /sessions.json and /flight.json\n";

/// What requests are answered with.
struct Site {
    engine: Engine,
    /// The names that `Host` may have.
    hosts: Vec<String>,
    page: Bytes,
}

/// Accepts connections for ever.
pub(crate) async fn accept(listener: TcpListener, engine: Engine, admin: &Admin) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let site = Rc::new(Site {
        engine,
        hosts: admin.hosts.clone(),
        page: page(admin.has_token).into(),
    });
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, from)) => {
                let site = Rc::clone(&site);
                spawn_local(async move {
                    connection(stream, from, site).await;
                    drop(place);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// The page, made of its parts. `acts`: whether it has buttons.
fn page(acts: bool) -> String {
    let page =
        include_str!("page.html").replace("<!-- sessions -->", include_str!("sessions.html"));
    match acts {
        true => page.replace("<html lang=\"en\">", "<html lang=\"en\" data-acts>"),
        false => page,
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, site: Rc<Site>) {
    let service = service_fn(move |request| {
        let site = Rc::clone(&site);
        async move { Ok::<_, Infallible>(answer(request, from, &site).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // Whatever goes wrong there, the client knows it already.
    if timeout(CONNECTION_TIME, serving.as_mut()).await.is_err() {
        serving.as_mut().graceful_shutdown();
        let _ = timeout(LAST_TIME, serving).await;
    }
}

async fn answer(request: Request<Incoming>, from: SocketAddr, site: &Site) -> Answer {
    if !is_known(&request, &site.hosts) {
        let text = "this name is not known here: add it to `hosts` of [admin]\n";
        return said(StatusCode::MISDIRECTED_REQUEST, text);
    }
    let path = request.uri().path();
    if path == "/act" {
        return acts::answer(request, from, &site.engine).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD", "only GET and HEAD\n");
    }
    match path {
        "/" => with(StatusCode::OK, HTML, site.page.clone()),
        "/flight.json" => recorded(request.uri().query(), &site.engine).await,
        "/sessions.json" => sessions(request.uri().query(), &site.engine).await,
        "/metrics" | "/status.json" | "/upstreams.json" => match site.engine.look().await {
            Ok(seen) => look(&request, &seen),
            Err(NoAnswer) => silent(),
        },
        _ => said(StatusCode::NOT_FOUND, PATHS),
    }
}

fn look(request: &Request<Incoming>, seen: &Seen) -> Answer {
    match request.uri().path() {
        "/metrics" => {
            let format = Format::accepted(request.headers().get(header::ACCEPT));
            let text = metrics::text(seen, format);
            with(StatusCode::OK, format.content_type(), text)
        }
        "/status.json" => with(StatusCode::OK, JSON, json(&*seen.status)),
        _ => with(StatusCode::OK, JSON, json(&seen.upstreams.list)),
    }
}

/// The recordings, or with `file=NAME` the events in one.
async fn recorded(query: Option<&str>, engine: &Engine) -> Answer {
    let fields = query.unwrap_or("").split('&');
    let file = fields
        .filter_map(|field| field.strip_prefix("file="))
        .next();
    if file.is_some_and(|file| !is_recording(file)) {
        return said(StatusCode::NOT_FOUND, "there is no such recording\n");
    }
    match engine.recorded(file.map(str::to_owned)).await {
        Ok(Ok(told)) => with(StatusCode::OK, JSON, json(&told)),
        Ok(Err(_)) => said(StatusCode::NOT_FOUND, "it cannot be read\n"),
        Err(NoAnswer) => silent(),
    }
}

async fn sessions(query: Option<&str>, engine: &Engine) -> Answer {
    match SessionQuery::parse(query.unwrap_or_default()) {
        Ok(query) => match engine.sessions(query).await {
            Ok(seen) => with(StatusCode::OK, JSON, json(&seen)),
            Err(NoAnswer) => silent(),
        },
        Err(wrong) => said(StatusCode::BAD_REQUEST, wrong + "\n"),
    }
}

/// Whether it asks by an address, or by a name of this machine. A page of another site may have a name that leads here, and must
/// not read anything: RFC 9110, section 7.4.
fn is_known(request: &Request<Incoming>, hosts: &[String]) -> bool {
    let written = request.headers().get(header::HOST);
    let Some(host) = written.and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(address, _)| address),
        None => host.split_once(':').map_or(host, |(host, _)| host),
    };
    let host = host.to_ascii_lowercase();
    host.parse::<IpAddr>().is_ok() || host == "localhost" || hosts.contains(&host)
}
