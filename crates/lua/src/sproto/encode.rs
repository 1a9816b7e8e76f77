//! Messages from Lua values.

use mlua::{Function, Lua, ObjectLike, Table, Value};

use super::message::{Draft, append};
use super::schema::{Shape, SprotoField, SprotoKind, SprotoSchema};
use crate::module::failure;

/// The most bytes of a message.
pub(super) const LONGEST: usize = 16 << 20;
/// The most elements of a list or map: they are collected before they are written.
const MOST_ELEMENTS: usize = 1 << 20;
/// How deep structures may lie in structures.
pub(super) const DEEPEST: usize = 64;

/// The message of a type with the fields of a table.
pub(super) fn encode(
    lua: &Lua,
    schema: &SprotoSchema,
    index: usize,
    source: &Value,
) -> mlua::Result<Vec<u8>> {
    Encoder { lua, schema }.structure(index, source, 0)
}

struct Encoder<'a> {
    lua: &'a Lua,
    schema: &'a SprotoSchema,
}

/// A number as a field has it.
enum Digits {
    Short(u32),
    Long(u64),
}

impl Encoder<'_> {
    fn structure(&self, index: usize, source: &Value, depth: usize) -> mlua::Result<Vec<u8>> {
        if depth >= DEEPEST {
            return Err(failure("The table is too deep"));
        }
        let mut draft = Draft::default();
        for field in &self.schema.types[index].fields {
            let name = self.lua.create_string(&field.name)?;
            let value = match source {
                Value::Table(table) => table.get::<Value>(name)?,
                Value::UserData(object) => object.get::<Value>(name)?,
                other => {
                    return Err(failure(format!(
                        "a message is a table (Is a {})",
                        lua_type(other)
                    )));
                }
            };
            if value.is_nil() {
                continue;
            }
            match field.shape {
                Shape::One => self.one(field, &value, depth, &mut draft)?,
                _ => draft.data(field.tag, &self.many(field, &value, depth)?),
            }
            bounded(draft.len())?;
        }
        Ok(draft.into_bytes())
    }

    fn one(
        &self,
        field: &SprotoField,
        value: &Value,
        depth: usize,
        draft: &mut Draft,
    ) -> mlua::Result<()> {
        match field.kind {
            SprotoKind::Boolean => draft.small(field.tag, boolean(field, value, 0)?.into()),
            SprotoKind::Integer | SprotoKind::Decimal(_) => match self.digits(field, value, 0)? {
                Digits::Short(number) if number < 0x7fff => draft.small(field.tag, number as u16),
                Digits::Short(number) => draft.data(field.tag, &number.to_le_bytes()),
                Digits::Long(number) => draft.data(field.tag, &number.to_le_bytes()),
            },
            SprotoKind::Double => draft.data(field.tag, &self.number(value)?.to_le_bytes()),
            SprotoKind::Text | SprotoKind::Struct(_) => {
                draft.data(field.tag, &self.part(field, value, 0, depth)?);
            }
        }
        Ok(())
    }

    /// A text or a structure.
    fn part(
        &self,
        field: &SprotoField,
        value: &Value,
        index: usize,
        depth: usize,
    ) -> mlua::Result<Vec<u8>> {
        match (field.kind, value) {
            (SprotoKind::Struct(of), Value::Table(_) | Value::UserData(_)) => {
                self.structure(of, value, depth + 1)
            }
            (SprotoKind::Text, Value::String(text)) => Ok(text.as_bytes().to_vec()),
            (SprotoKind::Text, _) => Err(no(field, value, index, "a string")),
            _ => Err(no(field, value, index, "a table")),
        }
    }

    fn many(&self, field: &SprotoField, value: &Value, depth: usize) -> mlua::Result<Vec<u8>> {
        let elements = self.elements(field, value)?;
        let elements = elements.iter().enumerate();
        let mut bytes = Vec::new();
        match field.kind {
            SprotoKind::Boolean => {
                for (index, value) in elements {
                    bytes.push(boolean(field, value, index + 1)?.into());
                }
            }
            SprotoKind::Integer | SprotoKind::Decimal(_) => {
                let numbers: Vec<Digits> = elements
                    .map(|(index, value)| self.digits(field, value, index + 1))
                    .collect::<mlua::Result<_>>()?;
                return Ok(integers(&numbers));
            }
            SprotoKind::Double => {
                for (index, value) in elements {
                    if index == 0 {
                        bytes.push(8);
                    }
                    bytes.extend(self.number(value)?.to_le_bytes());
                }
            }
            SprotoKind::Text | SprotoKind::Struct(_) => {
                for (index, value) in elements {
                    append(&mut bytes, &self.part(field, value, index + 1, depth)?);
                    bounded(bytes.len())?;
                }
            }
        }
        Ok(bytes)
    }

    /// The values of a list, or of a map, whose keys are in them.
    fn elements(&self, field: &SprotoField, value: &Value) -> mlua::Result<Vec<Value>> {
        let mut elements = Vec::new();
        if field.shape == Shape::List {
            loop {
                let element: Value = match value {
                    Value::Table(list) => list.get(elements.len() + 1)?,
                    Value::UserData(list) => list.get(elements.len() + 1)?,
                    other => return Err(no_list(field, other)),
                };
                if element.is_nil() {
                    return Ok(elements);
                }
                elements.push(element);
                counted(elements.len())?;
            }
        }
        for (key, value) in self.pairs(field, value)? {
            let element = match (field.shape, field.kind) {
                (Shape::Map, SprotoKind::Struct(of)) => {
                    let names = &self.schema.types[of].fields;
                    let pair = self.lua.create_table()?;
                    pair.raw_set(self.lua.create_string(&names[0].name)?, key)?;
                    pair.raw_set(self.lua.create_string(&names[1].name)?, value)?;
                    Value::Table(pair)
                }
                _ => value,
            };
            elements.push(element);
        }
        Ok(elements)
    }

    /// The pairs of a table, or of what says how it is walked through.
    fn pairs(&self, field: &SprotoField, value: &Value) -> mlua::Result<Vec<(Value, Value)>> {
        let metatable = match value {
            Value::Table(table) => table.metatable(),
            Value::UserData(_) => {
                let lookup: Function = self
                    .lua
                    .globals()
                    .get::<Table>("debug")?
                    .get("getmetatable")?;
                lookup.call(value)?
            }
            other => return Err(no_list(field, other)),
        };
        let walk: Option<Function> = match metatable {
            Some(metatable) => metatable.raw_get("__pairs")?,
            None => None,
        };
        let mut pairs = Vec::new();
        match (walk, value) {
            (Some(walk), _) => {
                let (next, state, mut key): (Function, Value, Value) = walk.call(value)?;
                loop {
                    let (next_key, value): (Value, Value) = next.call((&state, key))?;
                    if next_key.is_nil() {
                        return Ok(pairs);
                    }
                    key = next_key.clone();
                    pairs.push((next_key, value));
                    counted(pairs.len())?;
                }
            }
            (None, Value::Table(table)) => {
                table.for_each(|key, value| {
                    pairs.push((key, value));
                    counted(pairs.len())
                })?;
                Ok(pairs)
            }
            (None, other) => Err(no_list(field, other)),
        }
    }

    fn digits(&self, field: &SprotoField, value: &Value, index: usize) -> mlua::Result<Digits> {
        let number = match field.kind {
            SprotoKind::Decimal(unit) => (self.number(value)? * unit).round() as i64,
            _ => (self.lua.coerce_integer(value.clone())?)
                .ok_or_else(|| no(field, value, index, "an integer"))?,
        };
        Ok(match i32::try_from(number) {
            Ok(number) => Digits::Short(number as u32),
            Err(_) => Digits::Long(number as u64),
        })
    }

    /// Zero for what is no number.
    fn number(&self, value: &Value) -> mlua::Result<f64> {
        Ok(self.lua.coerce_number(value.clone())?.unwrap_or(0.0))
    }
}

