//! Servers behind one address: which of them a TLS client means by the name that it asks for.

use std::sync::Arc;

use moorline_config::{Listener, NameId, TextKey};
use moorline_net::Address;
use regex::bytes::Regex;
use rustc_hash::FxHashMap;

use super::maps::Hosts;

/// The servers of a configuration, ready for use.
#[derive(Debug, Default)]
pub struct ServerNames(Vec<NamedPlace>);

/// What the names of one listener, or of one server, are.
#[derive(Debug, Default)]
struct NamedPlace {
    /// Those that are no patterns.
    hosts: Hosts<()>,
    /// The patterns among them.
    patterns: Vec<Regex>,
    /// Where clients of this listener go on, if that depends on the name.
    servers: Option<Box<ServerTable>>,
}

/// The servers behind one listener, by name.
#[derive(Debug, Default)]
struct ServerTable {
    hosts: Hosts<u16>,
    patterns: Vec<(Regex, u16)>,
}

/// What names are made of: an equal list gives equal servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamesOfListeners(Arc<[NamesOfListener]>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct NamesOfListener {
    names: Vec<TextKey>,
    listener: String,
    host: Option<String>,
    address: Address,
    is_retired: bool,
}

impl NamesOfListeners {
    /// Those of a configuration.
    pub fn of(listeners: &[Listener]) -> Self {
        let names = listeners.iter().map(|it| NamesOfListener {
            names: it.names.clone(),
            listener: it.name.clone(),
            host: it.host.clone(),
            address: it.address.clone(),
            is_retired: it.is_retired,
        });
        Self(names.collect())
    }
}

impl ServerNames {
    /// Makes the names of listeners, in the order of their places, ready for use. It compiles every pattern, which takes up to some
    /// milliseconds for each.
    pub fn new(names: &NamesOfListeners) -> Self {
        let places = names.0.iter().map(|it| NamedPlace {
            hosts: hosts(&it.names),
            patterns: it.names.iter().filter_map(compiled).collect(),
            servers: None,
        });
        let mut ready = Self(places.collect());
        let mut behind: FxHashMap<&str, Vec<usize>> = FxHashMap::default();
        for (place, it) in names.0.iter().enumerate() {
            if let Some(host) = &it.host {
                behind.entry(host).or_default().push(place);
            }
        }
        for (at, listener) in names.0.iter().enumerate() {
            if let Some(behind) = behind.get(&*listener.listener) {
                ready.0[at].servers = ready.table(&names.0, at, behind).map(Box::new);
            }
        }
        ready
    }

    /// The servers behind the listener at this place, which are among those behind listeners of its name.
    fn table(&self, names: &[NamesOfListener], at: usize, behind: &[usize]) -> Option<ServerTable> {
        let listener = names.get(at)?;
        if listener.host.is_some() {
            return None;
        }
        let is_as = |place: &&usize| {
            let it = &names[**place];
            it.address == listener.address && it.is_retired == listener.is_retired
        };
        let mut servers: Vec<usize> = behind.iter().filter(is_as).copied().collect();
        if servers.is_empty() {
            return None;
        }
        servers.push(at);
        servers.sort_unstable();
        let mut table = ServerTable::default();
        for place in servers {
            let Ok(id) = u16::try_from(place) else {
                continue;
            };
            for name in &names[place].names {
                add(name, &id, &mut table.hosts);
            }
            let patterns = self.0[place].patterns.iter();
            table.patterns.extend(patterns.map(|it| (it.clone(), id)));
        }
        Some(table)
    }

    /// Whether the name decides where clients of the listener at this place go on.
    pub fn decide(&self, place: usize) -> bool {
        self.0.get(place).is_some_and(|it| it.servers.is_some())
    }

    /// The place of the server behind this listener that a client means: of the exact name, else the longest one that begins with
    /// a wildcard, else the longest one that ends with one, else the first pattern. `None`: none is of that name.
    pub fn find(&self, place: usize, host: &str) -> Option<u16> {
        let table = self.0.get(place)?.servers.as_ref()?;
        let host = bare(host);
        if host.is_empty() {
            return None;
        }
        if let Some(place) = table.hosts.find(host.as_bytes()) {
            return Some(*place);
        }
        let mut patterns = table.patterns.iter();
        let found = patterns.find(|(pattern, _)| pattern.is_match(host.as_bytes()));
        found.map(|(_, place)| *place)
    }

