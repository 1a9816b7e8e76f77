//! The supervisor's side of the control socket.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_local;
use tokio::time::timeout;

use moorline_protocol::command::{ASKERS, Request, Response};

/// Answers that may wait until they are read. Further progress is dropped; long lists wait.
const UNREAD: usize = 64;
/// A request is a short line.
const REQUEST_BYTES: u64 = 4 * 1024;
/// How long an asker may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// How long an asker may take to read an answer.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The way back to an asker. Dropping it ends the conversation.
#[derive(Debug, Clone)]
pub(crate) struct Answers(mpsc::Sender<Response>);

impl Answers {
    /// A way to an asker within the supervisor, and its end there.
    pub(crate) fn within() -> (Self, mpsc::Receiver<Response>) {
        let (answers, waiting) = mpsc::channel(UNREAD);
        (Self(answers), waiting)
    }

    /// Whether the asker is still there.
    pub(crate) fn are_wanted(&self) -> bool {
        !self.0.is_closed()
    }

    /// Gives an answer, if anyone is still there to read it.
    pub(crate) fn give(&self, answer: Response) {
        // Full or closed: the asker does not read, or has gone.
        let _ = self.0.try_send(answer);
    }

    /// Sends one of many answers once the caller has read enough of the earlier ones. False: the caller has gone.
    /// A caller that does not read is disconnected after a while, so this wait ends.
    pub(crate) async fn give_in_turn(&self, answer: Response) -> bool {
        self.0.send(answer).await.is_ok()
    }
}

/// A request, and the caller that waits for its answer.
pub(crate) struct Asked(pub(crate) Request, pub(crate) Answers);

/// Takes requests from the socket for as long as the runtime runs, and sends each with the way back to its asker.
pub(crate) fn listen<I: From<Asked> + 'static>(
    socket: StdListener,
    inputs: mpsc::Sender<I>,
) -> io::Result<()> {
    let socket = UnixListener::from_std(socket)?;
    spawn_local(async move {
        let askers = Arc::new(Semaphore::new(ASKERS));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&askers).acquire_owned().await else {
                return;
            };
            match socket.accept().await {
                Ok((stream, _)) => {
                    let inputs = inputs.clone();
                    spawn_local(async move {
                        if let Err(error) = converse(stream, &inputs).await {
                            tracing::debug!(%error, "control socket");
                        }
                        drop(permit);
                    });
                }
                // Out of descriptors, most likely; a moment later there may be some.
                Err(error) => {
                    tracing::warn!(%error, "control socket: accepting failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

/// Writes answers, until there are no more.
async fn pass_on(
    mut waiting: mpsc::Receiver<Response>,
    writing: &mut OwnedWriteHalf,
) -> io::Result<()> {
    while let Some(answer) = waiting.recv().await {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        timeout(ANSWER_TIME, writing.write_all(&line)).await??;
    }
    Ok(())
}

async fn converse<I: From<Asked>>(stream: UnixStream, inputs: &mpsc::Sender<I>) -> io::Result<()> {
    let caller = stream.peer_cred()?.uid();
    if caller != 0 && caller != geteuid().as_raw() {
        tracing::warn!("control socket: refused a connection from uid {caller}");
        return Ok(());
    }
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    let mut reading = BufReader::new(reading.take(REQUEST_BYTES));
    timeout(REQUEST_TIME, reading.read_line(&mut line)).await??;
    let (answers, waiting) = mpsc::channel(UNREAD);
    match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            if inputs
                .send(Asked(request, Answers(answers)).into())
                .await
                .is_err()
            {
                return Ok(());
            }
        }
        Err(error) => Answers(answers).give(Response::Refused(format!(
            "this engine does not know that request: {error}"
        ))),
    }
    pass_on(waiting, &mut writing).await
}
