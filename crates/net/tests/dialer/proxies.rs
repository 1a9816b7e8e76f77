//! Through SOCKS5 and HTTP CONNECT, with credentials, and through proxies that mean ill.

use std::net::SocketAddr;
use std::time::Duration;

use moorline_net::dial::StepKind;
use moorline_net::dial::via::Via;
use moorline_net::{ConnectCause, DialOptions, Dialer};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{address, listener, refusal, refusing, steps};

fn through(via: &str) -> Dialer {
    Dialer::new(
        DialOptions::default()
            .via(Some(via.parse().expect("the tests write proxies right")))
            .deadline(Duration::from_secs(5)),
    )
}

/// One turn of a scripted proxy: what it expects, and what it answers.
type Turn = (&'static [u8], &'static [u8]);

/// A proxy that plays these turns once, each only after the last, and then hands its stream over.
async fn scripted(turns: Vec<Turn>) -> (SocketAddr, JoinHandle<TcpStream>) {
    let (listener, at) = listener().await;
    let played = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for (expected, answer) in turns {
            let mut came = vec![0; expected.len()];
            stream.read_exact(&mut came).await.unwrap();
            assert_eq!(
                came.escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            );
            stream.write_all(answer).await.unwrap();
        }
        stream
    });
    (at, played)
}

const REQUEST: &[u8] = b"\x05\x01\x00\x03\x09name.test\x00\x50";
const GRANTED: &[u8] = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34";

#[tokio::test]
async fn socks5_is_asked_by_name() {
    let (proxy, played) = scripted(vec![(b"\x05\x01\x00", b"\x05\x00"), (REQUEST, GRANTED)]).await;
    let dialer = through(&format!("socks5://{proxy}"));
    let mut connection = dialer
        .connect(&address("tcp://name.test:80"))
        .await
        .unwrap();
    assert_eq!(
        steps(connection.timeline().steps()),
        [
            (StepKind::Connect, proxy.to_string(), "ok".to_owned()),
            (StepKind::Proxy, "name.test:80".to_owned(), "ok".to_owned()),
        ]
    );
    // What follows is the target's.
    let mut peer = played.await.unwrap();
    peer.write_all(b"ahoy").await.unwrap();
    let mut buffer = [0; 4];
    connection.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"ahoy");
}

#[tokio::test]
async fn socks5_is_asked_for_ip_addresses_as_such() {
    for (target, request) in [
        (
            "127.0.0.9:80",
            b"\x05\x01\x00\x01\x7f\x00\x00\x09\x00\x50".as_slice(),
        ),
        (
            "[::1]:80",
            b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50".as_slice(),
        ),
    ] {
        let answer = b"\x05\x00\x00\x03\x04host\x00\x50";
        let (proxy, played) =
            scripted(vec![(b"\x05\x01\x00", b"\x05\x00"), (request, answer)]).await;
        let dialer = through(&format!("socks5://{proxy}"));
        dialer
            .connect(&address(format!("tcp://{target}")))
            .await
            .unwrap();
        played.await.unwrap();
    }
}

#[tokio::test]
async fn socks5_is_given_user_and_password() {
    let (proxy, played) = scripted(vec![
        (b"\x05\x02\x00\x02", b"\x05\x02"),
        (b"\x01\x02me\x04p@ss", b"\x01\x00"),
        (REQUEST, GRANTED),
    ])
    .await;
    let dialer = through(&format!("socks5://me:p%40ss@{proxy}"));
    dialer
        .connect(&address("tcp://name.test:80"))
        .await
        .unwrap();
    played.await.unwrap();
}

#[tokio::test]
async fn a_refusal_of_socks5_is_described_in_words() {
    let hello: Turn = (b"\x05\x01\x00", b"\x05\x00");
    for (turns, words) in [
        (
            vec![(b"\x05\x01\x00".as_slice(), b"\x05\xff".as_slice())],
            "it wants a user and a password: give them",
        ),
        (
            vec![(b"\x05\x01\x00", b"\x05\x02")],
            "it accepts no authentication that we have",
        ),
        (
            vec![(b"\x05\x01\x00", b"HT")],
            "what it answers is no SOCKS5",
        ),
        (
            vec![hello, (REQUEST, b"\x05\x05\x00\x01")],
            "the target refused the connection",
        ),
        (
            vec![hello, (REQUEST, b"\x05\x02\x00\x01")],
            "its rules forbid this connection",
        ),
        (
            vec![hello, (REQUEST, b"\x05\x63\x00\x01")],
            "it failed for a reason of its own",
        ),
        (
            vec![hello, (REQUEST, b"\x05\x00\x00\x07")],
            "what it answers is no SOCKS5",
        ),
    ] {
        let (proxy, _played) = scripted(turns).await;
        let dialer = through(&format!("socks5://{proxy}"));
        let (error, _) = refusal(&dialer, &address("tcp://name.test:80")).await;
        assert!(
            matches!(error.cause(), ConnectCause::Proxy(said) if said == words),
            "{error:?}"
        );
        assert_eq!(error.step(), Some(StepKind::Proxy));
        assert_eq!(error.address(), "tcp://name.test:80");
    }
}

