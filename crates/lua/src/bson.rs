//! `bson`: documents of MongoDB.
//!
//! What Lua has no type for is a string: a zero byte, the number of the type, and its bytes.

use std::cell::{Cell, Ref, RefCell};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use data_encoding::HEXLOWER_PERMISSIVE;
use mlua::{AnyUserData, Lua, LuaString, MetaMethod, MultiValue, Table, UserData};
use mlua::{UserDataFields, UserDataMethods, UserDataRegistry, Value};

use crate::module::{Module, failure};
use crate::sys::Charge;

mod decode;
mod encode;
mod kind;
#[cfg(test)]
mod tests;

use kind::Kind;

pub(crate) use encode::LONGEST;

/// An encoded document in Lua.
pub(crate) struct BsonDocument {
    bytes: RefCell<Vec<u8>>,
    /// The places of values that may be replaced, after `makeindex`.
    index: RefCell<Option<decode::Places>>,
    /// For both.
    charge: RefCell<Charge>,
}

impl BsonDocument {
    pub(crate) fn new(lua: &Lua, bytes: Vec<u8>) -> mlua::Result<Self> {
        collect_for(lua, bytes.len())?;
        let charge = Charge::new(lua, bytes.capacity())?;
        Ok(Self {
            bytes: RefCell::new(bytes),
            index: RefCell::new(None),
            charge: RefCell::new(charge),
        })
    }

    fn make_index(&self, lua: &Lua) -> mlua::Result<()> {
        let index = decode::places(&self.bytes.borrow())?;
        let keys: usize = index.keys().map(|key| key.len() + BYTES_A_PLACE).sum();
        let all = self.bytes.borrow().capacity() + keys;
        self.charge.borrow_mut().resize(lua, all)?;
        self.index.replace(Some(index));
        Ok(())
    }

    pub(crate) fn bytes(&self) -> Ref<'_, Vec<u8>> {
        self.bytes.borrow()
    }

    fn replace(&self, lua: &Lua, key: &LuaString, value: &Value) -> mlua::Result<()> {
        let index = self.index.borrow();
        let index = index
            .as_ref()
            .ok_or_else(|| failure("call makeindex first"))?;
        let Some((kind, place)) = index.get(&*key.as_bytes()) else {
            let key = key.to_string_lossy();
            return Err(failure(format!("Can't replace key : {key}")));
        };
        let value = encode::replacement(lua, *kind, value)?;
        self.bytes.borrow_mut()[*place..][..value.len()].copy_from_slice(&value);
        Ok(())
    }
}

thread_local! {
    /// Bytes of documents for which nothing was collected yet.
    static UNCOLLECTED: Cell<usize> = const { Cell::new(0) };
}

/// What a place takes besides its key, about.
const BYTES_A_PLACE: usize = 80;
/// Bytes of documents for each step of the collector, and the most steps at once.
const BYTES_A_STEP: usize = 16 << 10;
const MOST_STEPS: usize = 1024;

/// Lua does not know how large documents are: without this it would collect them too late.
fn collect_for(lua: &Lua, bytes: usize) -> mlua::Result<()> {
    let waiting = UNCOLLECTED.get() + bytes;
    UNCOLLECTED.set(waiting % BYTES_A_STEP);
    for _ in 0..(waiting / BYTES_A_STEP).min(MOST_STEPS) {
        lua.gc_step()?;
    }
    Ok(())
}

impl UserData for BsonDocument {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_meta_field_with(MetaMethod::Index, |lua| {
            let methods = Module::new(lua)?
                .function("decode", |lua, document: AnyUserData| {
                    let document = document.borrow::<Self>()?;
                    decode::decode(lua, &document.bytes.borrow())
                })?
                .function("makeindex", |lua, object: AnyUserData| {
                    object.borrow::<Self>()?.make_index(lua)?;
                    Ok(object)
                })?;
            Ok(methods.into_table())
        });
        registry.add_meta_field_with(MetaMethod::NewIndex, |lua| {
            type Replaced = (AnyUserData, LuaString, Value);
            let replace = |lua: &Lua, (document, key, value): Replaced| {
                document.borrow::<Self>()?.replace(lua, &key, &value)
            };
            Module::new(lua)?.raise("replace", replace)
        });
        registry.add_meta_method(MetaMethod::ToString, |lua, document, ()| {
            lua.create_string(&*document.bytes.borrow())
        });
        registry.add_meta_method(MetaMethod::Len, |_, document, ()| {
            Ok(document.bytes.borrow().len())
        });
    }
}

/// The module's table.
pub(crate) fn module(lua: &Lua) -> mlua::Result<Table> {
    let module = Module::new(lua)?
        .value("null", lua.create_string(Kind::NULL.object(&[]))?)?
        .value("minkey", lua.create_string(Kind::MINKEY.object(&[]))?)?
        .value("maxkey", lua.create_string(Kind::MAXKEY.object(&[]))?)?
        .function("type", |lua, value: Value| kind_of(lua, &value))?;
    Ok(objects(documents(module)?)?.into_table())
}

