//! One visitor: it says something each second, and hears what all say.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tungstenite::{Error, Message, WebSocket};

use crate::counts::Counts;
use crate::ledger::{Ledger, Line};

/// How often a visitor says something.
const PAUSE: Duration = Duration::from_millis(1000);
/// How long it waits for something to hear before it looks whether it is its turn to speak.
const TURN: Duration = Duration::from_millis(100);
/// How long connecting and the handshake may take.
const OPEN_TIME: Duration = Duration::from_secs(10);
/// How long it waits before it connects anew, if it was disconnected.
const AWAY: Duration = Duration::from_secs(1);

/// One visitor.
pub(crate) struct Visitor {
    number: u16,
    door: SocketAddr,
    counts: Arc<Counts>,
    ledger: Ledger,
    /// The number of the last message that it has said.
    said: u64,
    /// When the one that it has not heard yet was said; it says no more before.
    said_at: Option<Instant>,
}

impl Visitor {
    pub(crate) fn new(number: u16, door: SocketAddr, counts: Arc<Counts>) -> Self {
        Self {
            number,
            door,
            counts,
            ledger: Ledger::default(),
            said: 0,
            said_at: None,
        }
    }

    /// Stays until all leave.
    pub(crate) fn stay(mut self) {
        while !self.counts.is_over() {
            let Ok(mut socket) = open(self.door) else {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(AWAY);
                continue;
            };
            self.counts.open.fetch_add(1, Ordering::Relaxed);
            // Whatever ended it, but for the end of the demo, it was closed.
            let _ = self.visit(&mut socket);
            self.counts.open.fetch_sub(1, Ordering::Relaxed);
            if self.counts.is_over() {
                return;
            }
            self.counts.closed.fetch_add(1, Ordering::Relaxed);
            self.ledger.begin_anew();
            if self.said_at.take().is_some() {
                // It will not hear that one any more.
                self.counts.on_their_way.fetch_sub(1, Ordering::Relaxed);
            }
            std::thread::sleep(AWAY);
        }
    }

    fn visit(&mut self, socket: &mut WebSocket<TcpStream>) -> tungstenite::Result<()> {
        // Not all at once.
        let part = PAUSE * u32::from(self.number % 16) / 16;
        let mut turn = Instant::now() + part;
        let mut is_welcome = false;
        while !self.counts.is_over() {
            if is_welcome && self.said_at.is_none() && Instant::now() >= turn {
                turn = Instant::now() + PAUSE;
                self.said += 1;
                self.said_at = Some(Instant::now());
                self.counts.on_their_way.fetch_add(1, Ordering::Relaxed);
                let text = format!("{} {}", self.number, self.said);
                socket.send(Message::text(text))?;
            }
            match socket.read() {
                Ok(Message::Text(text)) => {
                    is_welcome = true;
                    if let Some(line) = Line::parse(&text) {
                        self.hear(line);
                    }
                }
                Ok(_) => {}
                Err(Error::Io(error)) if is_no_news(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn hear(&mut self, line: Line) {
        let (lost, doubled) = (self.ledger.lost, self.ledger.doubled);
        self.ledger.note(line);
        let counts = &self.counts;
        counts.heard.fetch_add(1, Ordering::Relaxed);
        counts
            .lost
            .fetch_add(self.ledger.lost - lost, Ordering::Relaxed);
        counts
            .doubled
            .fetch_add(self.ledger.doubled - doubled, Ordering::Relaxed);
        counts.build.fetch_max(line.build, Ordering::Relaxed);
        if line.sender == self.number
            && line.number == self.said
            && let Some(said_at) = self.said_at.take()
        {
            counts.on_their_way.fetch_sub(1, Ordering::Relaxed);
            counts.note_wait(said_at.elapsed());
        }
    }
}

fn is_no_news(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Connects to a listener of the engine. Reading waits for a turn at most.
pub(crate) fn open(door: SocketAddr) -> tungstenite::Result<WebSocket<TcpStream>> {
    let stream = TcpStream::connect_timeout(&door, OPEN_TIME)?;
    stream.set_read_timeout(Some(OPEN_TIME))?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{door}/");
    let opened = tungstenite::client(url, stream);
    let (socket, _) = opened.map_err(|error| Error::Io(io::Error::other(error.to_string())))?;
    socket.get_ref().set_read_timeout(Some(TURN))?;
    Ok(socket)
}
