//! An app's hooks in a plain test: no processes, no sockets, no waiting.

mod gateway;
mod http;
mod process;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub use self::http::{ScriptedAnswer, ScriptedRequest, ScriptedWait};

use self::gateway::Gateway;
use self::process::Process;
use crate::app::{App, CloseReason, Context, Peer, Result, SessionId};
use crate::config::{self, Config};

/// How long a test waits for what must happen. With a paused clock it comes at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Messages of one peer that may be unhandled before its next one waits, as behind a listener's window.
const WINDOW: usize = 64;

/// The configuration, unless the test has one.
const CONFIG: &str = r#"
[workers]
count = 1
[tasks]
count = 1
[[listen]]
name = "scripted"
address = "tcp://127.0.0.1:1"
framing = { kind = "length", width = 4, endian = "big", offset = 0, counts = "payload", max = "4MiB" }
"#;

/// An engine in the test's own process: the app's hooks run on the test's thread, and the test is the peers.
///
/// It is the app's own worker code over real rings, with a gateway that keeps sessions, lockers, labels, groups and
/// undone messages through reloads and crashes. There is one worker, in slot 0. Tasks run in it as well. Not there:
/// sockets, framings, TLS, datagrams, time limits of listeners, other workers. For those see `moorline::testing::Engine`.
///
/// It needs tokio's current-thread runtime, which `#[tokio::test]` is. With a paused clock (`start_paused = true`, tokio's
/// feature `test-util`) timers take no time. The app only runs while a method of the engine or of a
/// [`ScriptedPeer`] is awaited. What must happen and does not within 30 seconds of that clock fails the test with a panic.
///
/// Dropping it ends the app without its `stop` hook.
///
/// ```no_run
/// # use std::rc::Rc;
/// # use moorline_worker::app::{App, Context, Message, NoSettings, Result, Session};
/// use moorline_worker::testing::ScriptedEngine;
///
/// # struct Echo;
/// # impl App for Echo {
/// #     type Settings = NoSettings;
/// #     async fn start(_: Context, _: NoSettings) -> Result<Self> { Ok(Echo) }
/// #     async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
/// #         Ok(session.send(&message).await?)
/// #     }
/// # }
/// # async fn example() -> Result {
/// let engine = ScriptedEngine::start(Echo::start, NoSettings {}).await?;
/// let peer = engine.connect().await;
/// peer.send("hello").await;
/// assert_eq!(peer.receive().await, b"hello");
/// engine.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct ScriptedEngine(Rc<Engine>);

struct Engine {
    config: Config,
    gateway: RefCell<Gateway>,
    process: RefCell<Rc<Process>>,
    generation: Cell<u32>,
}

impl ScriptedEngine {
    /// Starts an app with these settings, as [`App::start`] or any function like it makes it, and commits it.
    ///
    /// # Errors
    /// The app's start fails, panics or takes longer than `start_timeout`.
    pub async fn start<A: App>(
        start: impl AsyncFnOnce(Context, A::Settings) -> Result<A>,
        settings: A::Settings,
    ) -> Result<Self> {
        Self::configured(CONFIG, start, settings).await
    }

    /// [`start`](Self::start) with this configuration instead of an engine's usual values. Only its first listener counts, of
    /// which `on_crash`, `on_error`, `attempts` and the watermarks; `[app]` does not.
    ///
    /// # Errors
    /// The configuration is wrong; else as [`start`](Self::start).
    pub async fn configured<A: App>(
        config: &str,
        start: impl AsyncFnOnce(Context, A::Settings) -> Result<A>,
        settings: A::Settings,
    ) -> Result<Self> {
        let path = std::env::current_dir()?.join("moorline.toml");
        let mut config = config::load_text(config, Path::new(&path))?.config;
        if config.listeners.is_empty() {
            return Err("the configuration has no listener".into());
        }
        config.workers.count = 1;
        config.engine.gateway_loops = 1;
        let process = Process::start(config.clone(), 1, start, settings).await?;
        let mut gateway = Gateway::new(config.clone());
        gateway.serve(1, false);
        process.commit().await;
        let engine = Self(Rc::new(Engine {
            config,
            gateway: RefCell::new(gateway),
            process: RefCell::new(Rc::new(process)),
            generation: Cell::new(1),
        }));
        engine.0.settle().await;
        Ok(engine)
    }

