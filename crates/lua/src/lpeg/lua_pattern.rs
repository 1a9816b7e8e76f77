//! A pattern of the script's, and what operators make of it.

use std::cell::OnceCell;
use std::rc::Rc;

use mlua::{
    AnyUserData, Lua, MetaMethod, Table, UserData, UserDataFields, UserDataRegistry, Value,
};
use moorline_lpeg::{CaptureKind, Peg, PegCode, PegError};

use super::operand::{LuaValues, Operand, argument_error, refused};
use super::shared::LpegShared;
use crate::module::{Module, failure};

/// Under which name the registry has the methods of patterns: the module itself.
pub(super) const METHODS: &str = "moorline.lpeg";

/// Where a pattern has the table of its values.
const VALUES: usize = 1;
/// Where it has the weight of itself and of its code.
const WEIGHT: usize = 2;
const WEIGHT_OF_CODE: usize = 3;
/// What weighs less is not counted, in bytes: Lua counts the pattern itself.
const LIGHT: usize = 512;

/// A pattern.
pub(super) struct LuaPattern {
    pub(super) peg: Peg,
    /// How many of the values in the table are its own.
    count: u32,
    code: OnceCell<Rc<PegCode>>,
}

impl LuaPattern {
    pub(super) fn create(lua: &Lua, peg: Peg, values: &LuaValues) -> mlua::Result<AnyUserData> {
        let weight = peg.cost();
        let pattern = lua.create_userdata(Self {
            peg,
            count: values.count,
            code: OnceCell::new(),
        })?;
        if let Some(table) = &values.table {
            pattern.set_nth_user_value(VALUES, table)?;
        }
        weigh(lua, &pattern, WEIGHT, weight)?;
        Ok(pattern)
    }

    pub(super) fn is(value: &Value) -> bool {
        matches!(value, Value::UserData(userdata) if userdata.is::<Self>())
    }

    /// What all patterns of a state share.
    pub(super) fn shared(lua: &Lua) -> mlua::Result<Rc<LpegShared>> {
        let shared = lua.app_data_ref::<Rc<LpegShared>>();
        let shared = shared.ok_or_else(|| failure("the module 'lpeg' is not loaded"))?;
        Ok(Rc::clone(&shared))
    }

    pub(super) fn values(&self, userdata: &AnyUserData) -> mlua::Result<LuaValues> {
        let table = match self.count {
            0 => None,
            _ => userdata.nth_user_value::<Option<Table>>(VALUES)?,
        };
        Ok(LuaValues {
            table,
            count: self.count,
        })
    }

    /// Its instructions, which are made when it first matches.
    pub(super) fn code(
        &self,
        lua: &Lua,
        userdata: &AnyUserData,
        values: &LuaValues,
    ) -> mlua::Result<Rc<PegCode>> {
        if let Some(code) = self.code.get() {
            return Ok(Rc::clone(code));
        }
        let code = PegCode::new(&self.peg).map_err(|error| values.refused(error))?;
        weigh(lua, userdata, WEIGHT_OF_CODE, code.cost())?;
        Ok(Rc::clone(self.code.get_or_init(|| Rc::new(code))))
    }
}

/// Counts memory of Rust's as the script's own, by a text of the same length: so a limit holds, and Lua knows what there is to collect.
fn weigh(lua: &Lua, pattern: &AnyUserData, place: usize, bytes: usize) -> mlua::Result<()> {
    if bytes < LIGHT {
        return Ok(());
    }
    make_room(lua, bytes)?;
    pattern.set_nth_user_value(place, lua.create_string(vec![0; bytes])?)
}

/// Keeps a tenth of the script's memory free of patterns. What Lua collects where memory is short does not end patterns, which takes a
/// collection of all: without room for anything else, none would ever begin.
fn make_room(lua: &Lua, bytes: usize) -> mlua::Result<()> {
    let shared = LuaPattern::shared(lua)?;
    // The first collection ends patterns, the second frees them.
    for _ in 0..2 {
        if shared.memory.is_nearly_full(bytes) {
            lua.gc_collect()?;
        }
    }
    match shared.memory.is_nearly_full(bytes) {
        true => Err(mlua::Error::MemoryError("not enough memory".into())),
        false => Ok(()),
    }
}

