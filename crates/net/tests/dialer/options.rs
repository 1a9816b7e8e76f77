//! What the options say is what the socket has.

use std::time::Duration;

use moorline_net::{ConnectCause, DialOptions, Dialer, KeepAlive, SocketOptions};
use socket2::SockRef;

use crate::support::{address, dialer, listener, refusal};

fn with_socket(socket: SocketOptions) -> Dialer {
    Dialer::new(DialOptions::default().socket(socket))
}

#[tokio::test]
async fn socket_options_are_set() {
    let (_listener, at) = listener().await;
    let target = address(format!("tcp://{at}"));
    let connection = with_socket(
        SocketOptions::default()
            .no_delay(true)
            .reuse_address(true)
            .keep_alive(Some(KeepAlive::default()))
            .reset_on_close(true)
            .send_buffer(Some(20_000))
            .receive_buffer(Some(30_000))
            .user_timeout(Some(Duration::from_secs(9))),
    )
    .connect(&target)
    .await
    .unwrap();
    let socket = SockRef::from(&connection);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.reuse_address().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(
        socket.tcp_keepalive_time().unwrap(),
        Duration::from_secs(60)
    );
    assert_eq!(
        socket.tcp_keepalive_interval().unwrap(),
        Duration::from_secs(10)
    );
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    assert_eq!(socket.linger().unwrap(), Some(Duration::ZERO));
    // The kernel doubles them for its own book-keeping (socket(7)).
    assert_eq!(socket.send_buffer_size().unwrap(), 40_000);
    assert_eq!(socket.recv_buffer_size().unwrap(), 60_000);
    assert_eq!(
        socket.tcp_user_timeout().unwrap(),
        Some(Duration::from_secs(9))
    );
    let flags = rustix::io::fcntl_getfd(&connection).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    assert!(socket.nonblocking().unwrap());
}

#[tokio::test]
async fn the_default_is_no_delay_and_the_system_s_for_the_rest() {
    let (_listener, at) = listener().await;
    let connection = dialer()
        .connect(&address(format!("tcp://{at}")))
        .await
        .unwrap();
    let socket = SockRef::from(&connection);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(!socket.keepalive().unwrap());
    assert_eq!(socket.linger().unwrap(), None);
}

#[tokio::test]
async fn a_value_that_the_system_refuses_is_named() {
    let (_listener, at) = listener().await;
    let keep_alive = KeepAlive::default().count(1000);
    let dialer = with_socket(SocketOptions::default().keep_alive(Some(keep_alive)));
    let (error, _) = refusal(&dialer, &address(format!("tcp://{at}"))).await;
    assert!(
        matches!(error.cause(), ConnectCause::Invalid(_)),
        "{error:?}"
    );
    assert!(error.to_string().contains("`keep_alive`"), "{error}");
}

#[tokio::test]
async fn a_local_address_is_bound() {
    let (_listener, at) = listener().await;
    let local = "127.0.0.5:0".parse().unwrap();
    let dialer = Dialer::new(DialOptions::default().bind(Some(local)));
    let connection = dialer
        .connect(&address(format!("tcp://{at}")))
        .await
        .unwrap();
    assert_eq!(connection.local().unwrap().ip(), local.ip());
}

#[tokio::test]
async fn a_local_address_of_another_machine_is_an_error() {
    let (_listener, at) = listener().await;
    let dialer = Dialer::new(
        DialOptions::default()
            // RFC 5737: for documentation, so no machine has it.
            .bind(Some("192.0.2.1:0".parse().unwrap())),
    );
    let (error, _) = refusal(&dialer, &address(format!("tcp://{at}"))).await;
    let errno = rustix::io::Errno::ADDRNOTAVAIL.raw_os_error();
    assert_eq!(error.errno(), Some(errno));
}

#[tokio::test]
async fn an_interface_is_bound() {
    let (_listener, at) = listener().await;
    let through =
        |interface: &str| Dialer::new(DialOptions::default().interface(Some(interface.into())));
    let target = address(format!("tcp://{at}"));
    let connection = through("lo").connect(&target).await.unwrap();
    let socket = SockRef::from(&connection);
    assert_eq!(socket.device().unwrap().as_deref(), Some(b"lo".as_slice()));
    let (error, _) = refusal(&through("nowhere0"), &target).await;
    assert!(
        matches!(error.cause(), ConnectCause::NoInterface(_)),
        "{error:?}"
    );
}

/// A slip in a configuration file must not pass for the default.
#[test]
fn options_are_read_by_their_names_and_unknown_ones_refused() {
    let read: DialOptions = toml::from_str(
        r#"
        deadline = "2s"
        family = "prefer-ipv4"
        via = "socks5://me:p%40ss@proxy:1080"
        [socket]
        keep_alive = { idle = "30s" }
        "#,
    )
    .unwrap();
    let expected = DialOptions::default()
        .deadline(Duration::from_secs(2))
        .family(moorline_net::dial::Family::PreferIpv4)
        .via(Some("socks5://me:p%40ss@proxy:1080".parse().unwrap()))
        .socket(
            SocketOptions::default()
                .keep_alive(Some(KeepAlive::default().idle(Duration::from_secs(30)))),
        );
    assert_eq!(read, expected);
    let written = toml::to_string(&expected).unwrap();
    assert_eq!(toml::from_str::<DialOptions>(&written).unwrap(), expected);
    assert!(toml::from_str::<DialOptions>("dead_line = \"2s\"").is_err());
}
