//! HTTP listeners: a folder of files, and one path whose requests become WebSocket sessions.
//!
//! An upgraded connection leaves hyper and tokio and becomes a session like any other, with the WebSocket
//! framing (RFC 6455) cutting its bytes.

mod answer;
mod body;
mod conditions;
mod content_type;
mod encoding;
mod file;
mod folder;
mod handshake;
pub(crate) mod head;
mod path;
mod range;
mod upload;
mod watched;

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use moorline_net::tls::server::{ServerStream, ServerTls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::answer::{
    Answer, bad_path, last, moved, no_file, no_upgrade, not_allowed, plain, refused, switching,
};
use self::file::Asked;
use self::folder::{Found, find};
use self::handshake::accept_key;
use self::path::FilePath;
use self::upload::read_up;
use self::watched::{Progress, Watched};
use crate::arrival::Upgrade;
use crate::commands::{Command, Inbox};
use crate::ids::ListenerId;
use crate::memory::TLS_BYTES;
use crate::shared::Shared;
use moorline_config::Listener;
use moorline_protocol::control::Limit;
use moorline_protocol::wire::{CloseReason, Peer};

/// The longest head of a request in bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// The approximate memory of a connection beside files, in bytes: buffers for one head and for one answer's head, its
/// task.
const CONNECTION_BYTES: usize = HEAD_BYTES + 8 * 1024;
/// How long a peer may take nothing of an answer, where the listener has no `send_timeout`: as long as a session that
/// is ending may.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP listener.
#[derive(Debug)]
pub(crate) struct Site {
    listener: ListenerId,
    name: String,
    /// Locked once a request.
    settings: RwLock<Arc<Settings>>,
    /// Where sessions live.
    loops: Arc<[Inbox]>,
    shared: Arc<Shared>,
}

/// The settings of a site.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The path whose requests become sessions.
    websocket: Option<String>,
    /// The folder that all other paths are files of.
    folder: Option<OwnedFd>,
    /// How long clients and proxies keep a file.
    cache: HeaderValue,
    /// Its TLS state, if it is encrypted.
    tls: Option<ServerTls>,
    /// How long a TLS handshake may take, and then the first request.
    handshake_timeout: Duration,
    /// How long a peer may take nothing of an answer.
    stall_timeout: Duration,
}

impl Settings {
    pub(crate) fn new(
        listener: &Listener,
        folder: Option<OwnedFd>,
        tls: Option<ServerTls>,
    ) -> Self {
        Self {
            websocket: listener.websocket.clone(),
            folder,
            cache: HeaderValue::from_str(&listener.static_cache)
                .unwrap_or(HeaderValue::from_static("no-cache")),
            tls,
            handshake_timeout: listener.handshake_timeout,
            stall_timeout: listener.send_timeout.unwrap_or(STALL_TIMEOUT),
        }
    }
}

