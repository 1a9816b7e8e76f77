//! Questions to the supervisor, and their answers.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moorline_protocol::command::{AdminAnswer, Request, Response, ShownToken, THERE_ARE_MORE};
use moorline_proxy::UpstreamSeen;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, oneshot};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::findings::findings;
use crate::sessions::{SessionQuery, SessionsSeen};
use crate::stream::{NoAnswer, Stream};

/// How old an answer may be that is given again. However many look, the supervisor is asked four times a second.
const FRESH: Duration = Duration::from_millis(250);
/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long a list of sessions may take.
const LIST_TIME: Duration = Duration::from_secs(20);
/// How long who asks for an act waits for its end: a connection ends after a minute.
const ACT_TIME: Duration = Duration::from_secs(50);
/// The most sessions of which the first ones are chosen.
const MOST_LISTED: u64 = 100_000;
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
pub(crate) struct Engine(Rc<Way>);

#[derive(Debug)]
struct Way {
    stream: Stream,
    // Each is taken before a question is asked, by the one who wants its answer: an asker that has left waits no more.
    last: Arc<Mutex<Option<(Instant, Seen)>>>,
    /// One list of sessions at a time: when the last one has ended.
    listing: Arc<Mutex<Option<Instant>>>,
    recorded: Arc<Mutex<Option<Recorded>>>,
}

/// The last answer about recordings: what was asked, and when.
#[derive(Debug)]
struct Recorded {
    file: Option<String>,
    at: Instant,
    told: Result<Value, String>,
}

impl Engine {
    /// Over this stream. The receiver gets what makes further questions impossible.
    pub(crate) fn new(stream: UnixStream) -> (Self, oneshot::Receiver<io::Error>) {
        let (stream, failed) = Stream::new(stream);
        let way = Way {
            stream,
            last: Arc::default(),
            listing: Arc::default(),
            recorded: Arc::default(),
        };
        (Self(Rc::new(way)), failed)
    }

    /// What the engine is doing now, or was a moment ago. Dropping the future leaves the question to its end: others may wait for its
    /// answer.
    pub(crate) async fn look(&self) -> Result<Seen, NoAnswer> {
        let way = Rc::clone(&self.0);
        let mut last = Arc::clone(&way.last).lock_owned().await;
        let looking = spawn_local(async move {
            if let Some((at, seen)) = &*last
                && at.elapsed() < FRESH
            {
                return Ok(seen.clone());
            }
            let looked = timeout(ANSWER_TIME, look(&way.stream)).await;
            let seen = looked.unwrap_or(Err(NoAnswer))?;
            *last = Some((Instant::now(), seen.clone()));
            Ok(seen)
        });
        looking.await.unwrap_or(Err(NoAnswer))
    }

    /// The sessions that are asked for. Dropping the future leaves the question to its end: there is one list at a time, and four a
    /// second at most.
    pub(crate) async fn sessions(&self, query: SessionQuery) -> Result<SessionsSeen, NoAnswer> {
        let way = Rc::clone(&self.0);
        let mut last = Arc::clone(&way.listing).lock_owned().await;
        let listing = spawn_local(async move {
            if let Some(at) = *last {
                sleep(FRESH.saturating_sub(at.elapsed())).await;
            }
            let mut seen = SessionsSeen::new(&query);
            let filter = query.filter.clone();
            let most = MOST_LISTED;
            let mut answers = way
                .stream
                .ask(Request::FindSessions { filter, most }, None)?;
            let list = async {
                while let Some(answer) = answers.recv().await {
                    match answer.response {
                        Response::Sessions(rows) => seen.add(rows),
                        Response::Done(text) => seen.is_complete = text != THERE_ARE_MORE,
                        _ => return Err(NoAnswer),
                    }
                }
                Ok(())
            };
            let listed = timeout(LIST_TIME, list).await;
            *last = Some(Instant::now());
            match listed {
                // What has come by then is shown.
                Ok(Ok(())) | Err(_) => Ok(seen.end()),
                Ok(Err(none)) => Err(none),
            }
        });
        listing.await.unwrap_or(Err(NoAnswer))
    }

