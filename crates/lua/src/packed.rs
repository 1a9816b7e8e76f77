//! Packed values: bytes that go from one Lua state to another.
//!
//! A value is a tag and what the tag says. A table is its elements from 1 on, an end, its other pairs, an end.

pub(crate) const NIL: u8 = 0;
pub(crate) const FALSE: u8 = 1;
pub(crate) const TRUE: u8 = 2;
pub(crate) const BYTE: u8 = 3;
pub(crate) const INTEGER: u8 = 4;
pub(crate) const NUMBER: u8 = 5;
/// A string of less than 256 bytes.
pub(crate) const SHORT: u8 = 6;
pub(crate) const LONG: u8 = 7;
pub(crate) const TABLE: u8 = 8;
pub(crate) const END: u8 = 9;
pub(crate) const POINTER: u8 = 10;

/// How deep tables may lie in tables. What is deeper has a circle more often than not.
pub(crate) const DEEPEST: usize = 32;

/// What is next in the bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Packed<'a> {
    Nil,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(&'a [u8]),
    /// The address, which nobody follows.
    Pointer(usize),
    /// The beginning of a table.
    Table,
    /// The end of a table's elements, or of its pairs.
    End,
}

impl<'a> Packed<'a> {
    /// Takes what is next. None if the bytes are not what packing makes.
    pub(crate) fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let tag = *bytes.split_off_first()?;
        Some(match tag {
            NIL => Self::Nil,
            FALSE => Self::Flag(false),
            TRUE => Self::Flag(true),
            BYTE => Self::Integer((*bytes.split_off_first()?).into()),
            INTEGER => Self::Integer(i64::from_le_bytes(eight(bytes)?)),
            NUMBER => Self::Number(f64::from_le_bytes(eight(bytes)?)),
            SHORT => {
                let length = *bytes.split_off_first()?;
                Self::Text(bytes.split_off(..usize::from(length))?)
            }
            LONG => {
                let (length, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                let length = u32::from_le_bytes(*length) as usize;
                Self::Text(bytes.split_off(..length)?)
            }
            POINTER => Self::Pointer(u64::from_le_bytes(eight(bytes)?) as usize),
            TABLE => Self::Table,
            END => Self::End,
            _ => return None,
        })
    }
}

fn eight(bytes: &mut &[u8]) -> Option<[u8; 8]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}
