//! Packed values as skynet writes them, for messages between nodes of a cluster.
//!
//! A value is a byte, with its type in the low three bits and a number in the others, and what the number says, in little-endian order. A table
//! is the number of its elements, the elements, its other pairs, and a nil.

use std::rc::Rc;

use mlua::{Function, Lua, Value};

use crate::closing;
use crate::held::Held;
use crate::packed::{
    BYTE, DEEPEST, END, FALSE, INTEGER, LONG, NIL as OWN_NIL, NUMBER, Packed, SHORT,
    TABLE as OWN_TABLE, TRUE,
};
use crate::state::ServiceState;

const NIL: u8 = 0;
const BOOLEAN: u8 = 1;
const NUMERIC: u8 = 2;
const POINTER: u8 = 3;
const SHORT_TEXT: u8 = 4;
const LONG_TEXT: u8 = 5;
const TABLE: u8 = 6;

/// What follows a number's byte: nothing, 1, 2, 4 or 8 bytes, or a float.
const ZERO: u8 = 0;
const ONE_BYTE: u8 = 1;
const TWO_BYTES: u8 = 2;
const FOUR_BYTES: u8 = 4;
const EIGHT_BYTES: u8 = 6;
const FLOAT: u8 = 8;

/// A text of this length or more has its length apart.
const LONG_FROM: usize = 32;
/// A table of this many elements or more has their number apart.
const MANY: usize = 31;

/// Why a message does not go from one process to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SerializationError {
    Malformed,
    Depth,
    Pointer,
}

impl SerializationError {
    fn text(self) -> &'static str {
        match self {
            Self::Malformed => "Invalid serialize stream",
            Self::Depth => "serialize can't pack too depth table",
            Self::Pointer => {
                "a light userdata is of one process: send what it stands for to another node"
            }
        }
    }
}

/// The function with a name, or none.
pub(crate) fn function(
    lua: &Lua,
    state: &Rc<ServiceState>,
    name: &str,
) -> mlua::Result<Option<Function>> {
    let translate = match name {
        "cluster_encode" => encode,
        "cluster_decode" => decode,
        _ => return Ok(None),
    };
    let state = state.clone();
    let function = closing::function(lua, move |lua, (message, _): (Value, Value)| {
        let translated = Held::read(&state.held, &message, translate);
        Ok(
            match translated.unwrap_or(Err(SerializationError::Malformed)) {
                Ok(bytes) => (Some(lua.create_string(bytes)?), None),
                Err(why) => (None, Some(why.text())),
            },
        )
    })?;
    Ok(Some(function))
}

/// Packed values of this process as skynet writes them.
fn encode(mut bytes: &[u8]) -> Result<Vec<u8>, SerializationError> {
    let mut written = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let value = take_own(&mut bytes)?;
        encode_value(value, &mut bytes, &mut written, 0)?;
    }
    Ok(written)
}

fn take_own<'a>(bytes: &mut &'a [u8]) -> Result<Packed<'a>, SerializationError> {
    Packed::take(bytes).ok_or(SerializationError::Malformed)
}

fn encode_value(
    value: Packed<'_>,
    bytes: &mut &[u8],
    written: &mut Vec<u8>,
    depth: usize,
) -> Result<(), SerializationError> {
    match value {
        Packed::Nil => written.push(NIL),
        Packed::Flag(flag) => written.push(tag(BOOLEAN, flag.into())),
        Packed::Integer(number) => encode_integer(number, written),
        Packed::Number(number) => {
            written.push(tag(NUMERIC, FLOAT));
            written.extend(number.to_le_bytes());
        }
        Packed::Text(text) => encode_text(text, written)?,
        Packed::Table => encode_table(bytes, written, depth)?,
        Packed::Pointer(_) => return Err(SerializationError::Pointer),
        Packed::End => return Err(SerializationError::Malformed),
    }
    Ok(())
}

fn tag(kind: u8, number: u8) -> u8 {
    kind | number << 3
}

