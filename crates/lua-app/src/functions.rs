//! The functions that the module `moorline` stands on.

use std::rc::Rc;

use mlua::{Function, Lua, LuaString, Table};
use moorline_actor::ServiceId;
use moorline_lua::{ForeignModule, foreign_function};
use moorline_worker::app::{SendError, Session};

use crate::bridge::ENGINE;
use crate::serving::{Handles, Serving};

/// What scripts can require beside skynet's modules.
pub(crate) const MODULES: &[ForeignModule] = &[
    ForeignModule {
        name: "moorline",
        load,
    },
    ForeignModule {
        name: "snax.gateserver",
        load: load_gate,
    },
];

/// `true`; or `nil` and a reason.
type Outcome = (Option<bool>, Option<String>);

fn outcome(sent: Result<(), SendError>) -> Outcome {
    match sent {
        Ok(()) => (Some(true), None),
        Err(error) => (None, Some(error.to_string())),
    }
}

fn load(lua: &Lua) -> mlua::Result<Function> {
    let chunk = lua.load(include_str!("../lua/moorline.lua"));
    let module = chunk.set_name("=moorline").into_function()?;
    foreign_function(lua, move |lua, ()| {
        let serving = here()?;
        let core = lua.create_table()?;
        sending(lua, &core, &serving)?;
        keeping(lua, &core, &serving)?;
        of_the_process(lua, &core, &serving)?;
        module.call::<Table>(core)
    })
}

fn load_gate(lua: &Lua) -> mlua::Result<Function> {
    let chunk = lua.load(include_str!("../lua/gateserver.lua"));
    let module = chunk.set_name("=snax.gateserver").into_function()?;
    foreign_function(lua, move |lua, ()| {
        let serving = here()?;
        let core = lua.create_table()?;
        let shared = serving.clone();
        let add = foreign_function(lua, move |_, id: i64| {
            Ok(shared.gates.add(id.cast_unsigned()))
        })?;
        core.set("add_socket", add)?;
        let shared = serving.clone();
        let remove = foreign_function(lua, move |_, fd| {
            shared.gates.remove(fd);
            Ok(())
        })?;
        core.set("remove_socket", remove)?;
        let listener_at = foreign_function(lua, move |_, port: u16| {
            Ok(serving.context.listener_at(port).map(str::to_owned))
        })?;
        core.set("listener_at", listener_at)?;
        module.call::<Table>(core)
    })
}

fn here() -> mlua::Result<Rc<Serving>> {
    Serving::here().ok_or_else(|| mlua::Error::runtime("there is no engine on this thread"))
}

/// A function about one session.
fn about<A: mlua::FromLuaMulti + 'static>(
    lua: &Lua,
    serving: &Rc<Serving>,
    act: impl Fn(Session, A) -> Result<(), SendError> + 'static,
) -> mlua::Result<Function>
where
    (i64, A): mlua::FromLuaMulti,
{
    let serving = serving.clone();
    foreign_function(lua, move |_, (id, more): (i64, A)| {
        let session = serving.session(id.cast_unsigned());
        Ok(outcome(act(session, more)))
    })
}

/// Data, and whether it is text.
type Data = (LuaString, Option<bool>);

fn sending(lua: &Lua, core: &Table, serving: &Rc<Serving>) -> mlua::Result<()> {
    let push = about(lua, serving, |session, data: (LuaString, Option<bool>)| {
        let (bytes, is_text): Data = data;
        match is_text {
            Some(true) => session.push_text(bytes.to_string_lossy()),
            _ => session.push(bytes.as_bytes()),
        }
    })?;
    core.set("push", push)?;
    let shared = serving.clone();
    // `nil` without a reason: there is no room now.
    let try_send = foreign_function(
        lua,
        move |_, (id, bytes, is_text): (i64, LuaString, Option<bool>)| {
            let session = shared.session(id.cast_unsigned());
            let sent = match is_text {
                Some(true) => session.try_send_text(bytes.to_string_lossy()),
                _ => session.try_send(bytes.as_bytes()),
            };
            Ok(match sent {
                Err(SendError::Full) => (None, None),
                sent => outcome(sent),
            })
        },
    )?;
    core.set("try_send", try_send)?;
    let close = about(
        lua,
        serving,
        |session, how: (Option<u16>, Option<String>)| match how {
            (Some(code), Some(text)) => session.close_with_text(code, &text),
            (Some(code), None) => session.close_with(code),
            (None, _) => session.close(),
        },
    )?;
    core.set("close", close)?;
    let shared = serving.clone();
    let is_closed = foreign_function(lua, move |_, id: i64| {
        Ok(shared.session(id.cast_unsigned()).is_closed())
    })?;
    core.set("is_closed", is_closed)?;
    let close_now = about(lua, serving, |session, (): ()| session.close_now())?;
    core.set("close_now", close_now)
}

