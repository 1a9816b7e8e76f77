//! A client of a scripted loop: one end of a socket pair, that sends numbered lines and checks what comes back.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, socketpair,
};

use super::web::{Web, WebProtocol};
use moorline_protocol::wire::Peer;

/// Bytes that a socket holds, so that clients who do not read are soon felt.
const SOCKET_BYTES: usize = 16 * 1024;

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    number: u64,
    listener: u16,
    socket: Option<OwnedFd>,
    to_send: VecDeque<u8>,
    /// Lines queued so far.
    lines: u64,
    received: Vec<u8>,
    /// What it speaks on an HTTP listener.
    web: Option<Web>,
    /// Lines of this client's that came back, as they were numbered.
    pub(super) echoes: Vec<u64>,
    /// Other lines that came.
    pub(super) others: Vec<String>,
    /// The server has ended the stream.
    pub(super) is_ended: bool,
    /// It reads what comes.
    pub(super) reads: bool,
}

impl Client {
    /// A client, and the socket that the loop gets.
    pub(super) fn pair(listener: u16) -> (Self, OwnedFd) {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .expect("a socket pair");
        for socket in [&ours, &theirs] {
            rustix::net::sockopt::set_socket_send_buffer_size(socket, SOCKET_BYTES)
                .expect("a smaller buffer");
        }
        let client = Self {
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            listener,
            socket: Some(ours),
            to_send: VecDeque::new(),
            lines: 0,
            received: Vec::new(),
            web: None,
            echoes: Vec::new(),
            others: Vec::new(),
            is_ended: false,
            reads: true,
        };
        (client, theirs)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The place of the listener that it has connected to.
    pub(super) fn listener(&self) -> u16 {
        self.listener
    }

    /// Where it seems to come from.
    pub(super) fn peer(&self) -> Peer {
        let port = (self.number as u16).wrapping_add(1000);
        Peer::Ip(([127, 0, 0, 1], port).into())
    }

    /// Whether it is notified of a gap.
    pub(super) fn tells_of_gaps(&self) -> bool {
        self.web.as_ref().is_some_and(|web| !web.is_heard())
    }

    /// Takes the answer to a handshake.
    pub(super) fn skip_head(&mut self) {
        let socket = self.socket.as_ref().expect("it is open");
        let mut head = [0; 1024];
        let (_, length) =
            rustix::net::recv(socket, &mut head[..], RecvFlags::empty()).expect("it is there");
        assert!(head.starts_with(b"HTTP/1.1 101 ") && head[..length].ends_with(b"\r\n\r\n"));
    }

    /// Queues these bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.to_send.extend(bytes);
    }

    /// Bytes that came and are not the end of a line.
    pub(super) fn received(&self) -> &[u8] {
        &self.received
    }

    /// The same, which are forgotten.
    pub(super) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Asks for this, as the client of an HTTP listener.
    pub(super) fn ask_for(&mut self, protocol: WebProtocol) {
        let (web, request) = Web::new(protocol);
        self.web = Some(web);
        self.to_send.extend(request);
    }

    /// Queues one more line of at least `bytes` bytes.
    pub(super) fn say(&mut self, bytes: usize) {
        if self.web.as_ref().is_none_or(Web::is_heard) {
            self.lines += 1;
        }
        let line = format!("{}:{}:", self.number, self.lines);
        let padding = bytes.saturating_sub(line.len());
        let mut line = line.into_bytes();
        line.extend(std::iter::repeat_n(b'.', padding));
        line.push(b'\n');
        match &self.web {
            Some(web) => self.to_send.extend(web.wrap(&line)),
            None => self.to_send.extend(line),
        }
    }

    /// Queues the first `bytes` bytes of one more line.
    pub(super) fn begin(&mut self, bytes: usize) {
        self.say(bytes - 1);
        self.to_send.pop_back();
        self.more(1);
    }

    /// Queues `bytes` more bytes of it.
    pub(super) fn more(&mut self, bytes: usize) {
        self.to_send.extend(std::iter::repeat_n(b'.', bytes));
    }

    /// … and its end.
    pub(super) fn end_line(&mut self) {
        self.to_send.push_back(b'\n');
    }

    /// Lines queued so far.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some() && !self.is_ended
    }

    /// Sends at most `most` bytes of what is queued. True: some were taken.
    pub(super) fn send(&mut self, most: usize) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        let (bytes, _) = self.to_send.as_slices();
        let bytes = &bytes[..bytes.len().min(most)];
        if bytes.is_empty() {
            return false;
        }
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => {
                self.to_send.drain(..sent);
                sent > 0
            }
            Err(Errno::AGAIN) => false,
            Err(_) => {
                self.to_send.clear();
                false
            }
        }
    }

    /// Reads at most `most` bytes. True: something came.
    pub(super) fn receive(&mut self, most: usize) -> bool {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.is_ended) else {
            return false;
        };
        let mut buffer = vec![0; most.min(64 * 1024)];
        match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => {
                self.is_ended = true;
                true
            }
            Ok((bytes, _)) => {
                self.hear(&buffer[..bytes]);
                self.read_lines();
                true
            }
            Err(Errno::AGAIN) => false,
            Err(_) => {
                self.is_ended = true;
                true
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let Some(web) = &mut self.web else {
            self.received.extend_from_slice(bytes);
            return;
        };
        let heard = web.hear(bytes);
        self.received.extend(heard.lines);
        self.to_send.extend(heard.reply);
    }

    fn read_lines(&mut self) {
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            let line = String::from_utf8(line).expect("text comes back as text");
            let mut fields = line.splitn(3, ':');
            let owner = fields.next().and_then(|number| number.parse::<u64>().ok());
            match (owner, fields.next().and_then(|number| number.parse().ok())) {
                (Some(owner), Some(number)) => {
                    assert_eq!(owner, self.number, "another client's line came here");
                    self.echoes.push(number);
                }
                _ => self.others.push(line.trim_end().to_owned()),
            }
        }
    }

    /// Sends what is queued, and reads if it reads. True: something went on.
    pub(super) fn go_on(&mut self) -> bool {
        let sent = self.send(usize::MAX);
        let received = self.reads && self.receive(usize::MAX);
        sent || received
    }

    /// Sends no more.
    pub(super) fn finish(&mut self) {
        if let Some(socket) = &self.socket {
            // An error means that the server has closed it.
            let _ = rustix::net::shutdown(socket, Shutdown::Write);
            self.to_send.clear();
        }
    }

    /// Is gone.
    pub(super) fn leave(&mut self) {
        self.socket = None;
        self.to_send.clear();
    }
}
