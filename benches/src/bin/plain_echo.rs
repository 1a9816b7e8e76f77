//! What Moorline is measured against: a plain tokio echo server, in one process and on one thread.
//!
//! A task for each connection, one buffer for each that is used again and again, frames of a four-byte
//! length and a payload parsed by hand and echoed with a single write. It does nothing else: no limits,
//! no deadlines, no reload.
//!
//! `plain_echo ADDRESS`, for instance `plain_echo 127.0.0.1:9400`; port 0 takes any that is free.

use std::io;
use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What one read asks for; the buffer of a connection that gets nothing larger.
const BUFFER_BYTES: usize = 4096;

/// Nothing larger is echoed, so that four bytes cannot demand gigabytes.
const LARGEST_FRAME_BYTES: usize = 64 << 20;

const HEADER_BYTES: usize = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: plain_echo HOST:PORT");
        return ExitCode::from(2);
    };
    match serve(address.trim_start_matches("tcp://")).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on tcp://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A connection that breaks concerns nobody else.
            let _ = echo(stream).await;
        });
    }
}

/// Echoes frame after frame until the peer has no more.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let mut start = 0;
        let wanted = loop {
            match frame_bytes(&buffer[start..filled])? {
                Some(size) if size <= filled - start => {
                    stream.write_all(&buffer[start..start + size]).await?;
                    start += size;
                }
                size => break size.unwrap_or(HEADER_BYTES),
            }
        };
        buffer.copy_within(start..filled, 0);
        filled -= start;
        if wanted > buffer.len() {
            buffer.resize(wanted, 0);
        }
    }
}

/// The size of the frame that begins here, header included, once its header is there.
fn frame_bytes(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let size = u32::from_be_bytes(*header) as usize;
    if size > LARGEST_FRAME_BYTES {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    Ok(Some(HEADER_BYTES + size))
}
