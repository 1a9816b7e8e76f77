//! Many sessions in a closed loop, each of which checks every answer it gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Engine, PATIENCE, eventually};

/// What the sessions do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many there are at any time: one that is closed is replaced.
    pub sessions: usize,
    /// Bytes in a message.
    pub size: usize,
    /// How many messages a session has on their way at a time.
    pub window: u64,
    /// After how long without an answer a message is given up as lost.
    pub patience: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            sessions: 500,
            size: 128,
            window: 1,
            patience: PATIENCE,
        }
    }
}

/// Load that runs until it is told to finish.
pub struct Load {
    thread: JoinHandle<Report>,
    shared: Arc<Shared>,
}

struct Shared {
    finishing: AtomicBool,
    connections: AtomicU64,
    /// Right answers, by session.
    answers: Vec<AtomicU64>,
}

/// What the sessions saw.
#[derive(Debug)]
pub struct Report {
    /// Right answers.
    pub answers: u64,
    /// Everything else.
    pub troubles: Troubles,
    /// The longest wait for an answer.
    pub slowest: Duration,
}

/// What went wrong, if anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Sessions closed by the engine.
    pub closed: u64,
    /// Messages without an answer in sessions that stayed open.
    pub unanswered: u64,
    /// Answers that were not the next expected one: doubled, out of order, mutilated.
    pub wrong: Vec<String>,
}

impl Load {
    /// Connects all sessions to a length-framed listener that echoes, and waits until each has had an answer.
    #[track_caller]
    pub fn start(engine: &Engine, listener: usize, plan: Plan) -> Load {
        let address = engine.socket_address(listener);
        let shared = Arc::new(Shared {
            finishing: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            answers: (0..plan.sessions).map(|_| AtomicU64::new(0)).collect(),
        });
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime
                    .expect("a runtime can be built")
                    .block_on(async move {
                        let mut sessions = JoinSet::new();
                        for place in 0..plan.sessions {
                            sessions.spawn(keep_busy(address, plan, shared.clone(), place));
                        }
                        let mut report = Report::new();
                        while let Some(outcome) = sessions.join_next().await {
                            report.add(outcome.expect("a session's task ends"));
                        }
                        report
                    })
            }
        });
        let load = Load { thread, shared };
        load.progress(1);
        load
    }

    /// Waits until each session has had `more` more answers.
    #[track_caller]
    pub fn progress(&self, more: u64) {
        let now = || {
            self.shared
                .answers
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
        };
        let goals: Vec<u64> = now().map(|count| count + more).collect();
        eventually("every session gets answers", || {
            now().zip(&goals).all(|(count, goal)| count >= *goal)
        });
    }

    /// Lets each session wait for its last answers, half-close, and see that nothing else comes.
    pub fn finish(self) -> Report {
        self.shared.finishing.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load's thread ends")
    }
}

impl Report {
    fn new() -> Self {
        Report {
            answers: 0,
            troubles: Troubles::default(),
            slowest: Duration::ZERO,
        }
    }

    fn add(&mut self, other: Report) {
        self.answers += other.answers;
        self.troubles.closed += other.troubles.closed;
        self.troubles.unanswered += other.troubles.unanswered;
        self.troubles.wrong.extend(other.troubles.wrong);
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// One session after another in one place, until the load finishes.
async fn keep_busy(
    address: std::net::SocketAddr,
    plan: Plan,
    shared: Arc<Shared>,
    place: usize,
) -> Report {
    let mut report = Report::new();
    while !shared.finishing.load(Ordering::Relaxed) {
        let Ok(stream) = TcpStream::connect(address).await else {
            // A gateway that was killed has no successor yet.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        let mut session = Session {
            stream,
            number,
            plan,
            report: &mut report,
        };
        session.converse(&shared, &shared.answers[place]).await;
    }
    report
}

struct Session<'a> {
    stream: TcpStream,
    number: u64,
    plan: Plan,
    report: &'a mut Report,
}

impl Session<'_> {
    /// Exchanges messages until the load finishes, or the engine closes the session.
    async fn converse(&mut self, shared: &Shared, answers: &AtomicU64) {
        let (mut sent, mut answered) = (0, 0);
        loop {
            let finishing = shared.finishing.load(Ordering::Relaxed);
            while !finishing && sent < answered + self.plan.window {
                if self.stream.write_all(&self.message(sent)).await.is_err() {
                    self.report.troubles.closed += 1;
                    return;
                }
                sent += 1;
            }
            if answered == sent {
                return self.part().await;
            }
            let since = Instant::now();
            let mut answer = vec![0; 4 + self.plan.size];
            match tokio::time::timeout(self.plan.patience, self.stream.read_exact(&mut answer))
                .await
            {
                Err(_) => self.report.troubles.unanswered += 1,
                Ok(Err(_)) => {
                    self.report.troubles.closed += 1;
                    return;
                }
                Ok(Ok(_)) if answer == self.message(answered) => {
                    self.report.answers += 1;
                    self.report.slowest = self.report.slowest.max(since.elapsed());
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Ok(_)) => {
                    let told = format!(
                        "session {}, message {answered}: {:?}",
                        self.number,
                        &answer[..24]
                    );
                    self.report.troubles.wrong.push(told);
                    return;
                }
            }
            answered += 1;
        }
    }

    /// Half-closes and waits for the end: whatever comes before it was sent twice.
    async fn part(&mut self) {
        let _ = self.stream.shutdown().await;
        let mut rest = Vec::new();
        match tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await {
            Ok(_) if rest.is_empty() => {}
            Ok(_) => {
                let told = format!(
                    "session {}: {} bytes more than expected",
                    self.number,
                    rest.len()
                );
                self.report.troubles.wrong.push(told);
            }
            Err(_) => {
                let told = format!("session {} is not closed after its half-close", self.number);
                self.report.troubles.wrong.push(told);
            }
        }
    }

    /// Message number `sequence` of this session, as it is sent and as it must come back. It begins with a
    /// zero byte, so that no app takes it for a command.
    fn message(&self, sequence: u64) -> Vec<u8> {
        let mut message = (self.plan.size as u32).to_be_bytes().to_vec();
        message.push(0);
        message.extend_from_slice(&self.number.to_be_bytes());
        message.extend_from_slice(&sequence.to_be_bytes());
        message.resize(4 + self.plan.size, sequence as u8);
        message
    }
}
