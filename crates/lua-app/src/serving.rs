//! Which service has which session.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use moorline_actor::{Actor, Kind, Message, Payload, Port, ServiceId};
use moorline_lua::Plain;
use moorline_worker::app::{
    Accept, CloseReason, Context, Request, Response, Result, Session, SessionId,
};
use rustc_hash::FxHashMap;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::asked::{Answer, Asked};
use crate::bridge::{Bridge, CallError, ENGINE};
use crate::gate_sessions::GateSessions;
use crate::http;
use crate::streams::Streams;
use crate::websocket_wire::REMEMBERED;

thread_local! {
    static HERE: RefCell<Weak<Serving>> = const { RefCell::new(Weak::new()) };
}

/// Fewer sessions than this are not looked through.
const FEWEST_SWEPT: usize = 256;

/// The sessions of this process and the services that serve them.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) context: Context,
    pub(crate) bridge: Rc<Bridge>,
    pub(crate) gates: GateSessions,
    pub(crate) streams: Streams,
    /// Sessions that were opened in a service, by their ids.
    sessions: RefCell<FxHashMap<u64, Served>>,
    services: RefCell<Vec<Server>>,
    /// The number of sessions at which those that other processes have taken over are forgotten.
    swept_at: Cell<usize>,
    /// Where the search for a service begins: for sessions, and for requests.
    openings: Cell<usize>,
    requests: Cell<usize>,
    /// The service that takes requests of other nodes.
    pub(crate) cluster_service: Cell<Option<ServiceId>>,
    phase: Cell<Phase>,
}

/// What this process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first script's start function runs.
    Starts,
    Serves,
    /// The process is about to end, since a listener has no service any more: the next one takes the sessions over.
    Ends,
}

/// How long the last line of a log has to leave the process.
const LAST_LINE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
struct Served {
    session: Session,
    service: ServiceId,
}

/// A service that serves.
#[derive(Debug)]
struct Server {
    service: ServiceId,
    /// The listener whose sessions it gets; of none: all that no other service names.
    listener: Option<String>,
    handles: Handles,
}

/// What a service handles beside sessions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Handles {
    /// Requests for sessions, before they are answered.
    pub(crate) accept: bool,
    /// Plain requests.
    pub(crate) request: bool,
}

/// Why a session is not served.
#[derive(Debug)]
struct NobodyServes(String);

impl std::fmt::Display for NobodyServes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "no service in Lua serves the listener {:?}: one of them has to call require(\"moorline\").serve",
            self.0
        )
    }
}

impl std::error::Error for NobodyServes {}

impl Serving {
    pub(crate) fn new(context: Context) -> Rc<Self> {
        let this = Rc::new(Self {
            context,
            bridge: Rc::default(),
            gates: GateSessions::default(),
            streams: Streams::default(),
            sessions: RefCell::default(),
            services: RefCell::default(),
            swept_at: Cell::new(FEWEST_SWEPT),
            openings: Cell::new(0),
            requests: Cell::new(0),
            cluster_service: Cell::new(None),
            phase: Cell::new(Phase::Starts),
        });
        HERE.set(Rc::downgrade(&this));
        this
    }

    /// The one of this thread.
    pub(crate) fn here() -> Option<Rc<Self>> {
        HERE.with_borrow(Weak::upgrade)
    }

    /// A service wants sessions.
    pub(crate) fn add(&self, service: ServiceId, listener: Option<String>, handles: Handles) {
        let mut services = self.services.borrow_mut();
        services.retain(|server| server.service != service || server.listener != listener);
        services.push(Server {
            service,
            listener,
            handles,
        });
        if let Some(port) = self.bridge.port() {
            port.watch(service);
        }
    }

    /// The first script has started.
    pub(crate) fn begin(&self) {
        self.phase.set(Phase::Serves);
    }

    /// A service has ended. Its sessions go to others with their next messages. Where there is no other, the process ends.
    fn remove(&self, service: ServiceId) {
        let mut services = self.services.borrow_mut();
        let ended: Vec<_> = services
            .extract_if(.., |server| server.service == service)
            .map(|server| server.listener)
            .collect();
        let serves = |wanted: &Option<String>| {
            let mut listeners = services.iter().map(|server| &server.listener);
            listeners.any(|listener| listener.is_none() || listener == wanted)
        };
        if !ended.iter().all(serves) {
            self.end("the last service in Lua that serves a listener has ended");
        }
    }

