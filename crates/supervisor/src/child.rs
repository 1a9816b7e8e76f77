//! A child's control channel, its output and its end. One task for each turns messages into inputs of the shell.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use moorline_ipc::{Channel, Hello, Packet, close_elsewhere};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::io::Errno;
use std::os::unix::process::ExitStatusExt;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Child as Process;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use moorline_protocol::control::{FromRole, ProcessId, ToRole};
use moorline_protocol::control_channel::{ControlChannel, decode, encode};

use super::input::Input;
use super::plan::{Child, Ended, Event};

/// The most messages that wait until a role reads them: some for each slot there can be. A role with more unread
/// messages does not read at all.
const UNREAD: usize = 2048;
/// How long a packet without room in the system is tried again, if only one process or one reload waits for it.
const DELIVERY: Duration = Duration::from_secs(2);
/// The pause between two tries.
const DELIVERY_PAUSE: Duration = Duration::from_millis(20);
/// The messages of a child are taken before its end is reported, if the channel closes within this time. It does, unless
/// a process that the child started holds the channel.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A role that closes its channel exits soon. One that still runs after this time hangs.
const EXIT: Duration = Duration::from_secs(5);
/// Messages taken from a worker in a second; the others wait in its channel. An honest worker sends a few in its life, and
/// its stall reports.
const MOST_HEARD: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);
/// Longer lines of a helper are logged in pieces, so that none has to be held in memory.
const LINE_BYTES: u64 = 8 * 1024;

/// Sends messages to a role. Dropping it closes the channel after the last message.
pub(super) struct Outbox {
    letters: mpsc::Sender<Letter>,
    /// Those that wait while the role is not to be told anything.
    held: RefCell<Option<Held>>,
}

/// Messages that a role was not told, oldest first.
pub(super) type Held = Vec<Letter>;

/// A message on its way to a role.
pub(super) struct Letter {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    stake: Stake,
}

/// What fails if the supervisor, or the system, lacks something that a message needs.
#[derive(Debug, Clone, Copy)]
enum Stake {
    /// The role cannot go on without it.
    Role,
    /// The gateway can live without it, but this process cannot be served.
    Process(ProcessId),
    /// The gateway can live without it, but the reload to this generation fails.
    Reload(u32),
}

impl Outbox {
    /// Messages that wait until the role reads them.
    pub(super) fn unread(&self) -> usize {
        self.letters.max_capacity() - self.letters.capacity()
    }

    /// Hands a message over without waiting.
    pub(super) fn send(&self, message: &ToRole, fds: Vec<OwnedFd>) -> io::Result<()> {
        let stake = match message {
            ToRole::Attach { process, .. } => Stake::Process(*process),
            ToRole::Prepare { generation, .. } => Stake::Reload(*generation),
            _ => Stake::Role,
        };
        let bytes = encode(message)?;
        let letter = Letter { bytes, fds, stake };
        match &mut *self.held.borrow_mut() {
            Some(held) if held.len() >= UNREAD => Err(unread()),
            Some(held) => {
                held.push(letter);
                Ok(())
            }
            None => self.post(letter),
        }
    }

    fn post(&self, letter: Letter) -> io::Result<()> {
        self.letters.try_send(letter).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => unread(),
            mpsc::error::TrySendError::Closed(_) => io::ErrorKind::BrokenPipe.into(),
        })
    }

    /// Keeps further messages, until they are [taken](Self::take_held).
    pub(super) fn hold(&self) {
        self.held.borrow_mut().get_or_insert_default();
    }

    /// Takes the messages that were kept. Further ones are sent again.
    pub(super) fn take_held(&self) -> Held {
        self.held.take().unwrap_or_default()
    }

    /// Sends what was kept for this role, or for the one before it.
    pub(super) fn send_held(&self, held: Held) -> io::Result<()> {
        held.into_iter().try_for_each(|letter| self.post(letter))
    }
}

fn unread() -> io::Error {
    io::Error::other("does not read its control channel")
}

/// Listens to a role.
pub(super) fn attend_role(
    child: Child,
    process: Process,
    channel: Channel,
    inputs: &mpsc::Sender<Input>,
) -> io::Result<Outbox> {
    let (outbox, waiting) = mpsc::channel(UNREAD);
    let channel = ControlChannel::new(channel)?;
    let conversation = spawn_local(converse(child, channel, waiting, inputs.clone()));
    spawn_local(await_end(
        child,
        process,
        vec![conversation],
        inputs.clone(),
    ));
    Ok(Outbox {
        letters: outbox,
        held: RefCell::default(),
    })
}

/// Listens to a helper, whose lines are logged.
pub(super) fn attend_helper(
    child: Child,
    name: &str,
    mut process: Process,
    inputs: &mpsc::Sender<Input>,
) {
    let stdout = process
        .stdout
        .take()
        .map(|out| spawn_local(log_lines(name.to_owned(), out)));
    let stderr = process
        .stderr
        .take()
        .map(|out| spawn_local(log_lines(name.to_owned(), out)));
    let outputs = stdout.into_iter().chain(stderr).collect();
    spawn_local(await_end(child, process, outputs, inputs.clone()));
}

