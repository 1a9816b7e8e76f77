//! Addresses that are known without asking.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::name::Name;
use super::resolver::{Answer, Families, Lookups, ResolveError, Resolver};
use crate::printable::printable;

/// The most addresses in a table: a hosts file that blocks names has a million lines, and is not for this.
const MAX_ADDRESSES: usize = 1 << 20;

/// Resolves names from a table, and others with another resolver, if there is one.
///
/// A name in the table is never asked of the other resolver, not even for a family that the table lacks.
#[derive(Debug, Clone, Default)]
pub struct StaticResolver {
    /// By name without trailing dot.
    table: HashMap<Arc<str>, Vec<IpAddr>>,
    next: Option<Arc<dyn Resolver>>,
}

/// Why a text is no hosts file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostsError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

impl StaticResolver {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the text of a hosts file: an address and its names on each line, `#` begins a comment.
    pub fn from_hosts(text: &str) -> Result<Self, HostsError> {
        let mut resolver = Self::new();
        let mut count = 0;
        for (index, line) in text.lines().enumerate() {
            let wrong = |problem: String| HostsError {
                line: index + 1,
                problem: printable(&problem),
            };
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(address) = words.next() else {
                continue;
            };
            let ip: IpAddr = address
                .parse()
                .map_err(|_| wrong(format!("`{address}` is no IP address")))?;
            let names = words.collect::<Vec<_>>();
            if names.is_empty() {
                return Err(wrong(format!("no name follows {ip}")));
            }
            count += names.len();
            if count > MAX_ADDRESSES {
                return Err(wrong("there are more than 1048576 names".into()));
            }
            for name in names {
                resolver
                    .insert(name, ip)
                    .map_err(|error| wrong(error.to_string()))?;
            }
        }
        Ok(resolver)
    }

    /// Adds an address to a name's. Fails only if it can be no name.
    pub fn insert(&mut self, name: &str, ip: IpAddr) -> Result<(), ResolveError> {
        let name = Name::parse(name)?;
        let addresses = self.table.entry(name.relative().into()).or_default();
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
        Ok(())
    }

    /// Names that are not in the table are resolved by this one.
    #[must_use]
    pub fn or_else(mut self, next: Arc<dyn Resolver>) -> Self {
        self.next = Some(next);
        self
    }
}

impl Resolver for StaticResolver {
    fn look_up(&self, name: &str, families: Families) -> Lookups {
        let name = match Name::parse(name) {
            Ok(name) => name,
            Err(error) => return Lookups::ready(Err(error)),
        };
        let not_found = || ResolveError::NotFound {
            name: name.as_str().to_owned(),
            ttl: None,
        };
        if let Some(known) = self.table.get(name.relative()) {
            let addresses: Vec<_> = known
                .iter()
                .copied()
                .filter(|ip| families.admit(*ip))
                .collect();
            return Lookups::ready(match addresses.is_empty() {
                true => Err(not_found()),
                false => Ok(Answer {
                    addresses,
                    ttl: None,
                    stale: false,
                }),
            });
        }
        if let Some(answer) = name.loopback(families) {
            return Lookups::ready(Ok(answer));
        }
        match &self.next {
            Some(next) => next.look_up(name.as_str(), families),
            None => Lookups::ready(Err(not_found())),
        }
    }
}

impl fmt::Display for HostsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for HostsError {}
