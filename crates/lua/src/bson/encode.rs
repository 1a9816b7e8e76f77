//! Documents from Lua values.

use mlua::{Function, Lua, LuaString, Table, Value};

use super::BsonDocument;
use super::kind::{Kind, int32_at};
use crate::module::failure;

/// How deep tables may lie in tables. What is deeper has a circle.
pub(super) const DEEPEST: usize = 128;
/// The most bytes of a document: those of the longest message that a server of MongoDB takes.
pub(crate) const LONGEST: usize = 48_000_000;

/// The document of a table.
pub(super) fn document(lua: &Lua, table: &Table) -> mlua::Result<Vec<u8>> {
    let mut writer = BsonWriter {
        lua,
        bytes: Vec::new(),
    };
    writer.pairs(table, 0)?;
    Ok(writer.bytes)
}

/// The document of keys and values in turn.
pub(super) fn ordered(lua: &Lua, values: &[Value]) -> mlua::Result<Vec<u8>> {
    let (pairs, rest) = values.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(failure("Invalid ordered dict"));
    }
    let mut writer = BsonWriter {
        lua,
        bytes: Vec::new(),
    };
    let start = writer.begin();
    for (index, [key, value]) in pairs.iter().enumerate() {
        let Some(key) = lua.coerce_string(key.clone())? else {
            let place = 2 * index + 1;
            return Err(failure(format!("Argument {place} need a string")));
        };
        writer.one(&key.as_bytes(), value, 0)?;
    }
    writer.end(start)?;
    Ok(writer.bytes)
}

/// The bytes that replace a value of a type.
pub(super) fn replacement(lua: &Lua, kind: Kind, value: &Value) -> mlua::Result<Vec<u8>> {
    let integer = |width: u32| {
        let integer = value.as_integer();
        integer.ok_or_else(|| failure(format!("the value must be a {width}bit integer")))
    };
    Ok(match kind {
        Kind::REAL => {
            let number = lua.coerce_number(value.clone())?;
            let number = number.ok_or_else(|| failure("the value must be a number"))?;
            number.to_le_bytes().to_vec()
        }
        Kind::BOOLEAN => vec![u8::from(!matches!(
            value,
            Value::Nil | Value::Boolean(false)
        ))],
        Kind::INT32 => (integer(32)? as i32).to_le_bytes().to_vec(),
        Kind::INT64 => integer(64)?.to_le_bytes().to_vec(),
        kind => {
            let mismatch = || failure(format!("Type mismatch, need bson type {}", kind.0));
            let Value::String(object) = value else {
                return Err(mismatch());
            };
            let object = object.as_bytes();
            let bytes = match Kind::split(&object) {
                Some((found, bytes)) if found == kind => bytes,
                _ => return Err(mismatch()),
            };
            kind.check(bytes)?;
            match kind {
                Kind::DATE => milliseconds(bytes).to_vec(),
                _ => bytes.to_vec(),
            }
        }
    })
}

/// A date has seconds in Lua.
fn milliseconds(bytes: &[u8]) -> [u8; 8] {
    let seconds = int32_at(bytes, 0) as u32;
    (i64::from(seconds) * 1000).to_le_bytes()
}

struct BsonWriter<'a> {
    lua: &'a Lua,
    bytes: Vec<u8>,
}

