//! A WebSocket client that looks at what comes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;

/// The first byte of a text message in one frame.
pub const TEXT: u8 = 0x81;
/// The first byte of a binary message in one frame.
pub const BINARY: u8 = 0x82;
/// This bit of it says that the message is compressed (RFC 7692).
pub const COMPRESSED: u8 = 0x40;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// Clients must mask (RFC 6455 §5.3); here are no proxies that it protects, so one key is enough.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const READ_BYTES: usize = 4 << 10;

/// One session.
#[derive(Debug)]
pub struct WebSocket {
    stream: TcpStream,
    /// What has come, from `start` on not looked at.
    received: Vec<u8>,
    start: usize,
}

impl WebSocket {
    /// Opens a session. `fields`: further lines of the request's head. Returns the head of the answer, too.
    pub async fn open(address: SocketAddr, path: &str, fields: &str) -> Result<(Self, String)> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut socket = Self {
            stream,
            received: Vec::new(),
            start: 0,
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{fields}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.send(request.as_bytes()).await?;
        let end = loop {
            let mut parts = socket.received.windows(4);
            if let Some(end) = parts.position(|part| part == b"\r\n\r\n") {
                break end + 4;
            }
            socket.read().await?;
        };
        let head = String::from_utf8_lossy(&socket.received[..end]).into_owned();
        socket.start = end;
        match head.starts_with("HTTP/1.1 101 ") {
            true => Ok((socket, head)),
            false => Err(format!("no session: {head}").into()),
        }
    }

    /// Sends a frame as [`masked`] makes it.
    pub async fn send(&mut self, frame: &[u8]) -> Result {
        Ok(self.stream.write_all(frame).await?)
    }

    /// The next message: the first byte of its frame, and its payload. Answers pings on the way.
    pub async fn receive(&mut self) -> Result<(u8, &[u8])> {
        loop {
            while self.whole().is_none() {
                self.read().await?;
            }
            let (payload, end) = self.whole().ok_or("it is whole")?;
            let first = self.received[self.start];
            self.start = end;
            if first != PING {
                return Ok((first, &self.received[payload..end]));
            }
            let pong = masked(PONG, &self.received[payload..end]);
            self.send(&pong).await?;
        }
    }

    /// Where the payload of the next frame begins and ends, if it is here.
    fn whole(&self) -> Option<(usize, usize)> {
        let rest = &self.received[self.start..];
        let (head, length) = match rest.get(1)? {
            126 => (4, u16::from_be_bytes(*rest.get(2..)?.first_chunk()?).into()),
            127 => (10, u64::from_be_bytes(*rest.get(2..)?.first_chunk()?)),
            short => (2, u64::from(*short)),
        };
        let payload = self.start + head;
        let end = payload + length as usize;
        (end <= self.received.len()).then_some((payload, end))
    }

    async fn read(&mut self) -> Result {
        if self.start == self.received.len() {
            self.received.clear();
            self.start = 0;
        }
        if self.received.capacity() - self.received.len() < READ_BYTES {
            self.received.drain(..self.start);
            self.start = 0;
            self.received.reserve(READ_BYTES);
        }
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err("the server has closed".into()),
            _ => Ok(()),
        }
    }
}

/// A frame of a client.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..126), _) => frame.push(MASKED | short),
        (_, Ok(medium)) => {
            frame.push(MASKED | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(MASKED | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}
