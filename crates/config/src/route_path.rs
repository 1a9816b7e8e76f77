//! The paths of a route: `/chat/:room`, `/files/*rest`.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

/// A path that no route may see: a part of it is `.`, `..` or no UTF-8, or has a NUL byte or a slash in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPath;

/// The paths of a route, part by part.
///
/// A path is split at its slashes, and each part is percent-decoded then: an encoded slash never separates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutePath {
    text: String,
    parts: Vec<Part>,
    /// Those parts without the names of parameters: what two routes must not have in common, in the order of routes.
    specificity: Vec<Specificity>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    /// This text, decoded.
    Literal(String),
    /// Any text but an empty one, under this name.
    Parameter(String),
    /// All that follows, under this name; also nothing.
    Rest(String),
}

/// How much a part says. What says more comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Specificity {
    Literal(String),
    Parameter,
    Rest,
}

/// Why a text is no path of a route.
#[derive(Debug)]
pub struct WrongPath {
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub hint: String,
}

const NAME_HINT: &str =
    "write a name of letters, digits and _, as in \"/chat/:room\" or \"/files/*rest\"";

impl RoutePath {
    /// All paths.
    pub fn all() -> Self {
        Self::new("/*".into(), vec![Part::Rest(String::new())])
    }

    fn new(text: String, parts: Vec<Part>) -> Self {
        let specificity = parts.iter().map(|part| match part {
            Part::Literal(text) => Specificity::Literal(text.clone()),
            Part::Parameter(_) => Specificity::Parameter,
            Part::Rest(_) => Specificity::Rest,
        });
        Self {
            specificity: specificity.collect(),
            text,
            parts,
        }
    }

    /// Reads one as it is written in a configuration.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, WrongPath> {
        let wrong = |problem: String, hint: &str| WrongPath {
            problem,
            hint: hint.into(),
        };
        let Some(below) = text.strip_prefix('/') else {
            let problem = format!("is {text:?}, and a path begins with a slash");
            return Err(wrong(problem, &format!("write \"/{text}\"")));
        };
        // Other bytes arrive percent-encoded in a request.
        let is_sent_as_it_is =
            |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
        if let Some(other) = text.chars().find(|c| !is_sent_as_it_is(*c)) {
            let problem = format!("contains {other:?}, which a request's path cannot");
            return Err(wrong(problem, r#"write the path alone, such as "/ws""#));
        }
        let count = below.split('/').count();
        let mut parts = Vec::with_capacity(count);
        let mut names: Vec<&str> = Vec::new();
        for (at, part) in below.split('/').enumerate() {
            let parsed = match part.as_bytes().first() {
                Some(b':') => Part::Parameter(part[1..].to_owned()),
                Some(b'*') if at + 1 < count => {
                    let problem = format!("has {part:?} before its end");
                    return Err(wrong(problem, "write it as the last part"));
                }
                Some(b'*') => Part::Rest(part[1..].to_owned()),
                _ => Part::Literal(literal(part).ok_or_else(|| {
                    let problem = format!("has the part {part:?}, which no request has");
                    wrong(problem, "write a path without . and .. and with whole %XX")
                })?),
            };
            if let Part::Parameter(name) | Part::Rest(name) = &parsed {
                let may_be_empty = matches!(parsed, Part::Rest(_));
                let is_name = name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if !is_name || (name.is_empty() && !may_be_empty) {
                    return Err(wrong(format!("has no name in {part:?}"), NAME_HINT));
                }
                if names.contains(&&part[1..]) {
                    return Err(wrong(format!("has {part:?} twice"), "write two names"));
                }
                names.push(&part[1..]);
            }
            parts.push(parsed);
        }
        Ok(Self::new(text.to_owned(), parts))
    }

    /// The same, and all that is below.
    pub(super) fn with_all_below(mut self) -> Self {
        if self.parts.last() == Some(&Part::Literal(String::new())) {
            self.parts.pop();
        }
        if !matches!(self.parts.last(), Some(Part::Rest(_))) {
            self.parts.push(Part::Rest(String::new()));
        }
        Self::new(self.text, self.parts)
    }

    /// As it is written, if it is one path alone.
    pub fn alone(&self) -> Option<&str> {
        (!self.has_parameters()).then_some(&self.text)
    }

    /// Whether a part of it is a parameter in the middle, or has a name.
    pub(super) fn has_parameters(&self) -> bool {
        let is_one = |part: &Part| match part {
            Part::Literal(_) => false,
            Part::Parameter(_) => true,
            Part::Rest(name) => !name.is_empty(),
        };
        self.parts.iter().any(is_one)
    }

    pub(super) fn specificity(&self) -> &[Specificity] {
        &self.specificity
    }

    /// Whether this path of a request is one of them.
    pub(super) fn fits(&self, path: &str) -> Result<bool, BadPath> {
        if !self.has_form(path) {
            return Ok(false);
        }
        let texts = path.split('/').skip(1);
        let parameters = self.parts.iter().zip(texts);
        let parameters = parameters.filter(|(part, _)| matches!(part, Part::Parameter(_)));
        let rest = match self.parts.last() {
            // Without a name nobody reads it as one text.
            Some(Part::Rest(name)) if !name.is_empty() => self.rest(path),
            _ => "",
        };
        let mut read = parameters.map(|(_, text)| text).chain(rest.split('/'));
        match read.all(is_fine) {
            true => Ok(true),
            false => Err(BadPath),
        }
    }

    /// The same, whatever its parameters are.
    fn has_form(&self, path: &str) -> bool {
        let mut rest = path.strip_prefix('/');
        if rest.is_none() {
            return false;
        }
        for part in &self.parts {
            if matches!(part, Part::Rest(_)) {
                return true;
            }
            let Some(text) = rest else {
                return false;
            };
            let (first, others) = split(text);
            rest = others;
            let fits = match part {
                Part::Literal(literal) => percent_decode_str(first).eq(literal.bytes()),
                _ => !first.is_empty(),
            };
            if !fits {
                return false;
            }
        }
        rest.is_none()
    }

    /// What the parameters are in this path of a request, decoded, by their names.
    pub fn parameters(&self, path: &str) -> Vec<(&str, String)> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let mut rest = path.strip_prefix('/');
        let mut found = Vec::new();
        for part in &self.parts {
            let Some(text) = rest else {
                break;
            };
            if let Part::Rest(name) = part {
                found.push((name.as_str(), decode(text)));
                break;
            }
            let (first, others) = split(text);
            if let Part::Parameter(name) = part {
                found.push((name.as_str(), decode(first)));
            }
            rest = others;
        }
        found
    }

