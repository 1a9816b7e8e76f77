//! Texts that a connection fills in: keys of hashing, and every other template.

use std::fmt;

use moorline_config::{Template, TemplatePart, Variable};

/// A filled text has at most this number of bytes: more than any name, key or line of a log needs.
pub const MOST_FILLED: usize = 16 * 1024;

/// What a connection knows of itself.
pub trait Facts {
    /// Appends the value of this variable, or nothing if it is not known.
    fn write(&self, variable: Variable, text: &mut Text);
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

    /// Fills a template with what a connection knows, behind what is there.
    pub fn fill(&mut self, template: &Template, facts: &dyn Facts) {
        for part in template.parts() {
            match part {
                TemplatePart::Text(part) => self.push(part.as_bytes()),
                TemplatePart::Variable(variable) => facts.write(*variable, self),
            }
        }
    }
}

/// Never fails.
impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