fn encode_integer(number: i64, written: &mut Vec<u8>) {
    if number == 0 {
        written.push(tag(NUMERIC, ZERO));
    } else if let Ok(byte) = u8::try_from(number) {
        written.extend([tag(NUMERIC, ONE_BYTE), byte]);
    } else if let Ok(word) = u16::try_from(number) {
        written.push(tag(NUMERIC, TWO_BYTES));
        written.extend(word.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        written.push(tag(NUMERIC, FOUR_BYTES));
        written.extend(number.to_le_bytes());
    } else {
        written.push(tag(NUMERIC, EIGHT_BYTES));
        written.extend(number.to_le_bytes());
    }
}

fn encode_text(text: &[u8], written: &mut Vec<u8>) -> Result<(), SerializationError> {
    match u8::try_from(text.len()) {
        Ok(length) if text.len() < LONG_FROM => written.push(tag(SHORT_TEXT, length)),
        _ => match u16::try_from(text.len()) {
            Ok(length) => {
                written.push(tag(LONG_TEXT, TWO_BYTES));
                written.extend(length.to_le_bytes());
            }
            Err(_) => {
                let length = u32::try_from(text.len());
                let length = length.map_err(|_| SerializationError::Malformed)?;
                written.push(tag(LONG_TEXT, FOUR_BYTES));
                written.extend(length.to_le_bytes());
            }
        },
    }
    written.extend_from_slice(text);
    Ok(())
}

fn encode_table(
    bytes: &mut &[u8],
    written: &mut Vec<u8>,
    depth: usize,
) -> Result<(), SerializationError> {
    if depth == DEEPEST {
        return Err(SerializationError::Depth);
    }
    let start = written.len();
    written.push(TABLE);
    let mut count = 0_usize;
    loop {
        match take_own(bytes)? {
            Packed::End => break,
            element => encode_value(element, bytes, written, depth + 1)?,
        }
        count += 1;
    }
    match u8::try_from(count) {
        Ok(few) if count < MANY => written[start] = tag(TABLE, few),
        _ => {
            let mut number = Vec::with_capacity(9);
            encode_integer(i64::try_from(count).unwrap_or(i64::MAX), &mut number);
            written[start] = tag(TABLE, 31);
            written.splice(start + 1..=start, number);
        }
    }
    loop {
        match take_own(bytes)? {
            Packed::End => break,
            // A nil would end the table.
            Packed::Nil => return Err(SerializationError::Malformed),
            key => encode_value(key, bytes, written, depth + 1)?,
        }
        let value = take_own(bytes)?;
        encode_value(value, bytes, written, depth + 1)?;
    }
    written.push(NIL);
    Ok(())
}

/// What skynet wrote as packed values of this process.
fn decode(mut bytes: &[u8]) -> Result<Vec<u8>, SerializationError> {
    let mut written = Vec::with_capacity(bytes.len() * 2);
    while !bytes.is_empty() {
        decode_value(&mut bytes, &mut written, 0)?;
    }
    Ok(written)
}

/// The next value of skynet's.
enum Serialized<'a> {
    Nil,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(&'a [u8]),
    /// A table and how many elements come first.
    Table(u64),
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], SerializationError> {
    let (taken, rest) = bytes
        .split_first_chunk()
        .ok_or(SerializationError::Malformed)?;
    *bytes = rest;
    Ok(*taken)
}

fn take<'a>(bytes: &mut &'a [u8]) -> Result<Serialized<'a>, SerializationError> {
    let [first] = take_array(bytes)?;
    let (kind, number) = (first & 7, first >> 3);
    Ok(match (kind, number) {
        (NIL, _) => Serialized::Nil,
        (BOOLEAN, _) => Serialized::Flag(number != 0),
        (NUMERIC, FLOAT) => Serialized::Number(f64::from_le_bytes(take_array(bytes)?)),
        (NUMERIC, _) => Serialized::Integer(take_integer(number, bytes)?),
        (SHORT_TEXT, _) => Serialized::Text(take_text(number.into(), bytes)?),
        (LONG_TEXT, TWO_BYTES) => {
            let length = u16::from_le_bytes(take_array(bytes)?);
            Serialized::Text(take_text(length.into(), bytes)?)
        }
        (LONG_TEXT, FOUR_BYTES) => {
            let length = u32::from_le_bytes(take_array(bytes)?);
            Serialized::Text(take_text(length as usize, bytes)?)
        }
        (TABLE, 31) => match take(bytes)? {
            Serialized::Integer(count) => {
                Serialized::Table(u64::try_from(count).map_err(|_| SerializationError::Malformed)?)
            }
            _ => return Err(SerializationError::Malformed),
        },
        (TABLE, count) => Serialized::Table(count.into()),
        (POINTER, _) => return Err(SerializationError::Pointer),
        _ => return Err(SerializationError::Malformed),
    })
}

