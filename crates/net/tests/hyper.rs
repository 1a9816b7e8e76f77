//! A dialer under hyper-util's client, and a resolver under reqwest's.

mod tls_peer;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use moorline_net::resolve::{Families, Lookups, StaticResolver};
use moorline_net::{
    ConnectCause, ConnectError, Connector, DialOptions, Dialer, Resolver, Timeline,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

/// Long enough for a busy machine; only a failing test waits it out.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that answers with the path. Counts connections.
async fn serve(tls: Option<TlsAcceptor>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => answer(stream).await,
                    Some(tls) => answer(tls.accept(stream).await.unwrap()).await,
                }
            });
        }
    });
    (address, accepted)
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let path = request.uri().path().to_owned();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(path))))
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn client(options: DialOptions) -> Client<Connector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new()).build(Connector::new(Dialer::new(options)))
}

fn trusting() -> DialOptions {
    let mut options = DialOptions::default();
    options.tls = tls_peer::options();
    options
}

async fn get(client: &Client<Connector, Empty<Bytes>>, uri: &str) -> (Bytes, Timeline) {
    let response = timeout(PATIENCE, client.get(uri.parse().unwrap()));
    let response = response.await.expect("it is answered").unwrap();
    let timeline = response.extensions().get::<Timeline>().unwrap().clone();
    (
        response.into_body().collect().await.unwrap().to_bytes(),
        timeline,
    )
}

#[tokio::test]
async fn requests_go_over_a_dialed_connection_which_is_kept() {
    let (address, accepted) = serve(None).await;
    let client = client(DialOptions::default());
    let (body, timeline) = get(&client, &format!("http://{address}/one")).await;
    assert_eq!(body, "/one");
    assert_eq!(timeline.steps().len(), 1, "{timeline}");
    assert_eq!(
        get(&client, &format!("http://{address}/two")).await.0,
        "/two"
    );
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn requests_go_over_tls() {
    let (address, _) = serve(Some(tls_peer::server().into())).await;
    let (body, timeline) = get(&client(trusting()), &format!("https://{address}/secret")).await;
    assert_eq!(body, "/secret");
    assert!(timeline.steps().len() > 1, "{timeline}");
}

#[tokio::test]
async fn the_client_sees_that_the_handshake_chose_http2() {
    let mut config = rustls::ServerConfig::clone(&tls_peer::server());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (address, _) = serve(Some(Arc::new(config).into())).await;
    for (offered, is_h2) in [(vec!["h2".to_owned()], true), (Vec::new(), false)] {
        let mut options = trusting();
        options.tls.alpn = offered;
        let mut connector = Connector::new(Dialer::new(options));
        let uri = format!("https://{address}/").parse().unwrap();
        let connection = timeout(PATIENCE, connector.call(uri))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(connection.connected().is_negotiated_h2(), is_h2);
    }
}

#[tokio::test]
async fn the_source_of_a_failed_request_is_the_dials_error() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let request = client(DialOptions::default()).get(format!("http://{closed}/").parse().unwrap());
    let error = timeout(PATIENCE, request).await.unwrap().unwrap_err();
    let source = error
        .source()
        .unwrap()
        .downcast_ref::<ConnectError>()
        .unwrap();
    assert!(
        matches!(source.cause(), ConnectCause::Refused(_)),
        "{source}"
    );
}

/// The lines that the documentation of `resolve` shows.
struct Names(Arc<dyn Resolver>);

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let lookups: Lookups = self.0.look_up(name.as_str(), Families::Both);
        Box::pin(async move {
            let addresses = lookups.all().await?;
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

#[tokio::test]
async fn a_reqwest_client_resolves_by_this_crates_resolver() {
    let (address, _) = serve(None).await;
    let table = StaticResolver::from_hosts("127.0.0.1 made.up\n").unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .dns_resolver(Arc::new(Names(Arc::new(table))))
        .build()
        .unwrap();
    let uri = format!("http://made.up:{}/by-name", address.port());
    let response = timeout(PATIENCE, client.get(uri).send())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(response.text().await.unwrap(), "/by-name");
}
