//! One connection: its request outstanding, and how much of the answer has come.

use std::time::Instant;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::fault::Fault;
use super::message::{Codec, accepted};

/// A ping without a payload, as the engine sends it to a silent session, and its answer.
const PING: [u8; 2] = [0x89, 0];
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// One connection of the load. Sockets come and go in it; its number and the count of its requests stay.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) number: u32,
    pub(super) phase: Phase,
    pub(super) socket: Option<OwnedFd>,
    /// Requests written so far: the number of the one outstanding.
    pub(super) sequence: u64,
    /// When the request outstanding, or the connection for it, was begun.
    pub(super) begun: Instant,
    /// True once an answer has come.
    pub(super) is_established: bool,
    /// Whether the epoll tells of room to write; only while `request` is not all sent.
    pub(super) watches_room: bool,
    request: Vec<u8>,
    /// The expected answer; empty: the request itself.
    answer: Vec<u8>,
    sent: usize,
    received: usize,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No socket: none yet, or none after a fault.
    Absent,
    /// The backlog of a Unix socket is full; it is tried again.
    Waiting,
    /// Connecting.
    Connecting,
    /// The WebSocket handshake is under way.
    Upgrading,
    /// A request is outstanding.
    Awaiting,
    /// The answer has come and nothing is asked.
    Resting,
}

impl Phase {
    /// Something is still to come from the server.
    pub(super) fn is_busy(self) -> bool {
        match self {
            Self::Absent | Self::Resting => false,
            Self::Waiting | Self::Connecting | Self::Upgrading | Self::Awaiting => true,
        }
    }
}

/// How far the bytes received have brought a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More will come.
    Partial,
    /// The handshake is done.
    Upgraded,
    /// The answer is complete and right.
    Answered,
}

impl Client {
    pub(super) fn new(number: u32) -> Self {
        Self {
            number,
            phase: Phase::Absent,
            socket: None,
            sequence: 0,
            begun: Instant::now(),
            is_established: false,
            watches_room: false,
            request: Vec::new(),
            answer: Vec::new(),
            sent: 0,
            received: 0,
        }
    }

    /// Writes the handshake to be sent next.
    pub(super) fn begin_upgrade(&mut self, handshake: &[u8]) {
        self.request.clear();
        self.request.extend_from_slice(handshake);
        // Until the handshake is done, `answer` collects its response.
        self.answer.clear();
        self.sent = 0;
    }

    /// Writes the next request to be sent.
    pub(super) fn begin_request(&mut self, codec: &Codec, size: usize) {
        self.sequence += 1;
        self.sent = 0;
        self.received = 0;
        codec.write(
            &mut self.request,
            &mut self.answer,
            self.number,
            self.sequence,
            size,
        );
    }

