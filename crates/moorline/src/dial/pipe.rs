//! After a successful dial: standard input goes to the peer, what the peer sends to standard output.
//!
//! Both ways run at the same time. The end of the input half-closes. The peer's end ends everything, except the input
//! that is available at that moment: a peer may have nothing more to send and still listen.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use moorline_net::framing::{EncodeError, FramingError, guess};
use moorline_net::{Connection, Decoded, Decoder, Framing};
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, Stdin, Stdout, WriteHalf,
    split, stdin, stdout,
};
use tokio::sync::watch;
use tokio::time::sleep;

/// The size of one read, in bytes: a usual part of a socket buffer, as in a relay.
const CHUNK: usize = 64 << 10;

/// Once the peer has ended, an input that has given nothing for this long is taken as ended: long enough for another
/// program in a pipeline, and too short for a person at a keyboard to notice.
const PAUSE: Duration = Duration::from_millis(200);

/// Why it ended before everything was said.
#[derive(Debug)]
pub(super) enum Broken {
    /// Standard input cannot be read.
    Input(io::Error),
    /// Standard output cannot be written.
    Output(io::Error),
    /// A line of the input is no message.
    Line(EncodeError),
    /// The connection failed, or what the peer sends is no message.
    Peer(io::Error),
    /// The peer ended, and took no more of the input.
    Unsent(io::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(error) => write!(f, "standard input cannot be read: {error}"),
            Self::Output(error) => write!(f, "standard output cannot be written: {error}"),
            Self::Line(error) => error.fmt(f),
            Self::Peer(error) => error.fmt(f),
            Self::Unsent(error) => {
                write!(
                    f,
                    "the peer ended before all of the input was sent: {error}"
                )
            }
        }
    }
}

/// How receiving ended well.
enum End {
    /// The peer has sent everything.
    Peer,
    /// The reader of standard output, `head` for instance, has closed it.
    Reader,
}

/// Joins the connection to standard input and output as it is.
pub(super) async fn bytes(connection: Connection) -> Result<(), Broken> {
    let (receiving, sending) = split(connection);
    let (tell, ended) = watch::channel(false);
    both(send_bytes(sending, ended), receive_bytes(receiving), tell).await
}

/// Sends each line of the input as a message, prints each message as a line.
pub(super) async fn messages(connection: Connection, framing: &Framing) -> Result<(), Broken> {
    let (receiving, sending) = split(connection);
    let (tell, ended) = watch::channel(false);
    both(
        send_messages(sending, framing, ended),
        receive_messages(receiving, framing),
        tell,
    )
    .await
}

/// Runs both until receiving ends and no input is available, or either fails. A peer that no longer listens may still
/// send something, so its refusal counts only once it has ended without an error.
async fn both(
    sending: impl Future<Output = Result<(), Broken>>,
    receiving: impl Future<Output = Result<End, Broken>>,
    tell: watch::Sender<bool>,
) -> Result<(), Broken> {
    tokio::pin!(sending, receiving);
    let (received, sent) = tokio::select! {
        received = &mut receiving => (Some(received?), None),
        sent = &mut sending => (None, Some(sent)),
    };
    match sent {
        None | Some(Ok(()) | Err(Broken::Peer(_))) => {}
        Some(Err(broken)) => return Err(broken),
    }
    let end = match received {
        Some(end) => end,
        None => receiving.await?,
    };
    let sent = match (end, sent) {
        (End::Reader, _) => return Ok(()),
        (End::Peer, Some(sent)) => sent,
        (End::Peer, None) => {
            tell.send_replace(true);
            sending.await
        }
    };
    sent.map_err(|broken| match broken {
        Broken::Peer(error) => Broken::Unsent(error),
        other => other,
    })
}

/// What `reading` the input gives. `None` once the peer has ended and the input pauses.
async fn unless_over<T>(
    reading: impl Future<Output = io::Result<T>>,
    ended: &mut watch::Receiver<bool>,
) -> Result<Option<T>, Broken> {
    let over = async {
        // The other end of the channel lives as long as this future.
        let _ = ended.wait_for(|has_ended| *has_ended).await;
        sleep(PAUSE).await;
    };
    tokio::select! {
        read = reading => read.map(Some).map_err(Broken::Input),
        () = over => Ok(None),
    }
}

/// Tells the peer that the input has ended. Everything was sent before; a peer that is gone misses nothing.
async fn half_close(mut peer: WriteHalf<Connection>) {
    let _ = peer.shutdown().await;
}

