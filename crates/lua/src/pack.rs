//! Lua values as bytes, from one state to another.

use std::cell::Cell;
use std::fmt;

use mlua::{Function, IntoLuaMulti, LightUserData, Lua, MultiValue, Table, Value};

use crate::packed::{
    BYTE, DEEPEST, END, FALSE, INTEGER, LONG, NIL, NUMBER, POINTER, SHORT, TABLE, TRUE,
};
use crate::sys::{Arguments, ReadArguments, Seen, SeenTable, SeenValue, Unpacked};

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

/// The arguments of a function, packed.
pub(crate) type PackedArguments = Arguments<Result<Vec<u8>, PackError>>;

/// Room for what most messages carry.
const FEW: usize = 64;

impl ReadArguments for Result<Vec<u8>, PackError> {
    fn read(values: &Seen<'_>) -> Option<Self> {
        let mut bytes = Vec::with_capacity(FEW);
        values.for_each(|value| write_seen(&value, &mut bytes, 0))?;
        Some(Ok(bytes))
    }

    fn from_values(values: &MultiValue) -> Self {
        pack(values)
    }
}

/// Packs a value on the stack. None if it takes more than a look, or is refused: then `pack` says why.
fn write_seen(value: &SeenValue<'_>, bytes: &mut Vec<u8>, depth: usize) -> Option<()> {
    if bytes.len() > LARGEST {
        return None;
    }
    match value {
        SeenValue::Nil => bytes.push(NIL),
        SeenValue::Flag(flag) => bytes.push(if *flag { TRUE } else { FALSE }),
        SeenValue::Integer(number) => write_integer(*number, bytes),
        SeenValue::Number(number) => tagged(NUMBER, &number.to_le_bytes(), bytes),
        SeenValue::Text(text) => write_text(text, bytes).ok()?,
        SeenValue::Pointer(pointer) => write_pointer(pointer.addr(), bytes),
        SeenValue::Table(table) => write_seen_table(table, bytes, depth)?,
    }
    Some(())
}

fn write_seen_table(table: &SeenTable<'_>, bytes: &mut Vec<u8>, depth: usize) -> Option<()> {
    if depth == DEEPEST {
        return None;
    }
    bytes.push(TABLE);
    let mut elements = Elements::default();
    table.for_each(|key, value| {
        let index = match key {
            SeenValue::Integer(index) => Some(index),
            _ => None,
        };
        if !elements.has(index, bytes) {
            write_seen(&key, bytes, depth + 1)?;
        }
        write_seen(&value, bytes, depth + 1)
    })?;
    elements.end(bytes);
    Some(())
}

/// The elements of a table that is being packed: as long as they come, their keys are left out.
#[derive(Debug, Default)]
struct Elements {
    count: i64,
    are_over: bool,
}

impl Elements {
    /// Whether a key, which may be an index, is that of the next element. Lua walks through the elements in order, then through the rest.
    fn has(&mut self, index: Option<i64>, bytes: &mut Vec<u8>) -> bool {
        if self.are_over {
            return false;
        }
        if index == Some(self.count + 1) {
            self.count += 1;
            return true;
        }
        bytes.push(END);
        self.are_over = true;
        false
    }

    fn end(&self, bytes: &mut Vec<u8>) {
        if !self.are_over {
            bytes.push(END);
        }
        bytes.push(END);
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
        Value::Integer(number) => write_integer(*number, bytes),
        Value::Number(number) => tagged(NUMBER, &number.to_le_bytes(), bytes),
        Value::String(text) => write_text(&text.as_bytes(), bytes)?,
        Value::LightUserData(LightUserData(pointer)) => write_pointer(pointer.addr(), bytes),
        Value::Table(table) => write_table(table, bytes, depth)?,
        other => return Err(PackError::Type(other.type_name())),
    }
    Ok(())
}

fn write_integer(number: i64, bytes: &mut Vec<u8>) {
    match u8::try_from(number) {
        Ok(byte) => bytes.extend([BYTE, byte]),
        Err(_) => tagged(INTEGER, &number.to_le_bytes(), bytes),
    }
}

