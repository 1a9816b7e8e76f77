//! The log lines of workers and task workers, and the standard streams of them and of the gateway.
//!
//! Each process has pipes of its own. So it can neither truncate the log, nor change how others write to it, nor mix its
//! lines with theirs. A thread for each destination reads its pipes and writes line by line. While the thread is held up (a
//! full disk, a terminal that stands still) the pipes fill, and the processes drop and count log lines, as with any slow
//! log.

use std::io;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};

use moorline_process::log::{self, Destination};

/// A longer line is written in pieces of this size, in bytes. So no line has to be held in memory, and output without
/// line ends is still cut into lines.
const LINE_BYTES: u64 = 64 * 1024;
/// The size of a pipe, in bytes: the lines of a moment. The kernel may allow less.
const PIPE_BYTES: usize = 256 * 1024;
/// How long the last output of ended processes may take. It is available at once, unless another process holds a pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The ends that are read.
pub(super) struct Outputs {
    log: Reader,
    errors: Reader,
    output: Reader,
}

/// The thread that reads the pipes of one destination.
struct Reader {
    pipes: mpsc::UnboundedSender<Pipe>,
    thread: JoinHandle<()>,
}

/// An end that is read, for as long as its process lives.
struct Pipe {
    end: OwnedFd,
    process: oneshot::Receiver<()>,
}

/// Drop it when the process that writes to the pipe has ended. The pipe is read for [`LAST_WORDS`] more, because a
/// child of that process may keep the other end open.
pub(super) struct Writer {
    _lives: oneshot::Sender<()>,
}

impl Outputs {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            log: Reader::new(Destination::Log)?,
            errors: Reader::new(Destination::Errors)?,
            output: Reader::new(Destination::Output)?,
        })
    }

    /// The end of a new pipe that a process writes to.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(super) fn pipe(&self, destination: Destination) -> io::Result<(OwnedFd, Writer)> {
        let (end, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // The kernel bounds the pipes of a user; a small one is enough.
        let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
        let reader = match destination {
            Destination::Log => &self.log,
            Destination::Errors => &self.errors,
            Destination::Output => &self.output,
        };
        let (lives, process) = oneshot::channel();
        // The thread ends with the supervisor alone.
        let _ = reader.pipes.send(Pipe { end, process });
        Ok((write, Writer { _lives: lives }))
    }

    /// Writes the remaining lines.
    pub(super) fn finish(self) {
        let threads = [self.log, self.errors, self.output].map(|reader| reader.thread);
        let begun = Instant::now();
        while !threads.iter().all(JoinHandle::is_finished) && begun.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Reader {
    fn new(destination: Destination) -> io::Result<Self> {
        let (pipes, opened) = mpsc::unbounded_channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("outputs".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, read_all(opened, destination)))?;
        Ok(Self { pipes, thread })
    }
}

/// Runs until no more pipes come and all present ones have ended.
async fn read_all(mut opened: mpsc::UnboundedReceiver<Pipe>, destination: Destination) {
    let mut reading = JoinSet::new();
    while let Some(Pipe { end, process }) = opened.recv().await {
        while reading.try_join_next().is_some() {}
        match Receiver::from_owned_fd(end) {
            Ok(pipe) => {
                let write = move |line: &[u8]| log::write_line(destination, line);
                reading.spawn_local(async move {
                    let is_over = async {
                        // The sender's end shows it.
                        let _ = process.await;
                        tokio::time::sleep(LAST_WORDS).await;
                    };
                    tokio::select! {
                        () = copy_lines(pipe, write) => {}
                        () = is_over => {}
                    }
                });
            }
            Err(error) => tracing::error!(%error, "the output of a process cannot be read"),
        }
    }
    while reading.join_next().await.is_some() {}
}

/// Copies line by line, each with its end, until the other side has ended.
async fn copy_lines(pipe: impl AsyncRead + Unpin, mut write: impl FnMut(&[u8])) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut piece = (&mut pipe).take(LINE_BYTES);
        if matches!(piece.read_until(b'\n', &mut line).await, Ok(0) | Err(_)) {
            return;
        }
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        write(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_stay_whole_and_what_never_ends_comes_in_pieces() {
        let endless = vec![b'e'; 3 * LINE_BYTES as usize / 2];
        let written = [b"one\n\ntwo\n".as_slice(), &endless].concat();
        let mut lines = Vec::new();
        copy_lines(&written[..], |line| lines.push(line.to_vec())).await;
        let sizes: Vec<usize> = lines.iter().map(Vec::len).collect();
        let half = LINE_BYTES as usize / 2;
        assert_eq!(sizes, [4, 1, 4, 2 * half + 1, half + 1]);
        assert!(lines.iter().all(|line| line.ends_with(b"\n")));
    }
}
