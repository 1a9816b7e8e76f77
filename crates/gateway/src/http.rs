//! HTTP listeners: a folder of files, and one path whose requests become WebSocket sessions.
//!
//! An upgraded connection leaves hyper and tokio and becomes a session like any other, with the WebSocket
//! framing (RFC 6455) cutting its bytes.

mod handshake;
mod watched;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use moorline_net::tls::server::{ServerStream, ServerTls};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::handshake::accept_key;
use self::watched::{Progress, Watched};
use crate::arrival::Upgrade;
use crate::commands::{Command, Inbox};
use crate::ids::ListenerId;
use crate::memory::TLS_BYTES;
use crate::shared::Shared;
use crate::shared::http_memory::Held;
use moorline_config::Listener;
use moorline_protocol::control::Limit;
use moorline_protocol::wire::{CloseReason, Peer};

/// The longest head of a request in bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// Bytes of a file read at once.
const FILE_CHUNK: usize = 64 * 1024;
/// What a connection holds beside files, in bytes, about: buffers for one head and for one answer's head, its task.
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

/// What it serves.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The path whose requests become sessions.
    websocket: Option<String>,
    /// The folder that all other paths are files of.
    folder: Option<OwnedFd>,
    /// What encrypts it, if it is encrypted.
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
            tls,
            handshake_timeout: listener.handshake_timeout,
            stall_timeout: listener.send_timeout.unwrap_or(STALL_TIMEOUT),
        }
    }
}

type Answer = Response<Either<Full<Bytes>, FileBody>>;

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

    /// Serves this from the next request on, also over connections that are there. What is shown is for new ones.
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

    /// Counts are kept by the loops.
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
                // Later heads may be waited for in vain: the peer had nothing more to ask.
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
        let settings = self.settings();
        if settings.websocket.as_deref() == Some(request.uri().path()) {
            if self.shared.http.is_under_way() {
                return plain(StatusCode::SERVICE_UNAVAILABLE, "the engine stops");
            }
            return match accept_key(&request) {
                Ok(key) => {
                    // Marked before the connection's task can end, so that the connection is counted once.
                    progress.upgraded.store(true, Ordering::Relaxed);
                    tokio::task::spawn_local(self.hand_over(request, peer));
                    let mut answer = Response::new(Either::Left(Full::default()));
                    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    let headers = answer.headers_mut();
                    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                    if let Ok(key) = HeaderValue::from_str(&key) {
                        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
                    }
                    answer
                }
                Err((status, why)) => {
                    tracing::warn!(%peer, reason = "framing", error = why, "websocket handshake refused");
                    let mut answer = plain(status, why);
                    if status == StatusCode::UPGRADE_REQUIRED {
                        answer
                            .headers_mut()
                            .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                        answer.headers_mut().insert(
                            header::SEC_WEBSOCKET_VERSION,
                            HeaderValue::from_static("13"),
                        );
                    }
                    answer
                }
            };
        }
        if settings.folder.is_none() {
            return plain(StatusCode::NOT_FOUND, "not found");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "files are read with GET or HEAD",
            );
            answer
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let path = request.uri().path().to_owned();
        let limit = self.shared.descriptors();
        let opening = tokio::task::spawn_blocking(move || match &settings.folder {
            Some(folder) => open_file(folder, &path, limit),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        match opening.await {
            Ok(Ok(file)) => {
                let by_loops = self.shared.held_by_loops();
                let Some(held) = self
                    .shared
                    .http_memory
                    .try_hold(FileBody::bytes(file.length), by_loops)
                else {
                    return plain(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "memory_limit is reached, ask again later",
                    );
                };
                let head_only = request.method() == Method::HEAD;
                file.answer(request.headers(), head_only, held)
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                plain(StatusCode::FORBIDDEN, "forbidden")
            }
            Ok(Err(error)) if is_shortage(&error) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many files are open, ask again later",
            ),
            Ok(Err(_)) => plain(StatusCode::NOT_FOUND, "not found"),
            Err(_) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the file could not be read",
            ),
        }
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

/// Why a connection was not served to its end.
enum Ended {
    Tls(String),
    /// By `handshake_timeout`, before anything was asked.
    Late,
    Other(Box<dyn std::error::Error>),
}