    /// Sends what is left of the request. True if all is sent, false if there is no room.
    pub(super) fn send(&mut self) -> Result<bool, Fault> {
        let Some(socket) = &self.socket else {
            return Ok(true);
        };
        while self.sent < self.request.len() {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match send(socket, &self.request[self.sent..], flags) {
                Ok(sent) => self.sent += sent,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                // Reading will show the reason: the server closed.
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Fault::Closed),
                Err(errno) => return Err(Fault::Broken(errno)),
            }
        }
        Ok(true)
    }

    /// Compares the received bytes with the expected ones.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        codec: &Codec,
        size: usize,
    ) -> Result<Step, Fault> {
        if self.phase == Phase::Upgrading {
            return self.receive_upgrade(bytes);
        }
        let is_between = self.phase == Phase::Resting || self.received == 0;
        let bytes = match is_between {
            true => self.answer_pings(bytes, codec),
            false => bytes,
        };
        if bytes.is_empty() {
            return Ok(Step::Partial);
        }
        if self.phase != Phase::Awaiting {
            return Err(Fault::Surplus { bytes: bytes.len() });
        }
        let answer = if self.answer.is_empty() {
            &self.request
        } else {
            &self.answer
        };
        let due = &answer[self.received..];
        let count = bytes.len().min(due.len());
        if bytes[..count] != due[..count] {
            return Err(self.difference(bytes, codec, size));
        }
        let is_whole = count == due.len();
        let surplus = self.answer_pings(&bytes[count..], codec).len();
        self.received += count;
        if surplus > 0 {
            return Err(Fault::Surplus { bytes: surplus });
        }
        Ok(if is_whole {
            Step::Answered
        } else {
            Step::Partial
        })
    }

    /// Answers the pings at the front of what came from a WebSocket server. Returns the rest.
    fn answer_pings<'a>(&self, mut bytes: &'a [u8], codec: &Codec) -> &'a [u8] {
        if !matches!(codec, Codec::WebSocket { .. }) {
            return bytes;
        }
        while let Some(rest) = bytes.strip_prefix(&PING) {
            bytes = rest;
            // A request that is not sent whole is a sign of life itself. So is one that fills the socket.
            if let Some(socket) = &self.socket
                && self.sent == self.request.len()
            {
                let _ = send(socket, &PONG, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            }
        }
        bytes
    }

    /// Gives the buffers back; for connections that rest for good.
    pub(super) fn rest(&mut self) {
        self.request = Vec::new();
        self.answer = Vec::new();
        self.sent = 0;
    }

    fn receive_upgrade(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        /// A head larger than this is no answer to our handshake.
        const LARGEST_HEAD: usize = 16 << 10;
        self.answer.extend_from_slice(bytes);
        match accepted(&self.answer) {
            None if self.answer.len() > LARGEST_HEAD => {
                Err(Fault::Refused("a head without end".to_owned()))
            }
            None => Ok(Step::Partial),
            Some(Ok(length)) if length < self.answer.len() => Err(Fault::Surplus {
                bytes: self.answer.len() - length,
            }),
            Some(Ok(_)) => Ok(Step::Upgraded),
            Some(Err(line)) => Err(Fault::Refused(line)),
        }
    }

    /// Says in which way `bytes` are not the answer.
    #[cold]
    fn difference(&self, bytes: &[u8], codec: &Codec, size: usize) -> Fault {
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        let previous = self.sequence.wrapping_sub(1);
        codec.write(&mut request, &mut answer, self.number, previous, size);
        let before = if answer.is_empty() { &request } else { &answer };
        if self.received == 0 && bytes.starts_with(before) {
            return Fault::Doubled;
        }
        let answer = if self.answer.is_empty() {
            &self.request
        } else {
            &self.answer
        };
        let equal = answer[self.received..]
            .iter()
            .zip(bytes)
            .take_while(|(due, came)| due == came)
            .count();
        Fault::Wrong {
            at: self.received + equal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::length;
    use super::*;

    const SIZE: usize = 32;

    fn awaiting(requests: u64) -> Client {
        let mut client = Client::new(9);
        for _ in 0..requests {
            client.begin_request(&length(), SIZE);
        }
        client.phase = Phase::Awaiting;
        client
    }

    fn answer_to(connection: u32, sequence: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        length().write(&mut bytes, &mut Vec::new(), connection, sequence, SIZE);
        bytes
    }

    #[test]
    fn pings_of_a_websocket_server_are_no_answers() {
        let codec = Codec::WebSocket {
            handshake: Vec::new(),
        };
        let mut client = Client::new(9);
        client.begin_request(&codec, SIZE);
        client.phase = Phase::Awaiting;
        let answer = client.answer.clone();
        assert_eq!(client.receive(&PING, &codec, SIZE), Ok(Step::Partial));
        let with_pings = [&PING, &answer[..], &PING].concat();
        let step = client.receive(&with_pings, &codec, SIZE);
        assert_eq!(step, Ok(Step::Answered));
        client.phase = Phase::Resting;
        assert_eq!(client.receive(&PING, &codec, SIZE), Ok(Step::Partial));
        let surplus = Err(Fault::Surplus { bytes: 3 });
        assert_eq!(client.receive(b"abc", &codec, SIZE), surplus);
    }

    #[test]
    fn an_answer_may_come_in_pieces() {
        let mut client = awaiting(3);
        let answer = answer_to(9, 3);
        let (head, tail) = answer.split_at(7);
        assert_eq!(client.receive(head, &length(), SIZE), Ok(Step::Partial));
        assert_eq!(client.receive(tail, &length(), SIZE), Ok(Step::Answered));
    }

    #[test]
    fn each_wrong_answer_has_a_fault_of_its_own() {
        let receive = |bytes: &[u8]| awaiting(3).receive(bytes, &length(), SIZE);
        assert_eq!(receive(&answer_to(9, 2)), Err(Fault::Doubled));
        assert_eq!(receive(&answer_to(8, 3)), Err(Fault::Wrong { at: 4 }));
        let mut longer = answer_to(9, 3);
        longer.extend_from_slice(b"more");
        assert_eq!(receive(&longer), Err(Fault::Surplus { bytes: 4 }));
        let mut damaged = answer_to(9, 3);
        damaged[20] ^= 1;
        assert_eq!(receive(&damaged), Err(Fault::Wrong { at: 20 }));
    }

    #[test]
    fn bytes_for_a_resting_connection_are_surplus() {
        let mut client = awaiting(1);
        client.phase = Phase::Resting;
        assert_eq!(
            client.receive(b"late", &length(), SIZE),
            Err(Fault::Surplus { bytes: 4 })
        );
    }
}
