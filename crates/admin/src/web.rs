//! Connections, and what a request gets.

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use moorline_protocol::flight::is_recording;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::engine::{Engine, json};
use crate::exposition::Format;
use crate::metrics;

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

const PAGE: &str = include_str!("page.html");
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Accepts connections for ever. `hosts`: the names that `Host` may have.
pub(crate) async fn accept(
    listener: TcpListener,
    engine: Engine,
    hosts: Vec<String>,
) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let hosts = Rc::new(hosts);
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let (engine, hosts) = (engine.clone(), Rc::clone(&hosts));
                spawn_local(async move {
                    connection(stream, engine, hosts).await;
                    drop(place);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, engine: Engine, hosts: Rc<Vec<String>>) {
    let service = service_fn(move |request| {
        let (engine, hosts) = (engine.clone(), Rc::clone(&hosts));
        async move { Ok::<_, Infallible>(answer(&request, &engine, &hosts).await) }
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

type Answer = Response<Full<Bytes>>;

async fn answer(request: &Request<Incoming>, engine: &Engine, hosts: &[String]) -> Answer {
    if !is_known(request, hosts) {
        let text = "this name is not known here: add it to `hosts` of [admin]\n";
        return said(StatusCode::MISDIRECTED_REQUEST, text);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = said(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let methods = HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(header::ALLOW, methods);
        return refused;
    }
    let path = request.uri().path();
    match path {
        "/" => return with(StatusCode::OK, HTML, PAGE),
        "/flight.json" => return recorded(request.uri().query(), engine).await,
        "/metrics" | "/status.json" | "/upstreams.json" => {}
        _ => {
            let text = "there are /, /metrics, /status.json, /upstreams.json and /flight.json\n";
            return said(StatusCode::NOT_FOUND, text);
        }
    }
    let Ok(seen) = engine.look().await else {
        return said(
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine does not answer\n",
        );
    };
    match path {
        "/metrics" => {
            let format = Format::accepted(request.headers().get(header::ACCEPT));
            with(
                StatusCode::OK,
                format.content_type(),
                metrics::text(&seen, format),
            )
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
        Err(_) => said(
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine does not answer\n",
        ),
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

fn said(status: StatusCode, text: &'static str) -> Answer {
    with(status, TEXT, text)
}

fn with(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
