//! Standard input to a peer as datagrams, and each of its datagrams to standard output.
//!
//! No datagram says that it is the last: once the input has ended, silence is the end.

use std::io;
use std::time::Duration;

use moorline_net::{DatagramClient, Framing};
use tokio::io::{AsyncReadExt, BufReader, stdin};
use tokio::sync::watch;
use tokio::time::sleep;

use super::pipe::{Broken, Output, read_line};

/// The size of one read, in bytes, and so of one datagram: what a UDP datagram holds over IPv4.
const CHUNK: usize = 65_507;

/// The size of one receive, in bytes: more than the usual buffer of a Unix socket holds.
const LARGEST: usize = 256 << 10;

/// Sends what each read gives as a datagram, or each line if `framing` is [`Framing::Line`], and writes what comes,
/// until the input has ended and nothing has come for `patience`.
pub(super) async fn datagrams(
    client: &DatagramClient,
    framing: &Framing,
    patience: Duration,
) -> Result<(), Broken> {
    let (tell, input_ended) = watch::channel(false);
    let sending = async {
        match framing {
            Framing::Raw => send_chunks(client).await?,
            framing => send_lines(client, framing).await?,
        }
        tell.send_replace(true);
        Ok(())
    };
    let end: &[u8] = match framing {
        Framing::Raw => b"",
        _ => b"\n",
    };
    tokio::select! {
        received = receive(client, end, input_ended, patience) => received,
        Err(broken) = sending => Err(broken),
    }
}

async fn send_chunks(client: &DatagramClient) -> Result<(), Broken> {
    let mut input = stdin();
    let mut chunk = vec![0; CHUNK];
    loop {
        match input.read(&mut chunk).await.map_err(Broken::Input)? {
            0 => return Ok(()),
            count => send(client, &chunk[..count]).await?,
        }
    }
}

async fn send_lines(client: &DatagramClient, framing: &Framing) -> Result<(), Broken> {
    let mut input = BufReader::new(stdin());
    let mut line = Vec::new();
    while read_line(&mut input, framing, &mut line)
        .await
        .map_err(Broken::Input)?
    {
        framing
            .envelope(&[], line.len(), false)
            .map_err(Broken::Line)?;
        send(client, &line).await?;
    }
    Ok(())
}

async fn send(client: &DatagramClient, bytes: &[u8]) -> Result<(), Broken> {
    let sent = client.send(bytes).await;
    sent.map_err(|error| Broken::Peer(io::Error::other(error)))
}

async fn receive(
    client: &DatagramClient,
    end: &[u8],
    mut input_ended: watch::Receiver<bool>,
    patience: Duration,
) -> Result<(), Broken> {
    let mut output = Output::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let silence = async {
            // If the sender is gone, no input will come either.
            let _ = input_ended.wait_for(|has_ended| *has_ended).await;
            sleep(patience).await;
        };
        let received = tokio::select! {
            received = client.receive(&mut buffer) => received,
            () = silence => return Ok(()),
        };
        let received = received.map_err(|error| Broken::Peer(io::Error::other(error)))?;
        if received.is_cut {
            let told = format!("a datagram came that is larger than {LARGEST} bytes");
            return Err(Broken::Peer(io::Error::other(told)));
        }
        let bytes = &buffer[..received.bytes];
        if output.put(&[bytes, end]).await?.is_break() {
            return Ok(());
        }
    }
}
