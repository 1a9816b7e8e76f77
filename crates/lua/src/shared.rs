//! `skynet.sharedata.core`: trees that services share, by name, and their versions.
//!
//! A script reads a tree through objects. A new version replaces the tree of a sheet; objects of the old one go on until they are asked for
//! the new one.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlua::{AnyUserData, Lua, Table, UserData, UserDataRef, Value};
use rustc_hash::FxHashMap;

use crate::module::{Module, failure};
use crate::state::ServiceState;

mod tree;

use tree::{SharedTable, build};

/// What has versions.
#[derive(Debug)]
struct Sheet {
    /// Odd and even alike: it only changes.
    version: AtomicU64,
    current: Mutex<Arc<SharedTable>>,
}

impl Sheet {
    fn new(table: Arc<SharedTable>) -> Arc<Self> {
        Arc::new(Self {
            version: AtomicU64::new(1),
            current: Mutex::new(table),
        })
    }

    fn replace(&self, table: Arc<SharedTable>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = table;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Its newest tree, as a script gets it.
    fn object(self: &Arc<Self>) -> SharedObject {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        SharedObject {
            table: current.clone(),
            version: self.version.load(Ordering::Acquire),
            sheet: self.clone(),
        }
    }
}

/// A table of a tree in Lua.
struct SharedObject {
    table: Arc<SharedTable>,
    sheet: Arc<Sheet>,
    version: u64,
}

impl UserData for SharedObject {}

/// Sheets by the module that they belong to, and their names.
#[derive(Debug, Default)]
struct SharedSheets(Mutex<NamedSheets>);

#[derive(Debug, Default)]
struct NamedSheets {
    all: FxHashMap<(String, String), NamedSheet>,
    /// What the newest trees take.
    bytes: usize,
}

#[derive(Debug)]
struct NamedSheet {
    sheet: Arc<Sheet>,
    bytes: usize,
}

impl SharedSheets {
    fn lock(&self) -> MutexGuard<'_, NamedSheets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NamedSheets {
    /// Gives a name its newest tree. `is_new` says whether it must be new or must be there.
    fn put(
        &mut self,
        key: (String, String),
        tree: Arc<SharedTable>,
        bytes: usize,
        is_new: Option<bool>,
    ) -> Result<(), String> {
        let count = self.all.len();
        match (self.all.get_mut(&key), is_new) {
            (Some(_), Some(true)) => return Err(format!("{} is there already", key.1)),
            (None, Some(false)) => return Err(format!("there is no {}", key.1)),
            (Some(named), _) => {
                self.bytes -= named.bytes;
                named.bytes = bytes;
                named.sheet.replace(tree);
            }
            (None, _) if count >= MOST_SHEETS => {
                return Err(format!("there are too many shared tables (>{MOST_SHEETS})"));
            }
            (None, _) => {
                let sheet = Sheet::new(tree);
                self.all.insert(key, NamedSheet { sheet, bytes });
            }
        }
        self.bytes += bytes;
        Ok(())
    }
}

/// The most names: a script that makes one for each request is told, before the process has no memory.
const MOST_SHEETS: usize = 65_536;

/// The module's table.
pub(crate) fn module(lua: &Lua, state: &Rc<ServiceState>) -> mlua::Result<Table> {
    let module = versions(reading(Module::new(lua)?)?, state)?;
    Ok(sheets(module, state)?.into_table())
}

fn object(value: &AnyUserData) -> mlua::Result<UserDataRef<SharedObject>> {
    let object = value.borrow::<SharedObject>();
    object.map_err(|_| failure("a shared object is needed"))
}

fn reading(module: Module<'_>) -> mlua::Result<Module<'_>> {
    module
        .function("index", |lua, (value, key): (AnyUserData, Value)| {
            let object = object(&value)?;
            let Some(found) = object.table.get(&key) else {
                return Ok(Value::Nil);
            };
            match found.plain(lua)? {
                Ok(value) => Ok(value),
                Err(table) => lua
                    .create_userdata(SharedObject {
                        table,
                        sheet: object.sheet.clone(),
                        version: object.version,
                    })
                    .map(Value::UserData),
            }
        })?
        .function("nextkey", |lua, (value, key): (AnyUserData, Value)| {
            let next = object(&value)?.table.next(lua, &key)?;
            next.ok_or_else(|| failure("Invalid next key"))
        })?
        .function("len", |_, value: AnyUserData| {
            Ok(object(&value)?.table.list_length())
        })?
        .function("hashlen", |_, value: AnyUserData| {
            Ok(object(&value)?.table.pair_count())
        })?
        .function("copy", |lua, value: AnyUserData| {
            object(&value)?.table.copy(lua)
        })
}

fn versions<'a>(module: Module<'a>, state: &Rc<ServiceState>) -> mlua::Result<Module<'a>> {
    let most = state.process.memory_limit;
    let same = |value: AnyUserData| object(&value).map(|_| value.clone());
    module
        .function("new", move |_, table: Table| {
            Ok(Sheet::new(build(&table, most)?.0).object())
        })?
        .function("isdirty", |_, value: AnyUserData| {
            let object = object(&value)?;
            Ok(object.sheet.version.load(Ordering::Acquire) != object.version)
        })?
        .function("needupdate", |_, value: AnyUserData| {
            let object = object(&value)?;
            let is_old = object.sheet.version.load(Ordering::Acquire) != object.version;
            Ok(is_old.then(|| object.sheet.object()))
        })?
        .function("markdirty", |_, value: AnyUserData| {
            object(&value)?
                .sheet
                .version
                .fetch_add(1, Ordering::Release);
            Ok(())
        })?
        .function("update", |_, (old, new): (AnyUserData, AnyUserData)| {
            let (old, new) = (object(&old)?, object(&new)?);
            old.sheet.replace(new.table.clone());
            Ok(())
        })?
        .function("issame", |_, (a, b): (AnyUserData, AnyUserData)| {
            Ok(Arc::ptr_eq(&object(&a)?.sheet, &object(&b)?.sheet))
        })?
        .function("version", |_, value: AnyUserData| {
            Ok(object(&value)?.version as i64)
        })?
        .function("getref", |_, value: AnyUserData| {
            Ok(Arc::strong_count(&object(&value)?.table))
        })?
        // A tree lasts as long as something refers to it.
        .function("box", move |_, value| same(value))?
        .function("incref", move |_, value| same(value).map(drop))?
        .function("decref", move |_, value| same(value).map(drop))?
        .function("delete", move |_, value| same(value).map(drop))
}