    /// What this group has found in the name that a client asks for: of the first pattern of this server that matches it. `None`
    /// where a name without a pattern has chosen the server.
    pub fn group(&self, place: usize, host: &str, group: NameId) -> Option<Vec<u8>> {
        let host = bare(host);
        let server = self.0.get(place)?;
        if server.hosts.find(host.as_bytes()).is_some() {
            return None;
        }
        let mut patterns = server.patterns.iter();
        let pattern = patterns.find(|it| it.is_match(host.as_bytes()))?;
        let found = pattern.captures(host.as_bytes())?;
        let mut names = pattern.capture_names().enumerate();
        let at = names.find_map(|(at, name)| {
            let is_meant = name.is_some_and(|name| NameId::of(name) == group);
            (is_meant || NameId::of(&at.to_string()) == group).then_some(at)
        })?;
        found.get(at).map(|it| it.as_bytes().to_vec())
    }
}

/// The names that are no patterns.
fn hosts(names: &[TextKey]) -> Hosts<()> {
    let mut hosts = Hosts::default();
    for name in names {
        add(name, &(), &mut hosts);
    }
    hosts
}

fn add<T: Clone>(name: &TextKey, value: &T, hosts: &mut Hosts<T>) {
    match name {
        TextKey::Exact(name) => hosts.add_exact(name, value),
        TextKey::Below(name) => hosts.add_below(name, value),
        TextKey::Domain(name) => hosts.add_domain(name, value),
        TextKey::Begin(name) => hosts.add_begin(name, value),
        TextKey::Pattern(_) => {}
    }
}

/// In lower case, without the dot of the root.
fn bare(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.strip_suffix('.') {
        Some(bare) => bare.to_owned(),
        None => host,
    }
}

fn compiled(name: &TextKey) -> Option<Regex> {
    match name {
        // It was compiled once when the configuration was checked.
        TextKey::Pattern(pattern) => pattern.compile().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> ServerNames {
        let file = format!(
            "[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nname = \"a\"\nreturn = \"\"\n{text}"
        );
        let loaded = moorline_config::load_text(&file, std::path::Path::new("/a.toml"));
        let listeners = loaded.expect("it is right").config.listeners;
        ServerNames::new(&NamesOfListeners::of(&listeners))
    }

    #[test]
    fn a_server_is_found_by_exact_names_before_wildcards_before_patterns() {
        let servers = [
            r#"["a.example"]"#,
            r#"["*.example"]"#,
            r#"[".b.example"]"#,
            r#"["mail.*"]"#,
            r#"['~^x(?<n>\d)']"#,
            r#"["~^x"]"#,
        ];
        let servers = servers.map(|it| format!("[[listen.server]]\nnames = {it}\nreturn = \"\"\n"));
        let names = names(&servers.concat());
        assert!(names.decide(0) && !names.decide(1));
        for (host, expected) in [
            ("a.example", Some(1)),
            ("A.Example.", Some(1)),
            ("c.example", Some(2)),
            ("d.c.example", Some(2)),
            ("b.example", Some(3)),
            ("a.b.example", Some(3)),
            ("mail.a", Some(4)),
            ("mail.example", Some(2)),
            ("x1", Some(5)),
            ("xx", Some(6)),
            ("example", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(names.find(0, host), expected, "{host}");
        }
        let group = |name| names.group(5, "x1", NameId::of(name));
        assert_eq!(group("n"), Some(b"1".to_vec()));
        assert_eq!(group("1"), Some(b"1".to_vec()));
        assert_eq!(group("0"), Some(b"x1".to_vec()));
        assert_eq!(group("2"), None);
    }

    #[test]
    fn names_of_the_listener_itself_come_before_wildcards_of_servers() {
        let names = names(
            "names = [\"a.example\"]\n[[listen.server]]\nnames = [\"*.example\"]\nreturn = \"\"\n",
        );
        assert_eq!(names.find(0, "a.example"), Some(0));
        assert_eq!(names.find(0, "b.example"), Some(1));
    }

    #[test]
    fn groups_have_found_nothing_where_a_name_without_a_pattern_has_chosen_the_server() {
        let own = "names = [\"a.example\", \"*.b.example\", '~^(?<n>\\w+)\\.']\n";
        let server = format!("[[listen.server]]\n{own}return = \"\"\n");
        for (text, place) in [(&server[..], 1), (own, 0)] {
            let names = names(text);
            let group = |host| names.group(place, host, NameId::of("n"));
            assert_eq!(group("c.example"), Some(b"c".to_vec()));
            assert_eq!(group("A.example."), None);
            assert_eq!(group("x.b.example"), None);
        }
    }
}
