//! Dialing Unix sockets.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use moorline_net::dial::StepKind;
use moorline_net::{Address, ConnectCause, DialOptions, Dialer};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{address, dialer, hasty, refusal, steps};

#[tokio::test]
async fn a_path_is_dialed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let connection = dialer()
        .connect(&Address::Unix(path.clone()))
        .await
        .unwrap();
    listener.accept().unwrap();
    assert_eq!(connection.peer(), None);
    assert_eq!(
        steps(connection.timeline().steps()),
        [(
            StepKind::Connect,
            path.display().to_string(),
            "ok".to_owned()
        )]
    );
}

#[tokio::test]
async fn an_abstract_name_is_dialed() {
    let name = format!("moorline-test-{}", std::process::id());
    let listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let connection = dialer()
        .connect(&address(format!("unix://@{name}")))
        .await
        .unwrap();
    listener.accept().unwrap();
    assert_eq!(
        connection.timeline().steps()[0].target.to_string(),
        format!("@{name}")
    );
}

#[tokio::test]
async fn a_missing_file_and_a_dead_socket_differ() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (error, _) = refusal(&dialer(), &Address::Unix(path.clone())).await;
    assert_eq!(error.errno(), Some(Errno::NOENT.raw_os_error()));
    drop(UnixListener::bind(&path).unwrap());
    let (error, _) = refusal(&dialer(), &Address::Unix(path)).await;
    assert!(
        matches!(error.cause(), ConnectCause::Refused(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_path_too_long_is_refused_and_never_cut() {
    let (error, _) = refusal(
        &dialer(),
        &Address::Unix(format!("/{}", "x".repeat(107)).into()),
    )
    .await;
    assert!(
        matches!(error.cause(), ConnectCause::Invalid(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn options_of_ports_have_no_meaning_here() {
    let dialer = Dialer::new(DialOptions::default().interface(Some("lo".into())));
    let (error, _) = refusal(&dialer, &Address::Unix("/run/a".into())).await;
    assert!(
        matches!(error.cause(), ConnectCause::Invalid(_)),
        "{error:?}"
    );
}

/// A listener at `path` and as many connections as its backlog takes.
fn full(path: &Path) -> (UnixListener, Vec<Socket>) {
    let address = SockAddr::unix(path).unwrap();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&address) {
            Ok(()) => waiting.push(socket),
            Err(error) => {
                assert_eq!(Errno::from_io_error(&error), Some(Errno::AGAIN));
                return (listener.into(), waiting);
            }
        }
    }
}

#[tokio::test]
async fn a_full_backlog_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (listener, waiting) = full(&path);
    let dial = tokio::spawn(async move { dialer().connect(&Address::Unix(path)).await });
    // It is under way when the second of two turns has come round.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert!(!dial.is_finished());
    for _ in &waiting {
        listener.accept().unwrap();
    }
    dial.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_backlog_that_stays_full_ends_with_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _full = full(&path);
    let (error, took) = refusal(&hasty(100), &Address::Unix(path.clone())).await;
    assert!(matches!(error.cause(), ConnectCause::Timeout), "{error:?}");
    assert_eq!(error.step(), Some(StepKind::Connect));
    assert!(took.as_millis() >= 100, "{took:?}");
    assert_eq!(
        steps(error.timeline().steps()),
        [(
            StepKind::Connect,
            path.display().to_string(),
            "timed out".to_owned()
        )]
    );
}
