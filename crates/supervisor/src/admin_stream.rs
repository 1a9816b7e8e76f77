//! The supervisor's side of the stream to the process that serves `[admin]`.
//!
//! That process speaks with everyone who reaches its address, so it is not believed: it may look, and what changes something needs
//! the token, which only the supervisor knows.

mod attempts;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::rc::Rc;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use moorline_config::Token;
use moorline_protocol::command::{
    AdminAnswer, AdminQuestion, Denied, MOST_QUESTIONS, Request, Response, ShownToken,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use self::attempts::Attempts;
use super::control_socket::{ANSWER_TIME, Answers, Asked};

/// A question is a line: a filter, or a token beside a name.
const QUESTION_BYTES: u64 = 64 * 1024;

/// Answers the questions of the process that serves `[admin]`, until it ends. Returns its end of the stream. `token`: what must be
/// shown to change something; without one nothing can be changed.
pub(crate) fn answer<I: From<Asked> + 'static>(
    inputs: &mpsc::Sender<I>,
    token: Option<Token>,
) -> io::Result<OwnedFd> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    let inputs = inputs.clone();
    let guard = Guard {
        token,
        attempts: Attempts::default(),
        begun: Instant::now(),
    };
    spawn_local(async move {
        if let Err(error) = answer_each(ours, &inputs, guard).await {
            debug!(%error, "the questions of [admin]");
        }
    });
    Ok(theirs.into())
}

async fn answer_each<I: From<Asked>>(
    stream: UnixStream,
    inputs: &mpsc::Sender<I>,
    mut guard: Guard,
) -> io::Result<()> {
    let (reading, writing) = stream.into_split();
    let writing = Rc::new(Mutex::new(writing));
    let mut reading = BufReader::new(reading);
    let open = Arc::new(Semaphore::new(MOST_QUESTIONS));
    let mut line = String::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else {
            return Ok(());
        };
        line.clear();
        let mut limited = (&mut reading).take(QUESTION_BYTES);
        if limited.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let AdminQuestion {
            number,
            request,
            shown,
        } = serde_json::from_str(&line)?;
        let (answers, waiting) = Answers::within();
        let act = match guard.pass(&request, shown) {
            Ok(act) => act,
            Err(denied) => {
                write(refusal(number, denied), &writing).await?;
                continue;
            }
        };
        if inputs.send(Asked(request, answers).into()).await.is_err() {
            return Ok(());
        }
        let writing = Rc::clone(&writing);
        spawn_local(async move {
            // The process has gone, or does not read: then reading ends, too.
            let _ = pass_on(number, act, waiting, &writing).await;
            drop(permit);
        });
    }
}

/// Writes the answers to a question, and logs how an act has ended.
async fn pass_on(
    number: u64,
    act: Option<Act>,
    mut waiting: mpsc::Receiver<Response>,
    writing: &Mutex<OwnedWriteHalf>,
) -> io::Result<()> {
    let mut is_over = false;
    while let Some(response) = waiting.recv().await {
        if let Some(act) = &act {
            act.log(&response);
        }
        is_over = response.is_last();
        write(answer_to(number, response), writing).await?;
    }
    if !is_over {
        let response = Response::Refused("the engine is stopping".to_owned());
        write(answer_to(number, response), writing).await?;
    }
    Ok(())
}

fn answer_to(number: u64, response: Response) -> AdminAnswer {
    AdminAnswer {
        number,
        response,
        denied: None,
    }
}

fn refusal(number: u64, denied: Denied) -> AdminAnswer {
    AdminAnswer {
        number,
        response: Response::Refused(denied.reason().to_owned()),
        denied: Some(denied),
    }
}

async fn write(answer: AdminAnswer, writing: &Mutex<OwnedWriteHalf>) -> io::Result<()> {
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    let mut writing = writing.lock().await;
    timeout(ANSWER_TIME, writing.write_all(&line)).await?
}

/// What someone with the token does, for the log.
struct Act {
    what: String,
    from: String,
}

impl Act {
    fn log(&self, response: &Response) {
        let Self { what, from } = self;
        match response {
            Response::Done(text) => info!(from, "[admin]: {what}, asked from {from}: {text}"),
            Response::Refused(reason) | Response::Unconfirmed(reason) => {
                warn!(from, "[admin]: {what}, asked from {from}: {reason}");
            }
            _ => {}
        }
    }
}

/// Decides what may be asked.
struct Guard {
    token: Option<Token>,
    attempts: Attempts,
    begun: Instant,
}

impl Guard {
    /// Whether this may be done, and what to log of it.
    fn pass(
        &mut self,
        request: &Request,
        shown: Option<ShownToken>,
    ) -> Result<Option<Act>, Denied> {
        let what = match request {
            Request::Status
            | Request::Sessions
            | Request::FindSessions { .. }
            | Request::Upstreams
            | Request::Recordings
            | Request::Recording { .. }
            | Request::Events => {
                // Who only looks shows no token: what acts is no way round the limits of what looks.
                return match shown {
                    None => Ok(None),
                    Some(_) => Err(Denied::NotOffered),
                };
            }
            Request::Reload { config: None, .. } => "reload".to_owned(),
            Request::CloseSession { id } => format!("close session {id}"),
            Request::Accept { listener, accepts } => match accepts {
                true => format!("accept connections of {listener:?}"),
                false => format!("accept no connections of {listener:?}"),
            },
            Request::Drain {
                listener: Some(listener),
                ..
            } => format!("close the sessions of {listener:?}"),
            _ => return Err(Denied::NotOffered),
        };
        let token = self.token.as_ref().ok_or(Denied::ReadOnly)?;
        let ShownToken { token: shown, from } = shown.ok_or(Denied::NoToken)?;
        let now = self.begun.elapsed();
        if !self.attempts.may_try(now) {
            return Err(Denied::TooMany);
        }
        if verify_slices_are_equal(shown.as_bytes(), token.reveal().as_bytes()).is_err() {
            self.attempts.has_failed(now);
            warn!(%from, "[admin]: a wrong token was shown from {from}, to {what}");
            return Err(Denied::WrongToken);
        }
        let from = from.to_string();
        info!(from, "[admin]: {what}, asked from {from}");
        Ok(Some(Act { what, from }))
    }
}
