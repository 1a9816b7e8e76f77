//! TLS on rustls: towards servers, and in [`server`] towards clients.
//!
//! - [`TlsOptions`]: how a server is verified and what it is shown
//! - [`TlsConnector`]: those options made ready; shakes hands
//! - [`TlsSession`]: what a handshake has agreed on, and who the server is
//! - [`TlsError`]: which check refused

mod certificate;
mod client_certificate;
mod connector;
mod error;
mod options;
mod pem;
mod refusal;
mod roots;
pub mod server;
mod session;
mod verifier;

#[cfg(test)]
mod tests;

pub use certificate::Fingerprint;
pub use connector::TlsConnector;
pub use error::TlsError;
pub use options::{ClientCertificate, Roots, TlsOptions, Verification};
pub use pem::{FileError, FileErrorKind};
pub(crate) use refusal::HandshakeError;
pub use refusal::typed;
pub use session::{TlsSession, TlsVersion};