const CONNECT: &[u8] = b"CONNECT name.test:80 HTTP/1.1\r\nHost: name.test:80\r\n\r\n";

#[tokio::test]
async fn an_http_proxy_is_asked_to_connect_and_bytes_after_its_answer_are_the_targets() {
    // The target may speak first, in the same segment.
    let (proxy, played) = scripted(vec![(
        CONNECT,
        b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n220 ahoy\r\n\r\n",
    )])
    .await;
    let dialer = through(&format!("http://{proxy}/"));
    let mut connection = dialer
        .connect(&address("tcp://name.test:80"))
        .await
        .unwrap();
    let mut buffer = [0; 12];
    connection.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"220 ahoy\r\n\r\n");
    played.await.unwrap();
}

#[tokio::test]
async fn an_http_answer_may_come_byte_by_byte_after_an_interim_one() {
    let (listener, proxy) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 200 Fine\r\n\r\nX" {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.read_to_end(&mut Vec::new()).await
    });
    let dialer = through(&format!("http://{proxy}"));
    let mut connection = dialer
        .connect(&address("tcp://name.test:80"))
        .await
        .unwrap();
    assert_eq!(connection.read_u8().await.unwrap(), b'X');
}

#[tokio::test]
async fn http_is_given_user_and_password() {
    // RFC 7617 §2 has this pair.
    let (proxy, played) = scripted(vec![(
        b"CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\
          Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    )])
    .await;
    let dialer = through(&format!("http://Aladdin:open%20sesame@{proxy}"));
    dialer.connect(&address("tcp://[::1]:80")).await.unwrap();
    played.await.unwrap();
}

#[tokio::test]
async fn a_refusal_of_an_http_proxy_keeps_its_words() {
    for (answer, words) in [
        (
            b"HTTP/1.1 403 For\x1b[31mbidden\r\n\r\n".as_slice(),
            "403 For[31mbidden",
        ),
        (b"HTTP/1.1 502\r\n\r\n", "502 "),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "407 Proxy Authentication Required: it wants a user and a password, give them",
        ),
        (
            b"SSH-2.0-OpenSSH_9\r\n\r\n",
            "what it answers is no HTTP/1.1",
        ),
        (b"HTTP/2 200 OK\r\n\r\n", "what it answers is no HTTP/1.1"),
        (b"HTTP/1.1 +20 OK\r\n\r\n", "what it answers is no HTTP/1.1"),
    ] {
        let (proxy, _played) = scripted(vec![(CONNECT, answer)]).await;
        let dialer = through(&format!("http://{proxy}"));
        let (error, _) = refusal(&dialer, &address("tcp://name.test:80")).await;
        assert!(
            matches!(error.cause(), ConnectCause::Proxy(said) if said == words),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_http_answer_without_end_is_cut_off() {
    let (listener, proxy) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
        loop {
            stream.write_all(b"X-Endless: and on\r\n").await?;
        }
        #[expect(unreachable_code, reason = "it says what `?` returns")]
        std::io::Result::Ok(())
    });
    let (error, _) = refusal(&through(&format!("http://{proxy}")), &address("tcp://a:80")).await;
    assert!(
        error
            .to_string()
            .ends_with("its answer has no end within 16 KiB"),
        "{error}"
    );
}

#[tokio::test]
async fn a_proxy_that_leaves_and_one_that_refuses_differ() {
    for scheme in ["socks5", "http"] {
        let (listener, proxy) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // What was sent is read first: closing before that would be a reset.
            let _ = stream.read(&mut [0; 1024]).await;
        });
        let (error, _) = refusal(
            &through(&format!("{scheme}://{proxy}")),
            &address("tcp://a:80"),
        )
        .await;
        assert!(
            matches!(error.cause(), ConnectCause::EndOfFile),
            "{error:?}"
        );
        assert_eq!(error.step(), Some(StepKind::Proxy));

        let (_socket, nobody) = refusing();
        let (error, _) = refusal(
            &through(&format!("{scheme}://{nobody}")),
            &address("tcp://a:80"),
        )
        .await;
        assert!(
            matches!(error.cause(), ConnectCause::Refused(_)),
            "{error:?}"
        );
        assert_eq!(error.step(), Some(StepKind::Connect));
    }
}

#[tokio::test]
async fn a_silent_proxy_ends_with_the_deadline() {
    for scheme in ["socks5", "http"] {
        let (_listener, proxy) = listener().await;
        let dialer = Dialer::new(
            DialOptions::default()
                .via(Some(format!("{scheme}://{proxy}").parse().unwrap()))
                .deadline(Duration::from_millis(100)),
        );
        let (error, _) = refusal(&dialer, &address("tcp://a:80")).await;
        assert!(matches!(error.cause(), ConnectCause::Timeout), "{error:?}");
        assert_eq!(error.step(), Some(StepKind::Proxy));
    }
}

#[tokio::test]
async fn targets_that_a_proxy_cannot_reach_are_refused() {
    let (_listener, proxy) = listener().await;
    let long = "x".repeat(256);
    for (via, target, problem) in [
        (
            format!("socks5://{long}:p@{proxy}"),
            "tcp://a:80".to_owned(),
            "1 to 255 bytes",
        ),
        (
            format!("socks5://:p@{proxy}"),
            "tcp://a:80".to_owned(),
            "1 to 255 bytes",
        ),
        (
            format!("socks5://{proxy}"),
            format!("tcp://{long}:80"),
            "at most 255 bytes",
        ),
        (
            format!("http://a%3Ab:p@{proxy}"),
            "tcp://a:80".to_owned(),
            "colon",
        ),
        (
            format!("http://{proxy}"),
            "tcp://[fe80::1%lo]:80".to_owned(),
            "zone",
        ),
    ] {
        let (error, _) = refusal(&through(&via), &address(target)).await;
        assert!(
            matches!(error.cause(), ConnectCause::Invalid(_)),
            "{error:?}"
        );
        assert!(error.to_string().contains(problem), "{error}");
    }
    // A host made by hand, not parsed.
    let sly = moorline_net::Address::Tcp(moorline_net::HostPort {
        host: "a\r\nX: y".into(),
        port: 80,
    });
    let (error, _) = refusal(&through(&format!("http://{proxy}")), &sly).await;
    assert!(
        matches!(error.cause(), ConnectCause::Invalid(_)),
        "{error:?}"
    );
}

#[test]
fn a_proxy_is_read_and_written_alike_and_keeps_its_password_to_itself() {
    let text = "socks5://me:p%40s%3As%25@proxy.test:1080";
    let via: Via = text.parse().unwrap();
    let credentials = via.credentials.clone().unwrap();
    assert_eq!(
        (credentials.user.as_str(), credentials.password.as_str()),
        ("me", "p@s:s%")
    );
    assert!(!format!("{via:?}").contains("p@s"));
    assert_eq!(String::from(via.clone()).parse(), Ok(via));
    for wrong in ["proxy:1", "socks4://a:1", "socks5://a", "socks5://%ff@a:1"] {
        assert!(wrong.parse::<Via>().is_err(), "{wrong}");
    }
}

/// Whatever a proxy sends, a dial ends in a result, and no byte behind a good answer is lost.
#[test]
fn no_answer_of_a_proxy_breaks_a_dial() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let socks = prop_oneof![
        Just(b"\x05\x00".to_vec()),
        Just(b"\x05\x02\x01\x00".to_vec())
    ];
    let socks =
        (socks, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(a, b)| [a, b].concat());
    let http = "HTTP/1\\.[01] [0-9]{1,4} ?\\PC{0,20}\r?\n(\\PC{0,10}\r?\n){0,3}\r?\n?"
        .prop_map(String::into_bytes);
    let junk = prop::collection::vec(any::<u8>(), 0..40);
    let answer = prop_oneof![socks, http, junk];
    let mut runner = TestRunner::new(ProptestConfig::with_cases(200));
    runner
        .run(&(answer, any::<bool>()), |(answer, is_socks)| {
            runtime.block_on(async {
                let (listener, proxy) = listener().await;
                let peer = tokio::spawn(async move {
                    let (mut stream, _) = listener.accept().await?;
                    stream.write_all(&answer).await?;
                    stream.shutdown().await?;
                    stream.read_to_end(&mut Vec::new()).await
                });
                let scheme = if is_socks { "socks5" } else { "http" };
                let dialer = through(&format!("{scheme}://me:pass@{proxy}"));
                match dialer.connect(&address("tcp://name.test:80")).await {
                    Ok(_) => {}
                    Err(error) => {
                        prop_assert_eq!(error.step(), Some(StepKind::Proxy));
                        prop_assert!(!matches!(error.cause(), ConnectCause::Timeout), "{error:?}");
                    }
                }
                // However it was left: by a good close or, with bytes unread, a reset.
                let _ = peer.await.unwrap();
                Ok(())
            })
        })
        .unwrap();
}