fn write_text(text: &[u8], bytes: &mut Vec<u8>) -> Result<(), PackError> {
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
    bytes.extend_from_slice(text);
    Ok(())
}

fn write_pointer(address: usize, bytes: &mut Vec<u8>) {
    tagged(POINTER, &(address as u64).to_le_bytes(), bytes);
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
    let (mut elements, mut refused) = (Elements::default(), None);
    let mut pair = |key: Value, value: Value| -> Result<(), PackError> {
        if !elements.has(key.as_integer(), bytes) {
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
    elements.end(bytes);
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

/// The values in bytes.
pub(crate) fn unpack(lua: &Lua, bytes: &[u8]) -> Result<MultiValue, PackError> {
    let is_refused = Cell::new(false);
    let values = Unpacked::new(bytes, &is_refused).into_lua_multi(lua);
    values.map_err(|error| match error {
        mlua::Error::MemoryError(_) => PackError::Lua(error),
        _ => PackError::Malformed,
    })
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
    fn values_on_the_stack_are_packed_as_any_others() {
        let lua = Lua::new();
        let packing = lua
            .create_function(|lua, values: PackedArguments| {
                lua.create_string(
                    values
                        .0
                        .map_err(|error| mlua::Error::runtime(error.to_string()))?,
                )
            })
            .expect("it is made");
        lua.globals().set("packed", packing).expect("it is set");
        for values in [
            "",
            "nil, true, false, 0, 255, 256, -1, math.mininteger, 1.5, 0/0, '', 'a\\0b', ('x'):rep(300), nil",
            "{}, {1, 2, 3}, {1, nil, 3}, {nil, 2}, {x = 1}, {1, 2, x = {y = {z = {'deep'}}}}, {[1.5] = {[true] = false}}",
            "table.unpack({}, 1, 200)",
            "setmetatable({1, 2}, {__index = print})",
            "{1, {2, setmetatable({3}, {__pairs = function(t) return next, {4, five = 6}, nil end})}}, 'after'",
            "(function() local t = {} for i = 1, 100 do t[i] = i end for i = 1, 99, 2 do t[i] = nil end return t end)()",
        ] {
            let list: MultiValue = lua
                .load(format!("return {values}"))
                .eval()
                .expect("it is Lua");
            let expected = pack(&list).expect("it can be packed");
            let found: mlua::LuaString = lua
                .load(format!("local before, text = 'kept', packed({values}) assert(before == 'kept') return text"))
                .eval()
                .expect("it can be packed");
            assert_eq!(*found.as_bytes(), *expected, "{values}");
        }
        for (values, why) in [
            ("1, {{print}}, 2", "Unsupport type function to serialize"),
            (
                "(function() local t = {} t.t = t return t end)()",
                "too depth table",
            ),
        ] {
            let error = lua.load(format!("packed({values})")).exec();
            let error = error.expect_err("it is refused").to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_is_too_large_for_the_memory_of_a_state_is_an_error_there_and_not_a_malformed_message() {
        let bytes = pack(&[Value::Nil].into_iter().collect()).expect("it can be packed");
        let lua = crate::sys::OwnedState::new(1 << 20).expect("there is memory");
        assert!(unpack(&lua, &bytes).is_ok());
        let large = [
            [LONG].as_slice(),
            &(2_u32 << 20).to_le_bytes(),
            &vec![b'x'; 2 << 20],
        ]
        .concat();
        assert!(matches!(unpack(&lua, &large), Err(PackError::Lua(_))));
        for malformed in [
            &[END][..],
            &[TABLE, NIL],
            &[TABLE, END, NIL, NIL, END],
            &[SHORT, 3, b'x'],
            &[99],
        ] {
            let outcome = unpack(&lua, malformed);
            assert!(
                matches!(outcome, Err(PackError::Malformed)),
                "{malformed:?}"
            );
        }
        let many = vec![TRUE; 2_000_000];
        assert!(unpack(&lua, &many).is_err());
        assert!(unpack(&lua, &bytes).is_ok());
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
