//! Clients that ask through a proxy, and look at each byte that comes back.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use moorline_benches::Result;
use moorline_benches::load::Client;

/// The name in the certificate.
pub(crate) const HOST: &str = "bench.test";
const READ_BYTES: usize = 64 << 10;
/// A datagram may be lost; none is, unless something is wrong.
const LOST: Duration = Duration::from_secs(5);

thread_local! {
    /// All clients read here: buffers of their own would drive what the proxy uses out of the cache.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What is sent, and must come back.
#[derive(Debug, Clone)]
pub(crate) struct Message(Arc<[u8]>);

impl Message {
    pub(crate) fn new(bytes: usize) -> Self {
        Self((0..bytes).map(|at| (at % 251) as u8).collect())
    }
}

/// A connection that asks again and again.
#[derive(Debug)]
pub(crate) struct Asker<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    message: Message,
}

impl Asker<TcpStream> {
    pub(crate) async fn connect(address: SocketAddr, message: Message) -> Result<Self> {
        Ok(Self::new(connected(address).await?, message))
    }
}

impl<S: AsyncRead + AsyncWrite> Asker<S> {
    fn new(stream: S, message: Message) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            message,
        }
    }

    /// This one, after its first answer.
    pub(crate) async fn asked(mut self) -> Result<Self> {
        self.exchange().await?;
        Ok(self)
    }
}

impl<S: AsyncRead + AsyncWrite> Client for Asker<S> {
    async fn exchange(&mut self) -> Result {
        let message = &self.message.0;
        // Both at once: a large message fills every buffer on its way.
        let send = async {
            self.writer.write_all(message).await?;
            self.writer.flush().await?;
            Ok(())
        };
        tokio::try_join!(send, answered(&mut self.reader, message))?;
        Ok(())
    }
}

/// Reads what must be this message.
async fn answered(reader: &mut (impl AsyncRead + Unpin), message: &[u8]) -> Result {
    let mut rest = message;
    while !rest.is_empty() {
        let read = poll_fn(|context| {
            BUFFER.with_borrow_mut(|buffer| {
                let most = buffer.len().min(rest.len());
                let mut read = ReadBuf::new(&mut buffer[..most]);
                ready!(Pin::new(&mut *reader).poll_read(context, &mut read))?;
                let filled = read.filled();
                let is_right = filled == &rest[..filled.len()];
                Poll::Ready(io::Result::Ok((filled.len(), is_right)))
            })
        });
        match read.await? {
            (0, _) => return Err("the connection has ended".into()),
            (_, false) => return Err("another answer than the message".into()),
            (count, true) => rest = &rest[count..],
        }
    }
    Ok(())
}

/// TLS of version 1.3 with the same cipher and key exchange for every server, and no resumption.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    /// Trusts this certificate alone.
    pub(crate) fn new(certificate: CertificateDer<'static>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        message: Message,
    ) -> Result<Asker<TlsStream<TcpStream>>> {
        let stream = connected(address).await?;
        let host = ServerName::try_from(HOST)?;
        let stream = self.0.connect(host, stream).await?;
        Ok(Asker::new(stream, message))
    }
}

/// One that connects, asks once and closes, again and again.
pub(crate) struct Caller {
    address: SocketAddr,
    message: Message,
    tls: Option<Tls>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr, message: Message, tls: Option<Tls>) -> Self {
        Self {
            address,
            message,
            tls,
        }
    }
}

impl Client for Caller {
    async fn exchange(&mut self) -> Result {
        let message = self.message.clone();
        match &self.tls {
            None => drop(Asker::connect(self.address, message).await?.asked().await?),
            Some(tls) => {
                let mut asker = tls.connect(self.address, message).await?.asked().await?;
                asker.writer.shutdown().await?;
            }
        }
        Ok(())
    }
}

/// One that sends a datagram when the last one is answered.
#[derive(Debug)]
pub(crate) struct DatagramAsker {
    socket: UdpSocket,
    message: Message,
    answer: Vec<u8>,
}

impl DatagramAsker {
    pub(crate) async fn connect(address: SocketAddr, message: Message) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(address).await?;
        let answer = vec![0; message.0.len() + 1];
        Ok(Self {
            socket,
            message,
            answer,
        })
    }
}

impl Client for DatagramAsker {
    async fn exchange(&mut self) -> Result {
        self.socket.send(&self.message.0).await?;
        let received = self.socket.recv(&mut self.answer);
        let count = tokio::time::timeout(LOST, received).await??;
        match self.answer[..count] == *self.message.0 {
            true => Ok(()),
            false => Err("another answer than the datagram".into()),
        }
    }
}

async fn connected(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
