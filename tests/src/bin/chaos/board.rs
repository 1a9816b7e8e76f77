//! A board with a history: readers that leave and come back get each event once and in order, or are notified of a gap. Those who
//! write on it, and others who ask, do so by plain requests.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use moorline_tests::{Client, PATIENCE, Random, Wire, happens_within};

const READERS: usize = 4;
const WRITERS: usize = 2;
const ASKERS: usize = 4;
/// Between two events of one writer, and two requests of an asker.
const PAUSE: Duration = Duration::from_millis(40);
/// Between two attempts to connect while nobody listens.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a reader listens before it looks whether all is over.
const LISTENS: Duration = Duration::from_millis(50);
/// After each event a reader may leave, and come back, with a chance of one in this number.
const STAYS: usize = 40;
/// The most bytes of a request.
const LARGEST: usize = 200_000;

pub(crate) struct Board {
    threads: Vec<JoinHandle<()>>,
    state: Arc<BoardState>,
}

#[derive(Default)]
struct BoardState {
    finishing: AtomicBool,
    /// The last event of each writer that was taken.
    written: [AtomicU64; WRITERS],
    /// The last event of each writer that each reader has.
    read: [[AtomicU64; WRITERS]; READERS],
    gaps: AtomicU64,
    closed: AtomicU64,
    answered: AtomicU64,
    unanswered: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// What the readers and askers have lost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BoardSeen {
    /// Sessions of readers that the engine has closed.
    pub(crate) closed: u64,
    /// Times that a reader was notified of a gap.
    pub(crate) gaps: u64,
    /// Requests without a whole answer.
    pub(crate) unanswered: u64,
}

impl Board {
    pub(crate) fn open(door: SocketAddr, random: &mut Random) -> Board {
        let state = Arc::new(BoardState::default());
        let door = format!("http://{door}");
        let mut threads = Vec::new();
        for place in 0..READERS {
            let reader = Reader {
                place,
                door: door.clone(),
                state: state.clone(),
                random: random.split(),
                last_id: String::new(),
                has: BTreeMap::new(),
                is_told: false,
            };
            threads.push(thread::spawn(move || reader.live()));
        }
        for place in 0..WRITERS {
            let (door, state) = (door.clone(), state.clone());
            threads.push(thread::spawn(move || write(place, &door, &state)));
        }
        for _ in 0..ASKERS {
            let (door, state, random) = (door.clone(), state.clone(), random.split());
            threads.push(thread::spawn(move || ask(&door, &state, random)));
        }
        Board { threads, state }
    }

    /// How many sessions its readers have, when none has just left.
    pub(crate) fn sessions() -> u64 {
        READERS as u64
    }

    /// Waits until each reader has what has been written by now, and some requests were answered. What does not come about is
    /// returned.
    pub(crate) fn muster(&self, patience: Duration) -> Vec<String> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let goals: Vec<u64> = self.state.written.iter().map(read).collect();
        let answers = read(&self.state.answered) + 10;
        let behind = || -> Vec<String> {
            let readers = self.state.read.iter().enumerate();
            let behind = readers.filter_map(|(reader, has)| {
                let has: Vec<u64> = has.iter().map(read).collect();
                let is_behind = has.iter().zip(&goals).any(|(has, goal)| has < goal);
                is_behind.then(|| format!("reader {reader} has {has:?} of {goals:?}"))
            });
            let answered = read(&self.state.answered);
            let idle = (answered < answers).then(|| "requests are not answered".to_owned());
            behind.chain(idle).collect()
        };
        happens_within(patience, || behind().is_empty());
        let mut wrong = behind();
        wrong.append(&mut lock(&self.state.wrong));
        wrong
    }

    pub(crate) fn seen(&self) -> BoardSeen {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        BoardSeen {
            closed: read(&self.state.closed),
            gaps: read(&self.state.gaps),
            unanswered: read(&self.state.unanswered),
        }
    }

    /// Events and answers.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let written = self.state.written.iter().map(read).sum();
        (written, read(&self.state.answered))
    }

    pub(crate) fn close(self) {
        self.state.finishing.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a thread of the board ends");
        }
    }
}

struct Reader {
    place: usize,
    door: String,
    state: Arc<BoardState>,
    random: Random,
    last_id: String,
    /// The last number that it has of each writer.
    has: BTreeMap<usize, u64>,
    /// It was notified of a gap since it has come.
    is_told: bool,
}

impl Reader {
    fn live(mut self) {
        while !self.state.is_over() {
            match self.come() {
                Ok(client) => match self.read(client) {
                    Ok(()) => {}
                    Err(_) => drop(self.state.closed.fetch_add(1, Ordering::Relaxed)),
                },
                Err(_) => thread::sleep(AGAIN),
            }
        }
    }

    fn come(&mut self) -> io::Result<Client> {
        let mut client = Client::try_connect(&self.door, Wire::Delimiter(b"\n\n"))?;
        // HTTP/1.0 has no chunks.
        let request = format!(
            "GET /board HTTP/1.0\r\nHost: board\r\nLast-Event-ID: {}\r\n\r\n",
            self.last_id
        );
        client.send_bytes(request.as_bytes())?;
        let head = client.receive_head()?;
        if !head.starts_with("HTTP/1.1 200 ") {
            // No worker serves just now.
            return Err(ErrorKind::ConnectionRefused.into());
        }
        client.stream.set_read_timeout(LISTENS)?;
        self.is_told = false;
        Ok(client)
    }