impl Site {
    pub(crate) fn new(
        listener: ListenerId,
        name: String,
        settings: Settings,
        loops: Arc<[Inbox]>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            listener,
            name,
            settings: RwLock::new(Arc::new(settings)),
            loops,
            shared,
        }
    }

    /// Whether it is this listener's.
    pub(crate) fn is_of(&self, listener: &Listener) -> bool {
        self.name == listener.name
    }

    /// Serves this from the next request on, also over present connections. TLS state is for new ones.
    pub(crate) fn change(&self, settings: Settings) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Serves one connection, as a task of this thread.
    pub(crate) fn serve(self: Arc<Self>, socket: OwnedFd, peer: Peer) {
        tokio::task::spawn_local(async move {
            let shared = self.shared.clone();
            let _connection = shared.http.connection();
            let progress = Arc::new(Progress::default());
            let ended = self
                .clone()
                .serve_connection(socket, peer.clone(), progress.clone())
                .await;
            let listener = &self.name;
            match ended {
                Ok(()) => {}
                Err(Ended::Tls(error)) => {
                    tracing::info!(listener, %peer, error, reason = %CloseReason::Handshake, "tls handshake failed");
                    self.count_refused(None);
                }
                Err(Ended::Late) => {
                    tracing::info!(
                        listener, %peer, reason = %CloseReason::Handshake,
                        "connection closed: its handshake or request has taken longer than handshake_timeout"
                    );
                    self.count_refused(Some(Limit::HandshakeTimeout));
                }
                Err(Ended::Other(error)) => {
                    tracing::debug!(listener, %peer, %error, "http connection ended");
                }
            }
            if !progress.upgraded.load(Ordering::Relaxed) {
                self.shared.release(self.listener, &peer);
            }
        });
    }

    /// The loops keep the counts.
    fn count_refused(&self, limit: Option<Limit>) {
        self.loops[0].send(Command::Refused(limit));
    }

    async fn serve_connection(
        self: Arc<Self>,
        socket: OwnedFd,
        peer: Peer,
        progress: Arc<Progress>,
    ) -> Result<(), Ended> {
        let stream = TcpStream::from_std(std::net::TcpStream::from(socket))
            .map_err(|error| Ended::Other(error.into()))?;
        let settings = self.settings();
        let encrypted = settings.tls.as_ref().map_or(0, |_| TLS_BYTES);
        let bytes = CONNECTION_BYTES + encrypted;
        let _held = self.shared.http_memory.hold(bytes);
        match &settings.tls {
            None => self.serve_stream(stream, peer, progress).await,
            Some(tls) => {
                let accepted = ServerStream::accept(stream, tls);
                let accepted = tokio::select! {
                    accepted = timeout(settings.handshake_timeout, accepted) => accepted,
                    () = self.shared.http.asked() => return Err(Ended::Other("the engine stops".into())),
                };
                match accepted {
                    Ok(Ok(stream)) => self.serve_stream(stream, peer, progress).await,
                    Ok(Err(error)) => Err(Ended::Tls(error.to_string())),
                    Err(_) => Err(Ended::Late),
                }
            }
        }
    }

    async fn serve_stream<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self: Arc<Self>,
        stream: S,
        peer: Peer,
        progress: Arc<Progress>,
    ) -> Result<(), Ended> {
        let watched = Watched::new(stream, progress.clone());
        let service = service_fn(|request| {
            let (site, peer, progress) = (self.clone(), peer.clone(), progress.clone());
            async move { Ok::<_, Infallible>(site.answer(request, peer, &progress).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            // A client may end its side after the request and still have its answer.
            .half_close(true)
            .header_read_timeout(self.settings().handshake_timeout)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(watched), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let served = async {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = self.shared.http.asked() => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        };
        tokio::select! {
            ended = served => match ended {
                // A connection without a further request may time out: its peer had nothing more to ask.
                Err(error) if error.is_timeout() && !progress.asked.load(Ordering::Relaxed) => Err(Ended::Late),
                Err(error) => Err(Ended::Other(error.into())),
                Ok(()) => Ok(()),
            },
            () = progress.stalled(self.settings().stall_timeout) => {
                Err(Ended::Other("its peer takes nothing of the answer".into()))
            }
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        progress: &Progress,
    ) -> Answer {
        progress.asked.store(true, Ordering::Relaxed);
        let (method, target, version) = (request.method(), request.uri(), request.version());
        if let Err(refusal) = head::check(method, target, version, request.headers()) {
            return refused(refusal);
        }
        let settings = self.settings();
        if settings.websocket.as_deref() == Some(target.path()) {
            return self.upgrade(request, peer, progress);
        }
        let (head, body) = request.into_parts();
        let is_over = read_up(&head, body).await;
        let answer = match (
            &settings.folder,
            head.headers.get(header::TRANSFER_ENCODING),
        ) {
            (None, _) => plain(StatusCode::NOT_FOUND, "not found"),
            (Some(_), Some(_)) => plain(StatusCode::LENGTH_REQUIRED, "the body has no length"),
            (Some(_), None) => self.answer_with_file(&head, settings).await,
        };
        // Where the next request begins is unknown, or far away.
        if is_over { answer } else { last(answer) }
    }

    /// Begins a WebSocket session, or says why there is none.
    fn upgrade(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        progress: &Progress,
    ) -> Answer {
        if self.shared.http.is_under_way() {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the engine stops");
        }
        match accept_key(&request) {
            Ok(key) => {
                // Marked before the connection's task can end, so that the connection is counted once.
                progress.upgraded.store(true, Ordering::Relaxed);
                tokio::task::spawn_local(self.hand_over(request, peer));
                switching(&key)
            }
            Err((status, why)) => {
                tracing::warn!(%peer, reason = "framing", error = why, "websocket handshake refused");
                no_upgrade(status, why)
            }
        }
    }

    async fn answer_with_file(&self, head: &Parts, settings: Arc<Settings>) -> Answer {
        let asked = match head.method {
            Method::GET => Asked::All,
            Method::HEAD => Asked::Head,
            _ => return not_allowed("files are read with GET or HEAD", "GET, HEAD"),
        };
        let path = match FilePath::parse(head.uri.path()) {
            Ok(path) => Arc::new(path),
            Err(bad) => return bad_path(bad),
        };
        let (name, encodings) = (path.clone(), encoding::accepted(&head.headers));
        let (limit, cache) = (self.shared.descriptors(), settings.cache.clone());
        let opening = tokio::task::spawn_blocking(move || match &settings.folder {
            Some(folder) => find(folder, &name, encodings, limit),
            None => Err(std::io::ErrorKind::NotFound.into()),
        });
        let file = match opening.await {
            Ok(Ok(Found::File(file))) => file,
            Ok(Ok(Found::FolderWithoutSlash)) => return moved(&path.with_slash(head.uri.query())),
            Ok(Err(error)) => return no_file(&error),
            Err(_) => {
                let why = "the file could not be read";
                return plain(StatusCode::INTERNAL_SERVER_ERROR, why);
            }
        };
        let by_loops = self.shared.held_by_loops();
        let hold = |bytes| self.shared.http_memory.try_hold(bytes, by_loops);
        file::answer(file, asked, &head.headers, &cache, hold)
    }

    /// Takes an upgraded connection from hyper and makes it a session.
    async fn hand_over(self: Arc<Self>, request: Request<Incoming>, peer: Peer) {
        let listener = self.listener;
        let taken = async {
            let upgraded = hyper::upgrade::on(request)
                .await
                .map_err(|error| error.to_string())?;
            let (stream, upgrade) = take_apart(upgraded)?;
            let stream = stream.into_std().map_err(|error| error.to_string())?;
            Ok::<_, String>((stream, upgrade))
        };
        match taken.await {
            Ok((stream, upgrade)) => {
                let least = self.shared.least_loaded();
                self.loops[least].send(Command::Upgraded {
                    socket: stream.into(),
                    listener,
                    peer,
                    upgrade,
                });
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "websocket upgrade failed");
                self.shared.release(listener, &peer);
            }
        }
    }
}

/// Why a connection ended early.
enum Ended {
    Tls(String),
    /// By `handshake_timeout`, before the first request.
    Late,
    Other(Box<dyn std::error::Error>),
}

/// The stream under a connection that leaves HTTP.
fn take_apart(upgraded: Upgraded) -> Result<(TcpStream, Upgrade), String> {
    let upgraded = match upgraded.downcast::<TokioIo<Watched<TcpStream>>>() {
        Ok(parts) => {
            let upgrade = Upgrade {
                received: parts.read_buf.to_vec(),
                tls: None,
                unsent: Vec::new(),
            };
            return Ok((parts.io.into_inner().into_inner(), upgrade));
        }
        Err(upgraded) => upgraded,
    };
    let parts = upgraded
        .downcast::<TokioIo<Watched<ServerStream<TcpStream>>>>()
        .map_err(|_| "another kind of connection".to_owned())?;
    let sealed = parts.io.into_inner().into_inner().into_parts();
    // Bytes that hyper has read come before bytes that are still in the stream.
    let mut received = parts.read_buf.to_vec();
    received.extend_from_slice(&sealed.received);
    let upgrade = Upgrade {
        received,
        tls: Some(sealed.records),
        unsent: sealed.unsent,
    };
    Ok((sealed.stream, upgrade))
}

#[cfg(any(test, fuzzing))]
pub mod invariants;
