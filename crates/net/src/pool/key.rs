//! The key of a pool's connections.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use crate::address::Address;
use crate::dial::{DialOptions, Dialer};

/// The key of a pool's connections: the address, everything that a dial depends on (TLS, proxy, local address, socket
/// options), and an id, if one is given.
///
/// Make one and keep it: cloning and comparing are cheap, making hashes all options.
#[derive(Clone)]
pub struct PoolKey(Arc<KeyParts>);

struct KeyParts {
    hash: u64,
    address: Address,
    dialer: Dialer,
    id: Option<String>,
}

/// One for the process: equal keys have equal hashes.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl PoolKey {
    /// The key of connections to `address` with these options.
    pub fn new(address: Address, options: DialOptions) -> Self {
        Self::of(address, options, None)
    }

    /// The same, kept apart from all others under an id of its own. An id belongs to one address and one set of options
    /// for as long as the pool has connections of it.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        let (address, options) = (self.address().clone(), self.options().clone());
        Self::of(address, options, Some(id.into()))
    }

    /// Where its connections lead.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// The options of their dials.
    pub fn options(&self) -> &DialOptions {
        self.0.dialer.options()
    }

    /// The id, if it has one.
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// The dialer of its connections. Clones share what is costly to make, such as trusted issuers.
    pub(super) fn dialer(&self) -> &Dialer {
        &self.0.dialer
    }

    fn of(address: Address, options: DialOptions, id: Option<String>) -> Self {
        let hash = HASHER.hash_one((&address, &options, &id));
        Self(Arc::new(KeyParts {
            hash,
            address,
            dialer: Dialer::new(options),
            id,
        }))
    }
}

impl PartialEq for PoolKey {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (&self.0, &other.0);
        Arc::ptr_eq(one, other)
            || one.hash == other.hash
                && one.address == other.address
                && one.id == other.id
                && one.dialer.options() == other.dialer.options()
    }
}

impl Eq for PoolKey {}

impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolKey({self})")
    }
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id() {
            Some(id) => write!(f, "{} ({id})", self.address()),
            None => self.address().fmt(f),
        }
    }
}
