//! Lua values from documents.

use std::collections::HashMap;

use mlua::{Lua, Table, Value};

use super::encode::DEEPEST;
use super::kind::{Kind, int32_at, int64_at};
use crate::module::failure;

/// The table of a document. Bytes behind it are left alone.
pub(super) fn decode(lua: &Lua, bytes: &[u8]) -> mlua::Result<Table> {
    table(lua, body(&mut BsonReader { bytes })?, Kind::DOCUMENT, 0)
}

/// Where values of fixed length are in a document, by their keys.
pub(super) type Places = HashMap<Vec<u8>, (Kind, usize)>;

/// The places in a document.
pub(super) fn places(bytes: &[u8]) -> mlua::Result<Places> {
    let mut reader = BsonReader {
        bytes: body(&mut BsonReader { bytes })?,
    };
    let behind = bytes.len() - 4 - reader.bytes.len();
    let mut places = Places::new();
    while !reader.bytes.is_empty() {
        let (kind, key) = (Kind(reader.byte()?), reader.text()?);
        let place = bytes.len() - behind - reader.bytes.len();
        let value = reader.value(kind)?;
        let is_fixed = [
            Kind::REAL,
            Kind::BOOLEAN,
            Kind::OBJECTID,
            Kind::DATE,
            Kind::TIMESTAMP,
            Kind::INT32,
            Kind::INT64,
        ];
        if is_fixed.contains(&kind) {
            debug_assert_eq!(&bytes[place..place + value.len()], value);
            places.insert(key.to_vec(), (kind, place));
        }
    }
    Ok(places)
}

/// The elements of the document that comes next.
fn body<'a>(reader: &mut BsonReader<'a>) -> mlua::Result<&'a [u8]> {
    let length = reader.length(5)?;
    match reader.take(length - 4)?.split_last() {
        Some((0, body)) => Ok(body),
        _ => Err(failure("Invalid document end")),
    }
}

fn table(lua: &Lua, body: &[u8], kind: Kind, depth: usize) -> mlua::Result<Table> {
    if depth > DEEPEST {
        return Err(failure("Too depth while decoding bson"));
    }
    let table = lua.create_table()?;
    let mut reader = BsonReader { bytes: body };
    while !reader.bytes.is_empty() {
        let (of, key) = (Kind(reader.byte()?), reader.text()?);
        let value = match of {
            Kind::DOCUMENT | Kind::LIST => {
                let body = self::body(&mut reader)?;
                Value::Table(self::table(lua, body, of, depth + 1)?)
            }
            of => value(lua, of, reader.value(of)?)?,
        };
        match kind {
            Kind::LIST => table.raw_set(place(key), value)?,
            _ => table.raw_set(lua.create_string(key)?, value)?,
        }
    }
    Ok(table)
}

/// The place of an element, from a key like `0`.
fn place(key: &[u8]) -> i64 {
    let digits = std::str::from_utf8(key).ok();
    let index: Option<u32> = digits.and_then(|digits| digits.parse().ok());
    index.map_or(1, |index| i64::from(index) + 1)
}

fn value(lua: &Lua, kind: Kind, bytes: &[u8]) -> mlua::Result<Value> {
    let object = |bytes: &[u8]| lua.create_string(kind.object(bytes)).map(Value::String);
    match kind {
        Kind::REAL => Ok(Value::Number(f64::from_bits(int64_at(bytes) as u64))),
        Kind::BOOLEAN => Ok(Value::Boolean(bytes[0] != 0)),
        Kind::INT32 => Ok(Value::Integer(int32_at(bytes, 0).into())),
        Kind::INT64 => Ok(Value::Integer(int64_at(bytes))),
        // Without the length before it and the zero behind it.
        Kind::TEXT => lua
            .create_string(&bytes[4..bytes.len() - 1])
            .map(Value::String),
        // Without the length before it.
        Kind::BINARY => object(&bytes[4..]),
        Kind::DATE => object(&((int64_at(bytes) / 1000) as u32).to_le_bytes()),
        _ => object(bytes),
    }
}

struct BsonReader<'a> {
    bytes: &'a [u8],
}

impl<'a> BsonReader<'a> {
    fn take(&mut self, count: usize) -> mlua::Result<&'a [u8]> {
        let found = self.bytes.split_at_checked(count);
        let (taken, rest) = found.ok_or_else(|| {
            let left = self.bytes.len();
            failure(format!("Invalid bson block ({left}:{count})"))
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> mlua::Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// A length that counts at least this many bytes.
    fn length(&mut self, least: usize) -> mlua::Result<usize> {
        let length = int32_at(self.take(4)?, 0);
        let counted = usize::try_from(length).ok().filter(|count| *count >= least);
        counted.ok_or_else(|| failure(format!("Invalid bson string , length = {length}")))
    }

    /// A text with a zero behind it.
    fn text(&mut self) -> mlua::Result<&'a [u8]> {
        let end = self.bytes.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| failure("Invalid bson block : cstring"))?;
        Ok(&self.take(end + 1)?[..end])
    }

    /// The bytes of a value, with the length before them.
    fn value(&mut self, kind: Kind) -> mlua::Result<&'a [u8]> {
        let start = self.bytes;
        match kind {
            Kind::REAL | Kind::DATE | Kind::TIMESTAMP | Kind::INT64 => self.take(8)?,
            Kind::BOOLEAN => self.take(1)?,
            Kind::INT32 => self.take(4)?,
            Kind::OBJECTID => self.take(12)?,
            Kind::NULL | Kind::MINKEY | Kind::MAXKEY => self.take(0)?,
            Kind::REGEX => {
                self.text()?;
                self.text()?
            }
            Kind::TEXT | Kind::CODE | Kind::SYMBOL => {
                let length = self.length(1)?;
                self.take(length)?
            }
            Kind::BINARY => {
                let length = self.length(0)?;
                self.take(length + 1)?
            }
            Kind::POINTER => {
                let length = self.length(1)?;
                self.take(length + 12)?
            }
            Kind::DOCUMENT | Kind::LIST | Kind::SCOPED_CODE => {
                let length = self.length(5)?;
                self.take(length - 4)?
            }
            Kind(kind) => return Err(failure(format!("Invalid bson type : {kind}"))),
        };
        Ok(&start[..start.len() - self.bytes.len()])
    }
}