fn keeping(lua: &Lua, core: &Table, serving: &Rc<Serving>) -> mlua::Result<()> {
    let keep = about(
        lua,
        serving,
        |session, bytes: Option<LuaString>| match bytes {
            Some(bytes) => session.keep_bytes(bytes.as_bytes()),
            None => session.keep_bytes([]),
        },
    )?;
    core.set("keep", keep)?;
    let shared = serving.clone();
    let kept = foreign_function(lua, move |lua, id: i64| {
        let session = shared.session(id.cast_unsigned());
        let bytes = session.load_bytes();
        bytes.map(|bytes| lua.create_string(bytes)).transpose()
    })?;
    core.set("kept", kept)?;
    let label = about(lua, serving, |session, label: LuaString| {
        session.set_label(label.as_bytes())
    })?;
    core.set("label", label)?;
    let pause = about(lua, serving, |session, is_paused: bool| match is_paused {
        true => session.pause(),
        false => session.resume(),
    })?;
    core.set("pause", pause)?;
    for (name, joins) in [("join", true), ("leave", false)] {
        let context = serving.context.clone();
        let member = about(lua, serving, move |session, group: LuaString| {
            let group = context.group(group.as_bytes());
            match joins {
                true => group.join(&session),
                false => group.leave(&session),
            }
        })?;
        core.set(name, member)?;
    }
    Ok(())
}

fn of_the_process(lua: &Lua, core: &Table, serving: &Rc<Serving>) -> mlua::Result<()> {
    let shared = serving.clone();
    type Serve = (u32, Option<String>, bool, bool);
    let serve = foreign_function(
        lua,
        move |_, (service, listener, accept, request): Serve| {
            let handles = Handles { accept, request };
            shared.add(ServiceId::from_number(service), listener, handles);
            Ok(())
        },
    )?;
    core.set("serve", serve)?;
    let shared = serving.clone();
    let number_of = foreign_function(lua, move |_, fd: u32| {
        if let Some(stream) = shared.streams.of_socket(fd) {
            let id = u64::from(stream.session.id());
            return Ok((Some(id.cast_signed()), Some(stream.is_adopted)));
        }
        Ok((shared.gates.session(fd).map(u64::cast_signed), None))
    })?;
    core.set("number_of", number_of)?;
    core.set("kind", ENGINE.0)?;
    core.set(
        "engine",
        serving.bridge.port().map(|port| port.id().number()),
    )?;
    core.set("slot", serving.context.slot())?;
    of_the_cluster(lua, core, serving)?;
    core.set("generation", serving.context.generation())?;
    core.set("workers", serving.context.workers())?;
    let context = serving.context.clone();
    core.set(
        "leader",
        foreign_function(lua, move |_, ()| Ok(context.leader()))?,
    )
}

/// What `skynet.cluster` stands on, where there is a `[cluster]`.
fn of_the_cluster(lua: &Lua, core: &Table, serving: &Rc<Serving>) -> mlua::Result<()> {
    let Some(own) = serving.context.node() else {
        return Ok(());
    };
    core.set("node", own.name.as_str())?;
    let context = serving.context.clone();
    let has_node = foreign_function(lua, move |_, name: LuaString| {
        let name = name.as_bytes();
        let is_it = |node: &str| node.as_bytes() == &*name;
        Ok(is_it(&own.name) || context.nodes().iter().any(|node| is_it(&node.name)))
    })?;
    core.set("has_node", has_node)?;
    let shared = serving.clone();
    let serve = foreign_function(lua, move |_, service: u32| {
        shared
            .cluster_service
            .set(Some(ServiceId::from_number(service)));
        Ok(())
    })?;
    core.set("serve_cluster", serve)
}
