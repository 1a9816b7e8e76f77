//! What the probe does: a message is a command and its arguments, parted by spaces; anything else is echoed.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::future::pending;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use moorline::{App, CloseReason, Context, Datagram, Message, Opened, Result, SendError, Session};
use serde::Deserialize;

/// `[app]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What `greeting` answers.
    greeting: String,
    /// A file to which every hook adds a line.
    journal: Option<PathBuf>,
    /// The worker slot whose process fails to start.
    fails_in_slot: Option<u16>,
    /// The worker slot whose process never becomes ready.
    hangs_in_slot: Option<u16>,
}

/// The app.
pub(crate) struct Probe {
    build: &'static str,
    settings: RefCell<Settings>,
    context: RefCell<Option<Context>>,
    journal: RefCell<Option<File>>,
    /// Messages that `pour` has handed over.
    poured: Cell<u64>,
    /// Messages that `fill` has handed over before it was refused.
    filled: Cell<u64>,
}

impl Probe {
    /// A probe that answers `build` with this name.
    pub(crate) fn new(build: &'static str) -> Self {
        Probe {
            build,
            settings: RefCell::default(),
            context: RefCell::default(),
            journal: RefCell::default(),
            poured: Cell::new(0),
            filled: Cell::new(0),
        }
    }

    fn context(&self) -> Context {
        self.context
            .borrow()
            .clone()
            .expect("start runs before every other hook")
    }