    /// Ends the process, as if it had crashed: sessions stay, and `on_crash` decides about messages in progress.
    pub(crate) fn end(&self, why: &str) {
        if self.phase.replace(Phase::Ends) == Phase::Serves {
            tracing::error!("{why}: this worker ends, and the next one takes its sessions over");
            spawn_local(async {
                sleep(LAST_LINE).await;
                std::process::exit(1);
            });
        }
    }

    /// Never returns once the process is about to end: what begins now begins in the next one.
    async fn goes_on(&self) {
        if self.phase.get() == Phase::Ends {
            std::future::pending::<()>().await;
        }
    }

    /// The services end with the process.
    pub(crate) fn is_over(&self) -> bool {
        self.phase.get() == Phase::Ends || self.bridge.port().is_none_or(Port::is_shut_down)
    }

    /// Opens a session that scripts have as a socket.
    pub(crate) async fn open_stream(&self, session: &Session, is_adopted: bool) -> Result {
        self.goes_on().await;
        let patience = self.context.max_wait() / 2;
        self.streams.open(session, is_adopted, patience);
        Ok(())
    }

    /// The service for a new session of a listener, or for a request.
    fn choose(
        &self,
        turn: &Cell<usize>,
        listener: &str,
        fits: impl Fn(&Handles) -> bool,
    ) -> Option<ServiceId> {
        let is_alive = |id| self.bridge.port().is_some_and(|port| port.is_alive(id));
        let services = self.services.borrow();
        let services = || {
            services
                .iter()
                .filter(|server| fits(&server.handles) && is_alive(server.service))
        };
        let named = |server: &&Server| server.listener.as_deref() == Some(listener);
        let mut fitting: Vec<_> = services().filter(named).collect();
        if fitting.is_empty() {
            fitting = services()
                .filter(|server| server.listener.is_none())
                .collect();
        }
        let chosen = fitting.get(turn.get().checked_rem(fitting.len())?)?;
        turn.set(turn.get().wrapping_add(1));
        Some(chosen.service)
    }

    /// Whether a request begins a session: by the listener's rules, where no service decides about it.
    pub(crate) async fn accept(&self, request: &Request) -> Result<Accept> {
        if self.streams.has(request.listener()) {
            // Scripts that have it as a socket read a handshake in each worker.
            return Ok(Accept::new().remember(request, REMEMBERED));
        }
        let Some(service) = self.choose(&self.requests, request.listener(), |it| it.accept) else {
            return Ok(Accept::by_rules());
        };
        let values = http::values_of("accept", request);
        http::accept(self.bridge.call(service, values).await?)
    }

    pub(crate) async fn request(&self, request: &Request) -> Result<Response> {
        let Some(service) = self.choose(&self.requests, request.listener(), |it| it.request) else {
            return Ok(Response::text("no service in Lua answers requests here").status(404));
        };
        let values = http::values_of("request", request);
        http::response(self.bridge.call(service, values).await?)
    }

    pub(crate) async fn open(&self, session: &Session, is_adopted: bool) -> Result<ServiceId> {
        self.goes_on().await;
        let listener = session.listener().to_owned();
        let service = self
            .choose(&self.openings, &listener, |_| true)
            .ok_or_else(|| NobodyServes(listener.clone()))?;
        let served = Served {
            session: session.clone(),
            service,
        };
        let id = u64::from(session.id());
        self.sessions.borrow_mut().insert(id, served);
        self.sweep();
        let values = vec![
            Plain::Word("open"),
            number(id),
            Plain::Flag(is_adopted),
            Plain::Text(listener.into_bytes()),
            Plain::Text(session.peer().to_string().into_bytes()),
        ];
        self.bridge.call(service, values).await?;
        Ok(service)
    }

    pub(crate) async fn message(
        &self,
        session: &Session,
        bytes: Vec<u8>,
        is_text: bool,
    ) -> Result<()> {
        self.goes_on().await;
        let id = u64::from(session.id());
        let service = match self.service_of(id) {
            Some(service) => service,
            // Its service has ended: another one takes it over.
            None => self.open(session, true).await?,
        };
        let values = vec![
            Plain::Word("message"),
            number(id),
            Plain::Text(bytes),
            Plain::Flag(is_text),
        ];
        self.bridge.call(service, values).await?;
        Ok(())
    }

