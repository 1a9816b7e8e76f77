//! Sessions that stay busy whatever happens, check every answer byte by byte, and note what they miss.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream,
};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::exchange::{Exchange, Messages, Missing, Script};
use crate::sites::HOST;
use moorline_tests::{PATIENCE, Random, happens_within};

/// How long a session waits for one of its answers before it gives all of them up, where messages may be lost. What
/// comes later than that is no mistake, and is counted back.
const GIVES_UP: Duration = Duration::from_secs(3);
/// How long it waits where none may be lost. Far over what any deed takes, so that only a hang reaches it.
const HANGS: Duration = Duration::from_secs(60);
/// Between two attempts to connect while nobody listens.
const AGAIN: Duration = Duration::from_millis(20);
/// After each answer a session may have enough and half-close, with a chance of one in this number.
const LIFE: usize = 200;
/// No answer is longer.
const LONGEST: usize = 1 << 20;

/// What the sessions of a listener do, and what may become of their messages.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// What the report calls them.
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// The issuers that they trust, if it is encrypted.
    pub(crate) trust: Option<Arc<ClientConfig>>,
    pub(crate) sessions: usize,
    pub(crate) script: Script,
    pub(crate) messages: Messages,
}

/// What the sessions of one part have seen, so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) answers: u64,
    /// Sessions that the engine has closed.
    pub(crate) closed: u64,
    /// Messages without an answer in sessions that stayed.
    pub(crate) missing: u64,
}

/// The notes of all parts, by name.
pub(crate) type Notes = BTreeMap<&'static str, Seen>;

pub(crate) struct Crowd {
    thread: JoinHandle<()>,
    shared: Arc<CrowdState>,
}

struct CrowdState {
    finishing: AtomicBool,
    sessions: AtomicU64,
    /// Answers by place.
    answers: Vec<AtomicU64>,
    notes: Mutex<Notes>,
    /// What no deed excuses: doubled, out of order, mutilated, never answered.
    wrong: Mutex<Vec<String>>,
}

impl Crowd {
    pub(crate) fn start(parts: Vec<Part>, random: &mut Random) -> Crowd {
        let places: Vec<(Part, Random)> = parts
            .into_iter()
            .flat_map(|part| std::iter::repeat_n(part.clone(), part.sessions))
            .map(|part| (part, random.split()))
            .collect();
        let shared = Arc::new(CrowdState {
            finishing: AtomicBool::new(false),
            sessions: AtomicU64::new(0),
            answers: places.iter().map(|_| AtomicU64::new(0)).collect(),
            notes: Mutex::default(),
            wrong: Mutex::default(),
        });
        let its = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built");
            runtime.block_on(async move {
                let mut all = JoinSet::new();
                for (place, (part, random)) in places.into_iter().enumerate() {
                    all.spawn(keep_busy(part, random, its.clone(), place));
                }
                while let Some(ended) = all.join_next().await {
                    ended.expect("a session's task ends");
                }
            });
        });
        Crowd { thread, shared }
    }

    /// Waits until each place has had `more` more answers; those that have not are returned.
    pub(crate) fn progress(&self, more: u64, patience: Duration) -> Vec<usize> {
        let now = || {
            let answers = self.shared.answers.iter();
            answers.map(|count| count.load(Ordering::Relaxed))
        };
        let goals: Vec<u64> = now().map(|count| count + more).collect();
        let behind = || {
            let behind = now().zip(&goals).enumerate();
            behind.filter_map(|(place, (count, goal))| (count < *goal).then_some(place))
        };
        happens_within(patience, || behind().next().is_none());
        behind().collect()
    }

    pub(crate) fn notes(&self) -> Notes {
        lock(&self.shared.notes).clone()
    }

    /// How many sessions there are, when none has just left or been lost.
    pub(crate) fn sessions(&self) -> u64 {
        self.shared.answers.len() as u64
    }

    /// What was wrong since this was last asked.
    pub(crate) fn wrong(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.wrong))
    }

    /// Lets each session have its last answers, half-close, and see that nothing else comes.
    pub(crate) fn finish(self) -> Vec<String> {
        self.shared.finishing.store(true, Ordering::Relaxed);
        self.thread.join().expect("the crowd's thread ends");
        std::mem::take(&mut lock(&self.shared.wrong))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One session after the other in one place.
async fn keep_busy(part: Part, mut random: Random, shared: Arc<CrowdState>, place: usize) {
    while !shared.finishing.load(Ordering::Relaxed) {
        let Ok(stream) = connect(&part).await else {
            sleep(AGAIN).await;
            continue;
        };
        let number = shared.sessions.fetch_add(1, Ordering::Relaxed);
        let mut session = Session {
            stream,
            exchange: Exchange::new(number, part.script, part.messages),
            part: &part,
            shared: &shared,
            place,
        };
        match session.converse(&mut random).await {
            Ok(()) => {}
            Err(End::Closed) => lock(&shared.notes).entry(part.name).or_default().closed += 1,
            Err(End::Wrong(what)) => {
                let text = format!("{}, session {number}: {what}", part.name);
                lock(&shared.wrong).push(text);
            }
        }
    }
}

async fn connect(part: &Part) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(part.address).await?;
    stream.set_nodelay(true)?;
    let Some(trust) = &part.trust else {
        return Ok(Box::new(BufStream::new(stream)));
    };
    let host = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let shaken = TlsConnector::from(trust.clone()).connect(host, stream);
    Ok(Box::new(BufStream::new(timeout(HANGS, shaken).await??)))
}

