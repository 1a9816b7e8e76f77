//! What an application is made of: the [`App`] trait and the arguments of its hooks.
//!
//! An app is one value for each worker process. Its hooks run on that process's only thread, so that
//! plain `Cell` and `RefCell` are enough for its state; none of its futures need be `Send`.

mod accept;
mod context;
mod engine;
mod error;
mod event;
mod file;
mod group;
mod group_watch;
mod info;
mod locker;
mod message;
mod node_call;
mod node_handle;
mod node_task;
mod nodes;
mod posted;
mod request;
mod response;
mod service_call;
mod session;
mod session_data;
mod settings;
mod task;
#[cfg(feature = "tower")]
mod tower;

use std::future::{Future, ready};
use std::rc::Rc;

use serde::de::DeserializeOwned;

pub use accept::Accept;
pub(crate) use accept::failed;
pub use context::{Context, Timer};
pub use engine::ControlError;
pub use error::{AskError, PostError, SendError, SizeLimit, TaskError};
pub use file::FileError;
pub use group::{Group, Member};
pub use group_watch::{GroupWatch, MemberChange};
pub use info::{SessionInfo, Sessions};
pub use locker::{LockerError, Versioned};
pub use message::{Datagram, Message};
pub use node_call::{CallError, NodeCall};
pub use node_handle::NodeHandle;
pub use node_task::NodeTask;
pub use nodes::{Node, NodeChange, NodeChanges};
pub use posted::PostedBy;
pub use request::{KeptRequest, Request};
pub(crate) use response::Content;
pub use response::{BodySender, ClientLeft, Response};
pub use service_call::ServiceCall;
pub use session::Session;
pub use settings::NoSettings;
pub use task::Task;

pub use crate::config::LuaScript;
pub use crate::session_id::{SessionId, SessionIdError};
pub use crate::wire::{CloseReason, Peer, SessionTls};

/// The error of a hook. `?` turns any error into it, those of `anyhow` and `eyre` too.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of a hook.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a session begins in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Opened {
    /// It is a new connection.
    Fresh,
    /// Another process served it before: a worker that was replaced or that crashed, or another slot.
    Adopted,
}

