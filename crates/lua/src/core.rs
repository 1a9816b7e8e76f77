//! The functions that `skynet.lua` stands on: the table `moorline.core`.
//!
//! A function is made when a script asks for it, so that a service pays for those that it uses.

use std::rc::Rc;
use std::time::Duration;

use mlua::{Function, IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value};
use moorline_actor::{Kind, LaunchOptions, Payload, ServiceId};

use crate::builtin::{Builtin, is_missing};
use crate::closing;
use crate::frames;
use crate::held::Held;
use crate::last_searcher;
use crate::module::text;
use crate::native;
use crate::netpack;
use crate::output;
use crate::pack::{PackError, PackedArguments, unpack};
use crate::process::ServiceCode;
use crate::sending::{accepted, address, refused, sending};
use crate::serialization;
use crate::socket_functions;
use crate::state::{Program, ServiceState};
use crate::sys::Demand;

/// Makes `require "skynet"` and `print` work.
pub(crate) fn install(lua: &Lua, state: &Rc<ServiceState>) -> mlua::Result<()> {
    let core = lua.create_table()?;
    let made = state.clone();
    let make = closing::function(lua, move |lua, (core, name): (Table, String)| {
        closing::refuse()?;
        let Some(function) = function(lua, &made, &name)? else {
            return Ok(None);
        };
        core.raw_set(name, &function)?;
        Ok(Some(function))
    })?;
    let metatable = lua.create_table_from([("__index", make)])?;
    core.set_metatable(Some(metatable))?;
    let package: Table = lua.globals().get("package")?;
    package.set("path", state.process.lua_path.as_str())?;
    package.set("cpath", state.process.lua_cpath.as_str())?;
    let searchers: Table = package.get("searchers")?;
    // Before files, so that a module of the user's with the name of a builtin one does not stand in its way by accident.
    searchers.raw_insert(2, searcher(lua, state, core)?)?;
    last_searcher::install(lua, &searchers)?;
    lua.globals().set("print", print(lua)?)
}

/// Finds what comes with the program, for `require`.
fn searcher(lua: &Lua, state: &Rc<ServiceState>, core: Table) -> mlua::Result<Function> {
    let state = state.clone();
    closing::function(lua, move |lua, name: String| {
        closing::refuse()?;
        let builtins = &state.process.builtins;
        if name == "moorline.core" {
            let core = core.clone();
            return closing::function(lua, move |_, ()| Ok(core.clone()))?.into_lua(lua);
        }
        if name == "skynet" {
            let (main, core) = (builtins.skynet.load(lua)?, core.clone());
            let load = closing::function(lua, move |_, ()| main.call::<Value>(&core))?;
            return load.into_lua(lua);
        }
        let mut foreign = state.process.foreign.iter();
        if let Some(module) = foreign.find(|module| module.name == name) {
            return (module.load)(lua)?.into_lua(lua);
        }
        if name == "moorline" {
            let why = "the module 'moorline' exists only in workers, which `moorline serve` runs";
            return why.into_lua(lua);
        }
        if let Some(module) = builtins.module(&name) {
            return module.load(lua)?.into_lua(lua);
        }
        if let Some(module) = native::module(lua, &state, &name) {
            let module = module?;
            return closing::function(lua, move |_, ()| Ok(module.clone()))?.into_lua(lua);
        }
        match is_missing(&name) {
            true => format!("no module '{name}' in this version of Moorline").into_lua(lua),
            false => Ok(Value::Nil),
        }
    })
}

fn print(lua: &Lua) -> mlua::Result<Function> {
    closing::function(lua, |lua, values: MultiValue| {
        closing::refuse()?;
        let to_string: Function = lua.globals().get("tostring")?;
        let mut line = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                line.push(b'\t');
            }
            let text: mlua::LuaString = to_string.call(value)?;
            line.extend_from_slice(&text.as_bytes());
        }
        output::print_line(line);
        Ok(())
    })
}

