//! `sproto.core` and `sprotoparser`: messages by a schema.
//!
//! The modules, from top to bottom: `parser` and `bundle` make a schema's binary form, `schema` reads it, `encode` and `decode` turn
//! values into messages and back, `zeros` packs them; `message` is the form that all stand on.

use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlua::{AnyUserData, Lua, LuaString, MultiValue, Table, UserData, Value};

use crate::held::Held;
use crate::module::{Module, failure};
use crate::output::print_line;
use crate::state::ServiceState;
use crate::sys::Charge;

mod bundle;
mod decode;
mod encode;
mod message;
mod parser;
mod schema;
#[cfg(test)]
mod tests;
mod zeros;

use schema::{Shape, SprotoKind, SprotoSchema};

/// How many schemas the services of a process may share.
const SLOTS: usize = 16;

/// Those schemas.
#[derive(Default)]
struct SharedSchemas(Mutex<[Option<Arc<SprotoSchema>>; SLOTS]>);

impl SharedSchemas {
    fn lock(&self) -> MutexGuard<'_, [Option<Arc<SprotoSchema>>; SLOTS]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A schema in Lua, and what it counts as of the script's memory if it is the script's alone.
struct SchemaObject(
    Arc<SprotoSchema>,
    #[expect(dead_code, reason = "it is dropped")] Charge,
);

/// How much larger than its bundle a schema is, about.
const GROWTH: usize = 8;

/// A type of a schema in Lua.
struct TypeObject {
    schema: Arc<SprotoSchema>,
    index: usize,
}

impl UserData for SchemaObject {}
impl UserData for TypeObject {}

/// The table of `sprotoparser`.
pub(crate) fn parser_module(lua: &Lua) -> mlua::Result<Table> {
    let module = Module::new(lua)?
        .function("parse", |lua, (text, name): (LuaString, Option<String>)| {
            let name = name.as_deref().unwrap_or("=text");
            let bundle = parser::parse(&text.to_string_lossy(), name).map_err(failure)?;
            lua.create_string(bundle)
        })?
        .function("dump", |_, bytes: LuaString| {
            for line in bytes.as_bytes().chunks(16) {
                let mut text = String::new();
                for (index, byte) in line.iter().enumerate() {
                    text += if index == 8 { "- " } else { "" };
                    text += &format!("{byte:02X} ");
                }
                print_line(text.into_bytes());
            }
            Ok(())
        })?;
    Ok(module.into_table())
}

/// The table of `sproto.core`.
pub(crate) fn module(lua: &Lua, state: &Rc<ServiceState>) -> mlua::Result<Table> {
    let module = messages(queries(Module::new(lua)?)?, state)?;
    let saved = state.process.commons.of::<SharedSchemas>();
    let loaded = saved.clone();
    let module = module
        .function(
            "saveproto",
            move |_, (object, slot): (Value, Option<i64>)| {
                let slot = place(slot)?;
                let schema = schema_of(&object)?;
                saved.lock()[slot] = Some(schema);
                Ok(())
            },
        )?
        .function("loadproto", move |_, slot: Option<i64>| {
            let slot = place(slot)?;
            let schema = loaded.lock()[slot].clone();
            let missing = || failure(format!("nil sproto at index {slot}"));
            let schema = schema.ok_or_else(missing)?;
            Ok(SchemaObject(schema, Charge::default()))
        })?;
    Ok(module.into_table())
}

fn place(slot: Option<i64>) -> mlua::Result<usize> {
    let slot = slot.unwrap_or(0);
    let place = usize::try_from(slot).ok().filter(|place| *place < SLOTS);
    place.ok_or_else(|| failure(format!("Invalid global slot index {slot}")))
}

fn schema_of(object: &Value) -> mlua::Result<Arc<SprotoSchema>> {
    let object = object
        .as_userdata()
        .and_then(|object| object.borrow::<SchemaObject>().ok());
    let object = object.ok_or_else(|| failure("bad argument #1 (Need a sproto object)"))?;
    Ok(object.0.clone())
}

/// None for a response that has no content.
fn type_of(object: &Value) -> mlua::Result<Option<(Arc<SprotoSchema>, usize)>> {
    match object {
        Value::UserData(object) => match object.borrow::<TypeObject>() {
            Ok(of) => Ok(Some((of.schema.clone(), of.index))),
            Err(_) => Err(failure("bad argument #1 (Need a sproto_type object)")),
        },
        _ => Ok(None),
    }
}

fn queries(module: Module<'_>) -> mlua::Result<Module<'_>> {
    module
        .function("newproto", |lua, bundle: LuaString| {
            let bundle = bundle.as_bytes();
            let charge = Charge::new(lua, bundle.len() * GROWTH)?;
            let schema = SprotoSchema::read(&bundle);
            Ok(schema.map(|schema| SchemaObject(Arc::new(schema), charge)))
        })?
        .function("deleteproto", |_, object: Value| {
            schema_of(&object)?;
            object.as_userdata().map_or(Ok(()), AnyUserData::destroy)
        })?
        .function("dumpproto", |_, object: Value| {
            for line in lines(&*schema_of(&object)?) {
                print_line(line.into_bytes());
            }
            Ok(())
        })?
        .function("querytype", |_, (object, name): (Value, LuaString)| {
            let schema = schema_of(&object)?;
            let index = schema.type_named(&name.as_bytes());
            Ok(index.map(|index| TypeObject { schema, index }))
        })?
        .function("protocol", |lua, (object, key): (Value, Value)| {
            protocol(lua, &schema_of(&object)?, &key)
        })
}

fn protocol(lua: &Lua, schema: &Arc<SprotoSchema>, key: &Value) -> mlua::Result<MultiValue> {
    let found = match key {
        Value::String(name) => schema.protocol_named(&name.as_bytes()),
        key => match lua.coerce_integer(key.clone())? {
            Some(tag) => u16::try_from(tag).ok().and_then(|tag| schema.protocol(tag)),
            None => {
                let why = "bad argument #2 to 'protocol' (Should be number or string)";
                return Err(failure(why));
            }
        },
    };
    let Some(found) = found else {
        return Ok(MultiValue::new());
    };
    let other = match key {
        Value::String(_) => Value::Integer(found.tag.into()),
        _ => Value::String(lua.create_string(&found.name)?),
    };
    let object = |index: Option<usize>| match index {
        Some(index) => {
            let schema = schema.clone();
            let object = lua.create_userdata(TypeObject { schema, index })?;
            Ok(Value::UserData(object))
        }
        None => mlua::Result::Ok(Value::Nil),
    };
    let response = match object(found.response)? {
        Value::Nil if found.is_confirmed => Value::NULL,
        response => response,
    };
    Ok([other, object(found.request)?, response]
        .into_iter()
        .collect())
}

fn messages<'a>(module: Module<'a>, state: &Rc<ServiceState>) -> mlua::Result<Module<'a>> {
    let (decoding, packing, unpacking) = (state.clone(), state.clone(), state.clone());
    module
        .function("encode", |lua, (object, source): (Value, Value)| {
            match (type_of(&object)?, source) {
                (Some((schema, index)), source) => {
                    lua.create_string(encode::encode(lua, &schema, index, &source)?)
                }
                (None, Value::Nil) => lua.create_string(""),
                (None, _) => Err(failure("bad argument #2 to 'encode' (nil expected)")),
            }
        })?
        .function("decode", move |lua, mut values: MultiValue| {
            let Some((schema, index)) = type_of(&values.pop_front().unwrap_or(Value::Nil))? else {
                return Ok((None, None));
            };
            let bytes = bytes_of(&decoding, &mut values)?;
            let into = match values.pop_front() {
                Some(Value::Table(table)) => table,
                _ => lua.create_table()?,
            };
            let length = decode::decode(lua, &schema, index, &bytes, &into)?;
            Ok((Some(into), Some(length)))
        })?
        .function("pack", move |lua, mut values: MultiValue| {
            lua.create_string(zeros::pack(&bytes_of(&packing, &mut values)?))
        })?
        .function("unpack", move |lua, mut values: MultiValue| {
            let bytes = zeros::unpack(&bytes_of(&unpacking, &mut values)?);
            let bytes = bytes.ok_or_else(|| failure("Invalid unpack stream"))?;
            match bytes.len() > encode::LONGEST {
                true => Err(failure(format!(
                    "object is too large (>{})",
                    encode::LONGEST
                ))),
                false => lua.create_string(bytes),
            }
        })?
        .function("default", |lua, object: Value| match type_of(&object)? {
            Some((schema, index)) => default(lua, &schema, index),
            None => Err(failure(
                "bad argument #1 to 'default' (Need a sproto_type object)",
            )),
        })
}

