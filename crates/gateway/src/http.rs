//! HTTP listeners, apart from their WebSocket sessions: a folder of files, and the answers to all that begins no session.
//!
//! An event loop has read the first request of each connection. Where that asks for a session the connection never comes
//! here; where a later request does, it goes back to a loop with that request.

mod answer;
mod app;
mod app_body;
mod body;
mod conditions;
mod content_type;
mod encoding;
mod file;
mod folder;
mod handshake;
pub(crate) mod head;
mod path;
mod preflight;
mod publish;
mod range;
mod routed;
mod upload;
mod watched;

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use moorline_net::tls::server::{ServerStream, StreamParts};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use self::answer::{
    Answer, bad_path, last, moved, no_file, no_session, not_allowed, plain, refused,
};
use self::app::{Bounds, Caller};
use self::file::Extent;
use self::folder::{Opened, find};
use self::handshake::head_of;
use self::path::FilePath;
use self::publish::publish;
use self::routed::{Routed, single_slashes};
use self::upload::read_up;
use self::watched::{Leaves, Progress, Watched};
use crate::arrival::Arrival;
use crate::commands::{Command, Inbox};
use crate::cx::unix_ms;
use crate::forwarded::{OPEN_QUOTE, OpenQuote};
use crate::ids::ListenerId;
use crate::memory::TLS_BYTES;
use crate::session_request::{HEAD_BYTES, SessionKind};
use crate::shared::Shared;
use crate::shared::admission::Counted;
use crate::tls;
use moorline_config::{Listener, Proxies, RequestRules, Routes};
use moorline_protocol::control::Limit;
use moorline_protocol::wire::{CloseReason, Peer};

/// The approximate memory of a connection beside files, in bytes: buffers for one head and for one answer's head, its
/// task.
const CONNECTION_BYTES: usize = HEAD_BYTES + 8 * 1024;
/// How long a peer may take nothing of an answer, where the listener has no `send_timeout`: as long as a session that
/// is ending may.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the body of a request may take, where the listener has no `receive_timeout`.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

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
    routes: Routes,
    /// Which requests may become sessions.
    rules: RequestRules,
    is_encrypted: bool,
    /// The proxies whose word on a request's client counts.
    proxies: Proxies,
    /// Those of its files, in the order of the routes.
    folders: Vec<OwnedFd>,
    /// How long a request's head may take.
    handshake_timeout: Duration,
    /// How long a peer may take nothing of an answer.
    stall_timeout: Duration,
    /// How long a body may take.
    body_timeout: Duration,
}