fn sheets<'a>(module: Module<'a>, state: &Rc<ServiceState>) -> mlua::Result<Module<'a>> {
    let most = state.process.memory_limit;
    let sheets = state.process.commons.of::<SharedSheets>();
    let (get, put, remove, names) = (sheets.clone(), sheets.clone(), sheets.clone(), sheets);
    type Put = (String, String, Table, Option<bool>);
    module
        .function("get", move |_, key: (String, String)| {
            Ok(get.lock().all.get(&key).map(|named| named.sheet.object()))
        })?
        // With true at the end it must not be there, with false it must.
        .function("put", move |_, (kind, name, table, is_new): Put| {
            // All together are bounded as what one service has.
            let left = most.saturating_sub(put.lock().bytes);
            let (tree, bytes) = build(&table, left)?;
            let mut sheets = put.lock();
            sheets
                .put((kind, name), tree, bytes, is_new)
                .map_err(failure)
        })?
        .function("remove", move |_, key: (String, String)| {
            let mut sheets = remove.lock();
            let removed = sheets.all.remove(&key);
            sheets.bytes -= removed.as_ref().map_or(0, |named| named.bytes);
            Ok(removed.is_some())
        })?
        .function("names", move |_, kind: String| {
            let sheets = names.lock();
            let of_kind = sheets.all.keys().filter(|(of, _)| *of == kind);
            Ok(of_kind.map(|(_, name)| name.clone()).collect::<Vec<_>>())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_bounded_and_given_back() {
        let lua = Lua::new();
        let table: Table = lua
            .load("{ ('x'):rep(1000), a = { 1, 2 } }")
            .eval()
            .expect("it is Lua");
        let (tree, bytes) = build(&table, 4096).expect("it fits");
        assert!((1000..4096).contains(&bytes), "{bytes}");
        let refused = build(&table, bytes - 1).expect_err("it does not fit");
        assert!(refused.to_string().contains("too large"), "{refused}");
        let mut sheets = NamedSheets::default();
        let key = |number: usize| ("kind".to_owned(), number.to_string());
        for _ in 0..2 {
            let put = sheets.put(key(0), tree.clone(), bytes, None);
            assert_eq!((put, sheets.bytes), (Ok(()), bytes));
        }
        for number in 1..MOST_SHEETS {
            sheets
                .put(key(number), tree.clone(), 0, Some(true))
                .expect("there is room");
        }
        let refused = sheets.put(key(MOST_SHEETS), tree.clone(), 0, None);
        assert_eq!(
            refused,
            Err("there are too many shared tables (>65536)".to_owned())
        );
        assert_eq!(sheets.put(key(1), tree, 7, Some(false)), Ok(()));
        assert_eq!(sheets.bytes, bytes + 7);
    }
}
