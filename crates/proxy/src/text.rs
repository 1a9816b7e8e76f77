//! Texts that a connection fills in: keys of hashing, and every other template.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;

use moorline_config::{NameId, Template, TemplatePart, Variable};

use super::maps::{Groups, Maps};

/// A filled text has at most this number of bytes: more than any name, key or line of a log needs.
pub const MOST_FILLED: usize = 16 * 1024;

/// Maps and set variables that may be asked for one text: maps that have others twice could go on for ever.
const MOST_STEPS: u32 = 1000;

/// What a connection knows of itself.
pub trait Facts {
    /// Appends the value of this variable, or nothing if it is not known.
    fn write(&self, variable: Variable, text: &mut Text);

    /// The maps that its texts mean.
    fn maps(&self) -> &Maps;

    /// The text of this variable, if its listener sets it.
    fn set(&self, name: NameId) -> Option<&Template>;
}

/// A filled text. What goes beyond [`MOST_FILLED`] bytes is left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Text {
    bytes: Vec<u8>,
}

impl Text {
    /// Appends these bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = MOST_FILLED - self.bytes.len();
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Its bytes so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Fills a template with what a connection knows, behind what is there. Maps and set variables beyond the first thousand are
    /// empty.
    pub fn fill(&mut self, template: &Template, facts: &dyn Facts) {
        let filling = Filling::new(facts);
        template
            .parts()
            .iter()
            .for_each(|part| filling.fill_part(part, None, self));
    }

    /// The same, and returns the places of what the connection alone has chosen: values of variables and groups of patterns, also
    /// where they are empty and where maps and set variables have them. All the rest is written in the configuration.
    pub fn fill_noting(&mut self, template: &Template, facts: &dyn Facts) -> Vec<Range<usize>> {
        let chosen = RefCell::default();
        let mut filling = Filling::new(facts);
        filling.chosen = Some(&chosen);
        filling.fill(template, None, self);
        chosen.into_inner()
    }

    /// The same as [`fill`](Self::fill) for a part of one.
    pub fn fill_part(&mut self, part: &TemplatePart, facts: &dyn Facts) {
        Filling::new(facts).fill_part(part, None, self);
    }
}

/// Never fails.
impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// A text on its way.
struct Filling<'a> {
    facts: &'a dyn Facts,
    steps: Cell<u32>,
    /// The places in the text that the connection has chosen, if someone asks.
    chosen: Option<&'a RefCell<Vec<Range<usize>>>>,
}

impl<'a> Filling<'a> {
    fn new(facts: &'a dyn Facts) -> Self {
        Self {
            facts,
            steps: Cell::new(0),
            chosen: None,
        }
    }

    fn fill(&self, template: &Template, groups: Option<&Groups<'_>>, text: &mut Text) {
        for part in template.parts() {
            self.fill_part(part, groups, text);
        }
    }

    fn fill_part(&self, part: &TemplatePart, groups: Option<&Groups<'_>>, text: &mut Text) {
        let begin = text.bytes.len();
        match part {
            TemplatePart::Text(part) => text.push(part.as_bytes()),
            TemplatePart::Variable(variable) => self.facts.write(*variable, text),
            TemplatePart::Group(group) => {
                let found = groups.and_then(|groups| groups.get(usize::from(*group)));
                text.push(found.map_or(&[], |found| found.as_bytes()));
            }
            TemplatePart::Map(name) => self.fill_map(*name, text),
            TemplatePart::Set(name) => {
                if let Some(set) = self.facts.set(*name)
                    && self.may_go_on()
                {
                    self.fill(set, None, text);
                }
            }
        }
        if let (TemplatePart::Variable(_) | TemplatePart::Group(_), Some(chosen)) =
            (part, self.chosen)
        {
            chosen.borrow_mut().push(begin..text.bytes.len());
        }
    }

    fn fill_map(&self, name: NameId, text: &mut Text) {
        let Some(map) = self.facts.maps().get(name) else {
            return;
        };
        if !self.may_go_on() {
            return;
        }
        let mut from = Text::default();
        // What is looked up is not in the text.
        let asking = Filling {
            facts: self.facts,
            steps: self.steps.clone(),
            chosen: None,
        };
        asking.fill(map.from(), None, &mut from);
        self.steps.set(asking.steps.get());
        map.look_up(from.as_bytes(), |value, groups| {
            self.fill(value, groups, text);
        });
    }

    fn may_go_on(&self) -> bool {
        self.steps.set(self.steps.get() + 1);
        self.steps.get() <= MOST_STEPS
    }
}
