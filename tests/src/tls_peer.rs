//! Encrypted peers that a gateway relays to.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use super::PeerServer;

/// The server's side of an encrypted connection.
pub type TlsPeerStream = StreamOwned<ServerConnection, TcpStream>;

/// A server in this process that ends TLS.
#[derive(Debug)]
pub struct TlsPeer {
    peer: PeerServer,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
}

/// What a handshake has agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    pub server_name: Option<String>,
    pub alpn: Option<Vec<u8>>,
    pub is_resumed: bool,
    /// In DER.
    pub client_certificate: Option<Vec<u8>>,
}

impl TlsPeer {
    /// One that sends back what it gets, and ends when its client has ended.
    pub fn echo(config: ServerConfig) -> Self {
        Self::new(config, |stream| {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..bytes]).is_err() {
                    return;
                }
            }
        })
    }

    /// One that handles each connection in this way, and then says its farewell.
    pub fn new(
        config: ServerConfig,
        handle: impl Fn(&mut TlsPeerStream) + Send + Sync + 'static,
    ) -> Self {
        let config = Arc::new(config);
        let handshakes = Arc::<Mutex<Vec<Handshake>>>::default();
        let noted = handshakes.clone();
        let peer = PeerServer::new(move |stream| {
            if let Ok(mut stream) = accept(&config, stream) {
                let mut noted = noted.lock().expect("nobody panics");
                noted.push(Handshake::of(&stream.conn));
                drop(noted);
                handle(&mut stream);
                stream.conn.send_close_notify();
                let _ = stream.flush();
                let _ = stream.sock.shutdown(Shutdown::Write);
                // What is still on its way must not be answered by a reset.
                let _ = io::copy(&mut stream.sock, &mut io::sink());
            }
        });
        Self { peer, handshakes }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.peer.address
    }

    /// Those that have succeeded.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.handshakes.lock().expect("nobody panics").clone()
    }
}

fn accept(config: &Arc<ServerConfig>, mut stream: TcpStream) -> io::Result<TlsPeerStream> {
    let mut connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

impl Handshake {
    fn of(connection: &ServerConnection) -> Self {
        Self {
            server_name: connection.server_name().map(str::to_owned),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client_certificate: connection
                .peer_certificates()
                .and_then(|chain| Some(chain.first()?.to_vec())),
        }
    }
}