/// Ends a child that has not been reaped, even if it has left its group, and everything that it has started.
pub(super) fn kill_child(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
    kill_group(pid, signal);
}

/// Ends everything that a child has started. After it was reaped its number may belong to another process; its group's
/// does not.
pub(super) fn kill_group(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // ESRCH: the group is empty, which is the aim.
        let _ = killpg(Pid::from_raw(pid), signal);
    }
}

async fn converse(
    child: Child,
    channel: ControlChannel,
    mut waiting: mpsc::Receiver<Letter>,
    inputs: mpsc::Sender<Input>,
) {
    let writing = async {
        while let Some(letter) = waiting.recv().await {
            match deliver(&channel, &letter).await {
                Ok(()) => {}
                // The child is gone. The reader of its channel, or its exit, gives the reason.
                Err(error) if is_gone(&error) => return std::future::pending().await,
                Err(error) => match letter.undelivered(child, &error) {
                    Some(event) => drop(inputs.send(Input::Event(event)).await),
                    None => return Some(format!("cannot receive its orders: {error}")),
                },
            }
        }
        None
    };
    let failure = tokio::select! {
        failure = writing => match failure {
            Some(_) => failure,
            None => return,
        },
        failure = hear(child, &channel, &inputs) => failure,
    };
    if let Some(reason) = failure {
        let _ = inputs
            .send(Input::Event(Event::Failed { child, reason }))
            .await;
        return;
    }
    // The task that waits for the end must not wait for this.
    spawn_local(async move {
        tokio::time::sleep(EXIT).await;
        let reason = "closed its control channel and did not exit".to_owned();
        let _ = inputs
            .send(Input::Event(Event::Failed { child, reason }))
            .await;
    });
}

/// Sends a message; tries again for a while if the system has no room for it.
async fn deliver(channel: &ControlChannel, letter: &Letter) -> io::Result<()> {
    let fds: Vec<_> = letter.fds.iter().map(AsFd::as_fd).collect();
    let begun = Instant::now();
    loop {
        match channel.send_bytes(&letter.bytes, &fds).await {
            Err(error) if is_shortage(&error) && letter.may_wait(begun.elapsed()) => {
                tokio::time::sleep(DELIVERY_PAUSE).await;
            }
            result => return result,
        }
    }
}

impl Letter {
    /// A message that the role cannot do without is tried for as long as the role lives.
    fn may_wait(&self, waited: Duration) -> bool {
        matches!(self.stake, Stake::Role) || waited < DELIVERY
    }

    /// What has failed, apart from the role that it was meant for.
    fn undelivered(&self, child: Child, error: &io::Error) -> Option<Event> {
        let Child::Gateway(incarnation) = child else {
            return None;
        };
        let failure = Some(format!("the supervisor cannot send descriptors: {error}"));
        match self.stake {
            Stake::Role => None,
            Stake::Process(process) => Some(Event::Attached {
                incarnation,
                process,
                failure,
            }),
            Stake::Reload(generation) => Some(Event::Prepared {
                incarnation,
                generation,
                failure,
            }),
        }
    }
}

/// Too many descriptors are under way, or there is no memory.
fn is_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM | Errno::MFILE | Errno::NFILE)
    )
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// Reads until the channel is closed or a message is broken.
async fn hear(
    child: Child,
    channel: &ControlChannel,
    inputs: &mpsc::Sender<Input>,
) -> Option<String> {
    let mut is_greeted = false;
    let mut pace = Pace::default();
    loop {
        let bytes = match channel.recv_packet().await {
            Ok(Some(Packet {
                bytes,
                fds: Ok(fds),
            })) if fds.is_empty() => bytes,
            Ok(Some(packet)) => {
                close_elsewhere(packet);
                return Some("passed descriptors to the supervisor".to_owned());
            }
            Ok(None) => return None,
            // The child is gone and had not read all that was sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(error) => return Some(format!("its control channel failed: {error}")),
        };
        if matches!(child, Child::Process(_)) {
            pace.keep().await;
        }
        let input = if is_greeted {
            match decode(&bytes).map(|message| input(child, message)) {
                Ok(Ok(input)) => Some(input),
                // A wrong message is no reason to lose every session.
                Ok(Err(reason)) if matches!(child, Child::Gateway(_)) => {
                    tracing::error!(?child, reason, "the gateway is out of step");
                    None
                }
                Ok(Err(reason)) => return Some(reason),
                Err(error) => return Some(error.to_string()),
            }
        } else {
            is_greeted = true;
            match Hello::check(&bytes) {
                Ok(()) => Some(Input::Event(Event::Hello(child))),
                Err(error) => return Some(format!("does not fit this engine: {error}")),
            }
        };
        if let Some(input) = input
            && inputs.send(input).await.is_err()
        {
            return None;
        }
    }
}

