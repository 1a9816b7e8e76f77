//! TLS towards the servers that a proxy connects to: how they are verified, what they are shown, and records without a socket.
//!
//! - [`ClientOptions`]: how servers are verified, and what they are shown
//! - [`ClientCredentials`]: the certificates and keys themselves, read and checked once, passed on as bytes
//! - [`ReadyCertificate`](super::ReadyCertificate): a certificate that was read later, for some connections
//! - [`ClientTls`]: both made ready; each connection begins with it, as [`TlsRecords`](super::TlsRecords)

mod config;
mod credentials;
mod load;
mod options;

#[cfg(test)]
mod tests;

pub use config::ClientTls;
pub use credentials::ClientCredentials;
pub use options::ClientOptions;
