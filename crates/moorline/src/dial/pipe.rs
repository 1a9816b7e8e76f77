//! What follows a dial that succeeded: standard input to the peer, what the peer sends to standard output.
//!
//! Both ways run side by side. The end of the input half-closes; the peer's end is the end of all.

use std::io;
use std::ops::ControlFlow;

use moorline_net::{Connection, Decoded, Decoder, Framing, framing::MAX_HEADER_BYTES};
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, Stdout, WriteHalf, split,
    stdin, stdout,
};

/// What is read at once, in bytes: a socket buffer's usual share, as a relay's.
const CHUNK: usize = 64 << 10;

/// Joins the connection to standard input and output as it is.
pub(super) async fn bytes(connection: Connection) -> io::Result<()> {
    let (receiving, sending) = split(connection);
    both(send_bytes(sending), receive_bytes(receiving)).await
}

/// Sends each line of the input as a message, prints each message as a line.
pub(super) async fn messages(connection: Connection, framing: &Framing) -> io::Result<()> {
    let (receiving, sending) = split(connection);
    both(
        send_messages(sending, framing),
        receive_messages(receiving, framing),
    )
    .await
}

/// Runs both until receiving ends, or either fails. A peer that no longer listens may still have
/// something to say, so that its refusal counts only once it has ended without an error.
async fn both(
    sending: impl Future<Output = io::Result<()>>,
    receiving: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    tokio::pin!(receiving);
    let sent = tokio::select! {
        received = &mut receiving => return received,
        sent = sending => sent,
    };
    match sent {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(error),
        Err(error) => receiving.await.and(Err(error)),
        Ok(()) => receiving.await,
    }
}

async fn send_bytes(mut peer: WriteHalf<Connection>) -> io::Result<()> {
    let mut input = stdin();
    let mut chunk = vec![0; CHUNK];
    loop {
        match input.read(&mut chunk).await? {
            0 => return peer.shutdown().await,
            count => peer.write_all(&chunk[..count]).await?,
        }
        peer.flush().await?;
    }
}

async fn receive_bytes(mut peer: ReadHalf<Connection>) -> io::Result<()> {
    let mut output = Output(stdout());
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = peer.read(&mut chunk).await?;
        if count == 0 || output.put(&[&chunk[..count]]).await?.is_break() {
            return Ok(());
        }
    }
}

async fn send_messages(mut peer: WriteHalf<Connection>, framing: &Framing) -> io::Result<()> {
    // The longest message and its line feed: of a longer line no more is read, and it is refused.
    let most = framing.max_message().saturating_add(1);
    let mut input = BufReader::new(stdin());
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut input).take(most).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return peer.shutdown().await;
        }
        line.pop_if(|last| *last == b'\n');
        let head = &line[..line.len().min(MAX_HEADER_BYTES)];
        let envelope = framing
            .envelope(head, line.len(), false)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let mut packet = envelope.prefix().to_vec();
        packet.extend_from_slice(&line[envelope.skip..]);
        packet.extend_from_slice(envelope.suffix());
        peer.write_all(&packet).await?;
        peer.flush().await?;
    }
}

async fn receive_messages(mut peer: ReadHalf<Connection>, framing: &Framing) -> io::Result<()> {
    let mut output = Output(stdout());
    let mut decoder = Decoder::new();
    let mut received = Vec::with_capacity(CHUNK);
    while peer.read_buf(&mut received).await? > 0 {
        let mut done = 0;
        // Without WebSocket all but a message is one that is not whole yet.
        while let Decoded::Message {
            start,
            end,
            consumed,
            ..
        } = decoder
            .decode(framing, &mut received[done..])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        {
            let message = &received[done + start..done + end];
            if output.put(&[message, b"\n"]).await?.is_break() {
                return Ok(());
            }
            done += consumed;
        }
        received.drain(..done);
    }
    match received.len() {
        0 => Ok(()),
        bytes => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the peer ended in the middle of a message, after {bytes} bytes of it"),
        )),
    }
}

/// Standard output.
struct Output(Stdout);

impl Output {
    /// Writes all the parts. `Break`: whoever reads it, `head` for instance, has seen enough.
    async fn put(&mut self, parts: &[&[u8]]) -> io::Result<ControlFlow<()>> {
        let written = async {
            for part in parts {
                self.0.write_all(part).await?;
            }
            self.0.flush().await
        };
        match written.await {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(error),
        }
    }
}