    /// The recordings of the flight recorder, or the events in one of them. An error is a refusal, in words. The supervisor reads
    /// files for it, and is asked four times a second at most.
    pub(crate) async fn recorded(
        &self,
        file: Option<String>,
    ) -> Result<Result<Value, String>, NoAnswer> {
        let way = Rc::clone(&self.0);
        let mut last = Arc::clone(&way.recorded).lock_owned().await;
        let asking = spawn_local(async move {
            if let Some(last) = &*last {
                let age = last.at.elapsed();
                if last.file == file && age < FRESH {
                    return Ok(last.told.clone());
                }
                sleep(FRESH.saturating_sub(age)).await;
            }
            let asked = timeout(ANSWER_TIME, recorded(&way.stream, file.clone())).await;
            let told = asked.unwrap_or(Err(NoAnswer))?;
            *last = Some(Recorded {
                file,
                at: Instant::now(),
                told: told.clone(),
            });
            Ok(told)
        });
        asking.await.unwrap_or(Err(NoAnswer))
    }

    /// The last events of all processes.
    #[cfg(feature = "otel")]
    pub(crate) async fn events(&self) -> Result<Value, NoAnswer> {
        let mut told = Err(NoAnswer);
        let mut answers = self.0.stream.ask(Request::Events, None)?;
        let all = async {
            while let Some(answer) = answers.recv().await {
                if let Response::Recorded(value) = answer.response {
                    told = Ok(value);
                }
            }
            told
        };
        timeout(ANSWER_TIME, all).await.unwrap_or(Err(NoAnswer))
    }

    /// Has something done. `None`: it goes on, and takes long.
    pub(crate) async fn act(
        &self,
        request: Request,
        shown: ShownToken,
    ) -> Result<Option<AdminAnswer>, NoAnswer> {
        let mut answers = self.0.stream.ask(request, Some(shown))?;
        let last = async {
            while let Some(answer) = answers.recv().await {
                if answer.response.is_last() {
                    return Ok(answer);
                }
            }
            Err(NoAnswer)
        };
        match timeout(ACT_TIME, last).await {
            Ok(answer) => answer.map(Some),
            Err(_) => Ok(None),
        }
    }
}

async fn look(stream: &Stream) -> Result<Seen, NoAnswer> {
    let mut status = Value::Null;
    let mut answers = stream.ask(Request::Status, None)?;
    while let Some(answer) = answers.recv().await {
        if let Response::Status(told) = answer.response {
            status = told;
        }
    }
    if status.is_null() {
        return Err(NoAnswer);
    }
    let mut upstreams = Upstreams::default();
    // Without a gateway there is a refusal, and then there are none.
    let mut answers = stream.ask(Request::Upstreams, None)?;
    while let Some(answer) = answers.recv().await {
        if let Response::Upstream(seen) = answer.response {
            upstreams.add(seen);
        }
    }
    let found = serde_json::to_value(findings(&status, &upstreams.list)).map_err(|_| NoAnswer)?;
    if let Some(fields) = status.as_object_mut() {
        fields.insert("findings".to_owned(), found);
    }
    Ok(Seen {
        status: Rc::new(status),
        upstreams: Rc::new(upstreams),
    })
}

async fn recorded(
    stream: &Stream,
    file: Option<String>,
) -> Result<Result<Value, String>, NoAnswer> {
    let request = match file {
        Some(file) => Request::Recording { file },
        None => Request::Recordings,
    };
    let mut told = Err("there is no answer".to_owned());
    let mut answers = stream.ask(request, None)?;
    while let Some(answer) = answers.recv().await {
        match answer.response {
            Response::Recorded(value) => told = Ok(value),
            Response::Refused(reason) => told = Err(reason),
            _ => {}
        }
    }
    Ok(told)
}

/// As JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Bytes {
    // Values of these kinds have an encoding.
    serde_json::to_vec(value).unwrap_or_default().into()
}
