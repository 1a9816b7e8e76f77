//! The system's resolver: `getaddrinfo`, which blocks, in bounded pools of threads.

mod admission;
mod hosts;
mod lately;
mod routes;
mod threads;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};

pub use admission::{MAX_QUEUED, MAX_THREADS};

use super::name::Name;
use super::resolver::{Answer, Families, Lookup, Lookups, ResolveError, Resolver};
use crate::address::ends_in_number;
use threads::Threads;

/// Resolves names as the system does (`nsswitch.conf`, `/etc/hosts`, `resolv.conf`), by `getaddrinfo`.
///
/// IPv6 and IPv4 are separate look-ups: one that is slow does not delay the other. Without an IPv6 route no server is
/// asked for IPv6 addresses; those in `/etc/hosts` are still found.
///
/// `getaddrinfo` blocks, for half a minute and more if a server does not answer, and cannot be cancelled. So it runs
/// in threads: at most [`MAX_THREADS`] for each family, started on demand, ended when idle. Equal look-ups are one,
/// also with one that nobody awaits any more: a name whose server is silent holds one thread for each family,
/// however often it is asked for, and delays no other name. When all threads of a family are taken, up to
/// [`MAX_QUEUED`] names wait; while no thread makes progress, further ones fail at once with [`ResolveError::Busy`].
/// A few of the threads are kept for names that were answered lately: those still are while others hang.
///
/// Cloning is cheap; clones share the threads. Those end with the last clone and the last look-up.
#[derive(Clone)]
pub struct SystemResolver {
    /// A pool for each family: servers that drop questions for IPv6 cannot take the threads that ask for IPv4.
    ipv6: Arc<Threads>,
    ipv4: Arc<Threads>,
}

/// The process's own resolver: sharing it bounds the threads of the whole process and merges the look-ups of all.
pub fn system() -> &'static SystemResolver {
    static SYSTEM: LazyLock<SystemResolver> = LazyLock::new(SystemResolver::new);
    &SYSTEM
}

impl SystemResolver {
    /// A resolver with threads of its own; see [`system`] for the shared one.
    pub fn new() -> Self {
        Self::with_function(look_up)
    }

    /// A resolver that asks `function` instead of `getaddrinfo`: another source that blocks, or a test's. It may
    /// panic; that fails the look-up.
    pub fn with_function(
        function: impl Fn(&str, Families) -> Result<Vec<IpAddr>, ResolveError> + Send + Sync + 'static,
    ) -> Self {
        let function: Arc<threads::Function> = Arc::new(function);
        Self {
            ipv6: Arc::new(Threads::new(Families::Ipv6, Arc::clone(&function))),
            ipv4: Arc::new(Threads::new(Families::Ipv4, function)),
        }
    }

    /// How many threads there are now, of both families.
    pub fn threads(&self) -> usize {
        self.ipv6.count() + self.ipv4.count()
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver for SystemResolver {
    fn look_up(&self, name: &str, families: Families) -> Lookups {
        let name = match parse(name) {
            Ok(name) => name,
            Err(error) => return Lookups::ready(Err(error)),
        };
        if let Some(answer) = name.loopback(families) {
            return Lookups::ready(Ok(answer));
        }
        match families {
            Families::Both => Lookups::Apart {
                ipv6: ask(&self.ipv6, name.clone()),
                ipv4: ask(&self.ipv4, name),
            },
            Families::Ipv6 => Lookups::Together(ask(&self.ipv6, name)),
            Families::Ipv4 => Lookups::Together(ask(&self.ipv4, name)),
        }
    }
}

fn ask(threads: &Arc<Threads>, name: Name) -> Lookup {
    let threads = Arc::clone(threads);
    Box::pin(async move {
        Ok(Answer {
            addresses: threads.ask(name).await?,
            ttl: None,
            stale: false,
        })
    })
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemResolver")
            .field("threads", &self.threads())
            .finish()
    }
}

/// The addresses of a name in one family. Blocks, for as long as the system's resolver does.
pub(crate) fn addresses(name: &str, families: Families) -> Result<Vec<IpAddr>, ResolveError> {
    let name = parse(name)?;
    match name.loopback(families) {
        Some(answer) => Ok(answer.addresses),
        None => look_up(name.as_str(), families),
    }
}

/// Reads a name, and refuses one out of which `getaddrinfo` would read an address.
fn parse(name: &str) -> Result<Name, ResolveError> {
    match Name::parse(name) {
        Ok(name) if ends_in_number(name.as_str()) => Err(ResolveError::InvalidName {
            name: name.as_str().to_owned(),
            problem: "its last part is a number, which no name ends in",
        }),
        parsed => parsed,
    }
}

/// Asks the system for one family's addresses.
fn look_up(name: &str, families: Families) -> Result<Vec<IpAddr>, ResolveError> {
    if families == Families::Ipv6 && !routes::lead_to_ipv6() {
        return match hosts::addresses(name, families) {
            found if found.is_empty() => Err(ResolveError::NoRoute { name: name.into() }),
            found => Ok(found),
        };
    }
    let hints = AddrInfoHints {
        address: match families {
            Families::Both => 0,
            Families::Ipv4 => AddrFamily::Inet.into(),
            Families::Ipv6 => AddrFamily::Inet6.into(),
        },
        // Without a type every address would come three times.
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let mut addresses = Vec::new();
    for entry in getaddrinfo(Some(name), None, Some(hints)).map_err(|error| failure(name, error))? {
        // An entry of a family that is none of ours is no failure of the name.
        let Ok(entry) = entry else { continue };
        let ip = entry.sockaddr.ip();
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Ok(addresses)
}

/// The meaning of glibc's code: only a server's own answer is `NotFound`, everything else may change.
fn failure(name: &str, error: LookupError) -> ResolveError {
    /// `EAI_ADDRFAMILY`: the name has addresses, of the other family. The crate has no name for it.
    const OTHER_FAMILY: i32 = -9;

    match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => ResolveError::NotFound {
            name: name.to_owned(),
            ttl: None,
        },
        _ if error.error_num() == OTHER_FAMILY => ResolveError::NotFound {
            name: name.to_owned(),
            ttl: None,
        },
        kind => ResolveError::Failed {
            name: name.to_owned(),
            reason: format!("{error} ({kind:?})"),
        },
    }
}