trait Stream: AsyncBufRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncBufRead + AsyncWrite + Send + Unpin> Stream for S {}

struct Session<'a> {
    stream: Box<dyn Stream>,
    exchange: Exchange,
    part: &'a Part,
    shared: &'a CrowdState,
    place: usize,
}

enum End {
    /// By the engine.
    Closed,
    Wrong(String),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> End {
        End::Closed
    }
}

impl Session<'_> {
    /// Until the crowd finishes, the session has had enough, or the engine ends it.
    async fn converse(&mut self, random: &mut Random) -> Result<(), End> {
        let patience = match self.part.messages {
            Messages::Stay => HANGS,
            Messages::MayBeLost => GIVES_UP,
        };
        let mut has_enough = false;
        loop {
            has_enough |=
                self.shared.finishing.load(Ordering::Relaxed) || random.within(0..LIFE) == 0;
            while !has_enough && let Some(message) = self.exchange.send() {
                self.send(&message).await?;
            }
            // Where none is lost, it may half-close before its answers have come.
            if has_enough && (self.exchange.is_over() || self.part.messages == Messages::Stay) {
                return self.part().await;
            }
            // Whether one has begun to come; reading it is not to be broken off.
            match timeout(patience, self.stream.fill_buf()).await {
                Ok(begun) => {
                    begun?;
                    let answer = timeout(HANGS, self.receive()).await;
                    let answer = answer.map_err(|_| End::Wrong("half an answer".to_owned()))??;
                    self.check(&answer)?;
                }
                Err(_) => {
                    let missing = self.exchange.give_up().map_err(End::Wrong)?;
                    self.note(missing, 0);
                }
            }
            sleep(Duration::from_millis(random.within(0..15) as u64)).await;
        }
    }

    /// Half-closes, and waits for what is still to come and for the end.
    async fn part(&mut self) -> Result<(), End> {
        self.stream.shutdown().await?;
        loop {
            match timeout(PATIENCE, self.receive()).await {
                Ok(Ok(answer)) => self.check(&answer)?,
                Ok(Err(End::Closed)) if self.exchange.is_over() => return Ok(()),
                Ok(Err(end)) => return Err(end),
                Err(_) => return Err(End::Wrong("not closed after its half-close".to_owned())),
            }
        }
    }

    async fn send(&mut self, message: &[u8]) -> Result<(), End> {
        let length = (message.len() as u32).to_be_bytes();
        self.stream.write_all(&length).await?;
        self.stream.write_all(message).await?;
        Ok(self.stream.flush().await?)
    }

    async fn receive(&mut self) -> Result<Vec<u8>, End> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST {
            return Err(End::Wrong(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    fn check(&mut self, answer: &[u8]) -> Result<(), End> {
        let missing = self.exchange.answer(answer).map_err(End::Wrong)?;
        self.note(missing, 1);
        self.shared.answers[self.place].fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn note(&self, missing: Missing, answers: u64) {
        let mut notes = lock(&self.shared.notes);
        let seen = notes.entry(self.part.name).or_default();
        seen.answers += answers;
        seen.missing = seen.missing.saturating_add_signed(missing);
    }
}
