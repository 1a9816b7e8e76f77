//! `skynet.stm`: a message that one service writes and others read, without asking it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mlua::{
    AnyUserData, Function, IntoLuaMulti, LightUserData, Lua, MetaMethod, MultiValue, Table,
};
use mlua::{UserData, UserDataFields, UserDataRegistry, Value};
use moorline_actor::Payload;
use rustc_hash::FxHashMap;

use crate::held::Held;
use crate::module::{Module, failure};
use crate::state::ServiceState;

/// The newest message. None when its writer is gone.
#[derive(Debug, Default)]
struct Cell(Mutex<Option<Arc<[u8]>>>);

impl Cell {
    fn get(&self) -> Option<Arc<[u8]>> {
        let message = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        message.clone()
    }

    fn set(&self, message: Option<Arc<[u8]>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = message;
    }
}

/// Cells on their way to readers: what `copy` gives out and `newcopy` takes, by the number that travels in a message.
#[derive(Debug, Default)]
struct Travelling {
    cells: Mutex<FxHashMap<usize, Arc<Cell>>>,
    last: AtomicUsize,
}

/// The most of them. A copy that nobody takes stays as long as its writer, which ends with its service.
const MOST_COPIES: usize = 65_536;
/// Numbers look like pointers: they are multiples of this.
const STEP: usize = 16;

struct StmWriter(Arc<Cell>, Rc<ServiceState>);

impl Drop for StmWriter {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

struct StmReader {
    cell: Arc<Cell>,
    last: RefCell<Option<Arc<[u8]>>>,
    state: Rc<ServiceState>,
}

impl UserData for StmWriter {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_meta_field_with(MetaMethod::Call, |lua| {
            let write = |_: &Lua, (writer, message, _): (AnyUserData, Value, Option<i64>)| {
                let writer = writer.borrow::<Self>()?;
                writer.0.set(Some(taken(&writer.1, &message)?));
                Ok(())
            };
            Module::new(lua)?.raise("update", write)
        });
    }
}

impl UserData for StmReader {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_meta_field_with(MetaMethod::Call, |lua| {
            let read = |lua: &Lua, (reader, decode, more): (AnyUserData, Function, Value)| {
                reader.borrow::<Self>()?.read(lua, &decode, more)
            };
            Module::new(lua)?.raise("read", read)
        });
    }
}

impl StmReader {
    /// Calls a function with the newest message, if it has not been read.
    fn read(&self, lua: &Lua, decode: &Function, more: Value) -> mlua::Result<MultiValue> {
        let newest = self.cell.get();
        let is_read = match (&newest, &*self.last.borrow()) {
            (Some(newest), Some(last)) => Arc::ptr_eq(newest, last),
            (newest, _) => newest.is_none(),
        };
        self.last.replace(newest.clone());
        let Some(message) = newest.filter(|_| !is_read) else {
            return false.into_lua_multi(lua);
        };
        let held = self.state.held.borrow_mut().hold(Payload::Shared(message));
        let returned = decode.call::<MultiValue>((held.0.clone(), held.1, more));
        self.state.held.borrow_mut().release(&held.0);
        let mut returned = returned?;
        returned.push_front(Value::Boolean(true));
        Ok(returned)
    }
}

/// The module's table.
pub(crate) fn module(lua: &Lua, state: &Rc<ServiceState>) -> mlua::Result<Table> {
    let travelling = state.process.commons.of::<Travelling>();
    let (sent, received) = (travelling.clone(), travelling);
    let (writing, reading) = (state.clone(), state.clone());
    let module = Module::new(lua)?
        .function("new", move |_, (message, _): (Value, Option<i64>)| {
            let message = taken(&writing, &message)?;
            let cell = Arc::new(Cell(Mutex::new(Some(message))));
            Ok(StmWriter(cell, writing.clone()))
        })?
        .function("copy", move |_, writer: AnyUserData| {
            let cell = writer.borrow::<StmWriter>()?.0.clone();
            let mut cells = sent.cells.lock().unwrap_or_else(PoisonError::into_inner);
            if cells.len() >= MOST_COPIES {
                // A reader of these would read nothing.
                cells.retain(|_, cell| cell.get().is_some());
            }
            if cells.len() >= MOST_COPIES {
                return Err(failure(format!(
                    "there are too many copies (>{MOST_COPIES}) that no one reads"
                )));
            }
            let number = sent.last.fetch_add(STEP, Ordering::Relaxed) + STEP;
            cells.insert(number, cell);
            let pointer = std::ptr::without_provenance_mut(number);
            Ok(Value::LightUserData(LightUserData(pointer)))
        })?
        .function("newcopy", move |_, copy: Value| {
            let number = match copy {
                Value::LightUserData(LightUserData(pointer)) => pointer.addr(),
                _ => 0,
            };
            let mut cells = received
                .cells
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let cell = cells.remove(&number);
            let cell = cell.ok_or_else(|| failure("the copy was taken before, or is none"))?;
            Ok(StmReader {
                cell,
                last: RefCell::new(None),
                state: reading.clone(),
            })
        })?;
    Ok(module.into_table())
}

/// The bytes of a message or a string.
fn taken(state: &ServiceState, message: &Value) -> mlua::Result<Arc<[u8]>> {
    let bytes = Held::read(&state.held, message, |bytes| Arc::from(bytes));
    state.held.borrow_mut().release(message);
    bytes.ok_or_else(|| failure("a message and its size, or a string, is needed"))
}
