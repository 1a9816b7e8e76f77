//! Shakes hands with servers.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;

use super::authority::Authority;
use super::certificate::Fingerprint;
use super::client_certificate::{ShownCertificate, was_asked};
use super::error::{HandshakeError, TlsError};
use super::options::{TlsOptions, Verification};
use super::roots::{self, TrustedRoots};
use super::verifier::{HostNames, ServerVerifier};

/// Sessions that are kept for resumption, some KiB each: up to 8 of each of 32 servers.
const KEPT_SESSIONS: usize = 256;
/// The longest name of a protocol, in bytes (RFC 7301 §3.1).
const MAX_PROTOCOL_BYTES: usize = 255;

/// TLS options made ready: shakes hands with servers.
///
/// Make one for many connections: it keeps their sessions, so that later handshakes with a server are resumed.
/// Cloning is cheap; clones share the sessions.
#[derive(Clone)]
pub struct TlsConnector {
    inner: tokio_rustls::TlsConnector,
    /// Replaces the address's host.
    server_name: Option<ServerName<'static>>,
}

impl TlsConnector {
    /// Makes the options ready: reads their files, and the system's roots once in a process. Blocks on that.
    ///
    /// Contradictory or unreadable options are [`TlsError::Options`], with the place of the problem.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = ServerVerifier {
            verification: options.verification,
            names: HostNames::Listed,
            authority: Authority {
                crls: Vec::new(),
                depth: options.verify_depth,
                algorithms: provider.signature_verification_algorithms,
                roots: match options.verification {
                    Verification::DangerouslyNone => Arc::new(TrustedRoots::empty()),
                    // A system without roots can still talk to a server that needs none.
                    Verification::AllowSelfSigned => {
                        roots::load(&options.roots).or_else(|error| match options.roots {
                            super::Roots::System => Ok(Arc::new(TrustedRoots::empty())),
                            _ => Err(error),
                        })?
                    }
                    Verification::Full => roots::load(&options.roots)?,
                },
            },
            fingerprints: options
                .fingerprints
                .iter()
                .map(|text| text.parse::<Fingerprint>().map_err(TlsError::Options))
                .collect::<Result<_, _>>()?,
        };
        let shown = ShownCertificate::load(options.client_certificate.as_ref(), &provider)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Options(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(shown));
        config.alpn_protocols = protocols(&options.alpn)?;
        config.enable_sni = !options.no_sni;
        config.resumption = Resumption::in_memory_sessions(KEPT_SESSIONS);
        Ok(Self {
            inner: Arc::new(config).into(),
            server_name: options
                .server_name
                .as_deref()
                .map(server_name)
                .transpose()?,
        })
    }

    /// A connector with the caller's own configuration of rustls, which alone decides what is verified, shown and
    /// offered. Its provider, roots and session cache are the caller's too.
    ///
    /// [`tls::rustls`](super::rustls) is the version that it must come from.
    pub fn from_config(config: Arc<ClientConfig>) -> Self {
        Self {
            inner: config.into(),
            server_name: None,
        }
    }

    /// What it speaks with, for libraries that shake hands by themselves. The name that the options give is not in it.
    pub fn config(&self) -> &Arc<ClientConfig> {
        self.inner.config()
    }

    /// Shakes hands over `stream`. `host` is sent (SNI) and verified, unless the options name another.
    ///
    /// Fails with the check that refused. A server that refuses this side's certificate in TLS 1.3 says so only to the
    /// first read; see [`typed`](super::typed). Does not block, and sets no deadline. Cancel-safe: dropping the
    /// future closes the stream, which is of no use then.
    pub async fn connect<IO>(&self, host: &str, stream: IO) -> Result<TlsStream<IO>, TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        Ok(self.shake_hands(host, stream).await?)
    }

    /// Like [`connect`](Self::connect), but a failure of the stream is told apart.
    pub(crate) async fn shake_hands<IO>(
        &self,
        host: &str,
        stream: IO,
    ) -> Result<TlsStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.name_for(host).map_err(HandshakeError::Tls)?;
        let mut handshake = pin!(self.inner.connect(name, stream));
        let mut asked = false;
        let stream = poll_fn(|context| {
            // The mark that another handshake has left on this thread.
            was_asked();
            let poll = handshake.as_mut().poll(context);
            asked |= was_asked();
            poll
        })
        .await
        .map_err(|error| HandshakeError::new(error, asked))?;
        self.check_protocol(stream.get_ref().1)
            .map_err(HandshakeError::Tls)?;
        Ok(stream)
    }

    fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => server_name(host),
        }
    }

    /// A server may ignore what it is offered (RFC 7301 §3.2); then its protocol is unknown.
    fn check_protocol(&self, connection: &ClientConnection) -> Result<(), TlsError> {
        let offered = !self.inner.config().alpn_protocols.is_empty();
        match offered && connection.alpn_protocol().is_none() {
            true => Err(TlsError::NoCommonProtocol),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// A host as certificates have it: without its trailing dot or its zone.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let host = host.split_once('%').map_or(host, |(address, _)| address);
    let host = host.strip_suffix('.').unwrap_or(host);
    ServerName::try_from(host.to_owned()).map_err(|_| {
        let hint = match host.is_ascii() {
            true => "write a host name or an IP address",
            false => "write it in its ASCII form (xn--…)",
        };
        TlsError::Options(format!("`{host}` is no name of a server: {hint}"))
    })
}

pub(super) fn protocols(names: &[String]) -> Result<Vec<Vec<u8>>, TlsError> {
    let protocol = |name: &String| match name.len() {
        1..=MAX_PROTOCOL_BYTES => Ok(name.as_bytes().to_vec()),
        _ => Err(TlsError::Options(format!(
            "`{name}` is no protocol (ALPN): write 1 to {MAX_PROTOCOL_BYTES} bytes, such as \"h2\""
        ))),
    };
    names.iter().map(protocol).collect()
}