    /// Adds a line to the journal, in one write, so that the lines of several processes stay whole.
    fn note(&self, line: impl Display) {
        if let Some(journal) = &mut *self.journal.borrow_mut() {
            let _ = journal.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Carries out one command; `None` if it has no answer.
    async fn obey(
        &self,
        session: &Session,
        message: &Message,
        command: &str,
        rest: &str,
    ) -> Result<Option<String>> {
        let context = self.context();
        let mut words = rest.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let answer = match command {
            "pid" => std::process::id().to_string(),
            "slot" => context.slot().to_string(),
            "generation" => context.generation().to_string(),
            "build" => self.build.to_owned(),
            "greeting" => self.settings.borrow().greeting.clone(),
            "id" => session.id().to_string(),
            "listener" => session.listener().to_owned(),
            "peer" => session.peer().to_string(),
            "tls" => session.tls().map_or("none".to_owned(), |tls| {
                let alpn = tls.alpn.as_deref().unwrap_or("-");
                let certificate = tls.certificate.as_ref().map_or("-".to_owned(), |der| {
                    der.iter().map(|byte| format!("{byte:02x}")).collect()
                });
                let handshake = if tls.is_resumed { "resumed" } else { "full" };
                format!("{}, {alpn}, {handshake}, {certificate}", tls.version)
            }),
            "queued" => message.queued().as_millis().to_string(),

            "crash" => std::process::abort(),
            "crash-once" => {
                // The file remembers across processes that this message has killed one.
                if File::create_new(word()).is_ok() {
                    std::process::abort();
                }
                "survived".to_owned()
            }
            "panic" => panic!("asked to panic"),
            "fail" => return Err("asked to fail".into()),
            "exit" => std::process::exit(word().parse()?),
            "hang" => pending().await,
            "sleep" => {
                tokio::time::sleep(milliseconds(word())?).await;
                "slept".to_owned()
            }
            "block" => {
                std::thread::sleep(milliseconds(word())?);
                "blocked".to_owned()
            }

            "close" => return told(session.close()),
            "close-twice" => {
                session.close()?;
                self.note(format_args!("second close {:?}", session.close()));
                return Ok(None);
            }
            "close-code" => return told(session.close_with(word().parse()?)),
            "close-now" => return told(session.close_now()),
            "end" => outcome(context.session(word().parse()?).close()),
            "tell" => {
                let other = context.session(word().parse()?);
                outcome(other.send(words.collect::<Vec<_>>().join(" ")).await)
            }
            "tell-until-refused" => {
                let other = context.session(word().parse()?);
                loop {
                    if let Err(error) = other.send("are you there").await {
                        break format!("{error:?}");
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            "post" => {
                let (slot, rest) = (word().parse()?, words.collect::<Vec<_>>().join(" "));
                match context.post(slot, format!("{} {rest}", session.id())) {
                    Ok(()) => return Ok(None),
                    Err(error) => format!("{error:?}"),
                }
            }
            "task" => match context.task(rest).await {
                Ok(result) => String::from_utf8(result)?,
                Err(error) => format!("{error:?}"),
            },
            "later" => {
                let (time, session) = (milliseconds(word())?, session.clone());
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(time).await;
                    let _ = session.push("later");
                });
                return Ok(None);
            }

            "big" => {
                session.send(vec![b'b'; word().parse()?]).await?;
                return Ok(None);
            }
            "spray" => {
                let other = context.session(word().parse()?);
                let (count, size): (u32, usize) = (word().parse()?, word().parse()?);
                let message = vec![word().as_bytes().first().copied().unwrap_or(b's'); size];
                for _ in 0..count {
                    other.send(&message).await?;
                }
                "sprayed".to_owned()
            }
            "flood" => {
                // Without end: only the session's own does.
                let chunk = vec![b'f'; 16 * 1024];
                loop {
                    match session.push(&chunk) {
                        Ok(()) => tokio::task::yield_now().await,
                        Err(SendError::Full) => tokio::time::sleep(Duration::from_millis(1)).await,
                        Err(_) => return Ok(None),
                    }
                }
            }
            "pour" => {
                let (count, chunk) = (word().parse::<u64>()?, vec![b'p'; 16 * 1024]);
                for number in 1..=count {
                    session.send(&chunk).await?;
                    self.poured.set(number);
                }
                return Ok(None);
            }
            "poured" => self.poured.get().to_string(),
            "fill" => {
                let chunk = vec![b'f'; 16 * 1024];
                self.filled.set(0);
                loop {
                    match session.try_send(&chunk) {
                        Ok(()) => {
                            self.filled.set(self.filled.get() + 1);
                            tokio::task::yield_now().await;
                        }
                        // The way to the gateway may be full for a moment; the watermark is what is meant.
                        Err(SendError::Full) if !session.is_full() => {
                            tokio::task::yield_now().await
                        }
                        Err(error) => {
                            self.note(format_args!("refused {} {error:?}", session.id()));
                            return Ok(None);
                        }
                    }
                }
            }
            "filled" => self.filled.get().to_string(),
            _ => {
                match message.is_text() {
                    true => session.send_text(std::str::from_utf8(message)?).await?,
                    false => session.send(message).await?,
                }
                return Ok(None);
            }
        };
        Ok(Some(answer))
    }
}

impl App for Probe {
    async fn start(self: Rc<Self>, context: Context) -> Result {
        let settings: Settings = context.settings()?;
        let is_worker = !context.is_task();
        if is_worker && settings.fails_in_slot == Some(context.slot()) {
            return Err("asked not to start".into());
        }
        if is_worker && settings.hangs_in_slot == Some(context.slot()) {
            return pending().await;
        }
        if let Some(path) = &settings.journal {
            *self.journal.borrow_mut() =
                Some(OpenOptions::new().append(true).create(true).open(path)?);
        }
        let (kind, slot, pid) = (
            if is_worker { "worker" } else { "task" },
            context.slot(),
            std::process::id(),
        );
        self.note(format_args!("start {kind} {slot} {pid}"));
        *self.settings.borrow_mut() = settings;
        *self.context.borrow_mut() = Some(context);
        Ok(())
    }

    async fn open(self: Rc<Self>, session: Session, opened: Opened) -> Result {
        self.note(format_args!("open {} {opened:?}", session.id()));
        Ok(())
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        let text = std::str::from_utf8(&message).unwrap_or_default().to_owned();
        let (command, rest) = text.split_once(' ').unwrap_or((&text, ""));
        if let Some(answer) = self.obey(&session, &message, command, rest).await? {
            match message.is_text() {
                true => session.send_text(answer).await?,
                false => session.send(answer).await?,
            }
        }
        Ok(())
    }

    async fn datagram(self: Rc<Self>, from: Datagram, message: Message) -> Result {
        match &message[..] {
            b"listener" => from.reply(from.listener())?,
            b"slot" => from.reply(self.context().slot().to_string())?,
            b"send-to" => {
                let moorline::Peer::Ip(peer) = *from.peer() else {
                    return Err("a datagram without an address".into());
                };
                self.context().send_to(from.listener(), peer, b"sent")?;
            }
            bytes => from.reply(bytes)?,
        }
        Ok(())
    }

    async fn close(self: Rc<Self>, session: Session, reason: CloseReason) -> Result {
        self.note(format_args!("close {} {reason}", session.id()));
        self.note(format_args!(
            "closed-on {} {}",
            session.id(),
            session.listener()
        ));
        Ok(())
    }

    async fn full(self: Rc<Self>, session: Session) -> Result {
        self.note(format_args!("full {}", session.id()));
        Ok(())
    }

    async fn drained(self: Rc<Self>, session: Session) -> Result {
        self.note(format_args!("drained {}", session.id()));
        Ok(())
    }

    /// Tells the session whose id it begins with which worker the post has reached, and from where.
    async fn post(self: Rc<Self>, from: u16, message: Message) -> Result {
        let text = std::str::from_utf8(&message)?;
        let (id, rest) = text.split_once(' ').ok_or("a post without an id")?;
        let context = self.context();
        let answer = format!("{rest} from {from} in {}", context.slot());
        context.session(id.parse()?).send(answer).await?;
        Ok(())
    }

    async fn task(self: Rc<Self>, task: Message) -> Result<Vec<u8>> {
        let text = std::str::from_utf8(&task)?;
        let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
        match command {
            "crash" => std::process::abort(),
            "crash-once" if File::create_new(rest).is_ok() => std::process::abort(),
            "fail" => Err("asked to fail".into()),
            "pid" => Ok(std::process::id().to_string().into_bytes()),
            "block" => {
                std::thread::sleep(milliseconds(rest)?);
                Ok(b"blocked".to_vec())
            }
            _ => Ok(text.to_uppercase().into_bytes()),
        }
    }

    async fn stop(self: Rc<Self>) -> Result {
        self.note(format_args!("stop {}", std::process::id()));
        Ok(())
    }
}

fn milliseconds(word: &str) -> Result<Duration> {
    Ok(Duration::from_millis(word.parse()?))
}

/// A command that ends its own session answers only if it could not.
fn told(result: std::result::Result<(), SendError>) -> Result<Option<String>> {
    Ok(result.err().map(|error| format!("{error:?}")))
}

fn outcome(result: std::result::Result<(), SendError>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}
