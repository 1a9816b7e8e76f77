//! Schemas as text.

use std::collections::BTreeMap;

use super::bundle::bundle;

/// A schema as its author wrote it.
#[derive(Debug, Default)]
pub(super) struct SprotoText {
    pub(super) types: BTreeMap<String, Vec<FieldText>>,
    pub(super) protocols: BTreeMap<String, ProtocolText>,
}

#[derive(Debug)]
pub(super) struct FieldText {
    pub(super) name: String,
    pub(super) tag: u32,
    pub(super) is_list: bool,
    pub(super) kind: String,
    /// What stands in brackets behind the type.
    pub(super) inner: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct ProtocolText {
    pub(super) tag: u32,
    pub(super) request: Option<String>,
    pub(super) response: Option<String>,
    pub(super) is_confirmed: bool,
}

/// The bundle of a text, or what is wrong with the text.
pub(super) fn parse(text: &str, name: &str) -> Result<Vec<u8>, String> {
    let mut parser = Parser {
        text,
        line: 1,
        name,
        schema: SprotoText::default(),
    };
    parser.schema()?;
    bundle(parser.schema)
}

/// How deep types may lie in types.
const DEEPEST: usize = 64;

struct Parser<'a> {
    /// What is left.
    text: &'a str,
    line: usize,
    name: &'a str,
    schema: SprotoText,
}

impl<'a> Parser<'a> {
    fn schema(&mut self) -> Result<(), String> {
        while !self.is_at_end() {
            match self.eat('.') {
                true => self.struct_type(None, 0)?,
                false => self.protocol()?,
            }
        }
        Ok(())
    }

    /// A type, behind its dot, and those in it.
    fn struct_type(&mut self, within: Option<&str>, depth: usize) -> Result<(), String> {
        let own = self.word()?;
        let name = match within {
            Some(within) => format!("{within}.{own}"),
            None => own.to_owned(),
        };
        self.body(&name, depth)
    }

    fn body(&mut self, name: &str, depth: usize) -> Result<(), String> {
        self.expect('{')?;
        if depth == DEEPEST {
            return Err(self.wrong());
        }
        let mut fields: Vec<FieldText> = Vec::new();
        while !self.eat('}') {
            if self.eat('.') {
                self.struct_type(Some(name), depth + 1)?;
                continue;
            }
            let field = self.field()?;
            if fields.iter().any(|other| other.name == field.name) {
                return Err(format!("redefine {} in type {name}", field.name));
            }
            if fields.iter().any(|other| other.tag == field.tag) {
                return Err(format!("redefine tag {} in type {name}", field.tag));
            }
            fields.push(field);
        }
        fields.sort_by_key(|field| field.tag);
        match self.schema.types.insert(name.to_owned(), fields) {
            None => Ok(()),
            Some(_) => Err(format!("redefined {name}")),
        }
    }

    fn field(&mut self) -> Result<FieldText, String> {
        let name = self.word()?.to_owned();
        let tag = self.tag()?;
        self.expect(':')?;
        let is_list = self.eat('*');
        let kind = self.path()?;
        let mut inner = None;
        if self.eat('(') {
            self.skip();
            let word = self.take(|sign| sign.is_ascii_alphanumeric() || sign == '_');
            inner = Some(word.to_owned());
            self.expect(')')?;
        }
        Ok(FieldText {
            name,
            tag,
            is_list,
            kind,
            inner,
        })
    }

    fn protocol(&mut self) -> Result<(), String> {
        let name = self.word()?.to_owned();
        let mut protocol = ProtocolText {
            tag: self.tag()?,
            ..ProtocolText::default()
        };
        self.expect('{')?;
        while !self.eat('}') {
            let part = self.word()?;
            self.skip();
            let kind = match self.text.starts_with('{') {
                true => {
                    let kind = format!("{name}.{part}");
                    self.body(&kind, 0)?;
                    kind
                }
                false => self.path()?,
            };
            let place = match part {
                "request" => &mut protocol.request,
                "response" => &mut protocol.response,
                _ => return Err(self.wrong()),
            };
            if place.is_some() {
                return Err(format!("redefine {part} in protocol {name}"));
            }
            match (kind.as_str(), part) {
                ("nil", "response") => protocol.is_confirmed = true,
                ("nil", _) => {}
                _ => *place = Some(kind),
            }
        }
        match self.schema.protocols.insert(name.clone(), protocol) {
            None => Ok(()),
            Some(_) => Err(format!("redefined {name}")),
        }
    }

    fn word(&mut self) -> Result<&'a str, String> {
        self.skip();
        match self
            .text
            .starts_with(|sign: char| sign.is_ascii_alphabetic() || sign == '_')
        {
            true => Ok(self.take(|sign| sign.is_ascii_alphanumeric() || sign == '_')),
            false => Err(self.wrong()),
        }
    }

    /// Words with dots between them.
    fn path(&mut self) -> Result<String, String> {
        let mut path = self.word()?.to_owned();
        while self.text.starts_with('.') {
            self.text = &self.text[1..];
            path = format!("{path}.{}", self.word()?);
        }
        Ok(path)
    }

    fn tag(&mut self) -> Result<u32, String> {
        self.skip();
        let digits = self.take(|sign| sign.is_ascii_digit());
        digits.parse().map_err(|_| self.wrong())
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.text.find(|sign| !belongs(sign));
        let (taken, rest) = self.text.split_at(end.unwrap_or(self.text.len()));
        self.text = rest;
        taken
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        match self.eat(sign) {
            true => Ok(()),
            false => Err(self.wrong()),
        }
    }

    fn eat(&mut self, sign: char) -> bool {
        self.skip();
        match self.text.strip_prefix(sign) {
            Some(rest) => {
                self.text = rest;
                true
            }
            None => false,
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.skip();
        self.text.is_empty()
    }

    /// Leaves out blanks and comments.
    fn skip(&mut self) {
        loop {
            let blanks = self.take(|sign| matches!(sign, ' ' | '\t' | '\r' | '\n'));
            self.line += blanks.matches('\n').count();
            if !self.text.starts_with('#') {
                return;
            }
            self.take(|sign| sign != '\n');
        }
    }

    fn wrong(&self) -> String {
        format!("syntax error at [{}] line ({})", self.name, self.line)
    }
}