impl BsonWriter<'_> {
    /// Leaves room for a length.
    fn begin(&mut self) -> usize {
        self.bytes.extend([0; 4]);
        self.bytes.len() - 4
    }

    fn end(&mut self, start: usize) -> mlua::Result<()> {
        self.bytes.push(0);
        let length = self.bytes.len() - start;
        self.bytes[start..start + 4].copy_from_slice(&(length as i32).to_le_bytes());
        match self.bytes.len() > LONGEST {
            true => Err(failure(format!("bson document is too large (>{LONGEST})"))),
            false => Ok(()),
        }
    }

    fn head(&mut self, kind: Kind, key: &[u8]) -> mlua::Result<()> {
        if key.contains(&0) {
            return Err(failure("a key of a bson document has a zero byte"));
        }
        if self.bytes.len() > LONGEST {
            return Err(failure(format!("bson document is too large (>{LONGEST})")));
        }
        self.bytes.push(kind.0);
        self.bytes.extend_from_slice(key);
        self.bytes.push(0);
        Ok(())
    }

    fn one(&mut self, key: &[u8], value: &Value, depth: usize) -> mlua::Result<()> {
        match value {
            Value::Integer(number) => match i32::try_from(*number) {
                Ok(number) => {
                    self.head(Kind::INT32, key)?;
                    self.bytes.extend(number.to_le_bytes());
                }
                Err(_) => {
                    self.head(Kind::INT64, key)?;
                    self.bytes.extend(number.to_le_bytes());
                }
            },
            Value::Number(number) => {
                self.head(Kind::REAL, key)?;
                self.bytes.extend(number.to_le_bytes());
            }
            Value::Boolean(is_true) => {
                self.head(Kind::BOOLEAN, key)?;
                self.bytes.push(u8::from(*is_true));
            }
            Value::String(text) => self.text(key, text)?,
            Value::UserData(object) => {
                let document = object.borrow::<BsonDocument>();
                let document = document.map_err(|_| failure("Invalid value type : userdata"))?;
                self.head(Kind::DOCUMENT, key)?;
                self.bytes.extend_from_slice(&document.bytes.borrow());
            }
            Value::Table(table) => self.table(key, table, depth + 1)?,
            other => {
                let name = other.type_name();
                return Err(failure(format!("Invalid value type : {name}")));
            }
        }
        Ok(())
    }

    /// A text, or what stands for another type.
    fn text(&mut self, key: &[u8], text: &LuaString) -> mlua::Result<()> {
        let text = text.as_bytes();
        let Some((kind, bytes)) = Kind::split(&text) else {
            self.head(Kind::TEXT, key)?;
            self.bytes.extend((text.len() as i32 + 1).to_le_bytes());
            self.bytes.extend_from_slice(&text);
            self.bytes.push(0);
            return Ok(());
        };
        kind.check(bytes)?;
        self.head(kind, key)?;
        match kind {
            // The length is without the subtype.
            Kind::BINARY => {
                self.bytes.extend((bytes.len() as i32 - 1).to_le_bytes());
                self.bytes.extend_from_slice(bytes);
            }
            Kind::DATE => self.bytes.extend(milliseconds(bytes)),
            _ => self.bytes.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn table(&mut self, key: &[u8], table: &Table, depth: usize) -> mlua::Result<()> {
        if depth > DEEPEST {
            return Err(failure("Too depth while encoding bson"));
        }
        let metatable = table.metatable();
        let meta = |name: &str| match &metatable {
            Some(metatable) => metatable.raw_get::<Option<Function>>(name),
            None => Ok(None),
        };
        let length = match (meta("__len")?, meta("__pairs")?) {
            (Some(length), _) => {
                let length = length.call::<Value>(table)?.as_integer();
                let length = length.ok_or_else(|| failure("__len should return integer"))?;
                Some(usize::try_from(length).unwrap_or(0))
            }
            (None, Some(_)) => None,
            (None, None) => list_length(self.lua, table)?,
        };
        let Some(length) = length else {
            self.head(Kind::DOCUMENT, key)?;
            return self.pairs(table, depth);
        };
        self.head(Kind::LIST, key)?;
        let start = self.begin();
        for index in 1..=length {
            let value: Value = table.get(index)?;
            self.one((index - 1).to_string().as_bytes(), &value, depth)?;
        }
        self.end(start)
    }

    fn pairs(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        let start = self.begin();
        let walk = match table.metatable() {
            Some(metatable) => metatable.raw_get::<Option<Function>>("__pairs")?,
            None => None,
        };
        match walk {
            Some(walk) => {
                let (next, state, mut key): (Function, Value, Value) = walk.call(table)?;
                loop {
                    let (next_key, value): (Value, Value) = next.call((&state, key))?;
                    if next_key.is_nil() {
                        break;
                    }
                    self.keyed(&next_key, &value, depth)?;
                    key = next_key;
                }
            }
            None => table.for_each(|key: Value, value: Value| self.keyed(&key, &value, depth))?,
        }
        self.end(start)
    }

    fn keyed(&mut self, key: &Value, value: &Value, depth: usize) -> mlua::Result<()> {
        match self.lua.coerce_string(key.clone())? {
            Some(key) => self.one(&key.as_bytes(), value, depth),
            None => {
                let name = key.type_name();
                Err(failure(format!("Invalid key type : {name}")))
            }
        }
    }
}

/// The length of a table that has nothing behind its elements. None for another, or an empty one.
fn list_length(lua: &Lua, table: &Table) -> mlua::Result<Option<usize>> {
    let length = table.raw_len();
    if length == 0 {
        return Ok(None);
    }
    let next: Function = lua.globals().get("next")?;
    let behind: Value = next.call((table, length))?;
    Ok(behind.is_nil().then_some(length))
}
