//! A client that speaks one framing over one stream, and blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::wire::{self, Wire};
use super::{Engine, PATIENCE, Site, TlsStream, Trust};

/// A connected stream of either family.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

/// A session's other end. Whatever takes longer than [`PATIENCE`] fails the test.
#[derive(Debug)]
pub struct Client {
    pub stream: Stream,
    wire: Wire,
    received: Vec<u8>,
    /// Asked about the session when it hangs.
    site: Option<Arc<Site>>,
}

impl Client {
    /// Connects to the engine's listener number `listener`. WebSocket clients ask for the path `/ws`.
    #[track_caller]
    pub fn connect(engine: &Engine, listener: usize, wire: Wire) -> Client {
        let mut client =
            Self::try_connect(engine.address(listener), wire).unwrap_or_else(|error| {
                panic!("cannot connect to {}: {error}", engine.address(listener))
            });
        client.site = Some(engine.site());
        client
    }

    /// The same over IPv4 from an address of this machine's own.
    #[track_caller]
    pub fn connect_from(engine: &Engine, listener: usize, wire: Wire, from: [u8; 4]) -> Client {
        let mut client = Self::connect_to(engine.socket_address(listener), wire, from);
        client.site = Some(engine.site());
        client
    }

    /// The same to something in front of the engine. Without a handshake.
    #[track_caller]
    pub fn connect_to(address: SocketAddr, wire: Wire, from: [u8; 4]) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
        socket
            .bind(&SocketAddr::from((from, 0)).into())
            .expect("all of 127.0.0.0/8 is this machine");
        socket.connect(&address.into()).expect("it accepts");
        let client = Client {
            stream: Stream::Tcp(socket.into()),
            wire,
            received: Vec::new(),
            site: None,
        };
        client
            .stream
            .set_read_timeout(PATIENCE)
            .expect("a stream has a timeout");
        client
    }

    /// The same to a listener with TLS, whose certificate must be for `host`. Fails if the handshake does.
    pub fn connect_tls(
        engine: &Engine,
        listener: usize,
        wire: Wire,
        trust: &Trust,
        host: &str,
    ) -> io::Result<Client> {
        let stream = trust.connect(engine.socket_address(listener), host)?;
        let mut client = Self::over(Stream::Tls(Box::new(stream)), wire)?;
        client.site = Some(engine.site());
        Ok(client)
    }

    /// The same with an address as it is announced, for when it may fail.
    pub fn try_connect(address: &str, wire: Wire) -> io::Result<Client> {
        Self::over(Stream::connect(address)?, wire)
    }

    /// A WebSocket client of the engine's listener number `listener` that asks for this path, with more headers, each line with its
    /// end. Returns the head of the answer, too.
    pub fn connect_websocket(
        engine: &Engine,
        listener: usize,
        path: &str,
        headers: &str,
    ) -> io::Result<(Client, String)> {
        let mut client = Self::try_connect(engine.address(listener), Wire::Raw)?;
        client.wire = Wire::WebSocket;
        client.site = Some(engine.site());
        let head = client.shake_hands_with(path, headers)?;
        Ok((client, head))
    }

    /// A client on a stream that is connected.
    pub fn over(stream: Stream, wire: Wire) -> io::Result<Client> {
        stream.set_read_timeout(PATIENCE)?;
        let mut client = Client {
            stream,
            wire,
            received: Vec::new(),
            site: None,
        };
        if wire == Wire::WebSocket {
            let answer = client.shake_hands("/ws")?;
            assert!(
                answer.starts_with("HTTP/1.1 101 "),
                "the handshake was refused: {answer}"
            );
        }
        Ok(client)
    }

    /// Asks for an upgrade and returns the head of the response; what follows it stays to be received.
    pub fn shake_hands(&mut self, path: &str) -> io::Result<String> {
        self.shake_hands_with(path, "")
    }

    /// The same with more headers, each line with its end.
    pub fn shake_hands_with(&mut self, path: &str, headers: &str) -> io::Result<String> {
        self.stream.write_all(
            format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{headers}\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        )?;
        self.receive_head()
    }

    /// The head of an answer of HTTP; what follows it stays to be received.
    pub fn receive_head(&mut self) -> io::Result<String> {
        while !self.received.windows(4).any(|window| window == b"\r\n\r\n") {
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let mut head = self.received.clone();
        let end = head
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map_or(0, |at| at + 4);
        self.received = head.split_off(end);
        Ok(String::from_utf8_lossy(&head).into_owned())
    }

    /// The next bytes, this many.
    #[track_caller]
    pub fn receive_exactly(&mut self, count: usize) -> Vec<u8> {
        self.try_receive_exactly(count).expect("bytes come")
    }

    /// The same, for when they may not come.
    pub fn try_receive_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.received.len() < count {
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.received.split_off(count);
        Ok(std::mem::replace(&mut self.received, rest))
    }

    /// Sends one message.
    #[track_caller]
    pub fn send(&mut self, message: impl AsRef<[u8]>) {
        let bytes = self.wire.encode(message.as_ref());
        self.stream
            .write_all(&bytes)
            .expect("the session takes what is sent");
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Receives one message.
    #[track_caller]
    pub fn receive(&mut self) -> Vec<u8> {
        self.patiently("an answer comes")
            .expect("the session is not closed before the answer")
    }

    /// Receives one message, or none if the session ends first (a reset counts as an end).
    pub fn try_receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(message) = self.wire.decode(&mut self.received) {
                return Ok(Some(message));
            }
            match self.fill() {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// [`try_receive`](Self::try_receive) for what must come: if it does not, shows how the session stands.
    #[track_caller]
    fn patiently(&mut self, expectation: &str) -> Option<Vec<u8>> {
        let received = self.try_receive();
        received.unwrap_or_else(|error| {
            let state = self
                .site
                .as_ref()
                .map_or_else(String::new, |site| site.run(&["sessions"]).said());
            panic!(
                "{expectation}: {error}, with {} bytes of a message here\n{state}",
                self.received.len()
            )
        })
    }

    /// Sends a command and returns the answer as text.
    #[track_caller]
    pub fn ask(&mut self, command: impl AsRef<str>) -> String {
        self.send(command.as_ref());
        String::from_utf8(self.receive()).expect("the probe answers in text")
    }

    /// [`ask`](Self::ask) for an answer that is a number.
    #[track_caller]
    pub fn ask_number(&mut self, command: &str) -> u64 {
        let answer = self.ask(command);
        answer
            .parse()
            .unwrap_or_else(|_| panic!("{command} answered {answer:?}"))
    }

    /// Sends nothing more: half-closes.
    pub fn finish_sending(&mut self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("an open stream can be half-closed");
    }

    /// The same for a stream that the engine may have closed already.
    pub fn finish_sending_if_open(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits for the end of the session and returns every message that came before it.
    #[track_caller]
    pub fn receive_to_end(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(message) = self.patiently("the engine closes the session") {
            messages.push(message);
        }
        messages
    }

    /// Whether nothing has come, not even an end, for the given time.
    pub fn is_quiet_for(&mut self, time: Duration) -> bool {
        self.stream
            .set_read_timeout(time)
            .expect("a non-zero timeout is legal");
        let quiet = matches!(
            self.try_receive(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        );
        self.stream
            .set_read_timeout(PATIENCE)
            .expect("a non-zero timeout is legal");
        quiet
    }

    /// Every byte up to the end, whatever it is.
    pub fn receive_bytes_to_end(&mut self) -> Vec<u8> {
        while let Ok(1..) = self.fill() {}
        std::mem::take(&mut self.received)
    }

    /// The next WebSocket frame, control frames included: its opcode and payload.
    #[track_caller]
    pub fn receive_frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some(frame) = wire::take_frame(&mut self.received) {
                return frame;
            }
            assert_ne!(
                self.fill().expect("a frame comes"),
                0,
                "the session was closed before the frame"
            );
        }
    }

    /// Ends the connection at once and without a farewell, as a machine does that has lost its memory.
    pub fn reset(self) {
        let stream = match &self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
            Stream::Unix(_) => panic!("a Unix stream cannot be reset"),
        };
        socket2::SockRef::from(stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a stream can be told to reset");
    }

    /// The port this client sends from, as the engine's log names it.
    pub fn port(&self) -> u16 {
        match &self.stream {
            Stream::Tcp(stream) => stream
                .local_addr()
                .expect("a connected stream has an address")
                .port(),
            Stream::Tls(stream) => stream
                .sock
                .local_addr()
                .expect("a connected stream has an address")
                .port(),
            Stream::Unix(_) => panic!("a Unix client has no port"),
        }
    }

    /// Takes some of what comes, for the messages that are received later.
    pub fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 65_536];
        loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => {
                    let count = result?;
                    self.received.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
            }
        }
    }
}

impl Stream {
    /// Connects to an address as it is announced.
    pub fn connect(address: &str) -> io::Result<Stream> {
        match address.split_once("://").expect("addresses have a scheme") {
            ("unix", path) => UnixStream::connect(path).map(Stream::Unix),
            (_, host_and_port) => {
                let stream = TcpStream::connect(host_and_port.trim_end_matches('/'))?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    pub fn try_clone(&self) -> io::Result<Stream> {
        match self {
            Stream::Tcp(stream) => stream.try_clone().map(Stream::Tcp),
            Stream::Unix(stream) => stream.try_clone().map(Stream::Unix),
            Stream::Tls(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    pub fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
            Stream::Tls(stream) => {
                // Its own way to end one direction; the socket stays open.
                stream.conn.send_close_notify();
                stream.flush()
            }
        }
    }

    pub fn set_read_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(time)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(time)),
            Stream::Tls(stream) => stream.sock.set_read_timeout(Some(time)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Stream::Tls(stream) = self {
            return stream.flush();
        }
        Ok(())
    }
}
