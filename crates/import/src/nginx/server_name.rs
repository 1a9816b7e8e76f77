//! `server_name`: the hosts for which TLS clients get a server.

use std::collections::BTreeSet;

use super::context::{Context, Made};
use super::map::{count_groups, groups};
use super::tree::Directive;
use crate::note::{Place, Reported};
use crate::toml::Value;

/// A name of a server.
#[derive(Debug, Clone)]
pub(super) struct ServerName {
    /// As Moorline writes it, in lower case unless it is a pattern.
    pub(super) text: String,
    pub(super) place: Place,
}

impl ServerName {
    pub(super) fn is_pattern(&self) -> bool {
        self.text.starts_with('~')
    }
}

/// The names as a list, with their places.
pub(super) fn list(names: &[ServerName]) -> Value {
    let names = names.iter();
    let names = names.map(|it| (Value::text(&it.text), Some(it.place.clone())));
    Value::Lines(names.collect())
}

/// The names of a server, without those that no client asks for.
pub(super) fn names(server: &[Directive], cx: &mut Context<'_>) -> Vec<ServerName> {
    let mut names = Vec::new();
    for directive in server.iter().filter(|it| it.name == "server_name") {
        if directive.arguments.is_empty() {
            directive.refuse(&mut cx.report, "has no name");
        }
        for text in &directive.arguments {
            // Its error is reported.
            if let Ok(Some(text)) = name(text, directive, cx) {
                let place = directive.place.clone();
                names.push(ServerName { text, place });
            }
        }
    }
    names
}

fn name(
    text: &str,
    directive: &Directive,
    cx: &mut Context<'_>,
) -> Result<Option<String>, Reported> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.eq_ignore_ascii_case("$hostname") {
        return Ok(Some("${hostname}".to_owned()));
    }
    if let Some(pattern) = text.strip_prefix('~').filter(|it| !it.is_empty()) {
        return match groups(pattern) {
            Ok(_) => Ok(Some(text.to_owned())),
            Err(problem) => {
                let why = format!("has {text:?}, which is no pattern for Moorline: {problem}");
                Err(directive.refuse(&mut cx.report, why))
            }
        };
    }
    let name = text.to_ascii_lowercase();
    let bare = name.strip_prefix("*.").or_else(|| name.strip_prefix('.'));
    let bare = bare.or_else(|| name.strip_suffix(".*")).unwrap_or(&name);
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !bare.is_empty() && bare.chars().all(is_host) && !bare.contains("..") {
        true => Ok(Some(name)),
        false => {
            let why = format!("has {text:?}, which is no name of a host");
            Err(directive.refuse(&mut cx.report, why))
        }
    }
}

/// Makes the groups of patterns known, which are variables.
pub(super) fn define_groups(stream: &[Directive], cx: &mut Context<'_>) {
    let servers = stream.iter().filter(|it| it.name == "server");
    let inner = servers.flat_map(|it| it.block.iter().flatten());
    for directive in inner.filter(|it| it.name == "server_name") {
        let patterns = directive.arguments.iter();
        let patterns = patterns.filter_map(|it| it.strip_prefix('~'));
        for name in patterns.filter_map(|it| groups(it).ok()).flatten() {
            let written = format!("match.{name}");
            match cx.made.get(&name) {
                Some(before) if before.written != written => {
                    let why = format!("makes ${name}, which is made already: see {}", before.place);
                    directive.refuse(&mut cx.report, why);
                }
                _ => {
                    let place = directive.place.clone();
                    cx.made.insert(name, Made { written, place });
                }
            }
        }
    }
}

/// The number of groups that `$1`, `$2` … may mean in a server with these names.
pub(super) fn most_groups(names: &[ServerName]) -> usize {
    let patterns = names.iter().filter_map(|it| it.text.strip_prefix('~'));
    patterns.filter_map(count_groups).max().unwrap_or(0)
}

/// The groups of these names' patterns: their numbers and their names.
pub(super) fn all_groups(names: &[ServerName]) -> BTreeSet<String> {
    let numbers = (1..=most_groups(names)).map(|number| number.to_string());
    let patterns = names.iter().filter_map(|it| it.text.strip_prefix('~'));
    let named = patterns.filter_map(|it| groups(it).ok()).flatten();
    numbers.chain(named).collect()
}