/// An application: one value in each worker and task worker, made by [`start`](App::start).
///
/// ```
/// use std::rc::Rc;
///
/// use moorline_worker::app::{App, Context, Message, NoSettings, Result, Session};
///
/// struct Echo;
///
/// impl App for Echo {
///     type Settings = NoSettings;
///
///     async fn start(_: Context, _: NoSettings) -> Result<Self> {
///         Ok(Echo)
///     }
///
///     async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
///         Ok(session.send(&message).await?)
///     }
/// }
/// ```
///
/// # When hooks run
/// A session's [`open`](App::open), [`message`](App::message) and [`close`](App::close) run one at a time and in order.
/// Hooks of different sessions, and all other hooks, run concurrently: when one awaits, others go on. A hook that does
/// not await runs to its end without interruption.
///
/// # Errors
/// A hook that returns an error or panics is logged, with its session and listener, and counted. It ends neither the
/// process nor any other hook. The listener's `on_error` (for a panic `on_crash`) decides what happens to the session.
/// [`SendError::Closed`], [`SendError::NoSuchSession`], [`SendError::Gone`] and [`SendError::Unreachable`] do not count as errors,
/// anywhere in the chain of sources: a session may end at any time, and so may the way to other nodes, so
/// `session.send(..).await?` is all that a handler needs.
///
/// # Cancellation
/// The future of a hook is dropped before its end only when the process ends: the stop deadline (`max_wait`) has passed,
/// or `start` took longer than `start_timeout`.
pub trait App: Sized + 'static {
    /// The type of the configuration's `[app]` table. `check` and `serve` refuse a configuration that does not fit it,
    /// with file, line and column. Without settings: [`NoSettings`].
    type Settings: DeserializeOwned;

    /// Makes the app: the place to load and to connect.
    ///
    /// `moorline::run(MyApp::start)` calls it. To pass in something that `main` has made, give `run` a closure with the
    /// same arguments instead.
    ///
    /// # When it runs
    /// Once in each process, before any other hook. The process does not serve yet, and never does if another new
    /// worker of the same reload fails to start. So nothing that is sent, posted or requested here reaches anybody
    /// before [`serving`](App::serving) begins; it waits, within the usual bounds. What would wait for ever fails with
    /// `NotServing`. Timers that are set here fire from then on. A spawned task that calls `send` waits until then.
    ///
    /// # Errors
    /// The process ends, and the reload that started it fails with this reason. A panic does the same.
    ///
    /// # Cancellation
    /// After `start_timeout` the process is ended.
    fn start(context: Context, settings: Self::Settings) -> impl Future<Output = Result<Self>>;

    /// The process serves from now on: the place to greet, to announce, and to start jobs of which only one may run (see
    /// [`Context::leader`]).
    ///
    /// # When it runs
    /// Once in each process, when all new processes are ready and the reload can no longer fail. Messages may arrive
    /// while it runs.
    ///
    /// # Errors
    /// They are logged and counted. The reload stays committed.
    ///
    /// # Cancellation
    /// As for all hooks: only at the end of the process.
    fn serving(self: Rc<Self>, context: Context) -> impl Future<Output = Result> {
        let _ = context;
        ready(Ok(()))
    }

    /// A request asks for a session of WebSocket or server-sent events, which begins if this accepts it: the place to look at cookies, the query and
    /// the origin, to refuse, and to choose a subprotocol. An app without this hook leaves it to the listener's rules
    /// (`origins`, `hosts`, `subprotocols`).
    ///
    /// # When it runs
    /// For each request for a route of kind `websocket` or `sse`, before it is answered, concurrently with all
    /// other hooks. At most 512 run at a time for each loop of the gateway; the others wait. There is no session yet:
    /// [`open`](App::open) follows, perhaps in another process if a reload happens meanwhile.
    ///
    /// # Errors
    /// They are logged and counted, and the request is answered with 503.
    ///
    /// # Cancellation
    /// The future is dropped when the connection breaks or the client half-closes it, and after the listener's `handshake_timeout`: then the request is
    /// answered with 503. If the process dies, the next one is asked; if that dies as well, or
    /// died by a fault in this hook, the request is answered with 503.
    fn accept(self: Rc<Self>, request: Request) -> impl Future<Output = Result<Accept>> {
        let _ = request;
        ready(Ok(Accept::by_rules()))
    }

    /// A plain HTTP request has come: the place for logins, webhooks, health checks and whatever else an app answers beside
    /// its sessions. A tower service, such as an axum router, answers with `request.serve(service).await` (feature `tower`).
    ///
    /// # When it runs
    /// For each request on a route of kind `app`, once its body has come, concurrently with all other hooks. At most 512 are
    /// in progress at a time for each loop of the gateway; the others wait, and beyond 2048 that wait are answered with
    /// 503. A body over the route's `max_body` is answered with 413, and does not come here.
    ///
    /// # Errors
    /// They are logged and counted, and the request is answered with 500. An error of a streamed body breaks the answer off.
    ///
    /// # Cancellation
    /// The future is dropped when its client leaves, as far as that can be seen: when the connection breaks, or about a second
    /// after the client has closed its side of it. A streamed body is dropped in the same way, and also if the client takes nothing of
    /// it for the listener's `send_timeout` (30 seconds without one). No time limit ends the hook. If the process dies, a request
    /// that it had begun is answered with 502 (a body on its way is broken off); it may have taken effect, so no other process gets it. A reload waits for
    /// it, up to `max_wait`, and so does a stop.
    fn request(self: Rc<Self>, request: Request) -> impl Future<Output = Result<Response>> {
        let _ = request;
        ready(Ok(Response::text("not found").status(404)))
    }

    /// A session begins in this process.
    ///
    /// # When it runs
    /// Before the session's first message in this process. The session does not move to another process until it ends.
    ///
    /// # Errors
    /// The session is closed, unless `on_error` (for a panic `on_crash`) says otherwise.
    ///
    /// # Cancellation
    /// As for all hooks. If the process dies, `open` runs again in the next one.
    fn open(self: Rc<Self>, session: Session, opened: Opened) -> impl Future<Output = Result> {
        let _ = (session, opened);
        ready(Ok(()))
    }

    /// A message has arrived.
    ///
    /// # When it runs
    /// For each message of a session, in order. The message is in progress until the hook ends.
    ///
    /// # Errors
    /// The listener's `on_error` decides what happens to the session.
    ///
    /// # Cancellation
    /// If the process dies or the hook panics, the listener's `on_crash` decides: close the session, drop the message or
    /// deliver it again.
    fn message(self: Rc<Self>, session: Session, message: Message) -> impl Future<Output = Result>;

    /// A datagram has arrived at a `udp://` or `unixgram://` listener.
    ///
    /// # When it runs
    /// For each datagram, concurrently and in no order. Nothing acknowledges datagrams; those that arrive while 1024 are
    /// in progress are dropped and counted.
    ///
    /// # Errors
    /// They are logged and counted.
    ///
    /// # Cancellation
    /// As for all hooks. A datagram in progress is lost with its process.
    fn datagram(self: Rc<Self>, from: Datagram, message: Message) -> impl Future<Output = Result> {
        let _ = (from, message);
        ready(Ok(()))
    }

    /// A session has ended. Its facts can still be read; nothing can be sent to it.
    ///
    /// # When it runs
    /// Once for each session, after all its other hooks, in the process that serves it then. If that one has died with it,
    /// in the next one, after [`open`](App::open).
    ///
    /// # Errors
    /// They are logged and counted apart from those of other hooks.
    ///
    /// # Cancellation
    /// As for all hooks.
    fn close(
        self: Rc<Self>,
        session: Session,
        reason: CloseReason,
    ) -> impl Future<Output = Result> {
        let _ = (session, reason);
        ready(Ok(()))
    }

    /// A session's outbound queue has passed its high watermark.
    ///
    /// # When it runs
    /// At once. It does not wait for the session's other hooks, one of which may be waiting for room.
    ///
    /// # Errors
    /// They are logged and counted. The session stays.
    ///
    /// # Cancellation
    /// As for all hooks.
    fn full(self: Rc<Self>, session: Session) -> impl Future<Output = Result> {
        let _ = session;
        ready(Ok(()))
    }

    /// A session's outbound queue has fallen below its low watermark again, or [`try_send`](Session::try_send) has refused a
    /// message to it as [`SendError::Full`] because it could have been full, and it is not, or because the ring to the gateway
    /// was, and has room.
    ///
    /// # When it runs
    /// At once, as [`full`](App::full).
    ///
    /// # Errors
    /// As for [`full`](App::full).
    ///
    /// # Cancellation
    /// As for all hooks.
    fn drained(self: Rc<Self>, session: Session) -> impl Future<Output = Result> {
        let _ = session;
        ready(Ok(()))
    }

    /// A worker or task worker has [posted](Context::post) a message to this worker.
    ///
    /// # When it runs
    /// For each post. Posts from one process begin in the order they were sent.
    ///
    /// # Errors
    /// They are logged and counted. The sender is not told.
    ///
    /// # Cancellation
    /// As for all hooks. A post in progress is lost with its process.
    fn post(
        self: Rc<Self>,
        context: Context,
        from: PostedBy,
        message: Message,
    ) -> impl Future<Output = Result> {
        let _ = (context, from, message);
        ready(Ok(()))
    }

    /// Answers a [call](NodeHandle::call) of another worker, or of this one, to a service of this node. Other nodes
    /// choose the name freely: the app knows its own, and answers [`CallError::NoSuchService`] to all others.
    ///
    /// # When it runs
    /// For each call, concurrently with all other hooks. At most 1,024 calls, posts and tasks of other nodes are in progress at a time, with
    /// 64 MiB in all; those beyond are refused as [`CallError::Full`].
    ///
    /// # Errors
    /// The caller gets [`CallError::Failed`] with the text of the error. It is logged and counted, but for
    /// [`CallError::NoSuchService`], which the caller gets as it is.
    ///
    /// # Cancellation
    /// As for all hooks. A caller that stops waiting does not cancel the call.
    fn call(
        self: Rc<Self>,
        context: Context,
        call: ServiceCall,
    ) -> impl Future<Output = Result<Vec<u8>>> {
        let _ = (context, call);
        ready(Err(CallError::NoSuchService.into()))
    }

    /// Carries out a [task](Context::task). What it returns is the task's result.
    ///
    /// # When it runs
    /// In task workers, for each task. A task whose process dies is given to another one, so it may run more than once.
    ///
    /// # Errors
    /// The caller gets [`TaskError::Failed`] with the text of the error.
    ///
    /// # Cancellation
    /// As for all hooks. A caller that stops waiting does not cancel the task.
    fn task(
        self: Rc<Self>,
        context: Context,
        task: Message,
    ) -> impl Future<Output = Result<Vec<u8>>> {
        let _ = (context, task);
        ready(Err("this app handles no tasks".into()))
    }

    /// The process stops: the place to end what the app has started.
    ///
    /// # When it runs
    /// Once, after its sessions have moved or have been closed, while hooks in progress come to their end.
    ///
    /// # Errors
    /// They are logged and counted.
    ///
    /// # Cancellation
    /// At the stop deadline, `max_wait` after the order to stop.
    fn stop(self: Rc<Self>, context: Context) -> impl Future<Output = Result> {
        let _ = context;
        ready(Ok(()))
    }
}
