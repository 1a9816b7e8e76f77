//! A session that asks every millisecond, beside whatever else a server does. It waits for no answer before it asks again: a
//! late one would delay those behind it.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two messages.
const PACE: Duration = Duration::from_millis(1);
/// A text message `x`, masked with zeros.
const MESSAGE: [u8; 7] = [0x81, 0x81, 0, 0, 0, 0, b'x'];
const ANSWER: usize = 3;
/// A close, masked with zeros: the end of what is sent.
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];

/// A WebSocket session whose messages are echoed.
#[derive(Debug)]
pub struct Bystander {
    begun: Instant,
    is_over: Arc<AtomicBool>,
    echo: JoinHandle<io::Result<Vec<(Duration, Duration)>>>,
}

/// How long each answer took, and when it was asked for.
#[derive(Debug)]
pub struct Waits(Vec<(Duration, Duration)>);

impl Bystander {
    /// Connects, and opens the session with this request.
    pub fn begin<S: Read + Write>(
        connect: impl FnOnce() -> io::Result<S> + Send + 'static,
        request: String,
    ) -> Self {
        let begun = Instant::now();
        let is_over = Arc::new(AtomicBool::new(false));
        let echo = thread::spawn({
            let is_over = is_over.clone();
            move || echo(connect()?, &request, &is_over, begun)
        });
        Self {
            begun,
            is_over,
            echo,
        }
    }

    /// How long it has asked.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// It asks no more.
    pub fn end(self) -> io::Result<Waits> {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.echo.join();
        ended
            .map_err(|_| io::Error::other("the echo failed"))?
            .map(Waits)
    }
}

impl Waits {
    /// Those of messages that were due between these times, the shortest first.
    pub fn during(&self, from: Duration, to: Duration) -> Vec<Duration> {
        let within = self.0.iter().filter(|(at, _)| (from..to).contains(at));
        let mut within: Vec<_> = within.map(|(_, latency)| *latency).collect();
        within.sort_unstable();
        within
    }
}

/// The one that this part of all are not above.
pub fn part(sorted: &[Duration], part: f64) -> Duration {
    let at = (sorted.len() as f64 * part) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(at.min(last)).copied().unwrap_or_default()
}

/// Sends until it is over, whatever is still to be answered. Returns when each message was due, and how long after that its
/// answer came.
fn echo(
    mut stream: impl Read + Write,
    request: &str,
    is_over: &AtomicBool,
    begun: Instant,
) -> io::Result<Vec<(Duration, Duration)>> {
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut answers = stream.try_clone()?;
    let first = Instant::now();
    let reader = thread::spawn(move || {
        let mut waits = Vec::new();
        let mut due = first;
        let mut answer = [0; ANSWER];
        // Until the answer to its close.
        while answers.read_exact(&mut answer).is_ok() && answer[0] != CLOSE[0] {
            waits.push((due - begun, due.elapsed()));
            due += PACE;
        }
        waits
    });
    let mut due = first;
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(&MESSAGE)?;
        due += PACE;
    }
    // The server answers what it was sent before it closes.
    stream.write_all(&CLOSE)?;
    let waits = reader.join();
    waits.map_err(|_| io::Error::other("the reader failed"))
}