/// The function with a name, or none.
fn function(lua: &Lua, state: &Rc<ServiceState>, name: &str) -> mlua::Result<Option<Function>> {
    let state = state.clone();
    let function = match name {
        "call" | "send" | "rawcall" | "rawsend" | "redirect" | "reply" | "respond" | "fail" => {
            sending(lua, state, name)
        }
        "pack" | "packstring" | "unpack" | "tostring" | "trash" | "unpacks" | "keeps" => {
            messages(lua, state, name)
        }
        "launch" | "launch_now" => launching(lua, state, name),
        "rest" | "debug" | "trace" => parts(lua, state, name),
        "start" | "ready" | "failed" | "exit" | "kill" | "abort" | "find" | "name" | "is_alive"
        | "self" | "services" => services(lua, state, name),
        "signal" | "logon" | "logoff" => watching(lua, state, name),
        "timeout" | "genid" | "now" | "hpc" | "starttime" => times(lua, state, name),
        "log" | "log_failure" | "getenv" | "setenv" | "memlimit" | "mqlen" | "stat" => {
            process(lua, state, name)
        }
        _ if name.starts_with("websocket_") => return frames::function(lua, name),
        _ if name.starts_with("cluster_") => return serialization::function(lua, &state, name),
        _ if name.starts_with("netpack_") => return netpack::function(lua, &state, name),
        _ => return socket_functions::function(lua, &state, name),
    };
    function.map(Some)
}

/// `true` and values; or `false` and a reason, which `skynet.lua` raises where the script called it.
fn outcome(lua: &Lua, values: Result<impl IntoLuaMulti, String>) -> mlua::Result<MultiValue> {
    match values {
        Ok(values) => {
            let mut values = values.into_lua_multi(lua)?;
            values.push_front(Value::Boolean(true));
            Ok(values)
        }
        Err(why) => (false, why).into_lua_multi(lua),
    }
}

fn messages(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    let packed = |values: PackedArguments| values.0.map_err(|error| error.to_string());
    match name {
        "pack" => closing::function(lua, move |lua, values: PackedArguments| {
            let held = packed(values).and_then(|bytes| state.hold(Payload::Bytes(bytes)));
            outcome(lua, held)
        }),
        "packstring" => closing::function(lua, move |lua, values: PackedArguments| {
            let text = packed(values).and_then(|bytes| {
                let text = lua.create_string(bytes);
                text.map_err(|error| error.to_string())
            });
            outcome(lua, text)
        }),
        "unpack" => closing::function(lua, move |lua, (message, _): (Value, Value)| {
            let values = Held::read(&state.held, &message, |bytes| unpack(lua, bytes));
            let values = values.unwrap_or(Err(PackError::Malformed));
            outcome(lua, values.map_err(|error| error.to_string()))
        }),
        "tostring" => closing::function(lua, move |lua, (message, size): (Value, Value)| {
            let size = size.as_usize().unwrap_or(usize::MAX);
            let text = Held::read(&state.held, &message, |bytes| {
                lua.create_string(&bytes[..size.min(bytes.len())])
            });
            let text = text.ok_or_else(|| "the message was sent or dropped before".to_owned());
            outcome(
                lua,
                text.and_then(|text| text.map_err(|error| error.to_string())),
            )
        }),
        "trash" => closing::function(lua, move |_, (message, _): (Value, Value)| {
            state.held.borrow_mut().release(&message);
            Ok(())
        }),
        "keeps" => closing::function(lua, move |_, kind: u8| {
            state.kept.set(kind, true);
            Ok(())
        }),
        _ => closing::function(lua, move |_, (kind, is_unpacked): (u8, bool)| {
            state.unpacked.set(kind, is_unpacked);
            Ok(())
        }),
    }
}

