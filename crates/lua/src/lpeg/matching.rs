//! A match of a pattern with a subject.

use std::rc::Rc;

use mlua::{FromLua, Function, Lua, LuaString, MultiValue, Value};
use moorline_lpeg::{CaptureKind, MatchEvent, Matcher, PegCode};

use super::evaluator::{Evaluator, MOST_RESULTS};
use super::fault::{LpegFault, raising};
use super::lua_pattern::LuaPattern;
use super::operand::{LuaValues, Operand};
use super::shared::{LpegShared, WORK};

/// `lpeg.match`
pub(super) fn function(lua: &Lua, shared: &Rc<LpegShared>) -> mlua::Result<Function> {
    raising(lua, shared, |lua, shared, arguments| {
        let call = LpegCall::new(lua, arguments)?;
        let mut matcher = shared.take_matcher();
        let result = call.run(lua, shared, &mut matcher);
        shared.give_back(matcher);
        result
    })
}

/// What a match is asked for.
struct LpegCall {
    code: Rc<PegCode>,
    values: LuaValues,
    subject: LuaString,
    /// Where it begins.
    position: usize,
    extra: Vec<Value>,
}

impl LpegCall {
    fn new(lua: &Lua, mut arguments: MultiValue) -> mlua::Result<Self> {
        let pattern = arguments.pop_front().unwrap_or_default();
        let subject = arguments.pop_front().unwrap_or_default();
        let init = arguments.pop_front().unwrap_or_default();
        let subject = LuaString::from_lua_arg(subject, 2, Some("match"), lua)?;
        let init = Option::<i64>::from_lua_arg(init, 3, Some("match"), lua)?;
        let (code, values) = match &pattern {
            Value::UserData(userdata) if userdata.is::<LuaPattern>() => {
                let pattern = userdata.borrow::<LuaPattern>()?;
                let values = pattern.values(userdata)?;
                (pattern.code(lua, userdata, &values)?, values)
            }
            _ => {
                let operand = Operand::new(lua, pattern, "match", 1)?;
                let code = PegCode::new(&operand.peg);
                let code = code.map_err(|error| operand.values.refused(error))?;
                (Rc::new(code), operand.values)
            }
        };
        let position = begin(init.unwrap_or(1), subject.as_bytes().len());
        Ok(Self {
            code,
            values,
            subject,
            position,
            extra: arguments.into(),
        })
    }

    /// The values that a match yields, or nil.
    fn run(
        &self,
        lua: &Lua,
        shared: &LpegShared,
        matcher: &mut Matcher,
    ) -> Result<Vec<Value>, LpegFault> {
        let subject = self.subject.as_bytes();
        let mut dynamic = Vec::new();
        matcher.start(self.position, shared.most_backtracks.get());
        loop {
            match matcher.run(&self.code, &subject, WORK)? {
                MatchEvent::Failed => return Ok(vec![Value::Nil]),
                MatchEvent::Paused => shared.look_around()?,
                MatchEvent::MatchTime { group, position } => {
                    shared.work(1)?;
                    dynamic.truncate(matcher.values());
                    let captures = matcher.captures();
                    let evaluator = self.evaluator(lua, shared, &subject, matcher, &dynamic);
                    let decided = self.decide(shared, evaluator, group, position)?;
                    let Some((next, values)) = decided else {
                        match matcher.refuse() {
                            Some(_) => return Ok(vec![Value::Nil]),
                            None => continue,
                        }
                    };
                    let first = captures[group..]
                        .iter()
                        .find(|capture| capture.kind == CaptureKind::MatchTime);
                    let kept = first.map_or(dynamic.len(), |first| first.key as usize);
                    dynamic.truncate(kept);
                    if kept + values.len() > MOST_RESULTS {
                        return Err(LpegFault::Text("too many runtime captures".into()));
                    }
                    matcher.agree(group, next, kept, values.len())?;
                    dynamic.extend(values);
                }
                MatchEvent::Matched(end) => {
                    dynamic.truncate(matcher.values());
                    let evaluator = self.evaluator(lua, shared, &subject, matcher, &dynamic);
                    return evaluator.all(end);
                }
            }
        }
    }

    fn evaluator<'a>(
        &'a self,
        lua: &'a Lua,
        shared: &'a LpegShared,
        subject: &'a [u8],
        matcher: &'a Matcher,
        dynamic: &'a [Value],
    ) -> Evaluator<'a> {
        Evaluator {
            lua,
            shared,
            captures: matcher.captures(),
            subject,
            values: &self.values,
            extra: &self.extra,
            dynamic,
            at: 0,
            stack: Vec::new(),
        }
    }

    /// Asks a function about a match up to a position. It tells where the match goes on, and what it captures.
    fn decide(
        &self,
        shared: &LpegShared,
        evaluator: Evaluator<'_>,
        group: usize,
        position: usize,
    ) -> Result<Option<(usize, Vec<Value>)>, LpegFault> {
        let (lua, length) = (evaluator.lua, evaluator.subject.len());
        let function = self.values.get(evaluator.captures[group].key)?;
        let mut arguments = vec![
            Value::String(self.subject.clone()),
            Value::Integer(position as i64 + 1),
        ];
        arguments.extend(evaluator.within(group)?);
        let mut returned = shared.call(function, arguments)?;
        let next = match returned.pop_front() {
            None | Some(Value::Nil | Value::Boolean(false)) => return Ok(None),
            Some(Value::Boolean(true)) => position,
            Some(value) => lua
                .coerce_integer(value)?
                .and_then(|next| usize::try_from(next.checked_sub(1)?).ok())
                .filter(|next| (position..=length).contains(next))
                .ok_or_else(|| {
                    let why = "invalid position returned by match-time capture";
                    LpegFault::Text(why.into())
                })?,
        };
        Ok(Some((next, returned.into())))
    }
}

/// Where a match begins: from the end, if it is not above 0. 0 is the end, as in LPeg.
fn begin(init: i64, length: usize) -> usize {
    let distance = usize::try_from(init.unsigned_abs()).unwrap_or(usize::MAX);
    match init > 0 {
        true => length.min(distance - 1),
        false => length.saturating_sub(distance),
    }
}