    pub(crate) async fn close(&self, session: &Session, reason: CloseReason) -> Result<()> {
        let id = u64::from(session.id());
        let service = self.service_of(id);
        let closed = match service {
            Some(service) => {
                let reason = Plain::Text(reason.to_string().into_bytes());
                let values = vec![Plain::Word("close"), number(id), reason];
                self.bridge.call(service, values).await
            }
            None => Ok(Vec::new()),
        };
        self.sessions.borrow_mut().remove(&id);
        match closed {
            // A service that has ended need not be told.
            Ok(_) | Err(CallError::Gone) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets sessions that have moved to other processes: nobody tells this one when they end. Done so seldom that it costs each opening
    /// next to nothing.
    fn sweep(&self) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions.len() < self.swept_at.get() {
            return;
        }
        let moved = sessions.extract_if(|_, served| served.session.is_elsewhere());
        for (id, served) in moved {
            if let Some(port) = self.bridge.port() {
                let values = vec![Plain::Word("moved"), number(id)];
                let _ = port.send(served.service, ENGINE, 0, Payload::Value(Box::new(values)));
            }
        }
        self.swept_at.set(FEWEST_SWEPT.max(2 * sessions.len()));
    }

    /// A session that no service has, of a listener whose sessions scripts have as sockets: it was closed when it began.
    pub(crate) fn is_refused(&self, session: &Session) -> bool {
        let id = u64::from(session.id());
        self.streams.has(session.listener()) && !self.sessions.borrow().contains_key(&id)
    }

    /// The living service that a session was opened in.
    fn service_of(&self, id: u64) -> Option<ServiceId> {
        let sessions = self.sessions.borrow();
        let service = sessions.get(&id)?.service;
        self.bridge.port()?.is_alive(service).then_some(service)
    }

    /// A handle to a session: one of this process with what is known of it, or any other.
    pub(crate) fn session(&self, id: u64) -> Session {
        let known = self.sessions.borrow().get(&id).cloned();
        match known {
            Some(served) => served.session,
            None => self.context.session(SessionId::from(id)),
        }
    }
}

/// Ids are unsigned, Lua's integers are not: the bits are the same.
fn number(id: u64) -> Plain {
    Plain::Integer(id.cast_signed())
}

/// The bridge's mailbox.
#[derive(Debug)]
pub(crate) struct BridgeService(pub(crate) Rc<Serving>);

impl Actor for BridgeService {
    fn receive(&mut self, message: Message) {
        let Message {
            source,
            session,
            kind,
            payload,
        } = message;
        match kind {
            Kind::RESPONSE => self.0.bridge.answer(session, Ok(payload)),
            Kind::ERROR => {
                let why = match payload {
                    Payload::Failure(why) => why.into(),
                    _ => String::new(),
                };
                self.0.bridge.answer(session, Err(CallError::Failed(why)));
            }
            Kind::EXITED => self.0.remove(source),
            ENGINE if session != 0 => {
                if self.0.phase.get() == Phase::Starts {
                    let why = "this worker does not serve yet: call this in a handler or in skynet.timeout, not in the start function";
                    return self.0.reply(source, session, Err(why.to_owned()));
                }
                let (serving, asked) = (self.0.clone(), Asked::read(&payload));
                spawn_local(async move {
                    let answer = match asked {
                        Some(asked) => asked.carry_out(&serving.context).await,
                        None => Err("the request is malformed".to_owned()),
                    };
                    serving.reply(source, session, answer);
                });
            }
            _ => {}
        }
    }
}

impl Serving {
    fn reply(&self, to: ServiceId, session: u32, answer: Answer) {
        let Some(port) = self.bridge.port() else {
            return;
        };
        let values = answer.unwrap_or_else(|why| vec![Plain::Nil, Plain::Text(why.into_bytes())]);
        // A service that has ended waits for nothing.
        let _ = port.send(
            to,
            Kind::RESPONSE,
            session,
            Payload::Value(Box::new(values)),
        );
    }
}