/// How many messages of a role were taken in this second.
struct Pace {
    since: Instant,
    heard: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            heard: 0,
        }
    }
}

impl Pace {
    /// Counts one message more. Waits until the next may be taken.
    async fn keep(&mut self) {
        self.heard += 1;
        if self.heard >= MOST_HEARD {
            tokio::time::sleep(SECOND.saturating_sub(self.since.elapsed())).await;
        }
        if self.since.elapsed() >= SECOND {
            *self = Self::default();
        }
    }
}

/// The input that a role's message becomes.
///
/// # Errors
/// The role must not send that message.
fn input(child: Child, message: FromRole) -> Result<Input, String> {
    let wrong = || "sent a control message that its role must not send".to_owned();
    let event = match (child, message) {
        (_, FromRole::Ready) => Event::Ready(child),
        (_, FromRole::Failed { reason }) => Event::Failed { child, reason },
        (Child::Process(process), FromRole::Stopping) => Event::Stopping(process),
        (Child::Process(process), FromRole::Resigned) => Event::Resigned(process),
        (Child::Process(process), FromRole::Stalled(report)) => {
            return Ok(Input::Stalled(process, report));
        }
        (Child::Process(process), FromRole::Asks { number, request }) => {
            return Ok(Input::AppAsks(process, number, request));
        }
        (Child::Gateway(incarnation), message) => {
            return gateway_input(incarnation, message).ok_or_else(wrong);
        }
        (Child::Process(_) | Child::Helper(_), _) => return Err(wrong()),
    };
    Ok(Input::Event(event))
}

/// The same for messages that only a gateway sends.
fn gateway_input(incarnation: u32, message: FromRole) -> Option<Input> {
    let event = match message {
        FromRole::Attached { process, failure } => Event::Attached {
            incarnation,
            process,
            failure,
        },
        FromRole::Prepared {
            generation,
            failure,
        } => Event::Prepared {
            incarnation,
            generation,
            failure,
        },
        FromRole::Released { process } => Event::Released(process),
        FromRole::Garbage { process, reason } => Event::Garbage { process, reason },
        FromRole::Drained => Event::Drained(incarnation),
        FromRole::Activated => Event::Activated(incarnation),
        FromRole::DrainEnded { number } => return Some(Input::DrainEnded(incarnation, number)),
        FromRole::Waiting(counts) => return Some(Input::Waiting(incarnation, counts)),
        FromRole::Refused {
            limit,
            listener,
            address,
        } => return Some(Input::Refused(incarnation, [limit, listener, address])),
        FromRole::Vacant(places) => return Some(Input::Vacant(incarnation, places)),
        FromRole::Sessions {
            question,
            rows,
            next,
        } => {
            return Some(Input::Sessions {
                incarnation,
                question,
                rows,
                next,
            });
        }
        FromRole::Upstreams {
            question,
            seen,
            next,
        } => {
            return Some(Input::Upstreams {
                incarnation,
                question,
                seen,
                next,
            });
        }
        FromRole::SessionClosed { question, is_there } => {
            return Some(Input::SessionClosed(incarnation, question, is_there));
        }
        FromRole::PeerSet { question, result } => {
            return Some(Input::PeerSet(incarnation, question, result));
        }
        message => upgrade_event(incarnation, message)?,
    };
    Some(Input::Event(event))
}

/// The same for what a gateway says about an upgrade.
fn upgrade_event(incarnation: u32, message: FromRole) -> Option<Event> {
    Some(match message {
        FromRole::Waits => Event::Waits(incarnation),
        FromRole::HandedOver { failure } => Event::HandedOver {
            incarnation,
            failure,
        },
        FromRole::GoesOn { sessions, pause_us } => Event::GoesOn {
            incarnation,
            sessions,
            pause: Duration::from_micros(pause_us),
        },
        _ => return None,
    })
}

async fn await_end(
    child: Child,
    mut process: Process,
    outputs: Vec<JoinHandle<()>>,
    inputs: mpsc::Sender<Input>,
) {
    let pid = process.id();
    // A child that a debugger has stopped does not end this wait.
    let end = match process.wait().await {
        Ok(status) => Ended {
            code: status.code(),
            signal: status.signal(),
        },
        Err(error) => {
            tracing::error!(%error, "{child} cannot be waited for");
            Ended {
                code: None,
                signal: None,
            }
        }
    };
    if let Some(pid) = pid {
        kill_group(pid, Signal::SIGKILL);
    }
    for mut output in outputs {
        // Other processes may still hold its channel or its output.
        if timeout(LAST_WORDS, &mut output).await.is_err() {
            output.abort();
        }
    }
    let _ = inputs
        .send(Input::Event(Event::Exited { child, end }))
        .await;
}

/// Logs the output of a helper, line by line.
pub(super) async fn log_lines(helper: String, output: impl AsyncRead + Unpin) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output)
            .take(LINE_BYTES)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => tracing::info!(helper, "{}", String::from_utf8_lossy(&line).trim_end()),
        }
    }
}
