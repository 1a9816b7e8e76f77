//! Tables, caches, and how answers age.

mod cache;
mod table;

use std::net::IpAddr;

use super::*;

/// Awaits an answer for both families together.
async fn ask(resolver: &dyn Resolver, name: &str) -> Result<Answer, ResolveError> {
    match resolver.look_up(name, Families::Both) {
        Lookups::Together(answer) => answer.await,
        Lookups::Apart { .. } => panic!("one answer was expected"),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn not_found(name: &str) -> ResolveError {
    ResolveError::NotFound {
        name: name.into(),
        ttl: None,
    }
}
