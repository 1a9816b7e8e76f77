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
use tokio::time::timeout;

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
pub(crate) struct Engine(Rc<Mutex<Asker>>);

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
        (Self(Rc::new(Mutex::new(asker))), receiver)
    }

    /// What the engine is doing now, or was a moment ago. Dropping the future leaves the question to its end: its answer would
    /// be taken for that of the next one.
    pub(crate) async fn look(&self) -> Result<Seen, NoAnswer> {
        let this = self.clone();
        let looking = spawn_local(async move { this.look_to_the_end().await });
        looking.await.unwrap_or(Err(NoAnswer))
    }

    async fn look_to_the_end(&self) -> Result<Seen, NoAnswer> {
        let mut asker = self.0.lock().await;
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
            Err(error) => {
                if let Some(failed) = asker.failed.take() {
                    // The process may be ending already.
                    let _ = failed.send(error);
                }
                Err(NoAnswer)
            }
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
