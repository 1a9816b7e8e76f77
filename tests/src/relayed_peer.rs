//! Peers that a gateway relays to.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A server in this process that handles each connection in a thread of its own. Dropping it closes its listening socket, and
/// its connections go on.
#[derive(Debug)]
pub struct PeerServer {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl PeerServer {
    /// One that sends back what it gets, and ends when its client has ended.
    pub fn echo() -> Self {
        Self::new(|mut stream| {
            let mut other = stream.try_clone().expect("a descriptor");
            // A connection may break.
            let _ = io::copy(&mut stream, &mut other);
            let _ = other.shutdown(Shutdown::Write);
        })
    }

    /// One that handles each connection in this way.
    pub fn new(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), handle)
    }

    /// The same at this address.
    pub fn at(address: SocketAddr, handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let (count, over, handle) = (connections.clone(), is_over.clone(), Arc::new(handle));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.expect("a connection");
                count.fetch_add(1, Ordering::SeqCst);
                let handle = handle.clone();
                thread::spawn(move || handle(stream));
            }
        });
        Self {
            address,
            connections,
            is_over,
        }
    }

    /// An echo at the path of a Unix socket, as long as the process lives.
    pub fn unix_echo(path: &Path) {
        let listener = UnixListener::bind(path).expect("the path is free");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut other = stream.try_clone().expect("a descriptor");
                    let _ = io::copy(&mut &stream, &mut other);
                    let _ = other.shutdown(Shutdown::Write);
                });
            }
        });
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for PeerServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes it.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// An address that answers no attempt to connect, as long as what is beside it lives: the backlog is full.
pub fn black_hole() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any.into()).expect("a port is free");
    listener.listen(0).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    let address_of = address.as_socket().expect("an internet address");
    let mut held = vec![listener];
    for _ in 0..4 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
        // Once the backlog is full, none succeeds.
        let _ = socket.connect_timeout(&address, Duration::from_millis(100));
        held.push(socket);
    }
    (address_of, held)
}

/// Sends all bytes from a thread of its own while they are read back, and half-closes behind them. Returns what came.
pub fn exchange(stream: &TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut received = Vec::new();
    thread::scope(|scope| {
        let sender = scope.spawn(|| -> io::Result<()> {
            (&mut &*stream).write_all(bytes)?;
            stream.shutdown(Shutdown::Write)
        });
        (&mut &*stream).read_to_end(&mut received)?;
        sender.join().expect("it does not panic")
    })?;
    Ok(received)
}