    /// A peer connects, without being asked about. Its open hook has begun when this returns.
    pub async fn connect(&self) -> ScriptedPeer {
        let serial = self.0.gateway.borrow().sessions.len();
        let port = 10_000 + (serial % 50_000) as u16;
        self.connect_from(SocketAddr::from(([127, 0, 0, 1], port)))
            .await
    }

    /// A peer connects from this address.
    pub async fn connect_from(&self, address: SocketAddr) -> ScriptedPeer {
        let id = self.0.gateway.borrow_mut().connect(Peer::Ip(address));
        self.0.settle().await;
        ScriptedPeer {
            engine: self.0.clone(),
            id,
            protocol: None,
            fields: Vec::new(),
        }
    }

    /// A request over HTTP, to be [sent](ScriptedRequest::send) to the app's `request` hook, or to [open](ScriptedRequest::open) a
    /// session as its `accept` hook decides.
    pub fn ask(&self, method: &str, target: &str) -> ScriptedRequest {
        ScriptedRequest::new(self.0.clone(), method, target)
    }

    /// Reloads: starts another value of the app, of the same type or of the next build's. Sessions move to it with their
    /// lockers once their hooks have ended (but no later than `max_wait`), and the old one stops.
    ///
    /// # Errors
    /// Its start fails; then the old one keeps serving.
    pub async fn reload<A: App>(
        &self,
        start: impl AsyncFnOnce(Context, A::Settings) -> Result<A>,
        settings: A::Settings,
    ) -> Result {
        let generation = self.0.generation.get() + 1;
        let config = self.0.config.clone();
        let max_wait = config.workers.max_wait;
        let process = Process::start(config, generation, start, settings).await?;
        self.0.generation.set(generation);
        let idle = |gateway: &mut Gateway| gateway.is_idle().then_some(());
        let (old, gateway) = (self.0.process(), &self.0.gateway);
        // Work in progress is left behind, as a reload does.
        let is_idle = timeout(max_wait, old.drive_until(gateway, idle)).await;
        old.core.commitment.lead(false);
        gateway.borrow_mut().serve(generation, false);
        process.commit().await;
        *self.0.process.borrow_mut() = Rc::new(process);
        self.0.settle().await;
        if is_idle.is_err() {
            gateway.borrow_mut().break_off(generation - 1);
        }
        old.stop(Instant::now() + max_wait, gateway).await;
        self.0.settle().await;
        Ok(())
    }

    /// The app's process dies without a word, and another value of the app starts in its place. What the old one has
    /// sent counts; its messages in progress follow the listener's `on_crash` (by default their sessions are closed).
    ///
    /// # Errors
    /// Its start fails. The engine cannot be used then.
    pub async fn crash<A: App>(
        &self,
        start: impl AsyncFnOnce(Context, A::Settings) -> Result<A>,
        settings: A::Settings,
    ) -> Result {
        let generation = self.0.generation.get() + 1;
        self.0.generation.set(generation);
        self.0.process().exchange(&self.0.gateway);
        let config = self.0.config.clone();
        let process = Process::start(config, generation, start, settings).await?;
        self.0.gateway.borrow_mut().serve(generation, true);
        process.commit().await;
        // Its hooks are dropped where they await.
        *self.0.process.borrow_mut() = Rc::new(process);
        self.0.settle().await;
        Ok(())
    }

    /// Lets time pass: hooks and timers run in their order. With a paused clock that takes no real time.
    pub async fn advance(&self, time: Duration) {
        let passing = sleep(time);
        self.0.process().drive(&self.0.gateway, passing).await;
        self.0.settle().await;
    }

    /// Runs code of the test in the app's process, with its context.
    pub async fn run<T>(&self, work: impl AsyncFnOnce(Context) -> T) -> T {
        let process = self.0.process();
        let work = work(Context::new(process.core.clone()));
        process.drive(&self.0.gateway, work).await
    }

    /// Closes all sessions and stops the app.
    pub async fn stop(self) {
        let connected = self.0.gateway.borrow().connected();
        for id in connected {
            let mut gateway = self.0.gateway.borrow_mut();
            gateway.end(id, CloseReason::Stopped, self.0.config.engine.stop_code);
        }
        let deadline = Instant::now() + self.0.config.workers.max_wait;
        self.0.process().stop(deadline, &self.0.gateway).await;
    }
}

impl Engine {
    fn process(&self) -> Rc<Process> {
        self.process.borrow().clone()
    }

