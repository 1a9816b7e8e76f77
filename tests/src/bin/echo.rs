//! An echo that can be slowed down and made to misbehave, on whatever listeners its configuration names.
//!
//! With `[app] delay = "10ms"` each message waits for this long before its answer, and others go on meanwhile. With `[app]
//! commands = true` these messages do more:
//!
//! | message | does |
//! | --- | --- |
//! | `!spin 3s` | computes for this long, then answers `spun` |
//! | `!block 3s` | blocks its worker in a system call for this long, then answers `blocked` |
//! | `!wait` | awaits what never comes |
//! | `!crash` | ends its worker by a fault |
//! | `!task 3s` | has a task worker block for this long, then answers with its result |
//!
//! A session of server-sent events gets what is posted to `/board/ID`, from the event on that its client names. Any other plain
//! request comes back as it was.

use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use moorline::{
    Accept, App, Context, Datagram, Group, Message, Opened, Request, Response, Result, SendError,
    Session,
};
use serde::Deserialize;

fn main() -> ExitCode {
    moorline::run(Echo::start)
}

/// Events that the board keeps: those of some minutes.
const KEPT: usize = 10_000;

struct Echo {
    context: Context,
    /// Zero: each message is answered at once.
    delay: Duration,
    obeys: bool,
}

/// `[app]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    delay: Option<String>,
    #[serde(default)]
    commands: bool,
}

impl App for Echo {
    type Settings = Settings;

    async fn start(context: Context, settings: Settings) -> Result<Self> {
        let delay = settings.delay.as_deref().map(duration).transpose()?;
        Ok(Echo {
            context,
            delay: delay.unwrap_or_default(),
            obeys: settings.commands,
        })
    }

    async fn accept(self: Rc<Self>, request: Request) -> Result<Accept> {
        Ok(Accept::new().remember(&request, &["last-event-id"]))
    }

    async fn open(self: Rc<Self>, session: Session, opened: Opened) -> Result {
        if let (Opened::Fresh, Some(request)) = (opened, session.request())
            && request.path() == "/board"
        {
            let last = request.last_event_id().unwrap_or_default();
            self.board()?.join_after(&session, last)?;
        }
        Ok(())
    }

    async fn request(self: Rc<Self>, request: Request) -> Result<Response> {
        self.wait().await;
        let Some(id) = request.path().strip_prefix("/board/") else {
            return Ok(Response::new(200).body(request.body().to_vec()));
        };
        let said = str::from_utf8(request.body())?;
        self.board()?.send_event(id, "", said).await?;
        Ok(Response::new(204))
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        self.wait().await;
        if self.obeys
            && let Some(command) = message.strip_prefix(b"!")
        {
            let answer = obey(&session.context(), str::from_utf8(command)?).await?;
            return Ok(session.send(answer).await?);
        }
        match message.is_text() {
            true => session.send_text(str::from_utf8(&message)?).await?,
            false => session.send(&message).await?,
        }
        Ok(())
    }

    /// Blocks for as long as it is told, which is what task workers are for.
    async fn task(self: Rc<Self>, _: Context, task: Message) -> Result<Vec<u8>> {
        std::thread::sleep(duration(str::from_utf8(&task)?)?);
        Ok(b"done".to_vec())
    }

    async fn datagram(self: Rc<Self>, from: Datagram, message: Message) -> Result {
        self.wait().await;
        match from.reply(&message) {
            // Lost on its way, as datagrams are.
            Err(SendError::Full) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

impl Echo {
    /// A gateway that has just begun keeps nothing yet.
    fn board(&self) -> Result<Group> {
        let board = self.context.group("board");
        board.keep_events(KEPT)?;
        Ok(board)
    }

    async fn wait(&self) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
    }
}

/// What a message says that begins with an exclamation mark.
async fn obey(context: &Context, command: &str) -> Result<Vec<u8>> {
    let (verb, time) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        "spin" => Ok(spin(duration(time)?)),
        "block" => {
            std::thread::sleep(duration(time)?);
            Ok(b"blocked".to_vec())
        }
        "wait" => {
            let (_sender, receiver) = tokio::sync::oneshot::channel();
            Ok(receiver.await?)
        }
        "crash" => std::process::abort(),
        "task" => Ok(context.task(time).await?),
        _ => Err(format!("there is no command {verb:?}").into()),
    }
}

fn spin(time: Duration) -> Vec<u8> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    b"spun".to_vec()
}

/// Milliseconds or seconds: `10ms`, `2s`.
fn duration(text: &str) -> Result<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis(1)),
        None => (
            text.strip_suffix('s').unwrap_or_default(),
            Duration::from_secs(1),
        ),
    };
    number
        .parse()
        .ok()
        .and_then(|number: u32| unit.checked_mul(number))
        .ok_or_else(|| format!("{text:?} is no time; write it like \"10ms\" or \"2s\"").into())
}
