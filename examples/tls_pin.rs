//! TLS to a server with a certificate of its own making, known by its fingerprint.
//!
//! ```text
//! cargo run --example tls_pin -- tls://localhost:8443 [FINGERPRINT]
//! ```
//!
//! Without a fingerprint it fails and tells the server's; look at the server itself whether that is right. On it,
//! `openssl x509 -in cert.pem -noout -fingerprint -sha256` prints it.

use std::env;
use std::error::Error;

use moorline::net::tls::{TlsError, TlsOptions, Verification};
use moorline::net::{ConnectCause, DialOptions, Dialer};

/// Nobody's: a server is asked for its own.
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next();
    let address = address
        .as_deref()
        .unwrap_or("tls://localhost:8443")
        .parse()?;
    let fingerprint = arguments.next().unwrap_or_else(|| UNKNOWN.to_owned());
    let dialer = Dialer::new(
        DialOptions::default().tls(
            TlsOptions::default()
                // Its dates and its host name are verified all the same.
                .verification(Verification::AllowSelfSigned)
                .fingerprints(vec![fingerprint]),
        ),
    );
    match dialer.connect(&address).await {
        Ok(connection) => {
            let session = connection.tls().ok_or("the address is not tls://")?;
            println!("{} with {}", session.version, session.cipher);
            Ok(())
        }
        Err(error) => {
            if let ConnectCause::Tls(TlsError::WrongFingerprint { found }) = error.cause() {
                println!("the server's fingerprint is {found}");
            }
            Err(error.into())
        }
    }
}
