//! Z5, C14: a client over TLS.

use std::io::Write;

use moorline_net::{Client, ClientOptions, Framing, Length};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::{PATIENCE, tls_peer};

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it takes too long")
}

#[tokio::test]
async fn over_tls_nothing_changes_but_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tls://{}", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(tls_peer::server());
    let served = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut peer = acceptor.accept(socket).await.unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.unwrap();
        peer.write_all(&all).await.unwrap();
        peer.shutdown().await.unwrap();
    });
    let large: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&large).unwrap();
    let mut options = ClientOptions::framed(Framing::Length(Length::default()));
    options.dial.tls = tls_peer::options();
    let mut client = Client::new(address.parse().unwrap(), options);
    client.connect().await.unwrap();
    assert!(client.connection().unwrap().tls().is_some());
    client.send(b"ahoy").await.unwrap();
    within(client.send(&large)).await.unwrap();
    within(client.send_file(file.path(), 1000, Some(200_000)))
        .await
        .unwrap();
    within(client.half_close()).await.unwrap();
    for expected in [b"ahoy", &large[..], &large[1000..201_000]] {
        let message = within(client.next()).await.unwrap().unwrap();
        assert!(message == expected, "{} bytes", message.len());
    }
    assert_eq!(within(client.next()).await.unwrap(), None);
    within(client.close()).await.unwrap();
    served.await.unwrap();
}
