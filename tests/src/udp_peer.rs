//! Peers and clients of datagrams.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::PATIENCE;

/// A server of datagrams in this process. Dropping it closes its socket.
#[derive(Debug)]
pub struct UdpPeer {
    pub address: SocketAddr,
    /// What it has received, and from where, in order.
    received: Receiver<(Vec<u8>, SocketAddr)>,
    count: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl UdpPeer {
    /// One that sends each datagram back.
    pub fn echo() -> Self {
        Self::answering(|datagram| vec![datagram.to_vec()])
    }

    /// One that never answers.
    pub fn silent() -> Self {
        Self::answering(|_| Vec::new())
    }

    /// One that sends these datagrams for each that it gets.
    pub fn answering(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), answers)
    }

    /// The same at this address.
    pub fn at(
        address: SocketAddr,
        answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind(address).expect("the address is free");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a time that is not zero");
        let address = socket.local_addr().expect("it is bound");
        let (sender, received) = channel();
        let count = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let (counted, over) = (count.clone(), is_over.clone());
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while !over.load(Ordering::SeqCst) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                counted.fetch_add(1, Ordering::SeqCst);
                let datagram = &buffer[..length];
                // Nobody may want to know.
                let _ = sender.send((datagram.to_vec(), from));
                for answer in answers(datagram) {
                    socket.send_to(&answer, from).expect("it is sent");
                }
            }
        });
        Self {
            address,
            received,
            count,
            is_over,
            thread: Some(thread),
        }
    }

    /// An address of this machine where nobody receives datagrams. It is one of this process, so that its port stays free.
    pub fn absent() -> SocketAddr {
        let [.., high, low] = std::process::id().to_be_bytes();
        let own = SocketAddr::from(([127, 77, high, low], 0));
        let socket = UdpSocket::bind(own).expect("a port is free");
        socket.local_addr().expect("it is bound")
    }

    /// The next datagram that it has received, and its sender.
    #[track_caller]
    pub fn received(&self) -> (Vec<u8>, SocketAddr) {
        self.received.recv_timeout(PATIENCE).expect("one comes")
    }

    /// Datagrams so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for UdpPeer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // Its panic has failed the test already.
            let _ = thread.join();
        }
    }
}

/// A client of datagrams.
#[derive(Debug)]
pub struct UdpClient(pub UdpSocket);

impl UdpClient {
    /// One that sends to this address, and receives from there alone.
    pub fn new(to: SocketAddr) -> Self {
        let own = match to {
            SocketAddr::V4(_) => "127.0.0.1:0",
            SocketAddr::V6(_) => "[::1]:0",
        };
        let socket = UdpSocket::bind(own).expect("a port is free");
        socket.connect(to).expect("an address of this machine");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a time that is not zero");
        Self(socket)
    }

    /// Sends a datagram.
    #[track_caller]
    pub fn send(&self, datagram: &[u8]) {
        self.0.send(datagram).expect("it is sent");
    }

    /// The next datagram.
    #[track_caller]
    pub fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 16];
        let length = self.0.recv(&mut buffer).expect("one comes");
        buffer.truncate(length);
        buffer
    }

    /// Sends a datagram, and gets the answer.
    #[track_caller]
    pub fn ask(&self, datagram: &[u8]) -> Vec<u8> {
        self.send(datagram);
        self.receive()
    }

    /// Sends a datagram, and gets no answer within this time.
    #[track_caller]
    pub fn ask_in_vain(&self, datagram: &[u8], time: Duration) {
        self.send(datagram);
        self.0
            .set_read_timeout(Some(time))
            .expect("a time that is not zero");
        let came = self.0.recv(&mut [0; 16]);
        let error = came.expect_err("nothing comes");
        assert!(
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "{error}"
        );
        self.0
            .set_read_timeout(Some(PATIENCE))
            .expect("a time that is not zero");
    }
}
