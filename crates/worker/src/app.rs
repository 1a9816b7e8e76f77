//! What an application is made of: the [`App`] trait and the things its hooks are handed.
//!
//! An app is one value for each worker process. Its hooks run on that process's only thread, so that
//! plain `Cell` and `RefCell` are enough for its state; none of its futures need be `Send`.

mod belongings;
mod context;
mod error;
mod file;
mod group;
mod info;
mod message;
mod session;
mod task;

use std::future::{Future, ready};
use std::rc::Rc;

pub use context::{Context, Timer};
pub use error::{AskError, PostError, SendError, SizeLimit, TaskError};
pub use file::FileError;
pub use group::Group;
pub use info::{SessionInfo, Sessions};
pub use message::{Datagram, Message};
pub use session::Session;
pub use task::Task;

pub use crate::session_id::{SessionId, SessionIdError};
pub use crate::wire::{CloseReason, Peer, SessionTls};

/// What a hook may fail with.
pub type Error = Box<dyn std::error::Error>;

/// What a hook ends with.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a session begins in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opened {
    /// It is a new connection.
    Fresh,
    /// Another process served it before: a worker that was replaced or that crashed, or another slot.
    Adopted,
}

/// An application.
///
/// One session's [`open`](App::open), [`message`](App::message) and [`close`](App::close) run one at a
/// time and in order; hooks of different sessions, and every other hook, run concurrently whenever
/// one of them awaits. A hook that does not await runs to its end without being scheduled.
///
/// A hook's future is dropped before its end in one case only: the process ends, because the time for
/// stopping is over. A hook that returns an error or panics is logged with its session and
/// listener and counted. It ends neither the process nor any other hook. What becomes of the session, `on_error` says of an
/// error, and `on_crash` of a panic. [`SendError::Closed`] is no such error: a session that ends is nobody's mistake, so
/// that `session.send(..).await?` is all that a handler needs.
pub trait App: Sized + 'static {
    /// Runs once, before anything else: the place to load and to connect. Nothing is delivered until it
    /// has returned; if it fails the process ends, and the reload that started it with the reason given here.
    ///
    /// The process does not serve yet, and may never: a reload fails if another new worker does not start. So nothing
    /// that is sent, posted, given out or asked for here reaches anybody before [`serving`](App::serving) begins, and
    /// what is not committed is never heard of. It waits, within the bounds that it has anyway; what would wait for ever
    /// fails with `NotServing`. Timers that are set here fire from then on, and `send` in a task that was spawned
    /// here waits for it.
    fn start(self: Rc<Self>, context: Context) -> impl Future<Output = Result> {
        let _ = context;
        ready(Ok(()))
    }

    /// Runs once in each process, when it serves: all new processes are ready, and the reload can fail no more. The place to
    /// greet, to announce, and to start jobs of which only one may run (see [`Context::leader`]). Messages may arrive while
    /// it runs. That it fails is logged and counted, and no more: what has been committed stays.
    fn serving(self: Rc<Self>, context: Context) -> impl Future<Output = Result> {
        let _ = context;
        ready(Ok(()))
    }

    /// Runs before a session's first message in this process. If it fails, the session is closed, unless `on_error`
    /// (or, for a panic, `on_crash`) says otherwise.
    fn open(self: Rc<Self>, session: Session, opened: Opened) -> impl Future<Output = Result> {
        let _ = (session, opened);
        ready(Ok(()))
    }

    /// Runs for each message of a session, in order. Until it ends the message is in hand: should the
    /// process die or this hook panic, the listener's `on_crash` says what becomes of message and session, and `on_error`
    /// should it return an error.
    fn message(self: Rc<Self>, session: Session, message: Message) -> impl Future<Output = Result>;

    /// Runs for each datagram of a `udp://` listener, concurrently. Datagrams have no order and no
    /// acknowledgement: those that come while too many are in hand are dropped.
    fn datagram(self: Rc<Self>, from: Datagram, message: Message) -> impl Future<Output = Result> {
        let _ = (from, message);
        ready(Ok(()))
    }

    /// Runs once when a session has ended, after all its other hooks, in the process that has it then.
    /// The session's facts can still be read; nothing can be sent to it.
    fn close(
        self: Rc<Self>,
        session: Session,
        reason: CloseReason,
    ) -> impl Future<Output = Result> {
        let _ = (session, reason);
        ready(Ok(()))
    }

    /// Runs when a session's outbound queue has passed its high watermark. It does not wait for the
    /// session's other hooks, one of which may be waiting for room.
    fn full(self: Rc<Self>, session: Session) -> impl Future<Output = Result> {
        let _ = session;
        ready(Ok(()))
    }

    /// Runs when that queue is under its low watermark again.
    fn drained(self: Rc<Self>, session: Session) -> impl Future<Output = Result> {
        let _ = session;
        ready(Ok(()))
    }

    /// Runs for each message that the worker in slot `from` has [posted](Context::post) to this one. Posts from
    /// one slot begin in the order they were sent.
    fn post(self: Rc<Self>, from: u16, message: Message) -> impl Future<Output = Result> {
        let _ = (from, message);
        ready(Ok(()))
    }

    /// Runs in task workers, for each [task](Context::task). Its result goes to the caller. A task whose
    /// process dies is given to another, so that it may run more than once.
    fn task(self: Rc<Self>, task: Message) -> impl Future<Output = Result<Vec<u8>>> {
        let _ = task;
        ready(Err("this app handles no tasks".into()))
    }

    /// Runs once when the process stops, after its sessions have gone elsewhere or have been closed, while handlers
    /// that are still running come to their end. The place to end what the app started of its own.
    fn stop(self: Rc<Self>) -> impl Future<Output = Result> {
        ready(Ok(()))
    }
}