fn documents(module: Module<'_>) -> mlua::Result<Module<'_>> {
    module
        .function("encode", |lua, table: Table| {
            BsonDocument::new(lua, encode::document(lua, &table)?)
        })?
        .function("encode_order", |lua, values: MultiValue| {
            let values: Vec<Value> = values.into_iter().collect();
            BsonDocument::new(lua, encode::ordered(lua, &values)?)
        })?
        .function("decode", |lua, value: Value| match value {
            Value::UserData(document) => {
                let document = document.borrow::<BsonDocument>()?;
                decode::decode(lua, &document.bytes.borrow()).map(Some)
            }
            // A document as bytes, which a driver has read.
            Value::String(bytes) => decode::decode(lua, &bytes.as_bytes()).map(Some),
            _ => Ok(None),
        })?
        // There are no pointers here: what takes one takes the document.
        .function("to_lightuserdata", |_, document: AnyUserData| {
            document.borrow::<BsonDocument>()?;
            Ok(document.clone())
        })
}

fn objects(module: Module<'_>) -> mlua::Result<Module<'_>> {
    module
        .function("date", |lua, seconds: i64| {
            lua.create_string(Kind::DATE.object(&(seconds as i32).to_le_bytes()))
        })?
        .function(
            "timestamp",
            |lua, (seconds, increment): (i64, Option<i64>)| {
                static LAST: AtomicU32 = AtomicU32::new(0);
                let increment = match increment {
                    Some(increment) => increment as u32,
                    None => LAST.fetch_add(1, Ordering::Relaxed),
                };
                let parts = [increment.to_le_bytes(), (seconds as u32).to_le_bytes()];
                lua.create_string(Kind::TIMESTAMP.object(parts.as_flattened()))
            },
        )?
        .function(
            "regex",
            |lua, (pattern, options): (LuaString, Option<LuaString>)| {
                let mut bytes = pattern.as_bytes().to_vec();
                bytes.push(0);
                if let Some(options) = options {
                    bytes.extend_from_slice(&options.as_bytes());
                }
                bytes.push(0);
                lua.create_string(Kind::REGEX.object(&bytes))
            },
        )?
        .function("binary", |lua, bytes: LuaString| {
            let mut object = vec![0];
            object.extend_from_slice(&bytes.as_bytes());
            lua.create_string(Kind::BINARY.object(&object))
        })?
        .function("int64", |lua, number: i64| {
            lua.create_string(Kind::INT64.object(&number.to_le_bytes()))
        })?
        .function("objectid", |lua, text: Option<LuaString>| {
            let id = match text {
                Some(text) => HEXLOWER_PERMISSIVE.decode(&text.as_bytes()).ok(),
                None => Some(new_id()?.to_vec()),
            };
            let id = id.filter(|id| id.len() == ID);
            let id = id.ok_or_else(|| failure("Invalid objectid"))?;
            lua.create_string(Kind::OBJECTID.object(&id))
        })
}

/// The bytes of an object's id.
const ID: usize = 12;

/// An id that no other process makes: the time, what this process chose by chance, and a count.
fn new_id() -> mlua::Result<[u8; ID]> {
    static OWN: OnceLock<[u8; 5]> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let own = match OWN.get() {
        Some(own) => own,
        None => {
            let mut chance = [0; 9];
            getrandom::fill(&mut chance).map_err(failure)?;
            let [own @ .., a, b, c, d] = chance;
            COUNT.fetch_add(u32::from_le_bytes([a, b, c, d]), Ordering::Relaxed);
            OWN.get_or_init(|| own)
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs()) as u32;
    let [_, count @ ..] = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut id = [0; ID];
    id[..4].copy_from_slice(&seconds.to_be_bytes());
    id[4..9].copy_from_slice(own);
    id[9..].copy_from_slice(&count);
    Ok(id)
}

/// The name of a value's type, and what is in it.
fn kind_of(lua: &Lua, value: &Value) -> mlua::Result<MultiValue> {
    let name = |name: &str| lua.create_string(name).map(Value::String);
    let text = |bytes: &[u8]| lua.create_string(bytes).map(Value::String);
    let object = match value {
        Value::Integer(_) | Value::Number(_) => return pair(name("number")?, value),
        Value::Boolean(_) => return pair(name("boolean")?, value),
        Value::Table(_) => return pair(name("table")?, value),
        Value::Nil => return Ok([name("nil")?].into_iter().collect()),
        Value::String(text) => text,
        other => return Err(failure(format!("Invalid type {}", other.type_name()))),
    };
    let object = object.as_bytes();
    let Some((kind, bytes)) = Kind::split(&object) else {
        return pair(name("string")?, value);
    };
    kind.check(bytes)?;
    let values = match kind {
        Kind::BINARY => [
            name("binary")?,
            text(&bytes[1..])?,
            Value::Integer(bytes[0].into()),
        ]
        .to_vec(),
        Kind::OBJECTID => vec![name("objectid")?, text(HEXLOWER.encode(bytes).as_bytes())?],
        Kind::DATE => vec![
            name("date")?,
            Value::Integer(kind::int32_at(bytes, 0).into()),
        ],
        Kind::TIMESTAMP => {
            let word = |at| Value::Integer((kind::int32_at(bytes, at) as u32).into());
            vec![name("timestamp")?, word(4), word(0)]
        }
        Kind::INT64 => vec![name("int64")?, Value::Integer(kind::int64_at(bytes))],
        Kind::REGEX => {
            let (pattern, options) = kind::regex(bytes)?;
            vec![name("regex")?, text(pattern)?, text(options)?]
        }
        Kind::MINKEY => vec![name("minkey")?],
        Kind::MAXKEY => vec![name("maxkey")?],
        Kind::NULL => vec![name("nil")?],
        _ => vec![name("unsupported")?, text(bytes)?],
    };
    Ok(values.into_iter().collect())
}

fn pair(name: Value, value: &Value) -> mlua::Result<MultiValue> {
    Ok([name, value.clone()].into_iter().collect())
}
