//! Questions to the supervisor, and their answers.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moorline_protocol::command::{Request, Response};
use moorline_proxy::UpstreamSeen;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, oneshot};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::findings::findings;

/// How old an answer may be that is given again. However many look, the supervisor is asked four times a second.
const FRESH: Duration = Duration::from_millis(250);
/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The most bytes of a line of an answer.
const MOST_LINE: u64 = 16 << 20;
/// The most peers that are kept of an answer: in the order of the upstreams.
pub(crate) const MOST_PEERS: usize = 1000;

/// What the supervisor has said at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) status: Rc<Value>,
    pub(crate) upstreams: Rc<Upstreams>,
}

/// Upstreams with the first [`MOST_PEERS`] of their peers.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    pub(crate) list: Vec<UpstreamSeen>,
    /// How many peers are left out.
    pub(crate) omitted: usize,
}

impl Upstreams {
    /// Adds an upstream, or more peers of the last one.
    fn add(&mut self, mut more: UpstreamSeen) {
        let known: usize = self.list.iter().map(|it| it.peers.len()).sum();
        let fitting = MOST_PEERS.saturating_sub(known).min(more.peers.len());
        self.omitted += more.peers.len() - fitting;
        more.peers.truncate(fitting);
        let has_room = self.list.len() < MOST_PEERS;
        match self.list.last_mut() {
            Some(last) if last.name == more.name => last.peers.append(&mut more.peers),
            _ if has_room => self.list.push(more),
            _ => {}
        }
    }
}

/// The way to the supervisor. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    asker: Rc<Mutex<Asker>>,
    recorded: Rc<Mutex<Option<Recorded>>>,
}

/// The last answer about recordings: what was asked, and when.
#[derive(Debug)]
struct Recorded {
    file: Option<String>,
    at: Instant,
    told: Result<Value, String>,
}

#[derive(Debug)]
struct Asker {
    stream: BufReader<UnixStream>,
    last: Option<(Instant, Seen)>,
    /// Where it is told that no more can be asked.
    failed: Option<oneshot::Sender<io::Error>>,
}

/// There is no answer: the process ends.
#[derive(Debug)]
pub(crate) struct NoAnswer;

impl Engine {
    /// Over this stream. The receiver gets what makes further questions impossible.
    pub(crate) fn new(stream: UnixStream) -> (Self, oneshot::Receiver<io::Error>) {
        let (sender, receiver) = oneshot::channel();
        let asker = Asker {
            stream: BufReader::new(stream),
            last: None,
            failed: Some(sender),
        };
        let this = Self {
            asker: Rc::new(Mutex::new(asker)),
            recorded: Rc::default(),
        };
        (this, receiver)
    }

    /// What the engine is doing now, or was a moment ago. Dropping the future leaves the question to its end: its answer would
    /// be taken for that of the next one.
    pub(crate) async fn look(&self) -> Result<Seen, NoAnswer> {
        let this = self.clone();
        let looking = spawn_local(async move { this.look_to_the_end().await });
        looking.await.unwrap_or(Err(NoAnswer))
    }

    async fn look_to_the_end(&self) -> Result<Seen, NoAnswer> {
        let mut asker = self.asker.lock().await;
        if let Some((at, seen)) = &asker.last
            && at.elapsed() < FRESH
        {
            return Ok(seen.clone());
        }
        // Answers come in turn: after one that is late, or is none, the next could be taken for another's.
        let looked = timeout(ANSWER_TIME, asker.look()).await;
        match looked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(seen) => {
                asker.last = Some((Instant::now(), seen.clone()));
                Ok(seen)
            }
            Err(error) => Err(asker.fail(error)),
        }
    }

    /// The recordings of the flight recorder, or the events in one of them. An error is a refusal, in words. The supervisor reads
    /// files for it, and is asked four times a second at most.
    pub(crate) async fn recorded(
        &self,
        file: Option<String>,
    ) -> Result<Result<Value, String>, NoAnswer> {
        let this = self.clone();
        let asking = spawn_local(async move { this.ask_to_the_end(file).await });
        asking.await.unwrap_or(Err(NoAnswer))
    }

    async fn ask_to_the_end(
        &self,
        file: Option<String>,
    ) -> Result<Result<Value, String>, NoAnswer> {
        let mut last = self.recorded.lock().await;
        if let Some(last) = &*last {
            let age = last.at.elapsed();
            if last.file == file && age < FRESH {
                return Ok(last.told.clone());
            }
            sleep(FRESH.saturating_sub(age)).await;
        }
        let mut asker = self.asker.lock().await;
        let asked = timeout(ANSWER_TIME, asker.recorded(file.clone())).await;
        match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(told) => {
                let at = Instant::now();
                let told_again = told.clone();
                *last = Some(Recorded { file, at, told });
                Ok(told_again)
            }
            Err(error) => Err(asker.fail(error)),
        }
    }
}

impl Asker {
    async fn look(&mut self) -> io::Result<Seen> {
        let mut status = Value::Null;
        self.ask(&Request::Status, |answer| {
            if let Response::Status(told) = answer {
                status = told;
            }
        })
        .await?;
        let mut upstreams = Upstreams::default();
        // Without a gateway there is a refusal, and then there are none.
        self.ask(&Request::Upstreams, |answer| {
            if let Response::Upstream(seen) = answer {
                upstreams.add(seen);
            }
        })
        .await?;
        let found = serde_json::to_value(findings(&status, &upstreams.list))?;
        if let Some(fields) = status.as_object_mut() {
            fields.insert("findings".to_owned(), found);
        }
        Ok(Seen {
            status: Rc::new(status),
            upstreams: Rc::new(upstreams),
        })
    }

    async fn recorded(&mut self, file: Option<String>) -> io::Result<Result<Value, String>> {
        let request = match file {
            Some(file) => Request::Recording { file },
            None => Request::Recordings,
        };
        let mut told = Err("there is no answer".to_owned());
        self.ask(&request, |answer| match answer {
            Response::Recorded(value) => told = Ok(value),
            Response::Refused(reason) => told = Err(reason),
            _ => {}
        })
        .await?;
        Ok(told)
    }

    /// No more can be asked.
    fn fail(&mut self, error: io::Error) -> NoAnswer {
        if let Some(failed) = self.failed.take() {
            // The process may be ending already.
            let _ = failed.send(error);
        }
        NoAnswer
    }

    async fn ask(&mut self, request: &Request, mut each: impl FnMut(Response)) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).await?;
        loop {
            line.clear();
            let mut limited = (&mut self.stream).take(MOST_LINE);
            if limited.read_until(b'\n', &mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let answer: Response = serde_json::from_slice(&line)?;
            let is_last = answer.is_last();
            each(answer);
            if is_last {
                return Ok(());
            }
        }
    }
}

/// As JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Bytes {
    // Values of these kinds have an encoding.
    serde_json::to_vec(value).unwrap_or_default().into()
}
