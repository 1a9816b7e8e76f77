//! Lua values that code without a Lua state makes and reads.

use mlua::{IntoLua, Lua, MultiValue, Value};

use crate::pack::PackError;
use crate::packed::Packed;

/// A value that is no table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Plain {
    /// `nil`
    Nil,
    /// `true` or `false`
    Flag(bool),
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Number(f64),
    /// A string: any bytes.
    Text(Vec<u8>),
    /// A string of the program's own, which needs no memory here.
    Word(&'static str),
}

impl Plain {
    /// The values of a packed message. `None` if one of them is a table or a pointer, or if the message is malformed.
    pub fn unpack_all(bytes: &[u8]) -> Option<Vec<Plain>> {
        let mut values = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            values.push(match Packed::take(&mut rest)? {
                Packed::Nil => Self::Nil,
                Packed::Flag(flag) => Self::Flag(flag),
                Packed::Integer(number) => Self::Integer(number),
                Packed::Number(number) => Self::Number(number),
                Packed::Text(text) => Self::Text(text.to_owned()),
                Packed::Pointer(_) | Packed::Table | Packed::End => return None,
            });
        }
        Some(values)
    }

    pub(crate) fn all_into_lua(values: &[Self], lua: &Lua) -> Result<MultiValue, PackError> {
        values.iter().map(|value| value.in_lua(lua)).collect()
    }

    fn in_lua(&self, lua: &Lua) -> Result<Value, PackError> {
        Ok(match self {
            Self::Nil => Value::Nil,
            Self::Flag(flag) => Value::Boolean(*flag),
            Self::Integer(number) => Value::Integer(*number),
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => lua.create_string(text)?.into_lua(lua)?,
            Self::Word(word) => lua.create_string(word)?.into_lua(lua)?,
        })
    }
}
