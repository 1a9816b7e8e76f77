//! `lpeg`: patterns as LPeg 1.1 has them. `moorline-lpeg` matches; here are the functions of Lua around it.
//!
//! What captures become is in `evaluator`, a match in `matching`, what patterns are made of in `operand` and `lua_pattern`, and what all
//! patterns of a state share in `shared`.

mod evaluator;
mod fault;
mod lua_pattern;
mod matching;
mod operand;
mod shared;

use std::rc::Rc;

use mlua::{Function, Lua, LuaString, MultiValue, Table, Value, Variadic};
use moorline_lpeg::{ByteSet, CaptureKind, MOST_BACKTRACKS, NO_KEY, Peg};

use crate::module::{Module, failure};
use crate::state::ServiceState;
use lua_pattern::LuaPattern;
use operand::{LuaValues, Operand, argument_error, refused};
use shared::LpegShared;

/// The module's table.
pub(crate) fn module(lua: &Lua, state: &ServiceState) -> mlua::Result<Table> {
    let shared = Rc::new(LpegShared::new(lua, &state.memory)?);
    lua.set_app_data(Rc::clone(&shared));
    let module = Module::new(lua)?.value("version", "LPeg 1.1.0")?;
    let module = captures(simple(module)?)?;
    let module = module.value("match", matching::function(lua, &shared)?)?;
    let module = of_state(module, &shared)?;
    let table = module.into_table();
    lua.set_named_registry_value(lua_pattern::METHODS, &table)?;
    Ok(table)
}

