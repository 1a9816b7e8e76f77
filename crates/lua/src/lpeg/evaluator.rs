//! What captures become.

use mlua::{Lua, LuaString, Table, Value};
use moorline_lpeg::{Capture, CaptureKind, NO_KEY, end_of};

use super::fault::LpegFault;
use super::operand::{LuaValues, shown};
use super::shared::LpegShared;

/// The most values that a match yields at once, or that wait for a table or a function. Lua's stack has room for a few times as many.
pub(super) const MOST_RESULTS: usize = 200_000;
/// The captures that a template names: the whole match, and nine in it.
const MOST_IN_TEMPLATE: usize = 10;
/// The longest text that captures make, in bytes.
const LONGEST_TEXT: usize = 64 << 20;
/// The values that go into a table at once.
const BATCH: usize = 64;

/// Makes values of captures.
pub(super) struct Evaluator<'a> {
    pub(super) lua: &'a Lua,
    pub(super) shared: &'a LpegShared,
    pub(super) captures: &'a [Capture],
    pub(super) subject: &'a [u8],
    pub(super) values: &'a LuaValues,
    /// What the match was called with.
    pub(super) extra: &'a [Value],
    /// What functions have returned while the match ran.
    pub(super) dynamic: &'a [Value],
    /// The next capture.
    pub(super) at: usize,
    /// The values until now. An accumulator changes the last.
    pub(super) stack: Vec<Value>,
}

