//! Lua values as bytes, from one state to another.
//!
//! A value is a tag and what the tag says. A table is its elements from 1 on, an end, its other pairs, an end.

use std::fmt;

use mlua::{Function, LightUserData, Lua, MultiValue, Table, Value};

/// How deep tables may lie in tables. What is deeper has a circle more often than not.
const DEEPEST: usize = 32;

const NIL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const BYTE: u8 = 3;
const INTEGER: u8 = 4;
const NUMBER: u8 = 5;
/// A string of less than 256 bytes.
const SHORT: u8 = 6;
const LONG: u8 = 7;
const TABLE: u8 = 8;
const END: u8 = 9;
const POINTER: u8 = 10;

/// The most bytes of one message: as many as a mailbox takes in all. Tests reach a smaller bound.
const LARGEST: usize = if cfg!(test) { 4 << 20 } else { 1 << 30 };

/// Why values are not packed or unpacked.
#[derive(Debug)]
pub(crate) enum PackError {
    /// Functions and threads belong to their state.
    Type(&'static str),
    /// Tables in tables in tables.
    Depth,
    /// More than a mailbox takes.
    Size,
    /// The bytes are not what `pack` makes.
    Malformed,
    /// Lua has no memory.
    Lua(mlua::Error),
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(name) => write!(f, "Unsupport type {name} to serialize"),
            Self::Depth => f.write_str("serialize can't pack too depth table"),
            Self::Size => {
                f.write_str("the values are too large to serialize, send them in parts below 1 GiB")
            }
            Self::Malformed => f.write_str("Invalid serialize stream"),
            Self::Lua(error) => error.fmt(f),
        }
    }
}