async fn send_bytes(
    mut peer: WriteHalf<Connection>,
    mut ended: watch::Receiver<bool>,
) -> Result<(), Broken> {
    let mut input = stdin();
    let mut chunk = vec![0; CHUNK];
    while let Some(count) = unless_over(input.read(&mut chunk), &mut ended).await? {
        if count == 0 {
            half_close(peer).await;
            break;
        }
        send(&mut peer, &chunk[..count]).await?;
    }
    Ok(())
}

async fn send(peer: &mut WriteHalf<Connection>, bytes: &[u8]) -> Result<(), Broken> {
    let sent = async {
        peer.write_all(bytes).await?;
        peer.flush().await
    };
    sent.await.map_err(Broken::Peer)
}

async fn receive_bytes(mut peer: ReadHalf<Connection>) -> Result<End, Broken> {
    let mut output = Output::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = peer.read(&mut chunk).await.map_err(Broken::Peer)?;
        if count == 0 {
            return Ok(End::Peer);
        }
        if output.put(&[&chunk[..count]]).await?.is_break() {
            return Ok(End::Reader);
        }
    }
}

async fn send_messages(
    mut peer: WriteHalf<Connection>,
    framing: &Framing,
    mut ended: watch::Receiver<bool>,
) -> Result<(), Broken> {
    let mut input = BufReader::new(stdin());
    let mut line = Vec::new();
    loop {
        let reading = read_line(&mut input, framing, &mut line);
        match unless_over(reading, &mut ended).await? {
            Some(true) => {}
            Some(false) => {
                half_close(peer).await;
                return Ok(());
            }
            None => return Ok(()),
        }
        let envelope = framing.wrap(&line, false).map_err(Broken::Line)?;
        let mut packet = envelope.prefix().to_vec();
        packet.extend_from_slice(&line[envelope.skip..]);
        packet.extend_from_slice(envelope.suffix());
        send(&mut peer, &packet).await?;
    }
}

/// The next line of the input, without its line feed. `false`: there is none.
pub(super) async fn read_line(
    input: &mut BufReader<Stdin>,
    framing: &Framing,
    line: &mut Vec<u8>,
) -> io::Result<bool> {
    line.clear();
    // The longest message and its line feed. No more of a longer line is read, and it is refused.
    let most = framing.max_message().saturating_add(1);
    let count = input.take(most).read_until(b'\n', line).await?;
    line.pop_if(|last| *last == b'\n');
    Ok(count > 0)
}

async fn receive_messages(
    mut peer: ReadHalf<Connection>,
    framing: &Framing,
) -> Result<End, Broken> {
    let mut output = Output::new();
    let mut decoder = Decoder::new();
    let mut received = Vec::with_capacity(CHUNK);
    while peer.read_buf(&mut received).await.map_err(Broken::Peer)? > 0 {
        let mut done = 0;
        // Without WebSocket the only other case is an unfinished message.
        while let Decoded::Message {
            start,
            end,
            consumed,
            ..
        } = decoder
            .decode(framing, &mut received[done..])
            .map_err(|error| nonsense(framing, &received, done, error))?
        {
            let message = &received[done + start..done + end];
            if output.put(&[message, b"\n"]).await?.is_break() {
                return Ok(End::Reader);
            }
            done += consumed;
        }
        received.drain(..done);
    }
    match received.len() {
        0 => Ok(End::Peer),
        bytes => Err(Broken::Peer(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the peer ended in the middle of a message, after {bytes} bytes of it"),
        ))),
    }
}

/// The peer's bytes break the framing.
fn nonsense(framing: &Framing, received: &[u8], at: usize, error: FramingError) -> Broken {
    let mut told = error.to_string();
    if let Some(guess) = guess(framing, received, at) {
        told.push_str(&format!(": what it sends {guess}"));
    }
    Broken::Peer(io::Error::new(io::ErrorKind::InvalidData, told))
}

/// Standard output.
pub(super) struct Output(Stdout);

impl Output {
    pub(super) fn new() -> Self {
        Self(stdout())
    }

    /// Writes all the parts. `Break`: the reader, `head` for instance, has closed the output.
    pub(super) async fn put(&mut self, parts: &[&[u8]]) -> Result<ControlFlow<()>, Broken> {
        let written = async {
            for part in parts {
                self.0.write_all(part).await?;
            }
            self.0.flush().await
        };
        match written.await {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(Broken::Output(error)),
        }
    }
}