fn take_integer(size: u8, bytes: &mut &[u8]) -> Result<i64, SerializationError> {
    Ok(match size {
        ZERO => 0,
        ONE_BYTE => take_array::<1>(bytes)?[0].into(),
        TWO_BYTES => u16::from_le_bytes(take_array(bytes)?).into(),
        FOUR_BYTES => i32::from_le_bytes(take_array(bytes)?).into(),
        EIGHT_BYTES => i64::from_le_bytes(take_array(bytes)?),
        _ => return Err(SerializationError::Malformed),
    })
}

fn take_text<'a>(length: usize, bytes: &mut &'a [u8]) -> Result<&'a [u8], SerializationError> {
    bytes
        .split_off(..length)
        .ok_or(SerializationError::Malformed)
}

fn decode_value(
    bytes: &mut &[u8],
    written: &mut Vec<u8>,
    depth: usize,
) -> Result<(), SerializationError> {
    match take(bytes)? {
        Serialized::Nil => written.push(OWN_NIL),
        Serialized::Table(count) => decode_table(count, bytes, written, depth)?,
        value => write_plain(&value, written),
    }
    Ok(())
}

/// Writes what is neither nil nor a table.
fn write_plain(value: &Serialized<'_>, written: &mut Vec<u8>) {
    match value {
        Serialized::Nil | Serialized::Table(_) => {}
        Serialized::Flag(flag) => written.push(if *flag { TRUE } else { FALSE }),
        Serialized::Integer(number) => write_integer(*number, written),
        Serialized::Number(number) => {
            written.push(NUMBER);
            written.extend(number.to_le_bytes());
        }
        Serialized::Text(text) => {
            match u8::try_from(text.len()) {
                Ok(length) => written.extend([SHORT, length]),
                Err(_) => {
                    written.push(LONG);
                    // Its length came in four bytes at most.
                    written.extend((text.len() as u32).to_le_bytes());
                }
            }
            written.extend_from_slice(text);
        }
    }
}

fn write_integer(number: i64, written: &mut Vec<u8>) {
    match u8::try_from(number) {
        Ok(byte) => written.extend([BYTE, byte]),
        Err(_) => {
            written.push(INTEGER);
            written.extend(number.to_le_bytes());
        }
    }
}

fn decode_table(
    count: u64,
    bytes: &mut &[u8],
    written: &mut Vec<u8>,
    depth: usize,
) -> Result<(), SerializationError> {
    if depth == DEEPEST {
        return Err(SerializationError::Depth);
    }
    written.push(OWN_TABLE);
    let mut has_hole = false;
    for index in 1..=count {
        // Elements behind a hole are pairs here.
        if bytes.first().is_some_and(|first| first & 7 == NIL) {
            take(bytes)?;
            if !has_hole {
                written.push(END);
                has_hole = true;
            }
            continue;
        }
        if has_hole {
            let index = i64::try_from(index).map_err(|_| SerializationError::Malformed)?;
            write_integer(index, written);
        }
        decode_value(bytes, written, depth + 1)?;
    }
    if !has_hole {
        written.push(END);
    }
    loop {
        match take(bytes)? {
            Serialized::Nil => break,
            Serialized::Number(key) if key.is_nan() => return Err(SerializationError::Malformed),
            Serialized::Table(count) => decode_table(count, bytes, written, depth + 1)?,
            key => write_plain(&key, written),
        }
        decode_value(bytes, written, depth + 1)?;
    }
    written.push(END);
    Ok(())
}

#[cfg(test)]
mod tests {
    use mlua::{Lua, MultiValue};

    use super::*;
    use crate::pack::{pack, unpack};

    fn encoded(values: &str) -> Result<Vec<u8>, SerializationError> {
        let lua = Lua::new();
        let values: MultiValue = lua.load(values).eval().expect("it is Lua");
        encode(&pack(&values).expect("it can be packed"))
    }