/// All of them in the width of the widest, which stands before them.
fn integers(numbers: &[Digits]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if numbers.is_empty() {
        return bytes;
    }
    let is_long = |number: &Digits| matches!(number, Digits::Long(_));
    match numbers.iter().any(is_long) {
        false => bytes.push(4),
        true => bytes.push(8),
    }
    let width = usize::from(bytes[0]);
    for number in numbers {
        let number = match number {
            Digits::Short(number) => i64::from(*number as i32) as u64,
            Digits::Long(number) => *number,
        };
        bytes.extend(&number.to_le_bytes()[..width]);
    }
    bytes
}

fn boolean(field: &SprotoField, value: &Value, index: usize) -> mlua::Result<bool> {
    let boolean = value.as_boolean();
    boolean.ok_or_else(|| no(field, value, index, "a boolean"))
}

fn bounded(length: usize) -> mlua::Result<()> {
    match length > LONGEST {
        true => Err(failure(format!("object is too large (>{LONGEST})"))),
        false => Ok(()),
    }
}

fn counted(elements: usize) -> mlua::Result<()> {
    match elements > MOST_ELEMENTS {
        true => Err(failure(format!(
            "object is too large (>{MOST_ELEMENTS} elements)"
        ))),
        false => Ok(()),
    }
}

fn no(field: &SprotoField, value: &Value, index: usize, what: &str) -> mlua::Error {
    let (name, found) = (String::from_utf8_lossy(&field.name), lua_type(value));
    failure(format!(".{name}[{index}] is not {what} (Is a {found})"))
}

fn no_list(field: &SprotoField, value: &Value) -> mlua::Error {
    let (name, found) = (String::from_utf8_lossy(&field.name), lua_type(value));
    failure(format!(
        ".*{name}(1) should be a table or an userdata with metamethods (Is a {found})"
    ))
}

/// Lua's own names: numbers and userdata have one each.
fn lua_type(value: &Value) -> &'static str {
    match value.type_name() {
        "integer" => "number",
        "lightuserdata" => "userdata",
        name => name,
    }
}
