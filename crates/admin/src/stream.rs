//! The stream to the supervisor: many questions at once, each with its own answers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use moorline_protocol::command::{AdminAnswer, AdminQuestion, Request, ShownToken};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

/// The most bytes of a line of an answer.
const MOST_LINE: u64 = 16 << 20;
/// Answers to a question that may wait until they are taken; then reading waits.
const UNREAD: usize = 16;
/// Questions that may wait until they are written.
const UNWRITTEN: usize = 64;

/// Where the answers to the open questions go.
type Open = Rc<RefCell<HashMap<u64, mpsc::Sender<AdminAnswer>>>>;

/// There is no answer.
#[derive(Debug)]
pub(crate) struct NoAnswer;

/// The stream to the supervisor.
#[derive(Debug)]
pub(crate) struct Stream {
    questions: mpsc::Sender<Vec<u8>>,
    open: Open,
    last_number: Cell<u64>,
}

impl Stream {
    /// The receiver gets what makes further questions impossible.
    pub(crate) fn new(stream: UnixStream) -> (Self, oneshot::Receiver<io::Error>) {
        let (failing, failed) = oneshot::channel();
        let (questions, unwritten) = mpsc::channel(UNWRITTEN);
        let (reading, writing) = stream.into_split();
        let open = Open::default();
        // A failure to write is one to read, too.
        spawn_local(write_all(unwritten, writing));
        let answered = Rc::clone(&open);
        spawn_local(async move {
            if let Err(error) = read_all(reading, answered).await {
                // The process may be ending already.
                let _ = failing.send(error);
            }
        });
        let stream = Self {
            questions,
            open,
            last_number: Cell::new(0),
        };
        (stream, failed)
    }

    /// Asks. The receiver gets the answers, and is closed after the last one; who drops it wants no more of them.
    pub(crate) fn ask(
        &self,
        request: Request,
        shown: Option<ShownToken>,
    ) -> Result<mpsc::Receiver<AdminAnswer>, NoAnswer> {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        let question = AdminQuestion {
            number,
            request,
            shown,
        };
        let mut line = serde_json::to_vec(&question).map_err(|_| NoAnswer)?;
        line.push(b'\n');
        self.questions.try_send(line).map_err(|_| NoAnswer)?;
        let (sender, answers) = mpsc::channel(UNREAD);
        self.open.borrow_mut().insert(number, sender);
        Ok(answers)
    }
}

async fn write_all(mut unwritten: mpsc::Receiver<Vec<u8>>, mut writing: OwnedWriteHalf) {
    while let Some(line) = unwritten.recv().await {
        if writing.write_all(&line).await.is_err() {
            return;
        }
    }
}

async fn read_all(reading: OwnedReadHalf, open: Open) -> io::Result<()> {
    let mut reading = BufReader::new(reading);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reading).take(MOST_LINE);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer: AdminAnswer = serde_json::from_slice(&line)?;
        let number = answer.number;
        let is_last = answer.response.is_last();
        let asker = match is_last {
            true => open.borrow_mut().remove(&number),
            false => open.borrow().get(&number).cloned(),
        };
        if let Some(asker) = asker {
            // It may not want more of them.
            let _ = asker.send(answer).await;
        }
    }
}
