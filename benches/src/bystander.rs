//! A session that asks every millisecond, beside whatever else a server does. It waits for no answer before it asks again: a
//! late one would delay those behind it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

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
    pub fn begin<S, F>(connect: impl FnOnce() -> F + Send + 'static, request: String) -> Self
    where
        S: AsyncRead + AsyncWrite,
        F: Future<Output = io::Result<S>>,
    {
        let begun = Instant::now();
        let is_over = Arc::new(AtomicBool::new(false));
        let echo = thread::spawn({
            let is_over = is_over.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async { echo(connect().await?, &request, is_over, begun).await })
            }
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
async fn echo(
    stream: impl AsyncRead + AsyncWrite,
    request: &str,
    is_over: Arc<AtomicBool>,
    begun: Instant,
) -> io::Result<Vec<(Duration, Duration)>> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    writer.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reader.read_u8().await?);
    }
    let first = Instant::now();
    let mut ticks = ticks(first, is_over);
    let send = async {
        while ticks.recv().await.is_some() {
            writer.write_all(&MESSAGE).await?;
            writer.flush().await?;
        }
        // The server answers what it was sent before it closes.
        writer.write_all(&CLOSE).await?;
        writer.flush().await
    };
    let hear = async {
        let mut waits = Vec::new();
        let mut due = first;
        let mut answer = [0; ANSWER];
        loop {
            reader.read_exact(&mut answer).await?;
            if answer[0] == CLOSE[0] {
                return Ok(waits);
            }
            waits.push((due - begun, due.elapsed()));
            due += PACE;
        }
    };
    let ((), waits) = tokio::try_join!(send, hear)?;
    Ok(waits)
}

/// One for each message when it is due. A runtime's own timers are too coarse for that.
fn ticks(first: Instant, is_over: Arc<AtomicBool>) -> UnboundedReceiver<()> {
    let (ticks, due) = unbounded_channel();
    thread::spawn(move || {
        let mut next = first;
        while !is_over.load(Ordering::Relaxed) {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            if ticks.send(()).is_err() {
                return;
            }
            next += PACE;
        }
    });
    due
}