/// The bytes of a string, or of a message and its size.
fn bytes_of(state: &ServiceState, values: &mut MultiValue) -> mlua::Result<Vec<u8>> {
    let message = values.pop_front().unwrap_or(Value::Nil);
    if let Value::String(text) = &message {
        return Ok(text.as_bytes().to_vec());
    }
    let bytes = match &message {
        Value::LightUserData(_) => Held::read(&state.held, &message, <[u8]>::to_vec),
        _ => None,
    };
    let mut bytes = bytes.ok_or_else(|| failure("Need a string or userdata"))?;
    let size = values.pop_front().as_ref().and_then(Value::as_usize);
    bytes.truncate(size.unwrap_or(usize::MAX));
    Ok(bytes)
}

/// What a message without fields means.
fn default(lua: &Lua, schema: &SprotoSchema, index: usize) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for field in &schema.types[index].fields {
        let value = match field.kind {
            SprotoKind::Integer => Value::Integer(0),
            SprotoKind::Decimal(_) | SprotoKind::Double => Value::Number(0.0),
            SprotoKind::Boolean => Value::Boolean(false),
            SprotoKind::Text => Value::String(lua.create_string("")?),
            SprotoKind::Struct(of) => Value::String(lua.create_string(&schema.types[of].name)?),
        };
        let mark = match (field.shape, field.kind) {
            (Shape::One, SprotoKind::Struct(_)) => Some("__type"),
            (Shape::One, _) => None,
            _ => Some("__array"),
        };
        let value = match mark {
            Some(mark) => Value::Table(lua.create_table_from([(mark, value)])?),
            None => value,
        };
        table.raw_set(lua.create_string(&field.name)?, value)?;
    }
    Ok(table)
}

