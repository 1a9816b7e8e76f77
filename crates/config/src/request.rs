//! Which requests become WebSocket sessions, where the app does not decide.

use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::walk::{Field, Section};

/// The longest name of a subprotocol, in bytes.
const LONGEST_PROTOCOL: usize = 255;

/// What a request must show to become a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRules {
    /// The web pages that may open sessions.
    pub origins: Origins,
    /// The hosts that are served; none: any.
    pub hosts: Vec<Pattern>,
    /// The subprotocols that are spoken, in order of preference; none: no subprotocol is agreed on.
    pub subprotocols: Vec<String>,
}

/// The web pages that may open sessions. Programs that are no browsers send no `Origin`, and need none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origins {
    /// Those of the host that the request is for.
    #[default]
    Same,
    /// Any.
    Any,
    /// Those of the host that the request is for, and these: `https://example.org`, `https://*.example.org`.
    These(Vec<Pattern>),
}

/// A name, or all names that end as it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// What must stand before the name: a scheme with `://`, or nothing.
    pub scheme: String,
    /// Some name may stand before `name`.
    pub any_below: bool,
    /// The name with its port, in lower case; with `any_below` from its first dot on.
    pub name: String,
}

impl Pattern {
    /// Reads `name`, `*.name`, `scheme://name` or `scheme://*.name`, each perhaps with a port. `None`: it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, name) = match text.split_once("://") {
            Some((scheme, name)) => (format!("{}://", scheme.to_ascii_lowercase()), name),
            None => (String::new(), text),
        };
        let (any_below, name) = match name.strip_prefix('*') {
            Some(rest) if rest.starts_with('.') => (true, rest),
            Some(_) => return None,
            None => (false, name),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        let is_right = name.len() > 1 || (name.len() == 1 && name != ".");
        (is_right && name.chars().all(is_name)).then(|| Self {
            scheme,
            any_below,
            name: name.to_ascii_lowercase(),
        })
    }

    /// Whether this scheme (empty, or with `://`) and name fit it.
    pub fn fits(&self, scheme: &str, name: &str) -> bool {
        if !self.scheme.eq_ignore_ascii_case(scheme) {
            return false;
        }
        match self.any_below {
            false => self.name.eq_ignore_ascii_case(name),
            true => {
                let start = name.len().saturating_sub(self.name.len());
                start > 0
                    && name
                        .get(start..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(&self.name))
            }
        }
    }
}

/// Whether this is a token of HTTP (RFC 9110 §5.6.2).
pub fn is_token(text: &str) -> bool {
    let is_one = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_one)
}

/// Whether a WebSocket subprotocol may have this name.
pub fn is_subprotocol(name: &str) -> bool {
    name.len() <= LONGEST_PROTOCOL && is_token(name)
}

/// Reads the rules of a listener.
pub(super) fn rules(section: &Section<'_>) -> Result<RequestRules, Reported> {
    let origins = section.read("origins", |field| origins(&field));
    let hosts = section.read("hosts", |field| {
        let hint = r#"write hosts = ["example.org", "*.example.org"]"#;
        patterns(&field, hint, |pattern| pattern.scheme.is_empty())
    });
    let subprotocols = section.read("subprotocols", |field| subprotocols(&field));
    Ok(RequestRules {
        origins: origins?.unwrap_or_default(),
        hosts: hosts?.unwrap_or_default(),
        subprotocols: subprotocols?.unwrap_or_default(),
    })
}

fn origins(field: &Field<'_>) -> Result<Origins, Reported> {
    let hint =
        r#"write "same", "any", or origins = ["https://example.org", "https://*.example.org"]"#;
    if !field.is_array() {
        return match field.string() {
            Ok("same") => Ok(Origins::Same),
            Ok("any") => Ok(Origins::Any),
            Ok(other) => {
                let message =
                    format!("`origins` is {other:?}, which is neither a word of it nor a list");
                Err(field.refuse(message, hint))
            }
            Err(reported) => Err(reported),
        };
    }
    patterns(field, hint, |pattern| !pattern.scheme.is_empty()).map(Origins::These)
}

fn patterns(
    field: &Field<'_>,
    hint: &str,
    is_right: impl Fn(&Pattern) -> bool,
) -> Result<Vec<Pattern>, Reported> {
    let mut patterns = Vec::new();
    for entry in field.array(hint)? {
        let text = entry.text()?;
        match Pattern::parse(text).filter(&is_right) {
            Some(pattern) => patterns.push(pattern),
            None => {
                let message = format!("`{}`: {text:?} is not of that form", field.key);
                return Err(entry.refuse(message, hint));
            }
        }
    }
    Ok(patterns)
}

fn subprotocols(field: &Field<'_>) -> Result<Vec<String>, Reported> {
    let hint = r#"write subprotocols = ["chat.v2", "chat.v1"], the preferred one first"#;
    let mut names = Vec::new();
    for entry in field.array(hint)? {
        let name = entry.text()?;
        if !is_subprotocol(name) {
            let message = format!("`subprotocols`: {name:?} cannot be the name of one (RFC 6455)");
            return Err(entry.refuse(message, "write letters, digits, dots and dashes"));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_its_name_or_those_below_it() {
        let one = Pattern::parse("https://Example.org").expect("it is right");
        assert!(one.fits("https://", "example.ORG"));
        assert!(!one.fits("http://", "example.org") && !one.fits("https://", "a.example.org"));
        let below = Pattern::parse("https://*.example.org:8443").expect("it is right");
        assert!(below.fits("https://", "a.b.example.org:8443"));
        assert!(!below.fits("https://", "example.org:8443"));
        assert!(!below.fits("https://", "evilexample.org:8443"));
        for wrong in ["", "*", "*example.org", "a b", "https://", "http://x/y"] {
            assert_eq!(Pattern::parse(wrong), None, "{wrong}");
        }
    }
}