impl From<mlua::Error> for PackError {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

/// The bytes of all values.
pub(crate) fn pack(values: &MultiValue) -> Result<Vec<u8>, PackError> {
    let mut bytes = Vec::with_capacity(64);
    for value in values {
        write(value, &mut bytes, 0)?;
    }
    Ok(bytes)
}

fn write(value: &Value, bytes: &mut Vec<u8>, depth: usize) -> Result<(), PackError> {
    if bytes.len() > LARGEST {
        return Err(PackError::Size);
    }
    match value {
        Value::Nil => bytes.push(NIL),
        Value::Boolean(false) => bytes.push(FALSE),
        Value::Boolean(true) => bytes.push(TRUE),
        Value::Integer(number) => match u8::try_from(*number) {
            Ok(byte) => bytes.extend([BYTE, byte]),
            Err(_) => tagged(INTEGER, &number.to_le_bytes(), bytes),
        },
        Value::Number(number) => tagged(NUMBER, &number.to_le_bytes(), bytes),
        Value::String(text) => {
            let text = text.as_bytes();
            match u8::try_from(text.len()) {
                Ok(length) => bytes.extend([SHORT, length]),
                Err(_) => {
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    if length as usize > LARGEST - bytes.len() {
                        return Err(PackError::Size);
                    }
                    tagged(LONG, &length.to_le_bytes(), bytes);
                }
            }
            bytes.extend_from_slice(&text);
        }
        Value::LightUserData(LightUserData(pointer)) => {
            tagged(POINTER, &(pointer.addr() as u64).to_le_bytes(), bytes);
        }
        Value::Table(table) => write_table(table, bytes, depth)?,
        other => return Err(PackError::Type(other.type_name())),
    }
    Ok(())
}

fn tagged(tag: u8, value: &[u8], bytes: &mut Vec<u8>) {
    bytes.push(tag);
    bytes.extend_from_slice(value);
}

fn write_table(table: &Table, bytes: &mut Vec<u8>, depth: usize) -> Result<(), PackError> {
    if depth == DEEPEST {
        return Err(PackError::Depth);
    }
    bytes.push(TABLE);
    if let Some(metatable) = table.metatable()
        && let Value::Function(pairs) = metatable.raw_get("__pairs")?
    {
        bytes.push(END);
        write_pairs(&pairs, table, bytes, depth)?;
        bytes.push(END);
        return Ok(());
    }
    let (mut next, mut refused) = (1, None);
    let mut pair = |key: Value, value: Value| -> Result<(), PackError> {
        // Lua walks through the elements in order, then through the rest.
        if next > 0 && key == Value::Integer(next) {
            next += 1;
        } else {
            if next > 0 {
                bytes.push(END);
                next = 0;
            }
            write(&key, bytes, depth + 1)?;
        }
        write(&value, bytes, depth + 1)
    };
    table
        .for_each(|key, value| {
            pair(key, value).map_err(|error| {
                refused = Some(error);
                mlua::Error::StackError
            })
        })
        .map_err(|error| refused.take().unwrap_or(PackError::Lua(error)))?;
    if next > 0 {
        bytes.push(END);
    }
    bytes.push(END);
    Ok(())
}

/// A table that says itself what its pairs are.
fn write_pairs(
    pairs: &Function,
    table: &Table,
    bytes: &mut Vec<u8>,
    depth: usize,
) -> Result<(), PackError> {
    let (next, state, mut key): (Function, Value, Value) = pairs.call(table)?;
    loop {
        let value: Value;
        (key, value) = next.call((&state, key))?;
        if key.is_nil() {
            return Ok(());
        }
        write(&key, bytes, depth + 1)?;
        write(&value, bytes, depth + 1)?;
    }
}

/// Room for what most messages carry.
const FEW: usize = 4;

/// The values in bytes.
pub(crate) fn unpack(lua: &Lua, bytes: &[u8]) -> Result<MultiValue, PackError> {
    let mut reader = Reader { lua, bytes };
    let mut values = MultiValue::with_capacity(FEW);
    while !reader.bytes.is_empty() {
        let value = reader.value(0)?.ok_or(PackError::Malformed)?;
        values.push_back(value);
    }
    Ok(values)
}

/// A value that is no table, in its bytes.
pub(crate) enum Packed<'a> {
    Nil,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(&'a [u8]),
}

/// The next value, if it is no table and no pointer.
pub(crate) fn packed<'a>(bytes: &mut &'a [u8]) -> Option<Packed<'a>> {
    let tag = *bytes.split_off_first()?;
    Some(match tag {
        NIL => Packed::Nil,
        FALSE => Packed::Flag(false),
        TRUE => Packed::Flag(true),
        BYTE => Packed::Integer((*bytes.split_off_first()?).into()),
        INTEGER => Packed::Integer(i64::from_le_bytes(eight(bytes)?)),
        NUMBER => Packed::Number(f64::from_le_bytes(eight(bytes)?)),
        SHORT => {
            let length = *bytes.split_off_first()?;
            Packed::Text(bytes.split_off(..usize::from(length))?)
        }
        LONG => {
            let (length, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            let length = u32::from_le_bytes(*length) as usize;
            Packed::Text(bytes.split_off(..length)?)
        }
        _ => return None,
    })
}

fn eight(bytes: &mut &[u8]) -> Option<[u8; 8]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

struct Reader<'a> {
    lua: &'a Lua,
    bytes: &'a [u8],
}

