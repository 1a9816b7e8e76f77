//! The parts of every resolver: questions, answers, errors.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join;

use crate::setters::setters;

/// Finds the addresses of names.
///
/// IP addresses and empty names never reach a resolver. A look-up begins when its future is first
/// polled, and that may be dropped at any time; a look-up that others wait for goes on. None blocks.
pub trait Resolver: Send + Sync + fmt::Debug {
    /// Looks `name` up: one answer for both families, or one for each, whichever the source can do. The
    /// dialer awaits them side by side (RFC 8305 §3). Families that `families` excludes need not be asked.
    fn look_up(&self, name: &str, families: Families) -> Lookups;
}

/// Which families are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Families {
    /// IPv4 and IPv6.
    Both,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
}

impl Families {
    /// Whether an address like this one is wanted.
    pub fn admit(self, ip: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::Ipv4 => ip.is_ipv4(),
            Self::Ipv6 => ip.is_ipv6(),
        }
    }
}

/// The answers to one look-up, still to come.
#[non_exhaustive]
pub enum Lookups {
    /// One answer has the addresses of all families.
    Together(Lookup),
    /// Each family has an answer of its own.
    Apart {
        /// IPv6 (AAAA).
        ipv6: Lookup,
        /// IPv4 (A).
        ipv4: Lookup,
    },
}

impl Lookups {
    /// An answer that is there already.
    pub fn ready(result: Result<Answer, ResolveError>) -> Self {
        Self::Together(Box::pin(std::future::ready(result)))
    }
}

impl Lookups {
    /// Waits for all answers and gives their addresses, IPv6 first where the families are apart. For clients that do not
    /// race addresses themselves.
    ///
    /// Cancel-safe. Fails if no family has an address; with the error that says more.
    pub async fn all(self) -> Result<Vec<IpAddr>, ResolveError> {
        let (ipv6, ipv4) = match self {
            Self::Together(lookup) => return Ok(lookup.await?.addresses),
            Self::Apart { ipv6, ipv4 } => join(ipv6, ipv4).await,
        };
        match (ipv6, ipv4) {
            (Ok(mut answer), Ok(other)) => {
                answer.addresses.extend(other.addresses);
                Ok(answer.addresses)
            }
            (Ok(answer), Err(_)) | (Err(_), Ok(answer)) => Ok(answer.addresses),
            (Err(error), Err(ResolveError::NotFound { .. } | ResolveError::NoRoute { .. })) => {
                Err(error)
            }
            (Err(_), Err(error)) => Err(error),
        }
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Together(_) => "Together",
            Self::Apart { .. } => "Apart",
        })
    }
}

/// One answer, still to come.
pub type Lookup = Pin<Box<dyn Future<Output = Result<Answer, ResolveError>> + Send>>;

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The addresses, in the source's order.
    pub addresses: Vec<IpAddr>,
    /// How long the answer holds. `None` if the source does not say.
    pub ttl: Option<Duration>,
    /// It is out of date; the source fails to give a newer one.
    pub stale: bool,
}

impl Answer {
    /// An answer that is up to date, and whose source does not say how long it holds.
    pub fn new(addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            ttl: None,
            stale: false,
        }
    }
}

setters! {
    Answer {
        ttl: Option<Duration>,
    }
}

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolveError {
    /// The name does not exist, or has no address of the wanted family.
    NotFound {
        /// The name.
        name: String,
        /// How long that answer holds (RFC 2308), if the source says.
        ttl: Option<Duration>,
    },
    /// No server was asked: this machine has no IPv6 route, so IPv6 addresses are useless.
    NoRoute {
        /// The name.
        name: String,
    },
    /// The resolver failed; another time it may answer.
    Failed {
        /// The name.
        name: String,
        /// What went wrong, with the source's code.
        reason: String,
    },
    /// There can be no such name.
    InvalidName {
        /// The beginning of the name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// All look-ups that the resolver may have at once wait for servers that do not answer.
    Busy {
        /// How many; the system's resolver has a thread for each.
        threads: usize,
    },
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name, .. } => write!(f, "`{name}` has no address"),
            Self::NoRoute { name } => write!(
                f,
                "no server was asked for IPv6 addresses of `{name}`: this machine has no IPv6 route"
            ),
            Self::Failed { name, reason } => write!(f, "cannot resolve `{name}`: {reason}"),
            Self::InvalidName { name, problem } => write!(f, "`{name}` is no name: {problem}"),
            Self::Busy { threads } => write!(
                f,
                "the resolver is busy: {threads} look-ups wait for servers that do not answer"
            ),
        }
    }
}

impl std::error::Error for ResolveError {}
