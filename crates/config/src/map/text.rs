//! Keys of maps by text.

use serde::{Deserialize, Serialize};

use super::pattern::{self, MapPattern};
use super::{Entry, Seen};
use crate::error::Reported;
use crate::variables::{Template, any_template};

/// Patterns are tried one after the other.
const MOST_PATTERNS: usize = 1000;

/// A key of a map by text. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextKey {
    /// This text.
    Exact(String),
    /// `*.NAME`: everything that ends with a dot and this name.
    Below(String),
    /// `.NAME`: this name, and everything that ends with a dot and it.
    Domain(String),
    /// `NAME.*`: everything that begins with this name and a dot.
    Begin(String),
    /// `~…`, `~*…`: what this pattern finds something in.
    Pattern(MapPattern),
}

pub(super) fn keys(
    entries: &[Entry<'_>],
    has_hostnames: bool,
) -> Result<Vec<(TextKey, Template)>, Reported> {
    let mut seen = Seen::default();
    let mut patterns = 0;
    let keys: Vec<_> = entries
        .iter()
        .map(|entry| {
            if let Some(written) = entry.key.strip_prefix('~') {
                patterns += 1;
                if patterns > MOST_PATTERNS {
                    let problem = format!("is one of over {MOST_PATTERNS} patterns");
                    return Err(entry.refuse(&problem, "write several maps"));
                }
                let (pattern, groups) = pattern::pattern(entry, written)?;
                let groups: Vec<_> = groups.iter().map(Option::as_deref).collect();
                let value = any_template(&entry.value, &groups)?;
                return Ok((TextKey::Pattern(pattern), value));
            }
            let key = name(entry, has_hostnames)?;
            let meanings: &[(&str, &String)] = match &key {
                TextKey::Exact(name) => &[("", name)],
                TextKey::Below(name) => &[("*.", name)],
                TextKey::Domain(name) => &[("", name), ("*.", name)],
                TextKey::Begin(name) => &[("~", name)],
                TextKey::Pattern(_) => &[],
            };
            for (kind, name) in meanings {
                seen.take(entry, format!("{kind}{name}"))?;
            }
            Ok((key, entry.template()?))
        })
        .collect();
    keys.into_iter().collect()
}

/// As nginx reads it: a backslash in front makes the next character an ordinary one.
fn name(entry: &Entry<'_>, has_hostnames: bool) -> Result<TextKey, Reported> {
    let written = entry.key.strip_prefix('\\').unwrap_or(&entry.key);
    let name = written.to_ascii_lowercase();
    if !has_hostnames {
        return Ok(TextKey::Exact(name));
    }
    let key = match name.as_str() {
        name if name.len() > 1 && name.starts_with('.') => TextKey::Domain(name[1..].to_owned()),
        name if name.len() > 2 && name.starts_with("*.") => TextKey::Below(name[2..].to_owned()),
        name if name.len() > 2 && name.ends_with(".*") => {
            TextKey::Begin(name[..name.len() - 2].to_owned())
        }
        name => TextKey::Exact(name.to_owned()),
    };
    let bare = match &key {
        TextKey::Exact(name)
        | TextKey::Below(name)
        | TextKey::Domain(name)
        | TextKey::Begin(name) => name,
        TextKey::Pattern(_) => &name,
    };
    if bare.contains('*') || bare.contains("..") {
        return Err(entry.refuse(
            "is no name of a host",
            r#"write "a.example", "*.a.example", ".a.example", "a.*" or a pattern "~^a\\d""#,
        ));
    }
    Ok(key)
}
