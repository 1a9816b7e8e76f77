//! TLS towards servers, on rustls.

mod error;
mod options;

pub use error::TlsError;
pub use options::{ClientCertificate, Roots, TlsOptions, Verification};
