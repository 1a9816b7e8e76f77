//! The system's resolver: `getaddrinfo`, which blocks, in a bounded pool of threads.

mod admission;
mod threads;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};

pub use admission::{MAX_QUEUED, MAX_THREADS};

use super::{Answer, Families, Lookups, Name, ResolveError, Resolver};
use threads::{Question, Threads};

/// Resolves names as the system does (`nsswitch.conf`, `/etc/hosts`, `resolv.conf`), by `getaddrinfo`.
///
/// That blocks, for half a minute and more if a server does not answer, and cannot be cancelled. So it runs in
/// threads: at most [`MAX_THREADS`], started on demand, ended when idle. Equal look-ups are one, also with
/// one that nobody awaits any more: a name whose server is silent holds one thread, however often it is asked
/// for, and delays no other name. When all threads are taken, up to [`MAX_QUEUED`] names wait; while no
/// thread gets on at all, further ones fail at once with [`ResolveError::Busy`].
///
/// Cloning is cheap; clones share the threads. Those end with the last clone and the last look-up.
#[derive(Clone)]
pub struct SystemResolver {
    threads: Arc<Threads>,
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
        Self {
            threads: Arc::new(Threads::new(Box::new(function))),
        }
    }

    /// How many threads there are now.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver for SystemResolver {
    fn look_up(&self, name: &str, families: Families) -> Lookups {
        let name = match Name::parse(name) {
            Ok(name) => name,
            Err(error) => return Lookups::ready(Err(error)),
        };
        if let Some(answer) = name.loopback(families) {
            return Lookups::ready(Ok(answer));
        }
        let threads = Arc::clone(&self.threads);
        Lookups::Together(Box::pin(async move {
            let addresses = threads.ask(Question { name, families }).await?;
            Ok(Answer {
                addresses,
                ttl: None,
                stale: false,
            })
        }))
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemResolver")
            .field("threads", &self.threads())
            .finish()
    }
}

fn look_up(name: &str, families: Families) -> Result<Vec<IpAddr>, ResolveError> {
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

/// What glibc's code means: only a server's own word is `NotFound`, all else may be another time.
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
