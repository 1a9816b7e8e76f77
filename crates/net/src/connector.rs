//! A dialer as the connector of hyper-util's client.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection as Describe};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use crate::address::{Address, HostPort};
use crate::connection::Connection;
use crate::dial::{ConnectCause, ConnectError, Dialer};

/// A dialer as the connector of hyper-util's client: dials, races, proxies and TLS are the dialer's.
///
/// Takes `http`, `https`, `ws` and `wss` URIs; without a port it is 80, with TLS 443. A response's extensions have the
/// [`Timeline`](crate::Timeline) of the dial. The client speaks HTTP/2 on a connection whose handshake has chosen `h2`
/// ([`TlsOptions::alpn`](crate::tls::TlsOptions::alpn)). Cloning is cheap. Dropping a call's future ends the dial.
///
/// ```
/// # fn example() {
/// use http_body_util::Empty;
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use moorline_net::{Connector, DialOptions, Dialer};
///
/// let connector = Connector::new(Dialer::new(DialOptions::default()));
/// let client: Client<_, Empty<&[u8]>> = Client::builder(TokioExecutor::new()).build(connector);
/// let response = client.get("https://example.com/".parse().unwrap());
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Connector {
    dialer: Dialer,
}

impl Connector {
    /// A connector that opens connections with this dialer.
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer }
    }
}

/// A dial of a [`Connector`].
type ConnectorFuture =
    Pin<Box<dyn Future<Output = Result<TokioIo<Connection>, ConnectError>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = ConnectError;
    type Future = ConnectorFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> ConnectorFuture {
        let dialer = self.dialer.clone();
        Box::pin(async move {
            let address = address(&uri).map_err(|problem| {
                ConnectError::before_dial(uri.to_string(), ConnectCause::Invalid(problem))
            })?;
            Ok(TokioIo::new(dialer.connect(&address).await?))
        })
    }
}

impl Describe for Connection {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.timeline().clone());
        match self.speaks_http2() {
            true => connected.negotiated_h2(),
            false => connected,
        }
    }
}

/// Where a URI leads.
fn address(uri: &Uri) -> Result<Address, String> {
    type Make = fn(HostPort) -> Address;

    let (make, default_port): (Make, u16) = match uri.scheme_str() {
        Some("http") => (Address::Http, 80),
        Some("ws") => (Address::Ws, 80),
        Some("https") => (Address::Https, 443),
        Some("wss") => (Address::Wss, 443),
        Some(scheme) => {
            return Err(format!(
                "`{scheme}` is not a scheme of HTTP: write http or https"
            ));
        }
        None => return Err("the URI has no scheme: write http://host/path".into()),
    };
    let host = uri.host().unwrap_or_default();
    // A URI has an IPv6 address in brackets.
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        return Err("the URI has no host: write http://host/path".into());
    }
    Ok(make(HostPort {
        host: host.to_owned(),
        port: uri.port_u16().unwrap_or(default_port),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_leads_to_its_host_and_the_port_of_its_scheme() {
        for (uri, expected) in [
            ("http://example.com/a?b", "http://example.com:80"),
            ("https://example.com", "https://example.com:443"),
            ("wss://example.com:9000/", "wss://example.com:9000"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("ws://127.0.0.1/", "ws://127.0.0.1:80"),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(address(&uri).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn a_uri_of_another_scheme_is_refused() {
        let error = address(&"ftp://example.com/".parse().unwrap()).unwrap_err();
        assert!(error.contains("`ftp`"), "{error}");
        assert!(address(&"/path".parse().unwrap()).is_err());
    }
}