fn services(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "start" => closing::function(lua, move |_, dispatch: Function| {
            // A second `skynet.start` brings the same dispatcher.
            let _ = state.dispatch.set(dispatch);
            Ok(())
        }),
        "ready" => closing::function(lua, move |lua, ()| {
            // A small service that then waits keeps nothing of its start. A large one is not held up.
            if state.memory.used() < COLLECTED_WHEN_READY {
                lua.gc_collect()?;
            }
            state.port.ready();
            Ok(())
        }),
        "failed" => closing::function(lua, move |_, why: String| {
            state.fail(&why);
            Ok(())
        }),
        "exit" => closing::function(lua, move |_, ()| {
            // One that has done its work in its start function is no error at its launcher.
            state.port.decline();
            state.port.exit();
            state.is_exiting.set(true);
            Ok(())
        }),
        "kill" => closing::function(lua, move |_, id: u32| {
            Ok(state.port.kill(ServiceId::from_number(id)))
        }),
        "abort" => closing::function(lua, move |_, ()| {
            state.port.shut_down();
            Ok(())
        }),
        "find" => closing::function(lua, move |_, name: Value| {
            let found = address(&state, &name).filter(|id| state.port.is_alive(*id));
            Ok(found.map(ServiceId::number))
        }),
        "name" => closing::function(lua, move |_, (name, id): (String, u32)| {
            Ok(state.port.give_name(&name, ServiceId::from_number(id)))
        }),
        "is_alive" => closing::function(lua, move |_, id: u32| {
            Ok(state.port.is_alive(ServiceId::from_number(id)))
        }),
        "self" => closing::function(lua, move |_, ()| Ok(state.port.id().number())),
        _ => closing::function(lua, move |lua, ()| {
            let all = state.process.services.all().into_iter();
            lua.create_table_from(all.map(|(id, line)| (id.number(), line.into_string())))
        }),
    }
}

/// What consoles do with a service.
fn watching(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "signal" => closing::function(lua, move |_, (id, number): (u32, Option<i64>)| {
            let demand = match number.unwrap_or(0) {
                0 => Demand::Break,
                1 => Demand::Memory,
                _ => return Ok(false),
            };
            let watches = &state.process.watches;
            Ok(watches.ask(ServiceId::from_number(id), demand))
        }),
        "logon" => closing::function(lua, move |lua, id: u32| {
            let uptime = state.port.uptime();
            let begun = state
                .process
                .log_messages(ServiceId::from_number(id), uptime);
            outcome(lua, begun)
        }),
        _ => closing::function(lua, move |_, id: u32| {
            Ok(state.process.message_logs.end(ServiceId::from_number(id)))
        }),
    }
}

fn launching(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "launch" => closing::function(lua, move |_, words: MultiValue| {
            let session = state.port.next_session();
            Ok(match launch(&state, session, &words) {
                Ok(_) => accepted(Value::Integer(session.into())),
                Err(why) => refused(why),
            })
        }),
        _ => closing::function(lua, move |_, mut words: MultiValue| {
            // `snlua` is the host of all services. That of the name `logger` has a script here.
            let is_lua = |host: &Value| host.as_string().is_some_and(|host| *host == "snlua");
            let is_logger = |host: &Value| host.as_string().is_some_and(|host| *host == "logger");
            let launched = match words.front() {
                Some(host) if is_lua(host) => {
                    words.pop_front();
                    launch(&state, 0, &words).ok()
                }
                Some(host) if is_logger(host) => launch(&state, 0, &words).ok(),
                _ => None,
            };
            Ok(launched.map(ServiceId::number))
        }),
    }
}

/// The parts of the module that are loaded when they are needed.
fn parts(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "debug" => closing::function(lua, move |lua, ()| state.process.builtins.debug.load(lua)),
        "trace" => closing::function(lua, move |lua, ()| state.process.builtins.trace.load(lua)),
        _ => closing::function(lua, move |lua, ()| state.process.builtins.rest.load(lua)),
    }
}

/// Launches a script. Its arguments are words, whatever was given.
fn launch(state: &ServiceState, session: u32, words: &MultiValue) -> Result<ServiceId, String> {
    let words: mlua::Result<Vec<String>> = words.iter().map(Value::to_string).collect();
    let line = words.map_err(|error| error.to_string())?.join(" ");
    let (start, process) = (state.start, state.process.clone());
    let name = line.split_ascii_whitespace().next().unwrap_or_default();
    let builtin = match process.find(name) {
        Ok(ServiceCode::Builtin(code)) => Some(code),
        _ => None,
    };
    let options = LaunchOptions {
        // One that modules stand on does not keep the process running.
        is_daemon: builtin.is_some_and(Builtin::is_daemon),
        on: builtin.and_then(|_| process.loop_of(name)),
    };
    let program = Program::Script {
        line,
        is_first: false,
    };
    let launched = state
        .port
        .launch(options, session, move |port| start(port, process, &program));
    launched.map_err(|error| error.to_string())
}

