//! Sessions that scripts have as sockets: those of listeners that they listen for by `socket.listen`.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use moorline_lua::{ForeignClose, ForeignListening, ForeignPorts, ForeignStreams};
use moorline_worker::app::{Context, Session};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::serving::Serving;
use crate::stream::{Stream, StreamKind};

/// How scripts reach them.
pub(crate) const STREAMS: ForeignStreams = ForeignStreams {
    listen,
    unlisten,
    send,
    close,
    progress,
    is_here,
};

/// A script that does nothing with a socket for this long holds up no reload, unless `max_wait` is shorter.
const PATIENCE: Duration = Duration::from_secs(5);
/// Fewer sessions than this are not looked through.
const FEWEST_SWEPT: usize = 256;

/// One for the process.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    ports: OnceCell<ForeignPorts>,
    /// The sockets that listen, by the names of the listeners. One that was closed is none.
    listening: RefCell<FxHashMap<String, (Option<u32>, StreamKind)>>,
    by_session: RefCell<FxHashMap<u64, Rc<Stream>>>,
    by_socket: RefCell<FxHashMap<u32, Rc<Stream>>>,
    /// The ports of sockets of the process's own that the log has named.
    named: RefCell<FxHashSet<u16>>,
    swept_at: Cell<usize>,
}

impl Streams {
    /// The services run now.
    pub(crate) fn connect(&self, ports: ForeignPorts) {
        let _ = self.ports.set(ports);
    }

    fn listen(&self, socket: u32, address: SocketAddr, context: &Context) -> ForeignListening {
        let at: Vec<_> = context.listeners_at(address).collect();
        let mut listening = self.listening.borrow_mut();
        let is_free = |name: &str| !matches!(listening.get(name), Some((Some(_), _)));
        let kinds = at.iter().filter_map(|(name, speaks)| match *speaks {
            "raw" => Some((*name, StreamKind::Raw)),
            "websocket" => Some((*name, StreamKind::WebSocket)),
            _ => None,
        });
        let fitting: Vec<_> = kinds.collect();
        if let Some((name, kind)) = fitting.iter().find(|(name, _)| is_free(name)) {
            listening.insert((*name).to_owned(), (Some(socket), *kind));
            return ForeignListening::Program;
        }
        let port = address.port();
        // A free port that the system chooses is never the same one.
        if port == 0 {
            return ForeignListening::Service(None);
        }
        if !fitting.is_empty() {
            return ForeignListening::Refused("Address already in use".to_owned());
        }
        if let Some((name, speaks)) = at.first() {
            return ForeignListening::Refused(format!(
                "the listener {name:?} has this address, with framing {speaks}: for socket.listen write framing = {{ kind = \"raw\" }}, and for http.websocket an http:// address with websocket = \"/path\""
            ));
        }
        let is_new = self.named.borrow_mut().insert(port);
        ForeignListening::Service(is_new.then(|| {
            format!(
                "socket.listen at {address} opens a socket of this worker: its connections end at a reload. For connections that \
                 stay, write [[listen]] with address = \"tcp://{address}\" in the configuration"
            )
        }))
    }

    fn unlisten(&self, socket: u32) {
        for (listening, _) in self.listening.borrow_mut().values_mut() {
            listening.take_if(|it| *it == socket);
        }
    }

    /// Whether scripts listen for the sessions of a listener, or did.
    pub(crate) fn has(&self, listener: &str) -> bool {
        self.listening.borrow().contains_key(listener)
    }