impl Evaluator<'_> {
    /// The values of a match up to a position.
    pub(super) fn all(mut self, end: usize) -> Result<Vec<Value>, LpegFault> {
        while self.at < self.captures.len() {
            self.capture()?;
        }
        if self.stack.is_empty() {
            self.stack.push(Value::Integer(end as i64 + 1));
        }
        Ok(self.stack)
    }

    /// The values within a capture.
    pub(super) fn within(mut self, at: usize) -> Result<Vec<Value>, LpegFault> {
        self.at = at;
        self.nested()?;
        Ok(self.stack)
    }

    fn push(&mut self, value: Value) -> Result<(), LpegFault> {
        if self.stack.len() >= MOST_RESULTS {
            let why = format!("too many captures (limit is {MOST_RESULTS} values)");
            return Err(LpegFault::Text(why));
        }
        self.stack.push(value);
        Ok(())
    }

    /// Pushes the values of the next capture.
    fn capture(&mut self) -> Result<(), LpegFault> {
        let _level = self.shared.deeper()?;
        self.shared.work(1)?;
        let capture = self.captures[self.at];
        match capture.kind {
            CaptureKind::Position => {
                self.at += 1;
                self.push(Value::Integer(capture.position as i64 + 1))
            }
            CaptureKind::Constant => {
                self.at += 1;
                self.push(self.values.get(capture.key)?)
            }
            CaptureKind::Argument => {
                self.at += 1;
                let number = capture.key as usize;
                let argument = number.checked_sub(1).and_then(|at| self.extra.get(at));
                match argument.cloned() {
                    Some(argument) => self.push(argument),
                    None => Err(LpegFault::Text(format!(
                        "reference to absent extra argument #{number}"
                    ))),
                }
            }
            CaptureKind::MatchTime => {
                self.at += 1;
                let value = self.dynamic.get(capture.key as usize).cloned();
                self.push(value.unwrap_or_default())
            }
            CaptureKind::Simple => self.simple(),
            CaptureKind::Group if capture.key != NO_KEY => {
                self.at = end_of(self.captures, self.at);
                Ok(())
            }
            CaptureKind::Group => self.nested(),
            CaptureKind::Template | CaptureKind::Substitution => {
                let text = self.replaced(capture.kind)?;
                let text = self.lua.create_string(text)?;
                self.push(Value::String(text))
            }
            CaptureKind::Table => self.table(),
            CaptureKind::Back => self.back(),
            CaptureKind::Number => self.number(capture.key as usize),
            CaptureKind::Function
            | CaptureKind::Query
            | CaptureKind::Fold
            | CaptureKind::Accumulator => self.computed(capture),
            // The end of a capture belongs to it.
            CaptureKind::Close => {
                self.at += 1;
                Ok(())
            }
        }
    }

    /// Pushes what the next capture has matched, and the values in it.
    fn simple(&mut self) -> Result<(), LpegFault> {
        let from = self.stack.len();
        let text = self.text(self.at)?;
        match self.captures[self.at].is_open() {
            true => self.nested_only()?,
            false => self.at += 1,
        }
        self.push(Value::Nil)?;
        self.stack[from..].rotate_right(1);
        self.stack[from] = text;
        Ok(())
    }

    /// Where a capture is in the subject.
    fn extent(&self, at: usize) -> std::ops::Range<usize> {
        let capture = &self.captures[at];
        let end = match capture.length() {
            Some(length) => capture.position + length,
            None => self.captures[end_of(self.captures, at) - 1].position,
        };
        capture.position..end
    }

    /// What a capture has matched, as a value.
    fn text(&self, at: usize) -> Result<Value, LpegFault> {
        let text = self.subject.get(self.extent(at)).unwrap_or_default();
        Ok(Value::String(self.lua.create_string(text)?))
    }

    /// Pushes the values in the next capture, or else what it has matched.
    fn nested(&mut self) -> Result<(), LpegFault> {
        let (at, from) = (self.at, self.stack.len());
        match self.captures[at].is_open() {
            true => self.nested_only()?,
            false => self.at += 1,
        }
        match self.stack.len() == from {
            true => self.push(self.text(at)?),
            false => Ok(()),
        }
    }

    /// Pushes the values in the next capture, which is open.
    fn nested_only(&mut self) -> Result<(), LpegFault> {
        self.at += 1;
        while !self.captures[self.at].is_close() {
            self.capture()?;
        }
        self.at += 1;
        Ok(())
    }

    /// The first of the values in the next capture.
    fn first_nested(&mut self) -> Result<Value, LpegFault> {
        let from = self.stack.len();
        self.nested()?;
        let first = self.stack.drain(from..).next();
        Ok(first.unwrap_or_default())
    }

    fn table(&mut self) -> Result<(), LpegFault> {
        let table = self.lua.create_table()?;
        let (from, mut length) = (self.stack.len(), 0);
        let is_open = self.captures[self.at].is_open();
        self.at += 1;
        while is_open && !self.captures[self.at].is_close() {
            let capture = self.captures[self.at];
            if capture.kind == CaptureKind::Group && capture.key != NO_KEY {
                let name = self.values.get(capture.key)?;
                let _level = self.shared.deeper()?;
                let value = self.first_nested()?;
                table.raw_set(name, value)?;
                continue;
            }
            self.capture()?;
            // The last waits: it may be changed.
            if self.stack.len() > from + BATCH {
                length = self.store(&table, from, length, 1)?;
            }
        }
        self.at += usize::from(is_open);
        self.store(&table, from, length, 0)?;
        self.push(Value::Table(table))
    }

    /// Moves values to the end of a table, but the last few. Tells how many it has then: they may be nil.
    fn store(
        &mut self,
        table: &Table,
        from: usize,
        mut length: i64,
        but: usize,
    ) -> Result<i64, LpegFault> {
        let end = self.stack.len() - but;
        for value in self.stack.drain(from..end) {
            length += 1;
            table.raw_set(length, value)?;
        }
        Ok(length)
    }

    /// Pushes what the last group with a name has captured. Groups within captures that have ended are not seen.
    fn back(&mut self) -> Result<(), LpegFault> {
        let name = self.values.get(self.captures[self.at].key)?;
        let here = self.at;
        let mut at = here;
        while at > 0 {
            at -= 1;
            let capture = self.captures[at];
            self.shared.work(1)?;
            if capture.is_close() {
                let close = at;
                at = self.opening_of(close);
                self.shared.work(close - at)?;
            } else if capture.is_open() {
                // It is around this one.
                continue;
            }
            let group = self.captures[at];
            if group.kind == CaptureKind::Group
                && group.key != NO_KEY
                && self.values.get(group.key)? == name
            {
                self.at = at;
                self.nested()?;
                self.at = here + 1;
                return Ok(());
            }
        }
        let name = shown(&name);
        Err(LpegFault::Text(format!(
            "back reference '{name}' not found"
        )))
    }

    /// The opening of the capture that ends at an index.
    fn opening_of(&self, close: usize) -> usize {
        let mut depth = 0_usize;
        for at in (0..=close).rev() {
            let capture = &self.captures[at];
            depth += usize::from(capture.is_close());
            depth -= usize::from(capture.is_open());
            if depth == 0 {
                return at;
            }
        }
        0
    }

    /// Pushes one of the values in a capture.
    fn number(&mut self, number: usize) -> Result<(), LpegFault> {
        let Some(index) = number.checked_sub(1) else {
            self.at = end_of(self.captures, self.at);
            return Ok(());
        };
        let from = self.stack.len();
        self.nested()?;
        let chosen = self.stack.drain(from..).nth(index);
        match chosen {
            Some(chosen) => self.push(chosen),
            None => Err(LpegFault::Text(format!("no capture '{number}'"))),
        }
    }

    /// Pushes what the script makes of captures.
    fn computed(&mut self, capture: Capture) -> Result<(), LpegFault> {
        let maker = self.values.get(capture.key)?;
        let from = self.stack.len();
        match capture.kind {
            CaptureKind::Fold => self.fold(&maker),
            CaptureKind::Query => {
                let key = self.first_nested()?;
                match self.look_up(maker, key)? {
                    Value::Nil => Ok(()),
                    value => self.push(value),
                }
            }
            CaptureKind::Accumulator => {
                let Some(before) = self.stack.pop() else {
                    let why = "no previous value for accumulator capture";
                    return Err(LpegFault::Text(why.into()));
                };
                let from = self.stack.len();
                self.nested()?;
                let nested = self.stack.drain(from..);
                let arguments = std::iter::once(before).chain(nested).collect();
                let returned = self.shared.call(maker, arguments)?.pop_front();
                self.push(returned.unwrap_or_default())
            }
            _ => {
                self.nested()?;
                let arguments = self.stack.drain(from..).collect();
                for value in self.shared.call(maker, arguments)? {
                    self.push(value)?;
                }
                Ok(())
            }
        }
    }

    fn look_up(&self, table: Value, key: Value) -> Result<Value, LpegFault> {
        if let Value::Table(table) = &table {
            match table.raw_get(&key)? {
                Value::Nil if table.metatable().is_some() => {}
                value => return Ok(value),
            }
        }
        let index = Value::Function(self.shared.index.clone());
        let mut returned = self.shared.call(index, vec![table, key])?;
        Ok(returned.pop_front().unwrap_or_default())
    }

    fn fold(&mut self, function: &Value) -> Result<(), LpegFault> {
        let none = || LpegFault::Text("no initial value for fold capture".into());
        if !self.captures[self.at].is_open() {
            return Err(none());
        }
        self.at += 1;
        let from = self.stack.len();
        if !self.captures[self.at].is_close() {
            self.capture()?;
        }
        let mut sum = self.stack.drain(from..).next().ok_or_else(none)?;
        while !self.captures[self.at].is_close() {
            self.capture()?;
            let next = self.stack.drain(from..);
            let arguments = std::iter::once(sum).chain(next).collect();
            let returned = self.shared.call(function.clone(), arguments)?;
            sum = returned.into_iter().next().unwrap_or_default();
        }
        self.at += 1;
        self.push(sum)
    }

    /// The text of a template or a substitution.
    fn replaced(&mut self, kind: CaptureKind) -> Result<Vec<u8>, LpegFault> {
        let mut text = Vec::new();
        match kind {
            CaptureKind::Template => self.fill(&mut text)?,
            _ => self.substitute(&mut text)?,
        }
        Ok(text)
    }

    /// Adds what the next capture matched, with the captures in it instead of what they matched.
    fn substitute(&mut self, text: &mut Vec<u8>) -> Result<(), LpegFault> {
        let extent = self.extent(self.at);
        let mut from = extent.start;
        let is_open = self.captures[self.at].is_open();
        self.at += 1;
        while is_open && !self.captures[self.at].is_close() {
            let nested = self.extent(self.at);
            add_text(
                text,
                self.subject.get(from..nested.start).unwrap_or_default(),
            )?;
            from = match self.add_one(text, "replacement")? {
                true => nested.end,
                false => nested.start,
            };
        }
        self.at += usize::from(is_open);
        add_text(text, self.subject.get(from..extent.end).unwrap_or_default())
    }

    /// Adds the template of the next capture, with captures instead of their numbers.
    fn fill(&mut self, text: &mut Vec<u8>) -> Result<(), LpegFault> {
        let template = self.values.get(self.captures[self.at].key)?;
        let Value::String(template) = template else {
            return Err(LpegFault::Text("a template is no string".into()));
        };
        let mut places = Vec::with_capacity(MOST_IN_TEMPLATE);
        self.number_captures(&mut places);
        let after = self.at;
        let template = template.as_bytes();
        let mut bytes = template.iter();
        while let Some(byte) = bytes.next() {
            let next = match byte {
                b'%' => bytes.next(),
                byte => {
                    text.push(*byte);
                    continue;
                }
            };
            match next {
                Some(digit @ b'0'..=b'9') => {
                    let number = usize::from(digit - b'0');
                    let Some(at) = places.get(number) else {
                        let why = format!("invalid capture index ({number})");
                        return Err(LpegFault::Text(why));
                    };
                    self.add_numbered(text, number, *at)?;
                }
                // The zero after a text of C, as in LPeg.
                other => text.push(other.copied().unwrap_or(0)),
            }
        }
        self.at = after;
        Ok(())
    }

    /// Adds the capture that a number of a template means.
    fn add_numbered(
        &mut self,
        text: &mut Vec<u8>,
        number: usize,
        at: usize,
    ) -> Result<(), LpegFault> {
        if number == 0 || self.captures[at].kind == CaptureKind::Simple {
            let whole = self.subject.get(self.extent(at)).unwrap_or_default();
            return add_text(text, whole);
        }
        self.at = at;
        match self.add_one(text, "capture")? {
            true => Ok(()),
            false => {
                let why = format!("no values in capture index {number}");
                Err(LpegFault::Text(why))
            }
        }
    }

    /// Numbers the next capture and those in it. Of texts those within count, too; of others they do not.
    fn number_captures(&mut self, places: &mut Vec<usize>) {
        let end = end_of(self.captures, self.at);
        places.push(self.at);
        let mut at = self.at + 1;
        while at < end && places.len() < MOST_IN_TEMPLATE {
            let capture = self.captures[at];
            if capture.is_close() {
                at += 1;
                continue;
            }
            places.push(at);
            at = match capture.kind {
                CaptureKind::Simple => at + 1,
                _ => end_of(self.captures, at),
            };
        }
        self.at = end;
    }

    /// Adds the first value of the next capture. False if it has none.
    fn add_one(&mut self, text: &mut Vec<u8>, what: &str) -> Result<bool, LpegFault> {
        let kind = self.captures[self.at].kind;
        match kind {
            CaptureKind::Template | CaptureKind::Substitution => {
                let _level = self.shared.deeper()?;
                match kind {
                    CaptureKind::Template => self.fill(text)?,
                    _ => self.substitute(text)?,
                }
                return Ok(true);
            }
            CaptureKind::Accumulator => {
                let why = "invalid context for an accumulator capture";
                return Err(LpegFault::Text(why.into()));
            }
            _ => {}
        }
        let from = self.stack.len();
        self.capture()?;
        if self.stack.len() <= from {
            return Ok(false);
        }
        let first = self.stack.drain(from..).next().unwrap_or_default();
        let found = first.type_name();
        let first: Option<LuaString> = match first {
            Value::String(_) | Value::Integer(_) | Value::Number(_) => {
                self.lua.coerce_string(first)?
            }
            _ => None,
        };
        let first =
            first.ok_or_else(|| LpegFault::Text(format!("invalid {what} value (a {found})")))?;
        add_text(text, &first.as_bytes())?;
        Ok(true)
    }
}

/// Adds to a text that captures make.
fn add_text(text: &mut Vec<u8>, more: &[u8]) -> Result<(), LpegFault> {
    if text.len().saturating_add(more.len()) > LONGEST_TEXT {
        let why = format!("text of captures too long (limit is {LONGEST_TEXT} bytes)");
        return Err(LpegFault::Text(why));
    }
    text.extend_from_slice(more);
    Ok(())
}