impl Settings {
    pub(crate) fn new(listener: &Listener, folders: Vec<OwnedFd>) -> Self {
        Self {
            routes: listener.routes.clone(),
            rules: listener.requests.clone(),
            is_encrypted: listener.tls.is_some(),
            proxies: listener.proxies.clone(),
            folders,
            handshake_timeout: listener.handshake_timeout,
            stall_timeout: listener.send_timeout.unwrap_or(STALL_TIMEOUT),
            body_timeout: listener.receive_timeout.unwrap_or(BODY_TIMEOUT),
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

    /// Serves this from the next request on, also over present connections.
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
    pub(crate) fn serve(self: Arc<Self>, socket: OwnedFd, peer: Peer, arrival: Arrival) {
        tokio::task::spawn_local(async move {
            let shared = self.shared.clone();
            let _connection = shared.http.connection();
            let bytes = CONNECTION_BYTES + arrival.tls.as_ref().map_or(0, |_| TLS_BYTES);
            let _held = shared.http_memory.hold(bytes);
            let counted = arrival.counted;
            let ended = tokio::select! {
                ended = self.clone().serve_connection(socket, &peer, arrival) => ended,
                () = shared.http.is_cut() => Err(Ended::other("another gateway follows")),
            };
            match ended {
                Ok(Served::Whole) => self.shared.release(self.listener, &peer, counted),
                Ok(Served::Until(socket, arrival)) => self.give_back(socket, peer, arrival),
                Err(ended) => {
                    self.note_ended(&ended, &peer);
                    self.shared.release(self.listener, &peer, counted);
                }
            }
        });
    }

    fn note_ended(&self, ended: &Ended, peer: &Peer) {
        let listener = &self.name;
        match ended {
            Ended::Late => {
                tracing::info!(
                    listener, %peer, reason = %CloseReason::Handshake,
                    "connection closed: its handshake or request has taken longer than handshake_timeout"
                );
                // The loops keep the counts.
                self.loops[0].send(Command::Refused(Some(Limit::HandshakeTimeout)));
            }
            Ended::Other(error) => {
                tracing::debug!(listener, %peer, %error, "http connection ended");
            }
        }
    }

    /// A loop makes a session of a connection.
    fn give_back(&self, socket: OwnedFd, peer: Peer, arrival: Arrival) {
        let least = self.shared.least_loaded();
        self.loops[least].send(Command::Returned {
            socket,
            listener: self.listener,
            peer,
            arrival,
        });
    }

    async fn serve_connection(
        self: Arc<Self>,
        socket: OwnedFd,
        peer: &Peer,
        arrival: Arrival,
    ) -> Result<Served, Ended> {
        let stream =
            TcpStream::from_std(std::net::TcpStream::from(socket)).map_err(Ended::other)?;
        let Arrival {
            received,
            tls,
            unsent,
            counted,
            notes: _,
        } = arrival;
        let caller = Rc::new(Caller {
            peer: peer.clone(),
            is_proxy: counted == Counted::ForProxy,
            connected_at: unix_ms(),
            tls: tls.as_deref().map(tls::facts),
        });
        let Some(records) = tls else {
            let served = self.serve_stream(stream, received, caller).await?;
            return served.map_or(Ok(Served::Whole), |(stream, received)| {
                let tls = None;
                let unsent = Vec::new();
                served_until(
                    stream,
                    Arrival {
                        received,
                        tls,
                        unsent,
                        counted,
                        notes: None,
                    },
                )
            });
        };
        let mut parts = StreamParts::new(stream, records);
        parts.unsent = unsent;
        let stream = ServerStream::from_parts(parts);
        let served = self.serve_stream(stream, received, caller).await?;
        served.map_or(Ok(Served::Whole), |(stream, mut received)| {
            let parts = stream.into_parts();
            received.extend_from_slice(&parts.received);
            let (tls, unsent) = (Some(parts.records), parts.unsent);
            served_until(
                parts.stream,
                Arrival {
                    received,
                    tls,
                    unsent,
                    counted,
                    notes: None,
                },
            )
        })
    }

    /// Answers requests until there are no more, or until one asks for a session: the stream and the bytes from that
    /// request on are returned.
    async fn serve_stream<S: AsyncRead + AsyncWrite + Leaves + Unpin + 'static>(
        self: Arc<Self>,
        stream: S,
        received: Vec<u8>,
        caller: Rc<Caller>,
    ) -> Result<Option<(S, Vec<u8>)>, Ended> {
        let progress = Rc::new(Progress::default());
        let watched = Watched::new(stream, received, progress.clone());
        let service = service_fn(|request| {
            let (site, caller, progress) = (self.clone(), caller.clone(), progress.clone());
            async move { Ok::<_, Infallible>(site.answer(request, &caller, &progress).await) }
        });
        let mut connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            // A client may end its side after the request and still have its answer.
            .half_close(true)
            .header_read_timeout(self.settings().handshake_timeout)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(watched), service);
        let mut served = Pin::new(&mut connection);
        let served = async {
            tokio::select! {
                ended = served.as_mut() => return ended,
                () = self.shared.http.asked() => {}
            }
            served.as_mut().graceful_shutdown();
            served.await
        };
        let mut head = tokio::select! {
            ended = served => return match ended {
                // A connection without a further request may time out: its peer had nothing more to ask.
                Err(error) if error.is_timeout() && !progress.asked.get() => Err(Ended::Late),
                Err(error) => Err(Ended::other(error)),
                Ok(()) => Ok(None),
            },
            () = progress.stalled(self.settings().stall_timeout) => {
                return Err(Ended::other("its peer takes nothing of the answer"));
            }
            () = progress.left() => return Err(Ended::other("its client has left")),
            head = progress.leaving() => head,
        };
        let parts = connection.into_parts();
        let (stream, received) = parts.io.into_inner().into_parts();
        head.extend_from_slice(&parts.read_buf);
        head.extend_from_slice(&received);
        Ok(Some((stream, head)))
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        caller: &Caller,
        progress: &Rc<Progress>,
    ) -> Answer {
        progress.asked.set(true);
        let (method, target, version) = (request.method(), request.uri(), request.version());
        if let Err(refusal) = head::check(method, target, version, request.headers()) {
            return refused(refusal);
        }
        let settings = self.settings();
        let is_handshake = handshake::is_one(&request);
        let routed = Routed::find(&settings.routes, target, is_handshake);
        if routed == Routed::Session(SessionKind::Events) && *method == Method::OPTIONS {
            return preflight::answer(request.headers(), &settings.rules, settings.is_encrypted);
        }
        if let Routed::Session(kind) = routed {
            return self
                .begin_session(&request, kind, &caller.peer, progress)
                .await;
        }
        let (head, body) = request.into_parts();
        if let Routed::Publish(to) = &routed {
            return publish(to, &head, body, &self.shared, &self.loops).await;
        }
        if let Routed::App { max_body } = routed {
            let bounds = Bounds {
                bytes: max_body,
                time: settings.body_timeout,
            };
            let answering = progress.answering();
            return match caller.client(&settings.proxies, &head.headers) {
                Ok(client) => {
                    let from = (client, caller);
                    self.ask(head, body, bounds, from, answering).await
                }
                // The body is not read.
                Err(OpenQuote) => last(plain(StatusCode::BAD_REQUEST, OPEN_QUOTE)),
            };
        }
        let is_over = read_up(&head, body).await;
        let answer = match routed {
            Routed::Bad => plain(StatusCode::BAD_REQUEST, "the path is not one of HTTP"),
            Routed::Moved(location) => moved(&location),
            Routed::File(_) if head.headers.contains_key(header::TRANSFER_ENCODING) => {
                plain(StatusCode::LENGTH_REQUIRED, "the body has no length")
            }
            Routed::File(place) => self.answer_with_file(&head, place, settings.clone()).await,
            Routed::Nowhere | Routed::App { .. } | Routed::Publish(_) | Routed::Session(_) => {
                plain(StatusCode::NOT_FOUND, "not found")
            }
        };
        // Where the next request begins is unknown, or far away.
        if is_over { answer } else { last(answer) }
    }

