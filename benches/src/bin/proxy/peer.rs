//! The peer behind the proxies: it sends back what it gets, and does nothing else.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::task::{Poll, ready};
use std::thread;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use moorline_benches::Result;

const BUFFER_BYTES: usize = 256 << 10;
const LARGEST_DATAGRAM_BYTES: usize = 65_535;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// Where it listens. Its threads run on until the process ends, on the CPU of the one that has begun them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) stream: SocketAddr,
    pub(crate) datagrams: SocketAddr,
}

impl Peer {
    pub(crate) fn begin() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let peer = Self {
            stream: listener.local_addr()?,
            datagrams: socket.local_addr()?,
        };
        thread::spawn(move || {
            if let Err(error) = serve(listener) {
                eprintln!("the peer has failed: {error}");
            }
        });
        thread::spawn(move || {
            let mut buffer = vec![0; LARGEST_DATAGRAM_BYTES];
            loop {
                // An error is that of an earlier answer whose socket is closed by now.
                if let Ok((count, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..count], from);
                }
            }
        });
        Ok(peer)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A connection that breaks concerns nobody else.
            let _ = echo(stream).await;
        });
    }
}

/// Echoes through one buffer for all connections: an idle one needs none.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let turn = poll_fn(|context| {
            BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                ready!(Pin::new(&mut stream).poll_read(context, &mut read))?;
                Poll::Ready(answered(&stream, read.filled()))
            })
        });
        match turn.await? {
            None => return Ok(()),
            Some(rest) => write_all(&stream, &rest).await?,
        }
    }
}

/// Writes what the socket takes at once; returns the rest. `None`: it is the end.
fn answered(stream: &TcpStream, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let written = match stream.try_write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        written => written?,
    };
    Ok(Some(bytes[written..].to_vec()))
}

async fn write_all(stream: &TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write(rest) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => rest = &rest[written?..],
        }
    }
    Ok(())
}
