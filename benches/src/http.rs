//! A client of plain requests, which keeps its connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;

/// One connection.
#[derive(Debug)]
pub struct Http {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Http {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(4 << 10),
        })
    }

    /// Sends a whole request, and returns the status and the body of its answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.received.clear();
        self.stream.write_all(request).await?;
        let end = loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the server has closed".into());
            }
            let mut parts = self.received.windows(4);
            if let Some(end) = parts.position(|part| part == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = std::str::from_utf8(&self.received[..end])?;
        let status = head.split(' ').nth(1).ok_or("an answer")?.parse()?;
        let mut lines = head.lines();
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>())
        });
        let length = length.transpose()?.unwrap_or(0);
        while self.received.len() < end + length {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the server has closed".into());
            }
        }
        match self.received.len() == end + length {
            true => Ok((status, &self.received[end..])),
            false => Err("more than an answer".into()),
        }
    }
}
