//! Texts with variables, as in `"${client.address}"`. They are resolved when the configuration is loaded.

use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::near;
use super::walk::Field;

/// Parts of one text: more than any reader could follow.
const MOST_PARTS: usize = 64;

/// What a connection fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Variable {
    /// `${client.address}`: the client's IP address, behind trusted proxies the one that they name; empty for a client on
    /// a Unix socket.
    ClientAddress,
    /// `${client.port}`: its port; empty as above.
    ClientPort,
    /// `${listener}`: the name of the listener.
    Listener,
}

/// Every variable, as it is written.
const VARIABLES: &[(&str, Variable)] = &[
    ("client.address", Variable::ClientAddress),
    ("client.port", Variable::ClientPort),
    ("listener", Variable::Listener),
];

/// A text with places for variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(Vec<TemplatePart>);

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TemplatePart {
    /// It is the same for all.
    Text(String),
    /// A connection fills it in.
    Variable(Variable),
}

impl Template {
    /// Its pieces, in order.
    pub fn parts(&self) -> &[TemplatePart] {
        &self.0
    }

    /// Whether a connection must know this variable.
    pub fn uses(&self, variable: Variable) -> bool {
        self.0.contains(&TemplatePart::Variable(variable))
    }
}

/// `$$` is a dollar sign.
pub(super) fn template(field: &Field<'_>) -> Result<Template, Reported> {
    let mut rest = field.text()?;
    let (mut parts, mut text) = (Vec::new(), String::new());
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
            continue;
        }
        let named = after.strip_prefix('{').and_then(|it| it.split_once('}'));
        let Some((name, after)) = named else {
            return Err(field.refuse(
                format!("`{}`: a `$` begins no variable", field.key),
                "write ${client.address}, or $$ for a dollar sign",
            ));
        };
        if !text.is_empty() {
            parts.push(TemplatePart::Text(std::mem::take(&mut text)));
        }
        parts.push(TemplatePart::Variable(variable(field, name)?));
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(TemplatePart::Text(text));
    }
    if parts.len() > MOST_PARTS {
        let message = format!("`{}` has over {MOST_PARTS} parts", field.key);
        return Err(field.refuse(message, "write fewer variables"));
    }
    Ok(Template(parts))
}

fn variable(field: &Field<'_>, name: &str) -> Result<Variable, Reported> {
    let known = VARIABLES.iter().find(|(known, _)| *known == name);
    if let Some((_, variable)) = known {
        return Ok(*variable);
    }
    let names = || VARIABLES.iter().map(|(name, _)| *name);
    let hint = match near::nearest(name, names()) {
        Some(meant) => format!("did you mean ${{{meant}}}?"),
        None => {
            let names: Vec<_> = names().map(|name| format!("${{{name}}}")).collect();
            format!("write one of {}", names.join(", "))
        }
    };
    let message = format!("`{}`: there is no variable {name:?}", field.key);
    Err(field.refuse(message, hint))
}
