//! Files into streams.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use moorline_net::client::{Reconnect, SendError, StreamError, Unsent};
use moorline_net::{Address, Client, ClientOptions, Counts, Delimiter, Framing, Length};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::timeout;

/// Longer than anything here takes, and short enough that a test which hangs is noticed.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it takes too long")
}

fn contents(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at % 251) as u8 ^ (at / 4096) as u8)
        .collect()
}

struct Fixture {
    folder: tempfile::TempDir,
    contents: Vec<u8>,
}

impl Fixture {
    fn new(bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let contents = contents(bytes);
        let mut file = File::create(folder.path().join("file")).unwrap();
        file.write_all(&contents).unwrap();
        file.sync_all().unwrap();
        Self { folder, contents }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    /// Whatever reads it next reads it from the disk, as far as the system does as it is told.
    fn forget(&self) {
        let file = File::open(self.path()).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

async fn pair(options: ClientOptions) -> (Client, TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let mut client = Client::new(address.parse().unwrap(), options);
    client.connect().await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    (client, peer, listener)
}

fn framed() -> ClientOptions {
    ClientOptions::framed(Framing::Length(Length::default().max(64 << 20)))
}

async fn read_packet(peer: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let size = peer.read_u32().await.unwrap() as usize;
    let mut payload = vec![0; size];
    peer.read_exact(&mut payload).await.unwrap();
    payload
}

#[tokio::test]
async fn a_file_goes_out_as_one_message_between_others() {
    let fixture = Fixture::new(9 << 20);
    let (mut client, mut peer, _listener) = pair(framed()).await;
    let reads = tokio::spawn(async move {
        let mut messages = Vec::new();
        for _ in 0..3 {
            messages.push(read_packet(&mut peer).await);
        }
        messages
    });
    client.send(b"before").await.unwrap();
    within(client.send_file(fixture.path(), 0, None))
        .await
        .unwrap();
    client.send(b"after").await.unwrap();
    let messages = within(reads).await.unwrap();
    assert_eq!(messages[0], b"before");
    assert!(messages[1] == fixture.contents);
    assert_eq!(messages[2], b"after");
}

#[tokio::test]
async fn a_part_of_an_open_file_over_a_unix_socket_cold_or_not() {
    let fixture = Fixture::new(3 << 20);
    let path = fixture.folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = Client::new(Address::Unix(path), framed());
    client.connect().await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    fixture.forget();
    let file = File::open(fixture.path()).unwrap();
    let again = file.try_clone().unwrap();
    let reads = tokio::spawn(async move {
        [
            read_packet(&mut peer).await,
            read_packet(&mut peer).await,
            read_packet(&mut peer).await,
        ]
    });
    within(client.send_file(file, 1_000_001, Some(1_500_000)))
        .await
        .unwrap();
    within(client.send_file(again, 5, Some(7))).await.unwrap();
    within(client.send_file(fixture.path(), 3 << 20, None))
        .await
        .unwrap();
    let [part, short, empty] = within(reads).await.unwrap();
    assert!(part == fixture.contents[1_000_001..2_500_001]);
    assert_eq!(short, fixture.contents[5..12]);
    assert_eq!(empty, b"");
}

#[tokio::test]
async fn with_raw_framing_it_is_the_bytes_alone() {
    let fixture = Fixture::new(100_000);
    let (mut client, mut peer, _listener) = pair(ClientOptions::default()).await;
    within(client.send_file(fixture.path(), 10, None))
        .await
        .unwrap();
    within(client.close()).await.unwrap();
    let mut got = Vec::new();
    within(peer.read_to_end(&mut got)).await.unwrap();
    assert!(got == fixture.contents[10..]);
}

#[tokio::test]
async fn a_packet_with_its_header_gets_its_length_set_right() {
    let fixture = Fixture::new(50_000);
    let whole = Length::default()
        .keep_header(true)
        .offset(2)
        .counts(Counts::Message);
    let options = ClientOptions::framed(Framing::Length(whole));
    let (mut client, mut peer, _listener) = pair(options).await;
    within(client.send_file(fixture.path(), 0, None))
        .await
        .unwrap();
    let mut got = vec![0; 50_000];
    within(peer.read_exact(&mut got)).await.unwrap();
    let mut expected = fixture.contents.clone();
    expected[2..6].copy_from_slice(&50_000_u32.to_be_bytes());
    assert!(got == expected);
}

#[tokio::test]
async fn a_file_that_cannot_be_sent_is_refused_and_the_connection_undisturbed() {
    let fixture = Fixture::new(1000);
    let (mut client, mut peer, _listener) = pair(framed()).await;
    let missing = client.send_file("/nonexistent/file", 0, None).await;
    assert!(matches!(missing, Err(SendError::File(_))), "{missing:?}");
    let short = client.send_file(fixture.path(), 990, Some(11)).await;
    assert!(matches!(short, Err(SendError::File(_))), "{short:?}");
    let beyond = client.send_file(fixture.path(), u64::MAX, Some(2)).await;
    assert!(matches!(beyond, Err(SendError::File(_))), "{beyond:?}");
    client.send(b"fine").await.unwrap();
    assert_eq!(within(read_packet(&mut peer)).await, b"fine");
}

#[tokio::test]
async fn a_file_that_may_contain_the_end_of_a_message_is_refused() {
    let fixture = Fixture::new(1000);
    let delimiter = Delimiter::new(b"\r\n", 1 << 20).keep(true);
    for framing in [
        Framing::Line { max: 1 << 20 },
        Framing::Delimiter(delimiter),
    ] {
        let (mut client, _peer, _listener) = pair(ClientOptions::framed(framing)).await;
        let sender = client.sender();
        let by_owner = within(client.send_file(fixture.path(), 0, None)).await;
        assert!(matches!(by_owner, Err(SendError::File(_))), "{by_owner:?}");
        let by_sender = within(sender.send_file(fixture.path(), 0, None)).await;
        assert!(
            matches!(by_sender, Err(SendError::File(_))),
            "{by_sender:?}"
        );
    }
}

#[tokio::test]
async fn a_file_that_shrinks_meanwhile_breaks_its_connection() {
    let fixture = Fixture::new(32 << 20);
    let (mut client, peer, _listener) = pair(framed()).await;
    // It fills the socket's buffers, and then waits for a peer that does not read.
    let waits = timeout(
        Duration::from_millis(300),
        client.send_file(fixture.path(), 0, None),
    );
    assert!(waits.await.is_err());
    File::options()
        .write(true)
        .open(fixture.path())
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let mut peer = peer;
    let reads = tokio::spawn(async move {
        let mut got = Vec::new();
        let _ = peer.read_to_end(&mut got).await;
        got.len()
    });
    let error = within(client.flush()).await.unwrap_err();
    assert!(matches!(error, StreamError::FileShrank), "{error}");
    let error = within(client.receive_message()).await.unwrap_err();
    assert!(matches!(error, StreamError::FileShrank), "{error}");
    assert!(!client.is_connected());
    assert!(within(reads).await.unwrap() < 32 << 20);
}

#[tokio::test]
async fn a_file_half_sent_goes_out_whole_on_the_next_connection_if_so_chosen() {
    let fixture = Fixture::new(32 << 20);
    let options = framed().reconnect(Some(
        Reconnect::default()
            .first(Duration::from_millis(1))
            .queue(Unsent::Keep),
    ));
    let (mut client, peer, listener) = pair(options).await;
    let waits = timeout(
        Duration::from_millis(300),
        client.send_file(fixture.path(), 0, None),
    );
    assert!(waits.await.is_err());
    peer.set_zero_linger().unwrap();
    drop(peer);
    within(client.receive_message()).await.unwrap_err();
    within(client.reconnect()).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    let reads = tokio::spawn(async move { read_packet(&mut peer).await });
    within(client.flush()).await.unwrap();
    assert!(within(reads).await.unwrap() == fixture.contents);
}

#[tokio::test]
async fn a_fifo_is_refused_and_holds_up_no_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
    let (mut client, _peer, _listener) = pair(framed()).await;
    let sender = client.sender();
    // Nobody will ever write to it.
    let by_owner = within(client.send_file(&*path, 0, None)).await;
    assert!(matches!(by_owner, Err(SendError::File(_))), "{by_owner:?}");
    let by_sender = within(sender.send_file(&*path, 0, None)).await;
    assert!(
        matches!(by_sender, Err(SendError::File(_))),
        "{by_sender:?}"
    );
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK;
    let opened = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap();
    let opened = within(client.send_file(File::from(opened), 0, Some(1))).await;
    assert!(matches!(opened, Err(SendError::File(_))), "{opened:?}");
    assert!(client.is_connected());
}
