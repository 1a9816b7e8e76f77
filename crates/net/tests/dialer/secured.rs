//! Dialing `tls://`. What each check refuses is tested with the checks themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moorline_net::dial::StepKind;
use moorline_net::tls::{Roots, TlsError, TlsOptions};
use moorline_net::{ConnectCause, DialOptions, Dialer};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::support::{Told, address, listener, refusal, steps};

/// A server for `name.test`, and the file with the certificate that vouches for it.
fn server(folder: &Path) -> (TlsAcceptor, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["name.test".to_owned()]).unwrap();
    let file = folder.join("root.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::from(key))
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), file)
}

fn trusting(file: PathBuf, deadline: Duration) -> Dialer {
    let options = DialOptions::default()
        .deadline(deadline)
        .tls(TlsOptions::default().roots(Roots::File(file)));
    Dialer::new(options).with_resolver(Arc::new(Told::Together(Ok(vec!["127.0.0.1"]))))
}

/// What the first dial of a dialer does before all else.
fn prepared() -> (StepKind, String, String) {
    (
        StepKind::Tls,
        "roots and certificates".to_owned(),
        "ok".to_owned(),
    )
}

#[tokio::test]
async fn the_handshake_is_a_step_and_the_session_can_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, file) = server(folder.path());
    let (listener, at) = listener().await;
    let served = tokio::spawn(async move {
        let mut stream = acceptor.accept(listener.accept().await?.0).await?;
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).await?;
        stream.write_all(&buffer).await?;
        stream.shutdown().await
    });
    let dialer = trusting(file, Duration::from_secs(5));
    let target = address(format!("wss://name.test:{}", at.port()));
    let mut connection = dialer.connect(&target).await.unwrap();
    assert_eq!(
        steps(connection.timeline().steps()),
        [
            prepared(),
            (StepKind::Resolve, "name.test".to_owned(), "ok".to_owned()),
            (StepKind::Connect, at.to_string(), "ok".to_owned()),
            (StepKind::Tls, "name.test".to_owned(), "ok".to_owned()),
        ]
    );
    assert_eq!(connection.tls().unwrap().names, ["name.test"]);
    assert_eq!(connection.peer(), Some(at));
    connection.write_all(b"ahoy").await.unwrap();
    connection.flush().await.unwrap();
    let mut came = Vec::new();
    connection.read_to_end(&mut came).await.unwrap();
    assert_eq!(came, b"ahoy");
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_ends_with_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = server(folder.path());
    let (_listener, at) = listener().await;
    let dialer = trusting(file, Duration::from_millis(300));
    let (error, _) = refusal(&dialer, &address(format!("tls://{at}"))).await;
    assert!(matches!(error.cause(), ConnectCause::Timeout), "{error:?}");
    assert_eq!(error.step(), Some(StepKind::Tls));
    assert_eq!(
        steps(error.timeline().steps()),
        [
            prepared(),
            (StepKind::Connect, at.to_string(), "ok".to_owned()),
            (
                StepKind::Tls,
                "127.0.0.1".to_owned(),
                "timed out".to_owned()
            ),
        ]
    );
}

#[tokio::test]
async fn a_server_for_another_name_is_refused_in_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, file) = server(folder.path());
    let (listener, at) = listener().await;
    let served = tokio::spawn(async move { acceptor.accept(listener.accept().await?.0).await });
    let dialer = trusting(file, Duration::from_secs(5));
    let target = address(format!("tls://other.test:{}", at.port()));
    let (error, _) = refusal(&dialer, &target).await;
    let expected = TlsError::WrongHost {
        expected: "other.test".into(),
        found: vec!["name.test".into()],
    };
    assert!(
        matches!(error.cause(), ConnectCause::Tls(cause) if *cause == expected),
        "{error:?}"
    );
    assert_eq!(error.step(), Some(StepKind::Tls));
    assert!(served.await.unwrap().is_err());
}

#[tokio::test]
async fn wrong_options_fail_before_anything_is_opened() {
    let dialer = trusting("/nonexistent/root.pem".into(), Duration::from_secs(5));
    let (error, _) = refusal(&dialer, &address("tls://127.0.0.1:1")).await;
    assert!(
        matches!(error.cause(), ConnectCause::Tls(TlsError::Options(_))),
        "{error:?}"
    );
    assert_eq!(
        steps(error.timeline().steps()),
        [(
            StepKind::Tls,
            "roots and certificates".to_owned(),
            error.cause().to_string()
        )]
    );
}

#[tokio::test]
async fn a_peer_that_resets_the_handshake_leaves_its_error_number() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = server(folder.path());
    let (listener, at) = listener().await;
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.set_zero_linger().unwrap();
    });
    let dialer = trusting(file, Duration::from_secs(5));
    let target = address(format!("tls://name.test:{}", at.port()));
    let (error, _) = refusal(&dialer, &target).await;
    assert!(matches!(error.cause(), ConnectCause::Reset(_)), "{error}");
    assert_eq!(error.step(), Some(StepKind::Tls));
    let reset = Some(rustix::io::Errno::CONNRESET.raw_os_error());
    assert_eq!(error.errno(), reset);
    let last = error.timeline().steps().last().unwrap();
    assert_eq!((last.kind, last.errno), (StepKind::Tls, reset));
    peer.await.unwrap();
}