/// Whether the process, or the system, has too many files open.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// What is under a connection that leaves HTTP.
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
    // What hyper has read comes before what is still in the stream.
    let mut received = parts.read_buf.to_vec();
    received.extend_from_slice(&sealed.received);
    let upgrade = Upgrade {
        received,
        tls: Some(sealed.records),
        unsent: sealed.unsent,
    };
    Ok((sealed.stream, upgrade))
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

/// A file to be served.
struct OpenFile {
    file: std::fs::File,
    length: u64,
    modified: Option<String>,
    kind: mime_guess::Mime,
}

/// Opens a file beneath the folder, never outside it: `openat2` with RESOLVE_BENEATH refuses `..` and links that lead out.
/// The descriptors from `limit` on are kept for new processes: a file that would take one is not opened.
fn open_file(folder: &OwnedFd, path: &str, limit: u64) -> io::Result<OpenFile> {
    let decoded = percent_decode(path).ok_or(io::ErrorKind::NotFound)?;
    let mut name = decoded.trim_start_matches('/').to_owned();
    if name.is_empty() || name.ends_with('/') {
        name.push_str("index.html");
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::openat2(
        folder,
        &name,
        flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )?;
    if opened.as_raw_fd() as u64 >= limit {
        return Err(Errno::MFILE.into());
    }
    let file = std::fs::File::from(opened);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let modified = metadata.modified().ok().map(httpdate::fmt_http_date);
    Ok(OpenFile {
        file,
        length: metadata.len(),
        modified,
        kind: mime_guess::from_path(&name).first_or_octet_stream(),
    })
}

fn percent_decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|path| !path.contains('\0'))
}

impl OpenFile {
    fn answer(self, asked: &HeaderMap, head_only: bool, held: Held) -> Answer {
        let known = self.modified.as_deref().is_some_and(|modified| {
            asked
                .get(header::IF_MODIFIED_SINCE)
                .is_some_and(|since| since.as_bytes() == modified.as_bytes())
        });
        let mut answer = if known {
            let mut answer = Response::new(Either::Left(Full::default()));
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            answer
        } else if head_only {
            Response::new(Either::Left(Full::default()))
        } else {
            Response::new(Either::Right(FileBody::new(self.file, self.length, held)))
        };
        let headers = answer.headers_mut();
        if !known {
            headers.insert(header::CONTENT_LENGTH, self.length.into());
        }
        let kind = match self.kind.type_() {
            mime_guess::mime::TEXT => format!("{}; charset=utf-8", self.kind),
            _ => self.kind.to_string(),
        };
        for (name, value) in [
            (header::CONTENT_TYPE, Some(kind)),
            (header::LAST_MODIFIED, self.modified),
        ] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
        // Asked again each time and answered from its date: a changed file is seen at once.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer
    }
}

/// A file's bytes, read off the loop, a chunk when the one before it is on its way.
struct FileBody {
    file: Arc<std::fs::File>,
    offset: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    _held: Held,
}

impl FileBody {
    fn new(file: std::fs::File, length: u64, held: Held) -> Self {
        Self {
            file: Arc::new(file),
            offset: 0,
            left: length,
            reading: None,
            _held: held,
        }
    }

    /// What it holds at the most: a chunk that is read, and one that is sent.
    fn bytes(length: u64) -> usize {
        usize::try_from(length).map_or(2 * FILE_CHUNK, |length| length.min(2 * FILE_CHUNK))
    }

    /// Reads the next chunk on a thread that may wait for the disk.
    fn read(&self) -> JoinHandle<io::Result<Vec<u8>>> {
        let (file, offset) = (self.file.clone(), self.offset);
        let room = usize::try_from(self.left).map_or(FILE_CHUNK, |left| left.min(FILE_CHUNK));
        tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; room];
            let length = loop {
                match rustix::io::pread(&*file, &mut chunk[..], offset) {
                    Err(Errno::INTR) => {}
                    read => break read?,
                }
            };
            chunk.truncate(length);
            Ok(chunk)
        })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut reading = self.reading.take().unwrap_or_else(|| self.read());
        let Poll::Ready(read) = Pin::new(&mut reading).poll(context) else {
            self.reading = Some(reading);
            return Poll::Pending;
        };
        let chunk = read.map_err(io::Error::other).flatten()?;
        if chunk.is_empty() {
            // It has shrunk since: the length that was promised cannot be kept.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        self.offset += chunk.len() as u64;
        self.left -= chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(any(test, fuzzing))]
pub mod invariants;