    /// Until it has had enough. Fails if the engine ends the session.
    fn read(&mut self, mut client: Client) -> io::Result<()> {
        while !self.state.is_over() {
            match client.try_receive() {
                Ok(Some(event)) if event == b":" => {}
                Ok(Some(event)) => {
                    self.hear(&String::from_utf8_lossy(&event));
                    if self.random.within(0..STAYS) == 0 {
                        return Ok(());
                    }
                }
                Ok(None) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: &str) {
        let field = |name: &str| {
            let mut lines = event.lines();
            lines.find_map(|line| line.strip_prefix(name))
        };
        if field("event: ") == Some("gap") {
            self.is_told = true;
            self.state.gaps.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let id = field("id: ").unwrap_or_default();
        let parts = id.split_once('-');
        let parts =
            parts.and_then(|(writer, number)| Some((writer.parse().ok()?, number.parse().ok()?)));
        let Some((writer, number)) = parts.filter(|(writer, _)| *writer < WRITERS) else {
            return self.wrong(format!("{event:?}, which nobody has written"));
        };
        if field("data: ") != Some(&text(writer, number)) {
            self.wrong(format!("{event:?}, which nobody has written"));
        }
        let last = self.has.insert(writer, number).unwrap_or(0);
        // A new gateway knows nothing of the one before: an event whose writer was not told that it was taken may come again.
        let fits = match self.is_told {
            true => number >= last,
            false => number == last + 1 || (last == 0 && self.last_id.is_empty()),
        };
        if !fits {
            self.wrong(format!("{number} of {writer} after {last}"));
        }
        self.last_id = id.to_owned();
        self.state.read[self.place][writer].store(number, Ordering::Relaxed);
    }

    fn wrong(&self, what: String) {
        let text = format!("reader {} gets {what}", self.place);
        lock(&self.state.wrong).push(text);
    }
}

impl BoardState {
    fn is_over(&self) -> bool {
        self.finishing.load(Ordering::Relaxed)
    }
}

fn text(writer: usize, number: u64) -> String {
    format!("event {number} of writer {writer}")
}

/// Writes one event after the other, each as often as it takes.
fn write(place: usize, door: &str, state: &BoardState) {
    let mut asking = Asking::new(door);
    let mut number = 1;
    while !state.is_over() {
        let said = text(place, number);
        if asking.ask(&format!("/board/{place}-{number}"), said.as_bytes()) == Answer::Status(204) {
            state.written[place].store(number, Ordering::Relaxed);
            number += 1;
            thread::sleep(PAUSE);
        } else {
            thread::sleep(AGAIN);
        }
    }
}

/// Asks for what comes back as it was.
fn ask(door: &str, state: &BoardState, mut random: Random) {
    let mut asking = Asking::new(door);
    while !state.is_over() {
        let size = match random.within(0..20) {
            0 => random.within(1..LARGEST),
            _ => random.within(1..500),
        };
        let body = random.bytes(size);
        let asked = Instant::now();
        match asking.ask("/echo", &body) {
            Answer::Body(answer) if answer == body => {
                state.answered.fetch_add(1, Ordering::Relaxed);
            }
            Answer::Body(answer) => {
                let text = format!("{} bytes are answered with {}", body.len(), answer.len());
                lock(&state.wrong).push(text);
            }
            Answer::None | Answer::Status(500..) => {
                state.unanswered.fetch_add(1, Ordering::Relaxed);
            }
            Answer::Status(status) => {
                let text = format!("a request is answered with {status}");
                lock(&state.wrong).push(text);
            }
            Answer::Closed => {}
        }
        if asked.elapsed() >= PATIENCE {
            let text = format!(
                "{} bytes are answered after {PATIENCE:?}, or never",
                body.len()
            );
            lock(&state.wrong).push(text);
        }
        thread::sleep(PAUSE.saturating_sub(asked.elapsed()));
    }
}

/// A connection for one request after the other.
struct Asking<'a> {
    door: &'a str,
    client: Option<Client>,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Body(Vec<u8>),
    /// Another status than 200.
    Status(u16),
    /// The connection ended after a part of the answer, or instead of it.
    None,
    /// There was no connection, or it had ended before the request.
    Closed,
}

impl<'a> Asking<'a> {
    fn new(door: &'a str) -> Self {
        Self { door, client: None }
    }

    fn ask(&mut self, target: &str, body: &[u8]) -> Answer {
        let client = match self.client.take() {
            Some(client) => Ok((client, true)),
            None => Client::try_connect(self.door, Wire::Raw).map(|client| (client, false)),
        };
        let Ok((mut client, was_used)) = client else {
            return Answer::Closed;
        };
        let length = body.len();
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: board\r\nContent-Length: {length}\r\n\r\n");
        let sent = client.send_bytes(&[head.as_bytes(), body].concat());
        let head = sent.and_then(|()| client.receive_head());
        let Ok(head) = head else {
            // One that is kept may end at any time: then nobody has looked at the request.
            return if was_used {
                Answer::Closed
            } else {
                Answer::None
            };
        };
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let Ok(body) = client.try_receive_exactly(length.unwrap_or(0)) else {
            return Answer::None;
        };
        if !head.contains("connection: close") {
            self.client = Some(client);
        }
        match status {
            Some(200) => Answer::Body(body),
            status => Answer::Status(status.unwrap_or(0)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
