//! What the functions of a service's state share.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mlua::{Function, IntoLuaMulti, Value};
use moorline_actor::{Actor, Kind, Payload, Port, ServiceId};
use rustc_hash::FxHashSet;

use crate::held::Held;
use crate::kinds::Kinds;
use crate::output::{self, error_text};
use crate::process::Process;
use crate::socket::{ServiceSockets, SocketPlace};
use crate::sys::{StackText, StateMemory, Unpacked};

/// Added to a kind whose message is not unpacked.
pub(crate) const RAW: i64 = 256;

const TOO_MANY_HELD: &str =
    "not enough memory for packed messages: send what was packed, or drop it with skynet.trash";

/// One for each service.
pub(crate) struct ServiceState {
    pub(crate) port: Port,
    pub(crate) process: Arc<Process>,
    pub(crate) memory: Rc<StateMemory>,
    pub(crate) held: RefCell<Held>,
    /// What `skynet.start` gave.
    pub(crate) dispatch: OnceCell<Function>,
    /// Kinds whose messages are unpacked before the script sees them.
    pub(crate) unpacked: Kinds,
    /// Kinds whose messages stay the script's own, until it passes them on or drops them.
    pub(crate) kept: Kinds,
    /// Calls whose answers are not unpacked.
    pub(crate) raw_calls: RefCell<FxHashSet<u32>>,
    /// The bytes of the message that is being handled.
    pub(crate) size: Cell<usize>,
    pub(crate) sockets: RefCell<ServiceSockets>,
    /// It gets no more messages.
    pub(crate) is_exiting: Cell<bool>,
    /// Starts other services.
    pub(crate) start: Start,
    /// It is the one that the process was started with.
    pub(crate) is_first: bool,
}

impl Program {
    /// What `.launcher` shows for it.
    pub(crate) fn line(&self) -> &str {
        match self {
            Self::Script { line, .. } => line,
            Self::Unique => "service_mgr",
            Self::Launcher => "launcher",
        }
    }
}

/// Makes a service on its loop.
pub(crate) type Start = fn(Port, Arc<Process>, &Program) -> Result<Box<dyn Actor>, String>;

impl ServiceState {
    /// Hands a message to the dispatcher of the script.
    pub(crate) fn call_dispatch(&self, caller: Option<(ServiceId, u32)>, args: impl IntoLuaMulti) {
        if let Some(dispatch) = self.dispatch.get() {
            self.dispatched(caller, dispatch.call(args));
        }
    }

    /// The same with values that are packed. False if they cannot be unpacked: then the dispatcher was not called.
    pub(crate) fn call_dispatch_packed(
        &self,
        caller: Option<(ServiceId, u32)>,
        head: (i64, i64, i64),
        values: &[u8],
    ) -> bool {
        let is_refused = Cell::new(false);
        let values = Unpacked::new(values, &is_refused);
        self.call_dispatch_unless(&is_refused, caller, head, values)
    }

    /// The same with a text, in an answer that no other service gives. False if there is no memory for it.
    pub(crate) fn call_dispatch_text(&self, head: (i64, i64, i64), text: &[u8]) -> bool {
        let is_refused = Cell::new(false);
        let text = StackText::new(text, &is_refused);
        self.call_dispatch_unless(&is_refused, None, head, text)
    }

    fn call_dispatch_unless(
        &self,
        is_refused: &Cell<bool>,
        caller: Option<(ServiceId, u32)>,
        (kind, session, source): (i64, i64, i64),
        values: impl IntoLuaMulti,
    ) -> bool {
        let Some(dispatch) = self.dispatch.get() else {
            return true;
        };
        let outcome = dispatch.call((kind, session, source, values));
        if !is_refused.get() {
            self.dispatched(caller, outcome);
        }
        !is_refused.get()
    }

    fn dispatched(&self, caller: Option<(ServiceId, u32)>, outcome: mlua::Result<()>) {
        let Err(error) = outcome else {
            return;
        };
        // The dispatcher contains the errors of scripts. It fails itself where there is no memory left.
        output::log(self.port.id(), error_text(&error).as_bytes());
        if let Some((source, session)) = caller {
            let _ = self.port.send(source, Kind::ERROR, session, Payload::Empty);
        }
    }

    /// How many bytes its packed messages may have that are not sent.
    pub(crate) fn most_held(&self) -> usize {
        let own = self.memory.limit().unwrap_or(usize::MAX);
        own.min(self.process.memory_limit)
    }

    /// Holds a message for the script: a pointer and a size.
    ///
    /// # Errors
    /// It holds too many.
    pub(crate) fn hold(&self, payload: Payload) -> Result<(Value, i64), String> {
        let most = self.most_held();
        let held = self.held.borrow_mut().hold_within(most, payload);
        held.ok_or_else(|| TOO_MANY_HELD.to_owned())
    }

    /// What its sockets need of the process.
    pub(crate) fn socket_place(&self) -> SocketPlace<'_> {
        SocketPlace {
            port: &self.port,
            memory: &self.memory,
            registry: &self.process.sockets,
        }
    }

    /// It does not start: its launcher is told, and it ends; with the first service the process ends.
    pub(crate) fn fail(&self, why: &str) {
        output::log(
            self.port.id(),
            format!("init service failed: {why}").as_bytes(),
        );
        if self.is_first {
            self.process.has_failed.store(true, Ordering::Release);
            self.port.shut_down();
        }
        self.port.exit_with(why);
    }
}

/// What a service runs.
#[derive(Debug, Clone)]
pub(crate) enum Program {
    /// A script, found by name, and its arguments.
    Script { line: String, is_first: bool },
    /// The service that keeps services unique, `.service`.
    Unique,
    /// The one that lists services, `.launcher`.
    Launcher,
}