    /// Runs until every task that can continue without waiting has done so.
    async fn settle(&self) {
        // A few passes of all tasks for each step of a hook that wakes another one.
        const PASSES: usize = 64;
        let passes = async {
            for _ in 0..PASSES {
                tokio::task::yield_now().await;
            }
        };
        let process = self.process();
        for _ in 0..2 {
            process.exchange(&self.gateway);
        }
        process.drive(&self.gateway, passes).await;
    }

    /// Waits until this is true; panics with `what` if it never is.
    async fn until<T>(&self, what: &str, is_so: impl FnMut(&mut Gateway) -> Option<T>) -> T {
        let process = self.process();
        let found = timeout(PATIENCE, process.drive_until(&self.gateway, is_so)).await;
        found.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
    }
}

impl fmt::Debug for ScriptedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedEngine")
            .field("generation", &self.0.generation.get())
            .finish_non_exhaustive()
    }
}

/// The other end of a session of a [`ScriptedEngine`]. Dropping it disconnects.
pub struct ScriptedPeer {
    engine: Rc<Engine>,
    id: u64,
    protocol: Option<String>,
    fields: Vec<(String, String)>,
}

impl ScriptedPeer {
    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.id.into()
    }

    /// The subprotocol that the app has chosen, if it was [asked](ScriptedRequest::open).
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The first field of this name, in any case, that the app has added to the answer, if it was [asked](ScriptedRequest::open).
    pub fn response_header(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let field = fields.find(|(its, _)| its.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    /// Sends a message, and runs the app as far as it comes without waiting. Waits while 64 of this peer are in progress.
    pub async fn send(&self, bytes: impl AsRef<[u8]>) {
        self.hand_over(bytes.as_ref(), false).await;
    }

    /// [`send`](Self::send) of a WebSocket text message.
    pub async fn send_text(&self, text: impl AsRef<str>) {
        self.hand_over(text.as_ref().as_bytes(), true).await;
    }

    /// The next message. Panics if the session has ended instead, or if nothing comes.
    pub async fn receive(&self) -> Vec<u8> {
        let id = self.id;
        let next = |gateway: &mut Gateway| match gateway.receive(id) {
            Some(message) => Some(Ok(message)),
            None => gateway.sessions.get(&id)?.end.map(Err),
        };
        match self.engine.until("a message", next).await {
            Ok(message) => message,
            Err((reason, _)) => panic!("the session has ended instead of a message: {reason}"),
        }
    }

    /// [`receive`](Self::receive) of text.
    pub async fn receive_text(&self) -> String {
        let message = self.receive().await;
        String::from_utf8(message).unwrap_or_else(|error| panic!("a message of text: {error}"))
    }

    /// The next message, if one comes without waiting.
    pub async fn try_receive(&self) -> Option<Vec<u8>> {
        self.engine.settle().await;
        self.engine.gateway.borrow_mut().receive(self.id)
    }

    /// Waits until the session has ended, and says why.
    pub async fn closed(&self) -> CloseReason {
        let id = self.id;
        let ended = |gateway: &mut Gateway| Some(gateway.sessions.get(&id)?.end?.0);
        self.engine.until("the session's end", ended).await
    }

    /// The WebSocket close code that the app has chosen, if the session has ended with one.
    pub fn close_code(&self) -> Option<u16> {
        let gateway = self.engine.gateway.borrow();
        let (_, code) = gateway.sessions.get(&self.id)?.end?;
        Some(code).filter(|code| *code != 0)
    }

    async fn hand_over(&self, bytes: &[u8], is_text: bool) {
        let id = self.id;
        let has_room = |gateway: &mut Gateway| (gateway.in_progress(id) < WINDOW).then_some(());
        self.engine.until("room for a message", has_room).await;
        let send = |gateway: &mut Gateway| gateway.send(id, bytes.to_vec(), is_text);
        send(&mut self.engine.gateway.borrow_mut());
        self.engine.settle().await;
    }
}

impl Drop for ScriptedPeer {
    fn drop(&mut self) {
        // A test that fails may drop it amid a borrow.
        if let Ok(mut gateway) = self.engine.gateway.try_borrow_mut() {
            gateway.end(self.id, CloseReason::Peer, 0);
        }
    }
}

impl fmt::Debug for ScriptedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedPeer")
            .field("id", &self.id())
            .finish()
    }
}
