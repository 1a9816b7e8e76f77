//! `skynet.stm`: a message that one service writes and others read, without asking it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlua::{
    AnyUserData, Function, IntoLuaMulti, LightUserData, Lua, MetaMethod, MultiValue, Table,
};
use mlua::{UserData, UserDataFields, UserDataRegistry, Value};
use moorline_actor::{Payload, ServiceId};
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
    copies: Mutex<Copies>,
    last: AtomicUsize,
}

#[derive(Debug, Default)]
struct Copies {
    /// Each with the service that made it.
    cells: FxHashMap<usize, (ServiceId, Arc<Cell>)>,
    /// How many each service has made.
    made: FxHashMap<ServiceId, usize>,
}

/// The most of them. A copy that nobody takes stays as long as its writer, which ends with its service.
const MOST_COPIES: usize = 65_536;
/// The most of one service, so that it leaves room for others.
const MOST_COPIES_OF_ONE: usize = 16_384;
/// Numbers look like pointers: they are multiples of this.
const STEP: usize = 16;

impl Travelling {
    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copies {
    fn insert(&mut self, number: usize, service: ServiceId, cell: Arc<Cell>) -> Result<(), String> {
        if self.is_full(service) {
            // A reader of these would read nothing.
            let cells = std::mem::take(&mut self.cells);
            self.made.clear();
            for (number, (service, cell)) in cells {
                if cell.get().is_some() {
                    *self.made.entry(service).or_default() += 1;
                    self.cells.insert(number, (service, cell));
                }
            }
        }
        if self.cells.len() >= MOST_COPIES {
            return Err(format!(
                "there are too many copies (>{MOST_COPIES}) that no one reads"
            ));
        }
        if self.is_full(service) {
            return Err(format!(
                "the service has too many copies (>{MOST_COPIES_OF_ONE}) that no one reads"
            ));
        }
        *self.made.entry(service).or_default() += 1;
        self.cells.insert(number, (service, cell));
        Ok(())
    }

    fn is_full(&self, service: ServiceId) -> bool {
        let made = self.made.get(&service).copied().unwrap_or_default();
        self.cells.len() >= MOST_COPIES || made >= MOST_COPIES_OF_ONE
    }

    fn take(&mut self, number: usize) -> Option<Arc<Cell>> {
        let (service, cell) = self.cells.remove(&number)?;
        if let Some(made) = self.made.get_mut(&service) {
            *made -= 1;
            if *made == 0 {
                self.made.remove(&service);
            }
        }
        Some(cell)
    }
}

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
        let held = self.state.hold(Payload::Shared(message)).map_err(failure)?;
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
    let (writing, copying, reading) = (state.clone(), state.clone(), state.clone());
    let module = Module::new(lua)?
        .function("new", move |_, (message, _): (Value, Option<i64>)| {
            let message = taken(&writing, &message)?;
            let cell = Arc::new(Cell(Mutex::new(Some(message))));
            Ok(StmWriter(cell, writing.clone()))
        })?
        .function("copy", move |_, writer: AnyUserData| {
            let cell = writer.borrow::<StmWriter>()?.0.clone();
            let number = sent.last.fetch_add(STEP, Ordering::Relaxed) + STEP;
            let service = copying.port.id();
            let inserted = sent.copies().insert(number, service, cell);
            inserted.map_err(failure)?;
            let pointer = std::ptr::without_provenance_mut(number);
            Ok(Value::LightUserData(LightUserData(pointer)))
        })?
        .function("newcopy", move |_, copy: Value| {
            let number = match copy {
                Value::LightUserData(LightUserData(pointer)) => pointer.addr(),
                _ => 0,
            };
            let cell = received.copies().take(number);
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
