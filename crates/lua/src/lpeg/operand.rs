//! What patterns are made of: a pattern of `moorline-lpeg`, and the Lua values that its keys stand for.

use mlua::{AnyUserData, Function, Lua, Table, Value};
use moorline_lpeg::{CaptureKind, NO_KEY, Peg, PegError, grammar};

use super::lua_pattern::LuaPattern;
use crate::module::failure;

/// The most Lua values of a pattern, as in LPeg.
const MOST_VALUES: u32 = 65_535;

/// Lua values of a pattern, in a table from 1 on. It never changes, so that patterns share it.
#[derive(Debug, Clone, Default)]
pub(super) struct LuaValues {
    pub(super) table: Option<Table>,
    pub(super) count: u32,
}

/// A pattern on its way into another one.
pub(super) struct Operand {
    pub(super) peg: Peg,
    pub(super) values: LuaValues,
}

/// An error about an argument of a function, as Lua's own library tells it.
pub(super) fn argument_error(position: usize, to: &str, why: &str) -> mlua::Error {
    failure(format!("bad argument #{position} to '{to}' ({why})"))
}

/// An error that names no rule.
pub(super) fn refused(error: PegError) -> mlua::Error {
    failure(error)
}

impl LuaValues {
    /// The value of a key.
    pub(super) fn get(&self, key: u32) -> mlua::Result<Value> {
        match &self.table {
            Some(table) if key != NO_KEY => table.raw_get(i64::from(key) + 1),
            _ => Ok(Value::Nil),
        }
    }

    /// Values, and the key of each. Nil has none.
    pub(super) fn new(
        lua: &Lua,
        values: impl IntoIterator<Item = Value>,
    ) -> mlua::Result<(Self, Vec<u32>)> {
        let table = lua.create_table()?;
        let (mut count, mut keys) = (0, Vec::new());
        for value in values {
            if value.is_nil() {
                keys.push(NO_KEY);
                continue;
            }
            keys.push(count);
            count += 1;
            check_count(count.into())?;
            table.raw_set(count, value)?;
        }
        let table = (count > 0).then_some(table);
        Ok((Self { table, count }, keys))
    }

    /// These and a value, and its key. Nil has none.
    pub(super) fn with(&self, lua: &Lua, value: Value) -> mlua::Result<(Self, u32)> {
        if value.is_nil() {
            return Ok((self.clone(), NO_KEY));
        }
        let (one, _) = Self::new(lua, [value])?;
        let (all, key) = self.joined(lua, &one)?;
        Ok((all, key))
    }

    /// Values of two patterns, and what the keys of the second are raised by.
    pub(super) fn joined(&self, lua: &Lua, other: &Self) -> mlua::Result<(Self, u32)> {
        let is_same = self.table == other.table && self.count == other.count;
        if other.count == 0 || is_same {
            return Ok((self.clone(), 0));
        }
        if self.count == 0 {
            return Ok((other.clone(), 0));
        }
        let all = [self, other];
        let (values, shifts) = Self::together(lua, &all)?;
        Ok((values, shifts[1]))
    }

    /// Values of several patterns, and what the keys of each are raised by.
    fn together(lua: &Lua, all: &[&Self]) -> mlua::Result<(Self, Vec<u32>)> {
        let count: u64 = all.iter().map(|values| u64::from(values.count)).sum();
        check_count(count)?;
        let table = lua.create_table_with_capacity(count as usize, 0)?;
        let copy = LuaPattern::shared(lua)?.copy.clone();
        let mut end = 0;
        let mut shifts = Vec::with_capacity(all.len());
        for values in all {
            shifts.push(end);
            if let Some(from) = &values.table {
                copy.call::<()>((from, 1, values.count, end + 1, &table))?;
            }
            end += values.count;
        }
        let values = Self {
            table: (end > 0).then_some(table),
            count: end,
        };
        Ok((values, shifts))
    }

    /// An error that may name a rule.
    pub(super) fn refused(&self, error: PegError) -> mlua::Error {
        let named = |key, words: &str| match self.get(key) {
            Ok(name) => failure(format!("rule '{}' {words}", shown(&name))),
            Err(error) => error,
        };
        match error {
            PegError::Undefined(key) => named(key, "undefined in given grammar"),
            PegError::OutsideGrammar(key) => named(key, "used outside a grammar"),
            error => refused(error),
        }
    }
}

fn check_count(count: u64) -> mlua::Result<()> {
    match count <= u64::from(MOST_VALUES) {
        true => Ok(()),
        false => Err(failure(format!(
            "too many Lua values in pattern (limit is {MOST_VALUES})"
        ))),
    }
}

/// A name as errors have it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string_lossy(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        value => format!("(a {})", value.type_name()),
    }
}

impl Operand {
    /// One without values.
    pub(super) fn plain(peg: Peg) -> Self {
        Self::new_with(peg, LuaValues::default())
    }

    pub(super) fn new_with(peg: Peg, values: LuaValues) -> Self {
        Self { peg, values }
    }

    /// What matches nothing.
    pub(super) fn nothing() -> Self {
        Self::plain(Peg::constant(true))
    }