    /// The path without the part that stands for all below it, and without a slash at its end.
    pub fn prefix(&self) -> &str {
        let without = match self.parts.last() {
            Some(Part::Rest(name)) => self.text.strip_suffix(name).unwrap_or(&self.text),
            _ => &self.text,
        };
        without.trim_end_matches('*').trim_end_matches('/')
    }

    /// Where the part that all below it stands for begins in this path of a request; at its end, if it is not there.
    pub fn rest<'a>(&self, path: &'a str) -> &'a str {
        let mut rest = path.strip_prefix('/');
        for _ in self
            .parts
            .iter()
            .filter(|part| !matches!(part, Part::Rest(_)))
        {
            rest = rest.and_then(|text| split(text).1);
        }
        rest.unwrap_or_default()
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The first part of a path, and what stands behind its slash.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((first, others)) => (first, Some(others)),
        None => (text, None),
    }
}

/// A part as requests mean it. `None`: none of them has it.
fn literal(part: &str) -> Option<String> {
    let decoded = percent_decode_str(part).decode_utf8().ok()?;
    (is_fine(part)).then(|| decoded.into_owned())
}

/// Whether an app may see this part of a path. Files have rules of their own.
fn is_fine(part: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = part.as_bytes();
    let is_whole = (0..bytes.len())
        .filter(|at| bytes[*at] == b'%')
        .all(|at| is_digit(bytes.get(at + 1)) && is_digit(bytes.get(at + 2)));
    let Ok(decoded) = percent_decode_str(part).decode_utf8() else {
        return false;
    };
    is_whole && decoded != "." && decoded != ".." && !decoded.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_apart() {
        let path = RoutePath::parse("/chat/:room/files/*rest").expect("it is right");
        let found = path.parameters("/chat/caf%c3%a9%2Fbar/files/a/b%20c");
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(found, [("room", "café/bar"), ("rest", "a/b c")]);
        assert_eq!(path.rest("/chat/x/files/a/b"), "a/b");
        assert_eq!(path.rest("/chat/x/files"), "");
    }

    #[test]
    fn a_wrong_path_is_told() {
        for (text, problem) in [
            ("ws", "begins with a slash"),
            ("/a b", "' '"),
            ("/:", "has no name"),
            ("/:a-b", "has no name"),
            ("/:a/:a", "twice"),
            ("/*rest/a", "before its end"),
            ("/a/../b", "which no request has"),
            ("/a%2", "which no request has"),
        ] {
            let wrong = RoutePath::parse(text).expect_err(text);
            assert!(wrong.problem.contains(problem), "{text}: {}", wrong.problem);
        }
    }
}
