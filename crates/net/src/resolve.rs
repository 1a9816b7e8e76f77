//! From names to addresses.
//!
//! - [`SystemResolver`]: the system's own way, in a bounded pool of threads; [`system`] is the usual one
//! - `HickoryResolver`: DNS without the system, with times to live
//! - [`StaticResolver`]: a table, before another resolver
//! - [`CachingResolver`]: remembers the answers of another one, and serves old ones when it fails
//! - [`Name`]: a name as all of them look it up
//!
//! # With reqwest
//!
//! A resolver becomes that of a reqwest client in ten lines. They are not part of this crate, because each new version of
//! reqwest would then be a new version of this crate, too.
//!
//! ```
//! use std::net::SocketAddr;
//! use std::sync::Arc;
//!
//! use moorline_net::Resolver;
//! use moorline_net::resolve::{Families, StaticResolver};
//! use reqwest::dns::{Addrs, Name, Resolve, Resolving};
//!
//! struct Names(Arc<dyn Resolver>);
//!
//! impl Resolve for Names {
//!     fn resolve(&self, name: Name) -> Resolving {
//!         let lookups = self.0.look_up(name.as_str(), Families::Both);
//!         Box::pin(async move {
//!             // reqwest sets the port.
//!             let addresses = lookups.all().await?.into_iter().map(|ip| SocketAddr::new(ip, 0));
//!             Ok(Box::new(addresses) as Addrs)
//!         })
//!     }
//! }
//!
//! # fn example(resolver: StaticResolver) -> reqwest::Result<reqwest::Client> {
//! let names = Names(Arc::new(resolver));
//! reqwest::Client::builder().dns_resolver(Arc::new(names)).build()
//! # }
//! ```

mod cache;
mod caching;
#[cfg(feature = "hickory")]
mod hickory;
mod name;
mod resolver;
mod service;
mod system;
mod table;

#[cfg(test)]
mod tests;

pub use cache::CacheOptions;
pub use caching::CachingResolver;
#[cfg(feature = "hickory")]
pub use hickory::HickoryResolver;
pub use name::{MAX_LABEL_BYTES, MAX_NAME_BYTES, Name};
pub use resolver::{Answer, Families, Lookup, Lookups, ResolveError, Resolver};
pub use service::{ServiceAnswer, ServiceServer};
pub(crate) use system::addresses;
pub use system::{MAX_QUEUED, MAX_THREADS, SystemResolver, system};
pub use table::{HostsError, StaticResolver};
