//! Calls from hooks to services.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;

use moorline_actor::{Kind, Payload, Port, SendError, ServiceId, Session as CallSession};
use moorline_lua::Plain;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

/// The kind of messages between the engine and services: the protocol `moorline`.
pub(crate) const ENGINE: Kind = Kind(240);

/// Why a call has failed.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The service has ended.
    Gone,
    /// It has raised an error, and said so in the log. The text may be empty.
    Failed(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the service in Lua has ended"),
            Self::Failed(why) if why.is_empty() => {
                f.write_str("the service in Lua has failed: its own lines in the log say why")
            }
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CallError {}

/// The hooks' own place among the services: it calls in their name.
#[derive(Debug, Default)]
pub(crate) struct Bridge {
    port: OnceCell<Port>,
    /// Calls that are not answered yet.
    pending: RefCell<FxHashMap<CallSession, oneshot::Sender<Result<Payload, CallError>>>>,
}

impl Bridge {
    pub(crate) fn set_port(&self, port: Port) {
        let _ = self.port.set(port);
    }

    pub(crate) fn port(&self) -> Option<&Port> {
        self.port.get()
    }

    /// Calls a service. If the future is dropped, the answer is.
    pub(crate) async fn call(
        self: &Rc<Self>,
        service: ServiceId,
        values: Vec<Plain>,
    ) -> Result<Vec<Plain>, CallError> {
        let answer = self
            .ask(|port, session| {
                let payload = Payload::Value(Box::new(values));
                let sent = port.send(service, ENGINE, session, payload);
                sent.map_err(|error| match error {
                    SendError::Gone(_) => CallError::Gone,
                    SendError::Full(_) => CallError::Failed(
                        "the mailbox of the service in Lua is full: launch more services that serve".into(),
                    ),
                })
            })
            .await?;
        match answer {
            Payload::Bytes(bytes) => Ok(Plain::unpack_all(&bytes).unwrap_or_default()),
            _ => Ok(Vec::new()),
        }
    }

    /// Sends what is answered under a number, and waits for the answer.
    pub(crate) async fn ask(
        self: &Rc<Self>,
        send: impl FnOnce(&Port, CallSession) -> Result<(), CallError>,
    ) -> Result<Payload, CallError> {
        let port = self.port.get().ok_or(CallError::Gone)?;
        let session = port.next_session();
        let (tell, told) = oneshot::channel();
        self.pending.borrow_mut().insert(session, tell);
        let _forgets = Forgets {
            bridge: self,
            session,
        };
        send(port, session)?;
        told.await.unwrap_or(Err(CallError::Gone))
    }

    /// Nobody answers any more.
    pub(crate) fn end(&self) {
        self.pending.take();
    }

    /// An answer has come.
    pub(crate) fn answer(&self, session: CallSession, answer: Result<Payload, CallError>) {
        // Nobody waits for it any more where the hook was dropped.
        if let Some(tell) = self.pending.borrow_mut().remove(&session) {
            let _ = tell.send(answer);
        }
    }
}

/// A call that is dropped awaits nothing.
struct Forgets<'a> {
    bridge: &'a Bridge,
    session: CallSession,
}

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.bridge.pending.borrow_mut().remove(&self.session);
    }
}
