//! What all patterns of a state share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Value};
use moorline_lpeg::Matcher;

use super::fault::LpegFault;
use crate::sys::StateMemory;

/// The limit of the stack as it is in LPeg at first.
const FIRST_MOST_BACKTRACKS: usize = 400;
/// The memory that a matcher keeps for the next match, in bytes.
const KEPT_MEMORY: usize = 64 * 1024;
/// The most levels of captures in captures, also of a match in a function of another one. LPeg has as many.
const MOST_LEVELS: usize = 200;

/// After how much work a match looks whether it is to end. That takes some milliseconds.
pub(super) const WORK: u32 = 1 << 20;
/// What a call of a function counts as. One of C never looks around.
const WORK_OF_CALL: u32 = 64;

/// A function that does nothing.
const NOTHING: &str = "return function() end";
/// Indexes like a script, with its metamethods.
const INDEX: &str = "return function(table, key) return table[key] end";

/// One for each state.
pub(super) struct LpegShared {
    pub(super) most_backtracks: Cell<usize>,
    pub(super) memory: Rc<StateMemory>,
    matcher: RefCell<Option<Matcher>>,
    levels: Cell<usize>,
    /// What was done since the last look around.
    work: Cell<u32>,
    pcall: Function,
    /// `table.move`
    pub(super) copy: Function,
    pub(super) index: Function,
    nothing: Function,
}

impl LpegShared {
    pub(super) fn new(lua: &Lua, memory: &Rc<StateMemory>) -> mlua::Result<Self> {
        let library: mlua::Table = lua.globals().get("table")?;
        let load = |text| lua.load(text).set_name("=lpeg").eval();
        Ok(Self {
            most_backtracks: Cell::new(FIRST_MOST_BACKTRACKS),
            memory: Rc::clone(memory),
            matcher: RefCell::default(),
            levels: Cell::new(0),
            work: Cell::new(0),
            pcall: lua.globals().get("pcall")?,
            copy: library.get("move")?,
            index: load(INDEX)?,
            nothing: load(NOTHING)?,
        })
    }

    /// A matcher. A match within a match has one of its own.
    pub(super) fn take_matcher(&self) -> Matcher {
        self.matcher.take().unwrap_or_default()
    }

    pub(super) fn give_back(&self, matcher: Matcher) {
        if matcher.cost() <= KEPT_MEMORY {
            self.matcher.replace(Some(matcher));
        }
    }

    /// Calls a function of the script's. What it raises is what it was.
    pub(super) fn call(
        &self,
        function: Value,
        arguments: Vec<Value>,
    ) -> Result<MultiValue, LpegFault> {
        self.work.set(self.work.get().saturating_add(WORK_OF_CALL));
        let mut all = MultiValue::with_capacity(arguments.len() + 1);
        all.push_back(function);
        all.extend(arguments);
        let mut returned: MultiValue = self.pcall.call(all)?;
        match returned.pop_front() {
            Some(Value::Boolean(true)) => Ok(returned),
            _ => Err(LpegFault::Raised(returned.pop_front().unwrap_or_default())),
        }
    }

    /// Looks around after an amount of work, in captures and the like.
    pub(super) fn work(&self, amount: usize) -> Result<(), LpegFault> {
        let amount = u32::try_from(amount).unwrap_or(WORK);
        let work = self.work.get().saturating_add(amount);
        self.work.set(work);
        match work < WORK {
            true => Ok(()),
            false => self.look_around(),
        }
    }

    /// Lets Lua look whether the match is to end: it looks before an instruction of its own.
    pub(super) fn look_around(&self) -> Result<(), LpegFault> {
        self.work.set(0);
        let nothing = Value::Function(self.nothing.clone());
        self.call(nothing, Vec::new()).map(drop)
    }

    /// One level more, until it is dropped.
    pub(super) fn deeper(&self) -> Result<LpegLevel<'_>, LpegFault> {
        if self.levels.get() >= MOST_LEVELS {
            return Err(LpegFault::Text("subcapture nesting too deep".into()));
        }
        self.levels.set(self.levels.get() + 1);
        Ok(LpegLevel(self))
    }
}

/// A level of captures.
pub(super) struct LpegLevel<'a>(&'a LpegShared);

impl Drop for LpegLevel<'_> {
    fn drop(&mut self) {
        self.0.levels.set(self.0.levels.get() - 1);
    }
}
