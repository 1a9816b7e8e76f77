//! A TLS server's configuration, and how a client trusts it.

use std::sync::Arc;

use moorline_net::tls::{TlsOptions, Verification};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;

/// A server with a self-signed certificate for 127.0.0.1, which sends session tickets.
pub(crate) fn server() -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

/// How a client trusts it.
pub(crate) fn options() -> TlsOptions {
    TlsOptions::default().verification(Verification::AllowSelfSigned)
}