    /// A session begins here.
    pub(crate) fn open(&self, session: &Session, is_adopted: bool, patience: Duration) {
        let id = u64::from(session.id());
        // It may come back from another process, with what that has not read.
        self.leave(id);
        let listening = self.listening.borrow().get(session.listener()).copied();
        let Some((Some(listener), kind)) = listening else {
            tracing::info!(session = %session.id(), listener = session.listener(), "session closed: the script has closed the socket that listens");
            let _ = session.close_now();
            return;
        };
        if session.has_lost_input() {
            tracing::warn!(
                session = %session.id(), listener = session.listener(),
                "session closed: the script of the worker before had not read over 1 MiB of it"
            );
            let _ = session.close_now();
            return;
        }
        let ports = self.ports.get();
        let Some(socket) = ports.and_then(|it| it.accept(listener, session.peer().to_string()))
        else {
            let _ = session.close_now();
            return;
        };
        let number = socket.number();
        let patience = patience.min(PATIENCE);
        let stream = Stream::new(session.clone(), socket, is_adopted, patience, kind);
        let stream = Rc::new(stream);
        self.by_session.borrow_mut().insert(id, stream.clone());
        self.by_socket.borrow_mut().insert(number, stream);
        self.sweep();
    }

    pub(crate) fn of_session(&self, id: u64) -> Option<Rc<Stream>> {
        self.by_session.borrow().get(&id).cloned()
    }

    pub(crate) fn of_socket(&self, socket: u32) -> Option<Rc<Stream>> {
        self.by_socket.borrow().get(&socket).cloned()
    }

    /// A session has ended, or is elsewhere: its socket ends.
    pub(crate) fn forget(&self, id: u64) {
        let stream = self.by_session.borrow_mut().remove(&id);
        if let Some(stream) = stream {
            let number = stream.socket.number();
            self.by_socket.borrow_mut().remove(&number);
            stream.end();
        }
    }

    /// A session has been elsewhere since: its socket ends, and what no script has read of it is not read here.
    fn leave(&self, id: u64) {
        if let Some(stream) = self.of_session(id) {
            stream.socket.leave();
            self.forget(id);
        }
    }

    /// Waits until the gateway has all that scripts have written.
    pub(crate) async fn flushed(&self) {
        let all: Vec<_> = self.by_session.borrow().values().cloned().collect();
        for stream in all {
            while !stream.output.is_flushed() {
                stream.output.flushed().await;
            }
        }
    }

    /// Forgets sessions that have moved to other processes: nobody tells this one when they end. Done so seldom that it costs each opening
    /// next to nothing.
    fn sweep(&self) {
        if self.by_session.borrow().len() < self.swept_at.get().max(FEWEST_SWEPT) {
            return;
        }
        let moved: Vec<_> = {
            let streams = self.by_session.borrow();
            let moved = streams.iter().filter(|(_, it)| it.session.is_elsewhere());
            moved.map(|(id, _)| *id).collect()
        };
        moved.into_iter().for_each(|id| self.leave(id));
        self.swept_at.set(2 * self.by_session.borrow().len());
    }
}

fn listen(socket: u32, address: SocketAddr) -> ForeignListening {
    match Serving::here() {
        Some(serving) => serving.streams.listen(socket, address, &serving.context),
        None => ForeignListening::Service(None),
    }
}

fn unlisten(socket: u32) {
    if let Some(serving) = Serving::here().filter(|it| !it.is_over()) {
        serving.streams.unlisten(socket);
    }
}

fn send(socket: u32, bytes: &[u8]) -> bool {
    stream(socket).is_some_and(|stream| stream.send(bytes))
}

fn close(socket: u32, how: ForeignClose) {
    // Services that end with their process close nothing: the next one has the sessions.
    if let Some(serving) = Serving::here().filter(|it| !it.is_over())
        && let Some(stream) = serving.streams.of_socket(socket)
    {
        stream.close(how);
    }
}

fn progress(socket: u32) {
    if let Some(stream) = stream(socket) {
        stream.progress();
    }
}

fn is_here(socket: u32) -> bool {
    stream(socket).is_none_or(|stream| !stream.session.is_elsewhere())
}

fn stream(socket: u32) -> Option<Rc<Stream>> {
    Serving::here()?.streams.of_socket(socket)
}