impl UserData for LuaPattern {
    fn register(registry: &mut UserDataRegistry<Self>) {
        registry.add_meta_field("__name", "lpeg-pattern");
        registry.add_meta_field_with(MetaMethod::Index, |lua| {
            lua.named_registry_value::<Table>(METHODS)
        });
        binary(registry, MetaMethod::Mul, "mul", Peg::then);
        binary(registry, MetaMethod::Add, "add", Peg::or);
        binary(registry, MetaMethod::Sub, "sub", Peg::minus);
        unary(registry, MetaMethod::Unm, "unm", Peg::not);
        unary(registry, MetaMethod::Len, "len", Peg::and);
        registry.add_meta_field_with(MetaMethod::Pow, |lua| {
            Module::new(lua)?.raise("pow", |lua, (pattern, times): (Value, i32)| {
                let operand = Operand::new(lua, pattern, "pow", 1)?;
                let peg = operand.peg.repeat(times).map_err(refused)?;
                Operand { peg, ..operand }.into_pattern(lua)
            })
        });
        registry.add_meta_field_with(MetaMethod::Div, |lua| {
            Module::new(lua)?.raise("div", |lua, (pattern, value): (Value, Value)| {
                let operand = Operand::new(lua, pattern, "div", 1)?;
                divided(lua, operand, value)?.into_pattern(lua)
            })
        });
        registry.add_meta_field_with(MetaMethod::Mod, |lua| {
            Module::new(lua)?.raise("mod", |lua, (pattern, function): (Value, Value)| {
                let operand = Operand::new(lua, pattern, "mod", 1)?;
                let kind = CaptureKind::Accumulator;
                operand
                    .captured_with(lua, kind, function)?
                    .into_pattern(lua)
            })
        });
    }
}

/// An operator of two patterns.
fn binary(
    registry: &mut UserDataRegistry<LuaPattern>,
    method: MetaMethod,
    name: &'static str,
    combine: fn(&Peg, &Peg) -> Result<Peg, PegError>,
) {
    registry.add_meta_field_with(method, move |lua| {
        Module::new(lua)?.raise(name, move |lua, (first, second): (Value, Value)| {
            let first = Operand::new(lua, first, name, 1)?;
            let second = Operand::new(lua, second, name, 2)?;
            first.combined(lua, &second, combine)?.into_pattern(lua)
        })
    });
}

/// An operator of one.
fn unary(
    registry: &mut UserDataRegistry<LuaPattern>,
    method: MetaMethod,
    name: &'static str,
    change: fn(&Peg) -> Result<Peg, PegError>,
) {
    registry.add_meta_field_with(method, move |lua| {
        Module::new(lua)?.raise(name, move |lua, pattern: Value| {
            let operand = Operand::new(lua, pattern, name, 1)?;
            let peg = change(&operand.peg).map_err(refused)?;
            Operand { peg, ..operand }.into_pattern(lua)
        })
    });
}

/// The capture that `/` makes.
fn divided(lua: &Lua, operand: Operand, value: Value) -> mlua::Result<Operand> {
    let kind = match &value {
        Value::Function(_) => CaptureKind::Function,
        Value::Table(_) => CaptureKind::Query,
        Value::String(_) => CaptureKind::Template,
        Value::Integer(_) | Value::Number(_) => {
            let number = value.as_i64().and_then(|number| u16::try_from(number).ok());
            let number = number.filter(|number| *number <= 32_767);
            let number = number.ok_or_else(|| argument_error(1, "div", "invalid number"))?;
            return operand.captured(CaptureKind::Number, number.into());
        }
        value => {
            let found = value.type_name();
            let why = format!("unexpected {found} as 2nd operand to LPeg '/'");
            return Err(failure(why));
        }
    };
    operand.captured_with(lua, kind, value)
}