    #[test]
    fn values_are_the_bytes_of_skynet() {
        for (values, expected) in [
            ("nil, true, false", &[0, 9, 1][..]),
            ("0, 1, 255, 256", &[2, 10, 1, 10, 255, 18, 0, 1]),
            ("65536, -1", &[34, 0, 0, 1, 0, 34, 255, 255, 255, 255]),
            ("1 << 31", &[50, 0, 0, 0, 128, 0, 0, 0, 0]),
            ("1.5", &[66, 0, 0, 0, 0, 0, 0, 248, 63]),
            ("'', 'ab'", &[4, 20, b'a', b'b']),
            ("{}, {1, 'x'}", &[6, 0, 22, 10, 1, 12, b'x', 0]),
            ("{x = true}", &[6, 12, b'x', 9, 0]),
        ] {
            assert_eq!(encoded(values).as_deref(), Ok(expected), "{values}");
        }
        assert_eq!(
            encoded("('x'):rep(32)").map(|bytes| bytes[..3].to_vec()),
            Ok(vec![21, 32, 0])
        );
        assert_eq!(
            encoded("('x'):rep(65536)").map(|bytes| bytes[..5].to_vec()),
            Ok(vec![37, 0, 0, 1, 0])
        );
        let many =
            encoded("(function() local t = {} for i = 1, 31 do t[i] = true end return t end)()");
        let expected = [&[254, 10, 31][..], &[9; 31], &[0]].concat();
        assert_eq!(many, Ok(expected));
    }

    #[test]
    fn values_come_back_and_holes_too() {
        for values in [
            "nil, true, false, 0, 255, 256, 65536, -1, -129, math.mininteger, math.maxinteger, 1.5, '', ('x'):rep(70000), nil",
            "{1, 2, {3, {x = 'y', [1.5] = {}}}, z = {true}}, 'after'",
            "(function() local t = {} for i = 1, 300 do t[i] = {i} end return t end)()",
        ] {
            let lua = Lua::new();
            let list: MultiValue = lua.load(values).eval().expect("it is Lua");
            let packed = pack(&list).expect("it can be packed");
            let back = encode(&packed).and_then(|bytes| decode(&bytes));
            assert_eq!(back, Ok(packed), "{values}");
        }
        let lua = Lua::new();
        let back = decode(&[tag(TABLE, 3), 9, 0, 10, 7, 12, b'x', 10, 8, 0]).expect("it is valid");
        let table = unpack(&lua, &back).expect("it is packed")[0].clone();
        lua.globals().set("t", table).expect("it is set");
        let check = "return t[1] == true and t[2] == nil and t[3] == 7 and t.x == 8";
        assert!(lua.load(check).eval::<bool>().expect("it is Lua"));
    }

    #[test]
    fn pointers_circles_and_what_is_malformed_are_refused() {
        let pointer = [&[crate::packed::POINTER][..], &[0; 8]].concat();
        assert_eq!(encode(&pointer), Err(SerializationError::Pointer));
        assert_eq!(decode(&[POINTER; 9]), Err(SerializationError::Pointer));
        assert_eq!(
            decode(&[tag(TABLE, 1); 100]),
            Err(SerializationError::Depth)
        );
        for malformed in [
            &[7][..],
            &[tag(NUMERIC, 3), 1, 1, 1],
            &[tag(SHORT_TEXT, 5), b'x'],
            &[tag(LONG_TEXT, 4), 255, 255, 255, 255],
            &[TABLE],
            &[tag(TABLE, 31), 9],
            &[tag(TABLE, 31), 50, 255, 255, 255, 255, 255, 255, 255, 255],
            &[tag(TABLE, 31), 50, 255, 255, 255, 255, 255, 255, 255, 127],
            &[TABLE, 66, 0, 0, 0, 0, 0, 0, 248, 127, 9, 0],
        ] {
            assert_eq!(
                decode(malformed),
                Err(SerializationError::Malformed),
                "{malformed:?}"
            );
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
                    (seed >> 33) as u8 % 80
                })
                .collect();
            seed = seed.wrapping_add(1);
            let _ = encode(&bytes);
            if let Ok(own) = decode(&bytes) {
                let _ = unpack(&lua, &own);
                assert!(encode(&own).is_ok(), "{bytes:?}");
            }
        }
    }
}