/// A schema for people.
fn lines(schema: &SprotoSchema) -> Vec<String> {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let name = |index: Option<usize>| match index {
        Some(index) => text(&schema.types[index].name),
        None => "(null)".to_owned(),
    };
    let mut lines = vec![format!("=== {} types ===", schema.types.len())];
    for of in &schema.types {
        lines.push(text(&of.name));
        for field in &of.fields {
            let kind = match field.kind {
                SprotoKind::Integer => "integer".to_owned(),
                SprotoKind::Decimal(unit) => format!("integer({})", unit.log10()),
                SprotoKind::Boolean => "boolean".to_owned(),
                SprotoKind::Text => "string".to_owned(),
                SprotoKind::Double => "double".to_owned(),
                SprotoKind::Struct(of) => text(&schema.types[of].name),
            };
            let (star, key) = match field.shape {
                Shape::One => ("", String::new()),
                Shape::List => ("*", String::new()),
                Shape::Keyed(tag) => ("*", format!("[{tag}]")),
                Shape::Map => ("*", "[]".to_owned()),
            };
            let name = text(&field.name);
            lines.push(format!("\t{name} ({}) {star}{kind}{key}", field.tag));
        }
    }
    lines.push(format!("=== {} protocol ===", schema.protocols.len()));
    for protocol in &schema.protocols {
        let (own, request) = (text(&protocol.name), name(protocol.request));
        let response = match (protocol.response, protocol.is_confirmed) {
            (None, false) => String::new(),
            (None, true) => " response nil".to_owned(),
            (response, _) => format!(" response:{}", name(response)),
        };
        let tag = protocol.tag;
        lines.push(format!("\t{own} ({tag}) request:{request}{response}"));
    }
    lines
}
