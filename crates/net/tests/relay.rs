//! Two streams joined both ways.

use std::time::Duration;

use bytes::Bytes;
use moorline_net::relay::{RelayEnd, Relayed};
use moorline_net::{Client, ClientOptions, Relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes, and short enough that a test which hangs is noticed.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it takes too long")
}

/// Two ends of a connection.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (near.unwrap(), accepted.unwrap().0)
}

/// Two outer ends, joined by a relay.
async fn relayed(
    configure: impl FnOnce(Relay<TcpStream, TcpStream>) -> Relay<TcpStream, TcpStream>,
) -> (TcpStream, TcpStream, JoinHandle<Relayed>) {
    let (first, a) = connection().await;
    let (second, b) = connection().await;
    let relay = tokio::spawn(configure(Relay::new(a, b)).run());
    (first, second, relay)
}

#[tokio::test]
async fn bytes_flow_both_ways_and_are_counted() {
    let (mut first, mut second, relay) = relayed(|relay| relay).await;
    first.write_all(b"there").await.unwrap();
    second.write_all(b"and back").await.unwrap();
    let (mut ahead, mut back) = ([0; 5], [0; 8]);
    within(second.read_exact(&mut ahead)).await.unwrap();
    within(first.read_exact(&mut back)).await.unwrap();
    assert_eq!((&ahead, &back), (b"there", b"and back"));
    drop((first, second));
    let done = within(relay).await.unwrap();
    assert_eq!((done.ahead, done.back), (5, 8));
    assert!(matches!(done.end, RelayEnd::Finished), "{}", done.end);
}

#[tokio::test]
async fn a_half_close_is_kept_and_the_other_way_goes_on() {
    let (mut first, mut second, relay) = relayed(|relay| relay).await;
    first.write_all(b"question").await.unwrap();
    first.shutdown().await.unwrap();
    let mut question = Vec::new();
    within(second.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    second.write_all(b"answer").await.unwrap();
    drop(second);
    let mut answer = Vec::new();
    within(first.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"answer");
    assert!(matches!(
        within(relay).await.unwrap().end,
        RelayEnd::Finished
    ));
}

#[tokio::test]
async fn a_slow_reader_slows_its_peer_and_gets_every_byte() {
    const BYTES: usize = 24 << 20;
    let (first, mut second, relay) = relayed(|relay| relay).await;
    let (mut reads, mut writes) = first.into_split();
    let writer = tokio::spawn(async move {
        let block: Vec<u8> = (0..64 * 1024).map(|at| (at % 251) as u8).collect();
        for _ in 0..BYTES / block.len() {
            writes.write_all(&block).await.unwrap();
        }
    });
    // The other way is not held up meanwhile.
    second.write_all(b"hurry").await.unwrap();
    let mut hurry = [0; 5];
    within(reads.read_exact(&mut hurry)).await.unwrap();
    assert!(!writer.is_finished(), "somebody keeps it all");
    let mut got = Vec::new();
    let read = async {
        let mut buffer = vec![0; 100_000];
        loop {
            let bytes = second.read(&mut buffer).await.unwrap();
            if bytes == 0 {
                return;
            }
            got.extend_from_slice(&buffer[..bytes]);
        }
    };
    within(read).await;
    assert_eq!(got.len(), BYTES);
    assert!(got.chunks(64 * 1024).all(|block| {
        block
            .iter()
            .zip(0..)
            .all(|(&byte, at)| byte == (at % 251) as u8)
    }));
    drop((second, reads));
    assert_eq!(within(relay).await.unwrap().ahead, BYTES as u64);
}

#[tokio::test]
async fn nothing_for_too_long_ends_it_and_closes_both() {
    let idle = Duration::from_millis(400);
    let (mut first, mut second, relay) = relayed(|relay| relay.with_idle_timeout(idle)).await;
    let begun = std::time::Instant::now();
    for _ in 0..6 {
        first.write_all(b"x").await.unwrap();
        within(second.read_exact(&mut [0])).await.unwrap();
        tokio::time::sleep(idle / 4).await;
    }
    assert!(begun.elapsed() > idle);
    let done = within(relay).await.unwrap();
    assert!(matches!(done.end, RelayEnd::Idle), "{}", done.end);
    assert_eq!(within(first.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(within(second.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn an_idle_timeout_that_no_clock_can_hold_is_none() {
    let (mut first, second, relay) = relayed(|relay| relay.with_idle_timeout(Duration::MAX)).await;
    first.write_all(b"x").await.unwrap();
    drop((first, second));
    let done = within(relay).await.unwrap();
    assert!(!matches!(done.end, RelayEnd::Idle), "{}", done.end);
}

#[tokio::test]
async fn a_reset_names_its_side_and_earlier_input_is_delivered() {
    let (mut first, mut second, relay) = relayed(|relay| relay).await;
    first.write_all(b"last words").await.unwrap();
    let mut words = [0; 10];
    within(second.read_exact(&mut words)).await.unwrap();
    first.set_zero_linger().unwrap();
    drop(first);
    assert_eq!(within(second.read(&mut [0])).await.unwrap(), 0);
    drop(second);
    let done = within(relay).await.unwrap();
    let RelayEnd::First(error) = done.end else {
        panic!("{}", done.end);
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(done.ahead, 10);
}

#[tokio::test]
async fn bytes_read_before_go_first() {
    let (mut first, mut second, _relay) =
        relayed(|relay| relay.with_unread(Bytes::from_static(b"early "))).await;
    first.write_all(b"and late").await.unwrap();
    let mut got = [0; 14];
    within(second.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"early and late");
}

#[tokio::test]
async fn dropping_it_closes_both() {
    let (mut first, mut second, relay) = relayed(|relay| relay).await;
    relay.abort();
    assert_eq!(within(first.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(within(second.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_is_piped_into_another_stream_with_its_received_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let mut client = Client::new(address.parse().unwrap(), ClientOptions::default());
    client.connect().await.unwrap();
    let (mut first, _) = listener.accept().await.unwrap();
    first.write_all(b"headbody").await.unwrap();
    assert_eq!(within(client.receive_exact(4)).await.unwrap(), &b"head"[..]);
    let (mut second, b) = connection().await;
    let relay = tokio::spawn(client.pipe_into(b, None));
    let mut body = [0; 4];
    within(second.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"body");
    second.write_all(b"reply").await.unwrap();
    let mut reply = [0; 5];
    within(first.read_exact(&mut reply)).await.unwrap();
    assert_eq!(&reply, b"reply");
    drop((first, second));
    let done = within(relay).await.unwrap().unwrap();
    assert_eq!((done.ahead, done.back), (4, 5));
}