/// Patterns that capture nothing.
fn simple(module: Module<'_>) -> mlua::Result<Module<'_>> {
    module
        .function("P", |lua, value: Value| {
            let operand = Operand::new(lua, value, "P", 1)?;
            operand.into_pattern(lua)
        })?
        .function("S", |lua, bytes: LuaString| {
            let set = bytes.as_bytes().iter().copied().collect();
            Operand::plain(Peg::set(set)).into_pattern(lua)
        })?
        .function("R", |lua, ranges: Variadic<LuaString>| {
            let mut set = ByteSet::EMPTY;
            for (at, range) in ranges.iter().enumerate() {
                let [from, to] = *range.as_bytes() else {
                    let why = "range must have two characters";
                    return Err(argument_error(at + 1, "R", why));
                };
                set = set.union(&ByteSet::range(from, to));
            }
            Operand::plain(Peg::set(set)).into_pattern(lua)
        })?
        .function("utfR", |lua, (from, to): (i64, i64)| {
            // A negative number is a very large one, as in LPeg.
            if from as u64 > to as u64 {
                return Err(argument_error(2, "utfR", "empty range"));
            }
            let peg = u32::try_from(from)
                .ok()
                .zip(u32::try_from(to).ok())
                .and_then(|(from, to)| Peg::points(from, to))
                .ok_or_else(|| argument_error(2, "utfR", "invalid code point"))?;
            Operand::plain(peg).into_pattern(lua)
        })?
        .function("B", |lua, value: Value| {
            let operand = Operand::new(lua, value, "B", 1)?;
            let peg = operand.peg.behind();
            let peg = peg.map_err(|error| match refused(error) {
                mlua::Error::RuntimeError(why) => argument_error(1, "B", &why),
                error => error,
            })?;
            Operand { peg, ..operand }.into_pattern(lua)
        })?
        .function("V", |lua, name: Value| {
            if name.is_nil() {
                return Err(argument_error(1, "V", "non-nil value expected"));
            }
            let (values, key) = LuaValues::default().with(lua, name)?;
            Operand::new_with(Peg::call(key), values).into_pattern(lua)
        })
}

/// Patterns that capture.
fn captures(module: Module<'_>) -> mlua::Result<Module<'_>> {
    let module = ["C", "Cs", "Ct"]
        .into_iter()
        .try_fold(module, |module, name| {
            let kind = match name {
                "C" => CaptureKind::Simple,
                "Cs" => CaptureKind::Substitution,
                _ => CaptureKind::Table,
            };
            module.function(name, move |lua, value: Value| {
                Operand::new(lua, value, name, 1)?
                    .captured(kind, NO_KEY)?
                    .into_pattern(lua)
            })
        })?;
    module
        .function("Cg", |lua, (value, name): (Value, Value)| {
            Operand::new(lua, value, "Cg", 1)?
                .captured_with(lua, CaptureKind::Group, name)?
                .into_pattern(lua)
        })?
        .function("Cf", |lua, (value, function): (Value, Function)| {
            Operand::new(lua, value, "Cf", 1)?
                .captured_with(lua, CaptureKind::Fold, Value::Function(function))?
                .into_pattern(lua)
        })?
        .function("Cmt", |lua, (value, function): (Value, Function)| {
            Operand::new(lua, value, "Cmt", 1)?
                .match_time(lua, function)?
                .into_pattern(lua)
        })?
        .function("Cp", |lua, (): ()| {
            Operand::nothing()
                .captured(CaptureKind::Position, NO_KEY)?
                .into_pattern(lua)
        })?
        .function("Cb", |lua, name: MultiValue| {
            let name = name.into_iter().next();
            let name = name.ok_or_else(|| argument_error(1, "Cb", "value expected"))?;
            Operand::nothing()
                .captured_with(lua, CaptureKind::Back, name)?
                .into_pattern(lua)
        })?
        .function("Carg", |lua, number: i64| {
            let number = u16::try_from(number)
                .ok()
                .filter(|number| (1..=32_767).contains(number));
            let number =
                number.ok_or_else(|| argument_error(1, "Carg", "invalid argument index"))?;
            Operand::nothing()
                .captured(CaptureKind::Argument, number.into())?
                .into_pattern(lua)
        })?
        .function("Cc", |lua, constants: MultiValue| {
            constant(lua, constants)?.into_pattern(lua)
        })
}

/// A pattern that yields values. Several are one group.
fn constant(lua: &Lua, constants: MultiValue) -> mlua::Result<Operand> {
    let (values, keys) = LuaValues::new(lua, constants)?;
    let parts: Vec<Peg> = keys
        .into_iter()
        .map(|key| Peg::constant(true).capture(CaptureKind::Constant, key))
        .collect::<Result<_, _>>()
        .map_err(refused)?;
    match parts.as_slice() {
        [] => Ok(Operand::nothing()),
        [one] => Ok(Operand::new_with(one.clone(), values)),
        parts => {
            let all = Peg::sequence(parts).map_err(refused)?;
            Operand::new_with(all, values).captured(CaptureKind::Group, NO_KEY)
        }
    }
}

/// What is not about one new pattern.
fn of_state<'a>(module: Module<'a>, shared: &Rc<LpegShared>) -> mlua::Result<Module<'a>> {
    let limits = Rc::clone(shared);
    module
        .function("type", |_, value: Value| {
            let is_pattern = LuaPattern::is(&value);
            Ok(is_pattern.then_some("pattern"))
        })?
        .function("locale", |lua, table: Option<Table>| {
            let table = match table {
                Some(table) => table,
                None => lua.create_table()?,
            };
            for (name, is_in) in CLASSES {
                let set = (0..=u8::MAX).filter(is_in).collect();
                table.set(*name, Operand::plain(Peg::set(set)).into_pattern(lua)?)?;
            }
            Ok(table)
        })?
        .function("setmaxstack", move |_, most: i64| {
            let most = usize::try_from(most).ok().filter(|most| *most > 0);
            let most = most.ok_or_else(|| argument_error(1, "setmaxstack", "out of range"))?;
            limits.most_backtracks.set(most.min(MOST_BACKTRACKS));
            Ok(())
        })?
        .function("ptree", |lua, value: Value| {
            let tree = format!("{:#?}\n", Operand::new(lua, value, "ptree", 1)?.peg);
            print(lua, &tree)
        })?
        .function("pcode", |lua, value: Value| {
            let operand = Operand::new(lua, value, "pcode", 1)?;
            let code = moorline_lpeg::PegCode::new(&operand.peg);
            let code = code.map_err(|error| operand.values.refused(error))?;
            print(lua, &code.listing())
        })
}

/// The classes of the C locale, which every service has.
type Class = (&'static str, fn(&u8) -> bool);
const CLASSES: &[Class] = &[
    ("alnum", u8::is_ascii_alphanumeric),
    ("alpha", u8::is_ascii_alphabetic),
    ("cntrl", u8::is_ascii_control),
    ("digit", u8::is_ascii_digit),
    ("graph", u8::is_ascii_graphic),
    ("lower", u8::is_ascii_lowercase),
    ("print", |byte| (b' '..=b'~').contains(byte)),
    ("punct", u8::is_ascii_punctuation),
    ("space", |byte| matches!(byte, b' ' | b'\t'..=b'\r')),
    ("upper", u8::is_ascii_uppercase),
    ("xdigit", u8::is_ascii_hexdigit),
];

/// By the script's own `print`, which writes lines whole.
fn print(lua: &Lua, text: &str) -> mlua::Result<()> {
    let print: Value = lua.globals().get("print")?;
    match print {
        Value::Function(print) => print.call(text.trim_end()),
        _ => Err(failure("there is no function 'print'")),
    }
}
