//! Peers that break off, talk something else, or never answer.

use std::time::Duration;

use moorline_net::tls::{TlsConnector, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::authority::{Authority, Dates};
use crate::server::Server;
use crate::{PATIENCE, outcome, trusting};

#[tokio::test]
async fn a_server_that_is_too_old_is_an_alert() {
    let authority = Authority::new("root");
    let identity = authority.issue(&["chat.test"], Dates::Now);
    let server = Server::start(&identity, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert_eq!(
        outcome(&trusting(&authority.root), &server, "chat.test").await,
        Err(TlsError::Alert("ProtocolVersion".into()))
    );
}

/// Shakes hands with a peer that reads the greeting and does something else.
async fn with_peer<F: Future<Output = ()>>(peer: impl FnOnce(TcpStream) -> F) -> TlsError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap());
    let authority = Authority::new("root");
    let connector = TlsConnector::new(&trusting(&authority.root)).unwrap();
    let (refused, ()) = tokio::join!(
        async {
            let handshake = connector.connect("chat.test", stream.await.unwrap());
            timeout(PATIENCE, handshake).await.unwrap().map(drop)
        },
        async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            peer(stream).await;
        }
    );
    refused.unwrap_err()
}

#[tokio::test]
async fn a_peer_that_leaves_in_the_middle_has_its_own_error() {
    let ends = with_peer(async |mut stream| {
        let mut rest = [0; 4096];
        // All of the greeting: closing with some unread would reset.
        while let Ok(count) = stream.try_read(&mut rest) {
            assert!(count > 0);
        }
        stream.shutdown().await.unwrap();
        while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    });
    assert_eq!(ends.await, TlsError::PeerLeft);
    let resets = with_peer(async |stream| {
        stream.set_zero_linger().unwrap();
    });
    assert_eq!(resets.await, TlsError::PeerLeft);
}

#[tokio::test]
async fn a_peer_that_speaks_plain_text_breaks_the_protocol() {
    for words in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let refused = with_peer(async |mut stream| {
            stream.write_all(words.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        });
        let refused = refused.await;
        assert!(matches!(refused, TlsError::Protocol(_)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_is_dropped_closes_its_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    let authority = Authority::new("root");
    let connector = TlsConnector::new(&trusting(&authority.root)).unwrap();
    let handshake = connector.connect("chat.test", stream);
    assert!(timeout(Duration::from_millis(50), handshake).await.is_err());
    let mut greeting = Vec::new();
    let ended = timeout(PATIENCE, peer.read_to_end(&mut greeting)).await;
    assert!(ended.is_ok());
    assert!(!greeting.is_empty());
}
