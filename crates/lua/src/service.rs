//! One Lua service: a state, and what dispatches its messages.

use std::cell::{Cell, OnceCell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::builtin::Builtin;
use crate::closing::Closing;
use crate::core;
use crate::kinds::Kinds;
use crate::output::{error_text, log_look};
use crate::pack::PackError;
use crate::plain::Plain;
use crate::process::{Process, ServiceCode};
use crate::socket_messages;
use crate::state::{Program, RAW, ServiceState};
use crate::sys::{OwnedState, enter, note_coroutines};
use mlua::{Function, Lua, MultiValue, Table, Value};
use moorline_actor::{Actor, Kind, Message, Payload, Port, ServiceId};

/// The kind of messages between Lua services.
pub(crate) const LUA: u8 = 10;
/// What `skynet.monitor`'s service gets from each service that ends.
const CLIENT: Kind = Kind(3);

/// The code behind a Lua service's mailbox.
pub(crate) struct LuaService {
    state: Rc<ServiceState>,
    // Dropped after what refers to it.
    lua: OwnedState,
    // Dropped after the state.
    closing: Closing,
}

impl LuaService {
    /// Makes the state, and runs the script up to its end. The service is ready when the function that it gave to `skynet.start` returns.
    pub(crate) fn start(
        port: Port,
        process: Arc<Process>,
        program: &Program,
    ) -> Result<Box<dyn Actor>, String> {
        let lua = OwnedState::new(process.memory_limit).map_err(|error| error.to_string())?;
        note_coroutines(&lua).map_err(|error| error.to_string())?;
        process.watches.add_thread(log_look);
        let unpacked = Kinds::default();
        unpacked.set(LUA, true);
        let state = Rc::new(ServiceState {
            port,
            process,
            memory: lua.memory().clone(),
            held: RefCell::default(),
            dispatch: OnceCell::new(),
            unpacked,
            kept: Kinds::default(),
            raw_calls: RefCell::default(),
            size: Cell::new(0),
            sockets: RefCell::default(),
            is_exiting: Cell::new(false),
            start: LuaService::start,
            is_first: matches!(program, Program::Script { is_first: true, .. }),
        });
        state.process.services.add(state.port.id(), program.line());
        // From here on its end removes it from the list of services, also if a panic ends it.
        let this = Self {
            state,
            lua,
            closing: Closing::default(),
        };
        // Dropped before the state.
        let running = enter(&this.lua, this.state.port.id().number());
        let ran = core::install(&this.lua, &this.state).map_err(|error| error.to_string());
        let ran = ran.and_then(|()| run(&this.lua, &this.state, program));
        drop(running);
        let has_started = this.state.dispatch.get().is_some();
        if ran.is_ok() && !has_started && this.state.process.is_client(this.state.port.id()) {
            this.state.port.decline();
            return Err("the client has done its work".to_owned());
        }
        let ran = ran.and_then(|()| match has_started {
            true => Ok(()),
            false => Err("the script has ended without skynet.start".to_owned()),
        });
        match ran {
            Ok(()) => Ok(Box::new(this)),
            Err(why) => {
                this.state.fail(&why);
                Err(why)
            }
        }
    }

    /// Hands a message over as values. False if there are none: then nothing has run.
    fn hand_over(
        &self,
        caller: Option<(ServiceId, u32)>,
        head: (i64, i64, i64),
        payload: &Payload,
    ) -> bool {
        let values = match payload {
            Payload::Bytes(bytes) => return self.state.call_dispatch_packed(caller, head, bytes),
            Payload::Shared(bytes) => return self.state.call_dispatch_packed(caller, head, bytes),
            Payload::Empty => Ok(MultiValue::new()),
            Payload::Service(id) => Ok([Value::Integer(id.number().into())].into_iter().collect()),
            Payload::Failure(why) => match self.lua.create_string(why.as_bytes()) {
                Ok(why) => Ok([Value::String(why)].into_iter().collect()),
                Err(error) => Err(error.into()),
            },
            Payload::Value(values) => match values.downcast_ref::<Vec<Plain>>() {
                Some(values) => Plain::all_into_lua(values, &self.lua),
                None => Ok(MultiValue::new()),
            },
        };
        let Ok(values) = values else {
            return false;
        };
        let args = (head.0, head.1, head.2, values);
        self.state.call_dispatch(caller, args);
        true
    }

    fn is_unpacked(&self, kind: Kind, session: u32) -> bool {
        match kind {
            Kind::ERROR => {
                // Nobody waits for its answer any more.
                let _ = self.is_raw(session);
                true
            }
            Kind::RESPONSE => !self.is_raw(session),
            Kind(kind) => self.state.unpacked.has(kind),
        }
    }

    /// Whether an answer is one to a call whose answer the script unpacks itself. The call is over then.
    fn is_raw(&self, session: u32) -> bool {
        let mut raw_calls = self.state.raw_calls.borrow_mut();
        !raw_calls.is_empty() && raw_calls.remove(&session)
    }
}

impl Drop for LuaService {
    fn drop(&mut self) {
        let port = &self.state.port;
        let running = enter(&self.lua, port.id().number());
        self.closing.begin(&self.lua, running);
        self.state.process.message_logs.end(port.id());
        self.state.process.services.remove(port.id());
        self.state.process.watches.take_endless(port.id());
        if let Some(monitor) = port.find(".monitor") {
            let _ = port.forward(monitor, port.id(), CLIENT, 0, Payload::Empty);
        }
        let place = self.state.socket_place();
        self.state.sockets.borrow_mut().end(&place);
    }
}

impl Actor for LuaService {
    fn receive(&mut self, message: Message) {
        let (process, port) = (&self.state.process, &self.state.port);
        process
            .message_logs
            .note(port.id(), &message, || port.uptime());
        let Message {
            source,
            session,
            kind,
            payload,
        } = message;
        let _running = enter(&self.lua, self.state.port.id().number());
        if kind == Kind::WOKEN {
            return socket_messages::deliver(&self.lua, &self.state, session);
        }
        if kind == Kind::RESPONSE && source == ServiceId::NONE {
            self.state.memory.remove_timer();
        }
        self.state.size.set(payload.size());
        let caller = (session != 0 && !kind.is_answer()).then_some((source, session));
        let head = (
            i64::from(kind.0),
            i64::from(session),
            i64::from(source.number()),
        );
        let is_id = matches!(payload, Payload::Service(_));
        if is_id || self.is_unpacked(kind, session) {
            if self.hand_over(caller, head, &payload) {
                return;
            }
            if kind == Kind::RESPONSE {
                let why = PackError::Malformed.to_string();
                let kind = i64::from(Kind::ERROR.0);
                return self.state.call_dispatch(None, (kind, head.1, head.2, why));
            }
            // The script's own `unpack` says what is wrong, where an error has its place.
        }
        let (pointer, size) = self.state.held.borrow_mut().hold(payload);
        self.state.call_dispatch(
            caller,
            (head.0 + RAW, head.1, head.2, pointer.clone(), size),
        );
        let is_kept = self.state.kept.has(kind.0);
        let mut held = self.state.held.borrow_mut();
        if !is_kept || held.is_above(self.state.most_held()) {
            held.release(&pointer);
        }
    }
}

/// Runs the service's main chunk.
fn run(lua: &OwnedState, state: &ServiceState, program: &Program) -> Result<(), String> {
    match program {
        Program::Unique => run_builtin(lua, ".service", &state.process.builtins.unique),
        Program::Launcher => run_builtin(lua, ".launcher", &state.process.builtins.launcher),
        Program::Script { line, .. } => run_script(lua, state, line),
    }
    .map_err(|why| match why {
        NotRun::Lua(error) => error_text(&error),
        NotRun::Other(why) => why,
    })
}

fn run_builtin(lua: &Lua, name: &str, builtin: &'static Builtin) -> Result<(), NotRun> {
    lua.globals().set("SERVICE_NAME", name)?;
    Ok(builtin.load(lua)?.call::<()>(())?)
}

/// Why a script did not run to its end.
enum NotRun {
    Lua(mlua::Error),
    Other(String),
}

impl From<mlua::Error> for NotRun {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

fn run_script(lua: &OwnedState, state: &ServiceState, line: &str) -> Result<(), NotRun> {
    let mut words = line.split_ascii_whitespace();
    let name = words
        .next()
        .ok_or_else(|| NotRun::Other("a service has a name".to_owned()))?;
    let args: MultiValue = words
        .map(|word| lua.create_string(word).map(Value::String))
        .collect::<mlua::Result<_>>()?;
    let globals = lua.globals();
    globals.set("SERVICE_NAME", name)?;
    let (path, pattern) = match state.process.find(name).map_err(NotRun::Other)? {
        ServiceCode::File(path, pattern) => (path, pattern),
        ServiceCode::Builtin(service) => return Ok(service.load(lua)?.call::<()>(args)?),
    };
    if let Some(loader) = &state.process.loader {
        return run_loader(lua, state, loader, line);
    }
    let folder = folder_of(pattern, name);
    if pattern.trim_end_matches(|c| c != '/').contains('?') {
        // A service with a folder of its own finds its modules there.
        let package: Table = globals.get("package")?;
        let path: String = package.get("path")?;
        package.set("path", format!("{folder}?.lua;{path}"))?;
    }
    globals.set("SERVICE_PATH", folder)?;
    if let Some(preload) = &state.process.preload {
        let mut words = args.clone();
        words.push_front(Value::String(lua.create_string(name)?));
        load_file(lua, state, Path::new(preload))?.call::<()>(words)?;
    }
    Ok(load_file(lua, state, &path)?.call::<()>(args)?)
}

/// The folder of the service's files, with a slash at its end.
fn folder_of(pattern: &str, name: &str) -> String {
    let (folder, _) = pattern.rsplit_once('/').unwrap_or((".", pattern));
    format!("{}/", folder.replace('?', name))
}

/// Has the user's own loader find and run a service, by what skynet's loaders get.
fn run_loader(
    lua: &OwnedState,
    state: &ServiceState,
    loader: &str,
    line: &str,
) -> Result<(), NotRun> {
    let globals = lua.globals();
    globals.set("LUA_SERVICE", state.process.service_path.as_str())?;
    globals.set("LUA_PATH", state.process.lua_path.as_str())?;
    globals.set("LUA_CPATH", state.process.lua_cpath.as_str())?;
    globals.set("LUA_PRELOAD", state.process.preload.as_deref())?;
    Ok(load_file(lua, state, Path::new(loader))?.call::<()>(line)?)
}

fn load_file(lua: &OwnedState, state: &ServiceState, path: &Path) -> Result<Function, NotRun> {
    let text = std::fs::read(path)
        .map_err(|error| NotRun::Other(format!("cannot read {}: {error}", path.display())))?;
    Ok(state.process.scripts.load(lua, path, text)?)
}