    /// What a value is as a pattern.
    ///
    /// # Errors
    /// It is none, and names the function and the argument.
    pub(super) fn new(lua: &Lua, value: Value, to: &str, position: usize) -> mlua::Result<Self> {
        match value {
            Value::String(text) => {
                let peg = Peg::text(&text.as_bytes()).map_err(refused)?;
                Ok(Self::plain(peg))
            }
            Value::Integer(_) | Value::Number(_) => {
                let count = value.as_i32();
                let count = count.or_else(|| value.as_f64().map(|number| number as i32));
                let peg = Peg::any(count.unwrap_or(0)).map_err(refused)?;
                Ok(Self::plain(peg))
            }
            Value::Boolean(succeeds) => Ok(Self::plain(Peg::constant(succeeds))),
            Value::Function(function) => Self::nothing().match_time(lua, function),
            Value::Table(rules) => Self::grammar(lua, &rules),
            value => Self::of_pattern(&value)?.ok_or_else(|| {
                let found = value.type_name();
                let why = format!("lpeg-pattern expected, got {found}");
                argument_error(position, to, &why)
            }),
        }
    }

    /// What is in a pattern of the script's.
    fn of_pattern(value: &Value) -> mlua::Result<Option<Self>> {
        let Value::UserData(userdata) = value else {
            return Ok(None);
        };
        let Ok(pattern) = userdata.borrow::<LuaPattern>() else {
            return Ok(None);
        };
        let values = pattern.values(userdata)?;
        Ok(Some(Self::new_with(pattern.peg.clone(), values)))
    }

    pub(super) fn into_pattern(self, lua: &Lua) -> mlua::Result<AnyUserData> {
        LuaPattern::create(lua, self.peg, &self.values)
    }

    /// Another pattern of this one and a second.
    pub(super) fn combined(
        self,
        lua: &Lua,
        other: &Self,
        combine: impl FnOnce(&Peg, &Peg) -> Result<Peg, PegError>,
    ) -> mlua::Result<Self> {
        let (values, shift) = self.values.joined(lua, &other.values)?;
        let other = other.peg.shifted(shift);
        let peg = combine(&self.peg, &other).map_err(refused)?;
        Ok(Self { peg, values })
    }

    pub(super) fn captured(self, kind: CaptureKind, key: u32) -> mlua::Result<Self> {
        let peg = self.peg.capture(kind, key).map_err(refused)?;
        Ok(Self { peg, ..self })
    }

    /// A capture with a value.
    pub(super) fn captured_with(
        self,
        lua: &Lua,
        kind: CaptureKind,
        value: Value,
    ) -> mlua::Result<Self> {
        let (values, key) = self.values.with(lua, value)?;
        Self { values, ..self }.captured(kind, key)
    }

    /// Has a function decide about a match.
    pub(super) fn match_time(self, lua: &Lua, function: Function) -> mlua::Result<Self> {
        let (values, key) = self.values.with(lua, Value::Function(function))?;
        let peg = self.peg.match_time(key).map_err(refused)?;
        Ok(Self { peg, values })
    }

    /// The pattern of rules by their names.
    fn grammar(lua: &Lua, table: &Table) -> mlua::Result<Self> {
        let (first_name, first) = first_rule(table)?;
        let mut names = vec![first_name.clone()];
        let mut rules = vec![first];
        for pair in table.pairs::<Value, Value>() {
            let (name, rule) = pair?;
            if name == Value::Integer(1) || name == first_name {
                continue;
            }
            let Some(rule) = Self::of_pattern(&rule)? else {
                let why = format!("rule '{}' is not a pattern", shown(&name));
                return Err(failure(why));
            };
            names.push(name);
            rules.push(rule);
        }
        let numbers = lua.create_table()?;
        for (number, name) in names.iter().enumerate() {
            numbers.raw_set(name, number)?;
        }
        let all: Vec<&LuaValues> = rules.iter().map(|rule| &rule.values).collect();
        let (values, shifts) = LuaValues::together(lua, &all)?;
        let pegs: Vec<Peg> = rules
            .iter()
            .zip(shifts)
            .map(|(rule, shift)| rule.peg.shifted(shift))
            .collect();
        let number = |key| {
            let name = values.get(key).ok()?;
            numbers.raw_get::<Option<usize>>(name).ok()?
        };
        let peg = grammar(&pegs, number).map_err(|error| match error {
            PegError::LeftRecursive(rule) => {
                let name = shown(&names[rule]);
                failure(format!("rule '{name}' may be left recursive"))
            }
            PegError::EmptyLoopInRule(rule) => {
                let name = shown(&names[rule]);
                failure(format!("empty loop in rule '{name}'"))
            }
            error => values.refused(error),
        })?;
        Ok(Self { peg, values })
    }
}

/// The name of a grammar's initial rule, and the rule.
fn first_rule(table: &Table) -> mlua::Result<(Value, Operand)> {
    let first: Value = table.raw_get(1)?;
    let (name, rule) = match first {
        Value::String(_) | Value::Integer(_) | Value::Number(_) => {
            let rule: Value = table.get(&first)?;
            (first, rule)
        }
        rule => (Value::Integer(1), rule),
    };
    match Operand::of_pattern(&rule)? {
        Some(operand) => Ok((name, operand)),
        None if rule.is_nil() => Err(failure("grammar has no initial rule")),
        None => {
            let name = shown(&name);
            Err(failure(format!("initial rule '{name}' is not a pattern")))
        }
    }
}
