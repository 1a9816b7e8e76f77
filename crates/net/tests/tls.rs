//! TLS, with `openssl s_server` as the other side. One test for each check that refuses.

#[path = "tls/agreement.rs"]
mod agreement;
#[path = "tls/authority.rs"]
mod authority;
#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/options.rs"]
mod options;
#[path = "tls/peers.rs"]
mod peers;
#[path = "tls/server.rs"]
mod server;
mod tls_peer;
#[path = "tls/verification.rs"]
mod verification;

use std::path::Path;
use std::time::Duration;

use moorline_net::tls::{Roots, TlsConnector, TlsError, TlsOptions, TlsSession};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use server::Server;

/// Far more than any of it takes, even on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// Trusts this root alone.
fn trusting(root: &Path) -> TlsOptions {
    TlsOptions::default().roots(Roots::File(root.to_owned()))
}

async fn connect(
    connector: &TlsConnector,
    server: &Server,
    host: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, TlsError> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    timeout(PATIENCE, connector.connect(host, stream))
        .await
        .expect("the handshake ends")
}

/// Connects once, has a line sent back, and says what was agreed on.
async fn session(
    connector: &TlsConnector,
    server: &Server,
    host: &str,
) -> Result<TlsSession, TlsError> {
    let stream = connect(connector, server, host).await?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"moor\n").await.unwrap();
    let mut line = String::new();
    let read = stream.read_line(&mut line);
    timeout(PATIENCE, read).await.unwrap().unwrap();
    assert_eq!(line, "room\n");
    Ok(TlsSession::of(stream.get_ref().get_ref().1).expect("the handshake has ended"))
}

async fn outcome(options: &TlsOptions, server: &Server, host: &str) -> Result<(), TlsError> {
    let connector = TlsConnector::new(options).unwrap();
    session(&connector, server, host).await.map(drop)
}
