//! TLS as the server's side of accepted connections: certificates by name, and records without a socket.
//!
//! - [`ServerOptions`]: what a listener is configured to show and to ask for
//! - [`ServerCredentials`]: the certificates and keys themselves, read and checked once, passed on as bytes
//! - [`ServerTls`]: both made ready; each connection begins with it, as [`TlsRecords`](super::TlsRecords)
//! - [`ServerStream`]: the same around a stream of tokio's

mod client_verifier;
mod config;
mod credentials;
mod load;
mod names;
mod options;
mod stream;
pub(crate) use client_verifier::ClientVerifier;
pub use config::ServerTls;
pub use credentials::ServerCredentials;
pub use names::check_name_pattern;
pub use options::{ClientCertificates, ServerCertificate, ServerOptions};
pub use stream::{ServerStream, StreamParts};

#[cfg(test)]
mod tests;