/// Up to this many bytes are collected in a fraction of a millisecond.
const COLLECTED_WHEN_READY: usize = 256 << 10;

/// A tick of `skynet.timeout`.
const TICK: Duration = Duration::from_millis(10);

/// Sets a timer: the session of its message.
fn timeout(state: &ServiceState, ticks: i64) -> u32 {
    let session = state.port.next_session();
    let ticks = u32::try_from(ticks.max(0)).unwrap_or(u32::MAX);
    if ticks == 0 {
        let me = state.port.id();
        let due = state
            .port
            .forward(me, ServiceId::NONE, Kind::RESPONSE, session, Payload::Empty);
        // A full mailbox is no reason to lose a timer.
        if due.is_ok() {
            return session;
        }
    }
    state.port.after(TICK * ticks, session);
    session
}

fn times(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "timeout" => closing::function(lua, move |lua, ticks: Value| {
            let kind = ticks.type_name();
            Ok(match lua.coerce_integer(ticks.clone())? {
                Some(ticks) => match state.memory.add_timer(lua) {
                    Ok(()) => accepted(Value::Integer(timeout(&state, ticks).into())),
                    Err(error) => refused(text(&error)),
                },
                None if lua.coerce_number(ticks)?.is_some() => {
                    refused("number has no integer representation")
                }
                None => refused(format!("number expected, got {kind}")),
            })
        }),
        "genid" => closing::function(lua, move |_, ()| Ok(state.port.next_session())),
        "now" => closing::function(lua, move |_, ()| {
            let ticks = state.port.uptime().as_millis() / TICK.as_millis();
            Ok(i64::try_from(ticks).unwrap_or(i64::MAX))
        }),
        "hpc" => closing::function(lua, move |_, ()| {
            Ok(i64::try_from(state.port.uptime().as_nanos()).unwrap_or(i64::MAX))
        }),
        _ => closing::function(lua, move |_, ()| Ok(state.process.start_time)),
    }
}

fn process(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "log" => closing::function(lua, move |_, text: mlua::LuaString| {
            output::log(state.port.id(), &text.as_bytes());
            Ok(())
        }),
        "log_failure" => closing::function(
            lua,
            move |_, (source, session, text): (u32, u32, mlua::LuaString)| {
                let me = state.port.id();
                let size = state.size.get();
                let text = text.to_string_lossy();
                let line = format!(
                    "lua call [{source:x} to {me} : {session} msgsz = {size}] error : {text}"
                );
                output::log(me, line.as_bytes());
                Ok(())
            },
        ),
        "getenv" => closing::function(lua, move |_, name: String| {
            Ok(state.process.variable(&name))
        }),
        "setenv" => closing::function(lua, move |lua, (name, value): (String, String)| {
            outcome(lua, state.process.set_variable(&name, &value))
        }),
        "memlimit" => closing::function(lua, move |_, bytes: usize| {
            Ok(state.memory.set_limit(bytes))
        }),
        "mqlen" => closing::function(lua, move |_, ()| Ok(state.port.waiting())),
        _ => closing::function(lua, move |_, what: String| {
            let count = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
            Ok(match what.as_str() {
                "mqlen" => count(state.port.waiting() as u64),
                "message" => count(state.port.handled()),
                "endless" => {
                    let watches = &state.process.watches;
                    count(watches.take_endless(state.port.id()).into())
                }
                "cpu" => Value::Number(state.port.busy().as_secs_f64()),
                "time" => Value::Number(state.port.turn().as_secs_f64()),
                _ => Value::Nil,
            })
        }),
    }
}