    /// Sends the connection back to the loops, which begin a session, or says why there is none.
    async fn begin_session(
        &self,
        request: &Request<Incoming>,
        kind: SessionKind,
        peer: &Peer,
        progress: &Progress,
    ) -> Answer {
        if self.shared.http.is_under_way() {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the engine stops");
        }
        match head_of(request, kind) {
            Ok(_) if progress.is_blocked() => {
                let why = "the answer to the request before this one was not taken";
                plain(StatusCode::BAD_REQUEST, why)
            }
            Ok(head) => {
                progress.leave_with(head);
                // The connection ends for HTTP meanwhile.
                std::future::pending().await
            }
            Err((status, why)) => {
                let reason = CloseReason::Handshake;
                tracing::warn!(%peer, %reason, error = why, "request for a session refused");
                let answer = no_session(status, why);
                // Where the next request begins is unknown then.
                match request.headers().contains_key(header::TRANSFER_ENCODING) {
                    true => last(answer),
                    false => answer,
                }
            }
        }
    }

    /// Answers with a file of the folder in this place.
    async fn answer_with_file(
        &self,
        head: &Parts,
        place: usize,
        settings: Arc<Settings>,
    ) -> Answer {
        let asked = match head.method {
            Method::GET => Extent::All,
            Method::HEAD => Extent::Head,
            _ => return not_allowed("files are read with GET or HEAD", "GET, HEAD"),
        };
        let Some((route, files)) = settings.routes.folders().nth(place) else {
            return plain(StatusCode::NOT_FOUND, "not found");
        };
        let prefix = route.path.prefix();
        let whole = single_slashes(head.uri.path());
        let rest = route.path.rest(&whole);
        if rest.is_empty() && !whole.ends_with('/') {
            let query = head.uri.query().map(|query| format!("?{query}"));
            return moved(&format!("{prefix}/{}", query.unwrap_or_default()));
        }
        let path = match FilePath::parse(rest) {
            Ok(path) => Arc::new(path),
            Err(bad) => return bad_path(bad),
        };
        let cache = HeaderValue::from_str(&files.cache);
        let cache = cache.unwrap_or(HeaderValue::from_static("no-cache"));
        let (name, encodings) = (path.clone(), encoding::accepted(&head.headers));
        let (limit, settings) = (self.shared.descriptors(), settings.clone());
        let opening = tokio::task::spawn_blocking(move || match settings.folders.get(place) {
            Some(folder) => find(folder, &name, encodings, limit),
            None => Err(std::io::ErrorKind::NotFound.into()),
        });
        let file = match opening.await {
            Ok(Ok(Opened::File(file))) => file,
            Ok(Ok(Opened::FolderWithoutSlash)) => {
                return moved(&format!("{prefix}{}", path.with_slash(head.uri.query())));
            }
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
}

/// How a connection was served.
enum Served {
    /// To its end.
    Whole,
    /// Until a request that asks for a session.
    Until(OwnedFd, Arrival),
}

fn served_until(stream: TcpStream, arrival: Arrival) -> Result<Served, Ended> {
    let socket = stream.into_std().map_err(Ended::other)?;
    Ok(Served::Until(socket.into(), arrival))
}

/// Why a connection ended early.
enum Ended {
    /// By `handshake_timeout`, before the first request.
    Late,
    Other(Box<dyn std::error::Error>),
}

impl Ended {
    fn other(error: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self::Other(error.into())
    }
}

#[cfg(any(test, fuzzing))]
pub mod invariants;
