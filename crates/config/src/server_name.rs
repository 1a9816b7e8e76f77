//! Names of servers behind one address: what the name that a TLS client asks for may be.

use std::collections::{BTreeMap, BTreeSet};

use moorline_net::Address;

use super::error::{Report, Reported};
use super::map::{MapPattern, TextKey};
use super::names::Named;
use super::walk::Field;

/// Names of one server.
const MOST_NAMES: usize = 1000;
/// Patterns of all servers behind one address: a connection is compared with each of them.
const MOST_PATTERNS: usize = 1000;

const HINT: &str = r#"write names = ["a.example", "*.b.example", ".c.example", "mail.*"], or patterns such as '~^(?<name>\w+)\.d\.example$'"#;

/// Reads `names` of a server or of its listener. Names that others behind the same address have are refused.
pub(super) fn names(
    field: &Field<'_>,
    taken: &mut BTreeSet<String>,
) -> Result<Vec<TextKey>, Reported> {
    let fields = field.array(HINT)?;
    if fields.len() == 0 || fields.len() > MOST_NAMES {
        let message = format!("`names` has {} entries", fields.len());
        return Err(field.refuse(message, format!("write 1 to {MOST_NAMES}")));
    }
    let names: Vec<_> = fields
        .map(|field| {
            let key = name(&field)?;
            for meaning in meanings(&key) {
                if !taken.insert(meaning.clone()) {
                    let message = format!("`names`: {meaning:?} is written twice for one address");
                    return Err(field.refuse(message, "remove one of them"));
                }
            }
            Ok(key)
        })
        .collect();
    let names = names.into_iter().collect::<Result<Vec<_>, _>>()?;
    if taken.range("~".to_owned()..).count() > MOST_PATTERNS {
        let message = format!("`names`: there are over {MOST_PATTERNS} patterns for one address");
        let hint = "write names instead of patterns, or several listeners";
        return Err(field.refuse(message, hint));
    }
    Ok(names)
}

fn name(field: &Field<'_>) -> Result<TextKey, Reported> {
    let text = match field.text()? {
        "${hostname}" => &hostname(),
        text => text,
    };
    if let Some(pattern) = text.strip_prefix('~') {
        return self::pattern(field, pattern);
    }
    let name = text.to_ascii_lowercase();
    // The dot of the root, which a client does not write.
    let name = name.strip_suffix('.').unwrap_or(&name);
    let (key, bare): (fn(String) -> TextKey, &str) = if let Some(name) = name.strip_prefix("*.") {
        (TextKey::Below, name)
    } else if let Some(name) = name.strip_prefix('.') {
        (TextKey::Domain, name)
    } else if let Some(name) = name.strip_suffix(".*") {
        (TextKey::Begin, name)
    } else {
        (TextKey::Exact, name)
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let has_labels = !bare.is_empty() && !bare.starts_with('.') && !bare.contains("..");
    match has_labels && bare.chars().all(is_host) {
        true => Ok(key(bare.to_owned())),
        false => {
            let message = format!("`names`: {text:?} is no host, and no pattern of hosts");
            Err(field.refuse(message, HINT))
        }
    }
}

/// Hosts are in lower case, so that the case of a pattern does not matter.
fn pattern(field: &Field<'_>, written: &str) -> Result<TextKey, Reported> {
    let pattern = MapPattern {
        text: written.strip_prefix('*').unwrap_or(written).to_owned(),
        ignores_case: true,
    };
    let compiled = pattern.compile().map_err(|problem| {
        let message = format!("`names`: {written:?} is no pattern: {problem}");
        let hint =
            "look-around and back references do not exist here; \\ is written twice within \"…\"";
        field.refuse(message, hint)
    })?;
    for (at, name) in compiled.capture_names().enumerate() {
        let place = field.value.span();
        let names = &field.report.names;
        names.define(Named::Match, &at.to_string(), place.clone());
        if let Some(name) = name {
            names.define(Named::Match, name, place);
        }
    }
    Ok(TextKey::Pattern(pattern))
}

/// Warns of groups that texts of a listener have, and none of its names. `since`: the number of names that texts had before it.
pub(super) fn warn_of_groups(report: &Report<'_>, since: usize, listener: &str, names: &[TextKey]) {
    let used = report.names.used.borrow();
    let used = used[since..].iter();
    let used = used.filter(|(what, ..)| *what == Named::Match);
    let used: BTreeMap<_, _> = used.map(|(_, name, place)| (name, place.start)).collect();
    if used.is_empty() {
        return;
    }
    let patterns = names.iter().filter_map(|key| match key {
        TextKey::Pattern(pattern) => pattern.compile().ok(),
        _ => None,
    });
    let mut known = BTreeSet::new();
    for pattern in patterns {
        for (at, name) in pattern.capture_names().enumerate() {
            known.insert(at.to_string());
            known.extend(name.map(str::to_owned));
        }
    }
    for (name, place) in used.into_iter().filter(|(name, _)| !known.contains(*name)) {
        let line = report.line(place);
        report.warn(format!(
            "listener {listener:?} (line {line}): no pattern among its `names` has a group {name:?}, so ${{match.{name}}} is empty there"
        ));
    }
}

/// The names that a key takes, so that no other one may have them.
fn meanings(key: &TextKey) -> Vec<String> {
    match key {
        TextKey::Exact(name) => vec![name.clone()],
        TextKey::Below(name) => vec![format!("*.{name}")],
        TextKey::Domain(name) => vec![name.clone(), format!("*.{name}")],
        TextKey::Begin(name) => vec![format!("{name}.*")],
        TextKey::Pattern(pattern) => vec![format!("~{}", pattern.text)],
    }
}

/// The name of this machine.
fn hostname() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The name of a server that has none of its own.
pub(super) fn shown(listener: &str, names: &[TextKey]) -> String {
    let first = names.first().map(meanings).unwrap_or_default();
    let first = first.into_iter().next().unwrap_or_default();
    format!("{listener}/{first}")
}

/// Whether connections to this address can name a host.
pub(super) fn can_be_named(address: &Address) -> bool {
    matches!(
        address,
        Address::Tcp(_) | Address::Tls(_) | Address::Unix(_)
    )
}
