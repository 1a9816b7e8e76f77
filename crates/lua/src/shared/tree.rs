//! Trees of values that no one changes.

use std::sync::Arc;

use mlua::{Lua, Table, Value};
use rustc_hash::FxHashMap;

use crate::module::failure;

/// A table that services read without a copy of their own.
#[derive(Debug, Default)]
pub(super) struct SharedTable {
    list: Vec<SharedValue>,
    pairs: Vec<(SharedKey, SharedValue)>,
    places: FxHashMap<SharedKey, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum SharedKey {
    Boolean(bool),
    Integer(i64),
    /// The bits of a number that is no integer.
    Number(u64),
    Text(Arc<[u8]>),
}

#[derive(Debug, Clone)]
pub(super) enum SharedValue {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(Arc<[u8]>),
    Table(Arc<SharedTable>),
}

/// How deep tables may lie in tables. What is deeper has a circle.
const DEEPEST: usize = 128;
/// About what an element costs beside its text.
const ELEMENT: usize = 64;

/// The tree of a Lua table, of at most this many bytes, and about how many it has.
pub(super) fn build(table: &Table, most: usize) -> mlua::Result<(Arc<SharedTable>, usize)> {
    let mut builder = Builder { left: most, most };
    let tree = builder.table(table, 0)?;
    Ok((tree, most - builder.left))
}

struct Builder {
    left: usize,
    most: usize,
}

impl Builder {
    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<Arc<SharedTable>> {
        if depth == DEEPEST {
            return Err(failure("a shared table is too deep, or contains itself"));
        }
        let mut list = Vec::new();
        let mut rest = FxHashMap::default();
        table.for_each(|key: Value, value: Value| {
            let value = self.value(&value, depth)?;
            match self.key(&key)? {
                SharedKey::Integer(place) if place == list.len() as i64 + 1 => list.push(value),
                key => {
                    rest.insert(key, value);
                }
            }
            Ok(())
        })?;
        while let Some(value) = rest.remove(&SharedKey::Integer(list.len() as i64 + 1)) {
            list.push(value);
        }
        let pairs: Vec<_> = rest.into_iter().collect();
        let places = pairs.iter().enumerate();
        Ok(Arc::new(SharedTable {
            places: places
                .map(|(place, (key, _))| (key.clone(), place))
                .collect(),
            pairs,
            list,
        }))
    }

    fn key(&mut self, key: &Value) -> mlua::Result<SharedKey> {
        let refused = || {
            failure(format!(
                "Unsupport type {} as a key of a shared table",
                key.type_name()
            ))
        };
        if let Value::String(text) = key {
            self.spend(text.as_bytes().len())?;
        }
        SharedKey::new(key).ok_or_else(refused)
    }

    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<SharedValue> {
        self.spend(ELEMENT)?;
        Ok(match value {
            Value::Boolean(is_true) => SharedValue::Boolean(*is_true),
            Value::Integer(number) => SharedValue::Integer(*number),
            Value::Number(number) => SharedValue::Number(*number),
            Value::String(text) => {
                self.spend(text.as_bytes().len())?;
                SharedValue::Text(text.as_bytes().to_vec().into())
            }
            Value::Table(table) => SharedValue::Table(self.table(table, depth + 1)?),
            other => {
                let name = other.type_name();
                return Err(failure(format!("Unsupport type {name} in a shared table")));
            }
        })
    }

    fn spend(&mut self, bytes: usize) -> mlua::Result<()> {
        let most = self.most;
        let left = self.left.checked_sub(bytes);
        self.left =
            left.ok_or_else(|| failure(format!("a shared table is too large (>{most})")))?;
        Ok(())
    }
}

impl SharedKey {
    fn new(key: &Value) -> Option<Self> {
        Some(match key {
            Value::Boolean(is_true) => Self::Boolean(*is_true),
            Value::Integer(number) => Self::Integer(*number),
            Value::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Self::Integer(*number as i64)
            }
            Value::Number(number) => Self::Number(number.to_bits()),
            Value::String(text) => Self::Text(text.as_bytes().to_vec().into()),
            _ => return None,
        })
    }

    fn into_value(self, lua: &Lua) -> mlua::Result<Value> {
        Ok(match self {
            Self::Boolean(is_true) => Value::Boolean(is_true),
            Self::Integer(number) => Value::Integer(number),
            Self::Number(bits) => Value::Number(f64::from_bits(bits)),
            Self::Text(text) => Value::String(lua.create_string(&text)?),
        })
    }
}

impl SharedTable {
    pub(super) fn get(&self, key: &Value) -> Option<&SharedValue> {
        let key = SharedKey::new(key)?;
        if let SharedKey::Integer(place) = key {
            let index = usize::try_from(place)
                .ok()
                .and_then(|place| place.checked_sub(1));
            if let Some(value) = index.and_then(|index| self.list.get(index)) {
                return Some(value);
            }
        }
        self.places.get(&key).map(|place| &self.pairs[*place].1)
    }

    /// The key behind another, or the first. Nil at the end, none for a key that is not there.
    pub(super) fn next(&self, lua: &Lua, key: &Value) -> mlua::Result<Option<Value>> {
        let place = match SharedKey::new(key) {
            None if key.is_nil() => 0,
            None => return Ok(None),
            Some(SharedKey::Integer(place)) if 1 <= place && place <= self.list.len() as i64 => {
                place as usize
            }
            Some(key) => match self.places.get(&key) {
                Some(place) => self.list.len() + place + 1,
                None => return Ok(None),
            },
        };
        if place < self.list.len() {
            return Ok(Some(Value::Integer(place as i64 + 1)));
        }
        match self.pairs.get(place - self.list.len()) {
            Some((key, _)) => key.clone().into_value(lua).map(Some),
            None => Ok(Some(Value::Nil)),
        }
    }

    pub(super) fn list_length(&self) -> usize {
        self.list.len()
    }

    pub(super) fn pair_count(&self) -> usize {
        self.pairs.len()
    }

    /// A table of the state's own.
    pub(super) fn copy(&self, lua: &Lua) -> mlua::Result<Table> {
        let table = lua.create_table_with_capacity(self.list.len(), self.pairs.len())?;
        for (index, value) in self.list.iter().enumerate() {
            table.raw_set(index + 1, value.copy(lua)?)?;
        }
        for (key, value) in &self.pairs {
            table.raw_set(key.clone().into_value(lua)?, value.copy(lua)?)?;
        }
        Ok(table)
    }
}

impl SharedValue {
    fn copy(&self, lua: &Lua) -> mlua::Result<Value> {
        Ok(match self {
            Self::Table(table) => Value::Table(table.copy(lua)?),
            Self::Boolean(is_true) => Value::Boolean(*is_true),
            Self::Integer(number) => Value::Integer(*number),
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => Value::String(lua.create_string(text)?),
        })
    }

    /// What a script gets for it, if it is no table.
    pub(super) fn plain(&self, lua: &Lua) -> mlua::Result<Result<Value, Arc<SharedTable>>> {
        match self {
            Self::Table(table) => Ok(Err(table.clone())),
            value => value.copy(lua).map(Ok),
        }
    }
}