impl Reader<'_> {
    /// The next value; none at an end.
    fn value(&mut self, depth: usize) -> Result<Option<Value>, PackError> {
        let [tag] = self.take::<1>()?;
        Ok(Some(match tag {
            NIL => Value::Nil,
            FALSE => Value::Boolean(false),
            TRUE => Value::Boolean(true),
            BYTE => Value::Integer(self.take::<1>()?[0].into()),
            INTEGER => Value::Integer(i64::from_le_bytes(self.take()?)),
            NUMBER => Value::Number(f64::from_le_bytes(self.take()?)),
            SHORT => {
                let [length] = self.take::<1>()?;
                self.text(length.into())?
            }
            LONG => {
                let length = u32::from_le_bytes(self.take()?);
                self.text(length as usize)?
            }
            POINTER => {
                let address = u64::from_le_bytes(self.take()?);
                let pointer = std::ptr::without_provenance_mut(address as usize);
                Value::LightUserData(LightUserData(pointer))
            }
            TABLE if depth < DEEPEST => Value::Table(self.table(depth + 1)?),
            END => return Ok(None),
            _ => return Err(PackError::Malformed),
        }))
    }

    fn table(&mut self, depth: usize) -> Result<Table, PackError> {
        let table = self.lua.create_table()?;
        let mut index = 1;
        while let Some(value) = self.value(depth)? {
            table.raw_set(index, value)?;
            index += 1;
        }
        while let Some(key) = self.value(depth)? {
            let value = self.value(depth)?.ok_or(PackError::Malformed)?;
            let is_key = match &key {
                Value::Nil => false,
                Value::Number(number) => !number.is_nan(),
                _ => true,
            };
            if !is_key {
                return Err(PackError::Malformed);
            }
            table.raw_set(key, value)?;
        }
        Ok(table)
    }

    fn text(&mut self, length: usize) -> Result<Value, PackError> {
        let (text, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(PackError::Malformed)?;
        self.bytes = rest;
        Ok(Value::String(self.lua.create_string(text)?))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PackError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(PackError::Malformed)?;
        self.bytes = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

    fn back(lua: &Lua, values: &str) -> MultiValue {
        let values: MultiValue = lua.load(values).eval().expect("it is Lua");
        let bytes = pack(&values).expect("it can be packed");
        unpack(lua, &bytes).expect("it can be unpacked")
    }

    #[test]
    fn values_come_back_as_they_were() {
        let lua = Lua::new();
        let source = "nil, true, false, 0, 255, 256, -1, math.mininteger, 1.5, 2^53, '', 'a\\0b', ('x'):rep(300)";
        let expected: MultiValue = lua.load(source).eval().expect("it is Lua");
        let back = back(&lua, source);
        assert_eq!(back.as_slices().0, expected.as_slices().0);
    }

    #[test]
    fn tables_come_back_with_elements_holes_and_pairs() {
        let lua = Lua::new();
        let table = back(
            &lua,
            "{1, nil, 3, x = {y = {'z'}}, [10] = 'ten', [1.5] = true}",
        );
        lua.globals().set("t", table[0].clone()).expect("it is set");
        let check = "return t[1] == 1 and t[2] == nil and t[3] == 3 and t.x.y[1] == 'z' and t[10] == 'ten' and t[1.5]";
        assert!(lua.load(check).eval::<bool>().expect("it is Lua"));
    }

    #[test]
    fn a_table_that_makes_its_pairs_itself_is_packed_with_them() {
        let lua = Lua::new();
        let table = back(
            &lua,
            "setmetatable({}, {__pairs = function(t) return next, {10, x = 'y'}, nil end})",
        );
        lua.globals().set("t", table[0].clone()).expect("it is set");
        let check = "return t[1] == 10 and t.x == 'y' and next(t, next(t, next(t))) == nil";
        assert!(lua.load(check).eval::<bool>().expect("it is Lua"));
        let raised = lua.load("setmetatable({}, {__pairs = function() error 'no pairs' end})");
        let refused = pack(&raised.eval().expect("it is Lua")).expect_err("it raises");
        assert!(refused.to_string().contains("no pairs"));
    }

    #[test]
    fn pairs_without_end_are_refused() {
        let lua = Lua::new();
        let values = "(function() local x = ('x'):rep(1 << 20)
            return setmetatable({}, {__pairs = function(t)
                return function(_, n) return (n or 0) + 1, x end, t end}) end)()";
        let values: MultiValue = lua.load(values).eval().expect("it is Lua");
        let refused = pack(&values).expect_err("it is too large");
        assert!(refused.to_string().contains("too large to serialize"));
    }

    #[test]
    fn functions_and_circles_are_refused() {
        let lua = Lua::new();
        for (values, expected) in [
            ("{print}", "Unsupport type function to serialize"),
            (
                "(function() local t = {} t.t = t return t end)()",
                "serialize can't pack too depth table",
            ),
        ] {
            let values: MultiValue = lua.load(values).eval().expect("it is Lua");
            let refused = pack(&values).expect_err("it is refused");
            assert_eq!(refused.to_string(), expected);
        }
    }

    #[test]
    fn any_bytes_are_values_or_refused() {
        let lua = Lua::new();
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..seed % 40)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 33) as u8 % 14
                })
                .collect();
            seed = seed.wrapping_add(1);
            if let Ok(values) = unpack(&lua, &bytes) {
                assert!(pack(&values).is_ok(), "{bytes:?}");
            }
        }
    }
}
