//! TLS on rustls: towards servers, and in [`server`] towards clients. [`client`] is for proxies, which have no streams.
//!
//! - [`TlsOptions`]: how a server is verified, and the certificate that it may ask for
//! - [`TlsConnector`]: those options made ready; does the handshake
//! - [`TlsSession`]: what a handshake has agreed on, and the server's identity
//! - [`TlsRecords`]: the TLS of one connection, sans-io: what comes from a socket goes in, plaintext comes out
//! - [`TlsError`]: the check that failed
//!
//! Without the feature `tls` only [`TlsOptions`], [`TlsError`] and what they are made of are here: options can still be
//! read and written, and an address that needs TLS fails with [`TlsError::Options`].

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod asked;
#[cfg(feature = "tls")]
mod authority;
#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "tls")]
mod chain;
#[cfg(feature = "tls")]
pub mod client;
#[cfg(feature = "tls")]
mod client_certificate;
#[cfg(feature = "tls")]
mod connector;
#[cfg(feature = "tls")]
mod der;
#[cfg(feature = "tls")]
mod distinguished_name;
#[cfg(feature = "tls")]
mod encrypted_key;
mod error;
#[cfg(feature = "tls")]
mod facts;
#[cfg(feature = "tls")]
mod file_error;
#[cfg(all(any(test, fuzzing), feature = "tls"))]
pub(crate) mod invariants;
#[cfg(feature = "tls")]
mod issuing;
#[cfg(feature = "tls")]
mod key_cipher;
#[cfg(feature = "tls")]
mod key_pair;
#[cfg(feature = "tls")]
mod old_key;
#[cfg(feature = "tls")]
mod old_path;
mod options;
#[cfg(feature = "tls")]
mod passwords;
#[cfg(feature = "tls")]
mod pem;
#[cfg(feature = "tls")]
mod proof;
#[cfg(feature = "tls")]
mod purpose;
#[cfg(feature = "tls")]
mod ready_certificate;
#[cfg(feature = "tls")]
mod records;
#[cfg(feature = "tls")]
mod records_error;
#[cfg(feature = "tls")]
mod refusal;
#[cfg(feature = "tls")]
mod revocation;
#[cfg(feature = "tls")]
mod roots;
#[cfg(feature = "tls")]
pub mod server;
#[cfg(feature = "tls")]
mod session;
#[cfg(feature = "tls")]
mod undecrypted;
#[cfg(feature = "tls")]
mod verifier;
#[cfg(feature = "tls")]
mod versions;

#[cfg(all(test, feature = "tls"))]
mod tests;

#[cfg(all(not(feature = "tls"), feature = "hyper"))]
pub(crate) use absent::protocol;
#[cfg(all(not(feature = "tls"), feature = "blocking"))]
pub(crate) use absent::{BlockingStream, ClientConnection};
#[cfg(not(feature = "tls"))]
pub(crate) use absent::{TlsConnector, TlsStream, look, typed};
#[cfg(feature = "tls")]
pub use certificate::Fingerprint;
#[cfg(feature = "tls")]
pub use connector::TlsConnector;
pub(crate) use error::HandshakeError;
pub use error::TlsError;
#[cfg(feature = "tls")]
pub use facts::CertificateFacts;
#[cfg(feature = "tls")]
pub use file_error::{FileError, FileErrorKind};
pub use options::{ClientCertificate, Pem, Roots, TlsOptions, Verification};
#[cfg(feature = "tls")]
pub use ready_certificate::ReadyCertificate;
#[cfg(feature = "tls")]
pub use records::{ClientVerdict, MAX_PLAINTEXT, Opened, TlsRecords};
#[cfg(feature = "tls")]
pub use records_error::RecordsError;
#[cfg(feature = "tls")]
pub use refusal::typed;
#[cfg(feature = "tls")]
pub use rustls;
#[cfg(all(feature = "tls", feature = "blocking"))]
pub(crate) use rustls::{ClientConnection, Stream as BlockingStream};
#[cfg(feature = "tls")]
pub(crate) use session::look;
#[cfg(all(feature = "tls", feature = "hyper"))]
pub(crate) use session::protocol;
#[cfg(feature = "tls")]
pub use session::{TlsSession, TlsVersion};
#[cfg(feature = "tls")]
pub(crate) use tokio_rustls::client::TlsStream;
#[cfg(feature = "tls")]
pub use versions::Versions;
