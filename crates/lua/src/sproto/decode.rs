//! Lua values from messages.

use mlua::{Lua, Table, Value};

use super::encode::DEEPEST;
use super::message::{Slot, fields, parts};
use super::schema::{Shape, SprotoField, SprotoKind, SprotoSchema};
use crate::module::failure;

/// Fills a table with the fields of a message. Returns how many bytes the message has; others may follow.
pub(super) fn decode(
    lua: &Lua,
    schema: &SprotoSchema,
    index: usize,
    bytes: &[u8],
    into: &Table,
) -> mlua::Result<usize> {
    Decoder { lua, schema }.structure(index, bytes, into, 0)
}

struct Decoder<'a> {
    lua: &'a Lua,
    schema: &'a SprotoSchema,
}

fn malformed() -> mlua::Error {
    failure("decode error")
}

impl Decoder<'_> {
    fn structure(
        &self,
        index: usize,
        bytes: &[u8],
        into: &Table,
        depth: usize,
    ) -> mlua::Result<usize> {
        if depth >= DEEPEST {
            return Err(failure("The table is too deep"));
        }
        let (slots, length) = fields(bytes).ok_or_else(malformed)?;
        for (tag, slot) in slots {
            // A newer version of the schema may have more fields.
            let Some(field) = self.schema.types[index].field(tag) else {
                continue;
            };
            let value = match (field.shape, slot) {
                (Shape::One, Slot::Small(number)) => small(field, number)?,
                (Shape::One, Slot::Data(bytes)) => self.one(field, bytes, depth)?,
                (_, Slot::Data(bytes)) => Value::Table(self.many(field, bytes, depth)?),
                (_, Slot::Small(_)) => return Err(malformed()),
            };
            into.set(self.lua.create_string(&field.name)?, value)?;
        }
        Ok(length)
    }

    fn one(&self, field: &SprotoField, bytes: &[u8], depth: usize) -> mlua::Result<Value> {
        match field.kind {
            SprotoKind::Integer | SprotoKind::Decimal(_) => {
                integer(bytes).map(|number| numeral(field, number))
            }
            SprotoKind::Double => double(bytes),
            SprotoKind::Boolean => None,
            SprotoKind::Text | SprotoKind::Struct(_) => {
                return self.part(field, bytes, depth);
            }
        }
        .ok_or_else(malformed)
    }

    /// A text or a structure.
    fn part(&self, field: &SprotoField, bytes: &[u8], depth: usize) -> mlua::Result<Value> {
        let SprotoKind::Struct(index) = field.kind else {
            return Ok(Value::String(self.lua.create_string(bytes)?));
        };
        let table = self.lua.create_table()?;
        match self.structure(index, bytes, &table, depth + 1)? == bytes.len() {
            true => Ok(Value::Table(table)),
            false => Err(malformed()),
        }
    }

    fn many(&self, field: &SprotoField, bytes: &[u8], depth: usize) -> mlua::Result<Table> {
        let list = self.lua.create_table()?;
        match field.kind {
            SprotoKind::Boolean => {
                for byte in bytes {
                    list.raw_push(*byte != 0)?;
                }
            }
            SprotoKind::Integer | SprotoKind::Decimal(_) | SprotoKind::Double => {
                let Some((width, bytes)) = bytes.split_first() else {
                    return Ok(list);
                };
                let width = usize::from(*width);
                if ![4, 8].contains(&width) || !bytes.len().is_multiple_of(width) {
                    return Err(malformed());
                }
                for number in bytes.chunks_exact(width) {
                    let value = match field.kind {
                        SprotoKind::Double => double(number),
                        _ => integer(number).map(|number| numeral(field, number)),
                    };
                    list.raw_push(value.ok_or_else(malformed)?)?;
                }
            }
            SprotoKind::Text | SprotoKind::Struct(_) => {
                for part in parts(bytes).ok_or_else(malformed)? {
                    let value = self.part(field, part, depth)?;
                    self.insert(field, &list, value)?;
                }
            }
        }
        Ok(list)
    }

    /// Puts an element into a list or a map.
    fn insert(&self, field: &SprotoField, list: &Table, value: Value) -> mlua::Result<()> {
        let (SprotoKind::Struct(index), Value::Table(table)) = (field.kind, &value) else {
            return list.raw_push(value);
        };
        let of = &self.schema.types[index];
        let within =
            |field: &SprotoField| table.raw_get::<Value>(self.lua.create_string(&field.name)?);
        let name = String::from_utf8_lossy(&field.name);
        let (key, value) = match field.shape {
            Shape::Keyed(tag) => {
                let key = of.field(tag.into()).ok_or_else(malformed)?;
                let missing = format!("Can't find main index (tag={tag}) in [{name}]");
                (present(within(key)?, missing)?, value)
            }
            Shape::Map => {
                let missing = |what| format!("Can't find {what} field in [{name}]");
                let key = present(within(&of.fields[0])?, missing("key"))?;
                (key, present(within(&of.fields[1])?, missing("value"))?)
            }
            _ => return list.raw_push(value),
        };
        match key {
            Value::Number(number) if number.is_nan() => Err(malformed()),
            key => list.raw_set(key, value),
        }
    }
}

fn present(value: Value, missing: String) -> mlua::Result<Value> {
    match value {
        Value::Nil => Err(failure(missing)),
        value => Ok(value),
    }
}

fn small(field: &SprotoField, number: u16) -> mlua::Result<Value> {
    match field.kind {
        SprotoKind::Boolean => Ok(Value::Boolean(number != 0)),
        SprotoKind::Integer | SprotoKind::Decimal(_) => Ok(numeral(field, number.into())),
        _ => Err(malformed()),
    }
}

fn numeral(field: &SprotoField, number: i64) -> Value {
    match field.kind {
        SprotoKind::Decimal(unit) => Value::Number(number as f64 / unit),
        _ => Value::Integer(number),
    }
}

fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        4 => Some(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        _ => Some(i64::from_le_bytes(bytes.try_into().ok()?)),
    }
}

fn double(bytes: &[u8]) -> Option<Value> {
    Some(Value::Number(f64::from_le_bytes(bytes.try_into().ok()?)))
}
