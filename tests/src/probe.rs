//! What the probe does: a message is a command and its arguments, parted by spaces; anything else is echoed.

mod answers;
mod herald;
mod lockers;
mod misuse;
mod sending;
mod tasks;

use std::cell::Cell;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::future::pending;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use moorline::{App, CloseReason, Context, Datagram, Message, Opened, Result, Session, SessionId};
use serde::Deserialize;

use answers::{every, list, milliseconds, outcome, times, told, told_by, told_of};

/// `[app]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What `greeting` answers.
    greeting: String,
    /// A file to which every hook adds a line.
    journal: Option<PathBuf>,
    /// The worker slot whose process fails to start.
    fails_in_slot: Option<u16>,
    /// The worker slot whose process never becomes ready.
    hangs_in_slot: Option<u16>,
    blocks_in_slot: Option<u16>,
    /// The worker slot whose process takes a while to become ready.
    starts_late_in_slot: Option<u16>,
    /// The hooks that block for a while: `open`, `close`, `post`.
    blocks_in: Vec<String>,
    /// While this file is there no worker starts.
    fails_with: Option<PathBuf>,
    /// How long an open hook takes, in milliseconds; then the journal has its end, too.
    open_takes_ms: u64,
    /// A worker that starts waits until this file is there.
    starts_with_file: Option<PathBuf>,
    /// A session to which a worker that starts says all it can, and whose group `all` it speaks to.
    heralds_to: Option<SessionId>,
    /// While this file is there, a process that starts does what it says to the session that it names.
    herald_file: Option<PathBuf>,
    /// The process that this file names, as in `task 1`, never becomes ready.
    hangs_file: Option<PathBuf>,
    /// Where a worker that starts sends a datagram, and the listener it sends it from.
    starts_with: Option<(String, SocketAddr)>,
}

impl Settings {
    /// Fails, waits or blocks, as it says for the worker in this slot.
    async fn delay_start(&self, slot: u16) -> Result {
        if self.fails_in_slot == Some(slot) {
            return Err("asked not to start".into());
        }
        if self.fails_with.as_ref().is_some_and(|path| path.exists()) {
            return Err("asked not to start yet".into());
        }
        if self.starts_late_in_slot == Some(slot) {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        if self.hangs_in_slot == Some(slot) {
            return pending().await;
        }
        if self.blocks_in_slot == Some(slot) {
            std::thread::sleep(Duration::from_secs(60));
        }
        Ok(())
    }
}

/// The app.
pub struct Probe {
    build: &'static str,
    settings: Settings,
    context: Context,
    journal: Option<File>,
    /// Messages that `pour` has handed over.
    poured: Cell<u64>,
    /// Messages that `fill` has handed over before it was refused.
    filled: Cell<u64>,
}

impl Probe {
    /// A probe that answers `build` with this name.
    pub async fn new(build: &'static str, context: Context, settings: Settings) -> Result<Self> {
        if !context.is_task() {
            settings.delay_start(context.slot()).await?;
        }
        let journal = match &settings.journal {
            Some(path) => Some(OpenOptions::new().append(true).create(true).open(path)?),
            None => None,
        };
        let probe = Probe {
            build,
            settings,
            context,
            journal,
            poured: Cell::new(0),
            filled: Cell::new(0),
        };
        probe.speak_in_start().await?;
        Ok(probe)
    }

    async fn speak_in_start(&self) -> Result {
        let (context, settings) = (&self.context, &self.settings);
        let (kind, slot, pid) = (
            if context.is_task() { "task" } else { "worker" },
            context.slot(),
            std::process::id(),
        );
        let is_worker = kind == "worker";
        if let Some(path) = settings.starts_with_file.as_ref().filter(|_| is_worker) {
            self.note(format_args!("waits {pid}"));
            while !path.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        if let Some((listener, peer)) = settings.starts_with.as_ref().filter(|_| is_worker) {
            context.send_to(listener, *peer, b"started")?;
        }
        if let Some(path) = &settings.hangs_file
            && std::fs::read_to_string(path).is_ok_and(|who| who == format!("{kind} {slot}"))
        {
            return pending().await;
        }
        if let Some(path) = &settings.herald_file
            && let Ok(order) = std::fs::read_to_string(path)
        {
            herald::obey_in_start(self, context, kind, &order).await?;
        }
        self.note(format_args!("start {kind} {slot} {pid}"));
        if let Some(id) = settings.heralds_to.filter(|_| is_worker) {
            herald::speak_in_start(self, context, id).await?;
        }
        Ok(())
    }

    fn context(&self) -> Context {
        self.context.clone()
    }

    /// Adds a line to the journal, in one write, so that the lines of several processes stay whole.
    pub(super) fn note(&self, line: impl Display) {
        if let Some(mut journal) = self.journal.as_ref() {
            let _ = journal.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Blocks for a while if this hook is to.
    fn block_in(&self, hook: &str) {
        if self.settings.blocks_in.iter().any(|it| it == hook) {
            std::thread::sleep(Duration::from_millis(2_000));
        }
    }

    /// Carries out one command; `None` if it has no answer.
    #[expect(clippy::too_many_lines, reason = "one arm for each command")]
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
            "try-open" => match File::open(word()) {
                Ok(_) => "opened".to_owned(),
                Err(error) => format!("{:?}", error.kind()),
            },
            "try-connect" => match std::os::unix::net::UnixStream::connect(word()) {
                Ok(_) => "connected".to_owned(),
                Err(error) => format!("{:?}", error.kind()),
            },
            "try-rise" => match nix::unistd::setuid(nix::unistd::Uid::from_raw(0)) {
                Ok(()) => "root".to_owned(),
                Err(error) => error.to_string(),
            },
            "log" => {
                tracing::warn!("the app says {}", word());
                "logged".to_owned()
            }
            "log-later" => {
                let text = word().to_owned();
                tokio::task::spawn_local(async move { tracing::warn!("the app says {text}") });
                "logged".to_owned()
            }
            "slot" => context.slot().to_string(),
            "leader" => context.leader().to_string(),
            "generation" => context.generation().to_string(),
            "build" => self.build.to_owned(),
            "greeting" => self.settings.greeting.clone(),
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

            "misuse" => misuse::misuse(rest)?,
            "crash" => std::process::abort(),
            "crash-once" => {
                // The file remembers across processes that this message has killed one.
                if File::create_new(word()).is_ok() {
                    std::process::abort();
                }
                "survived".to_owned()
            }
            "panic" => panic!("asked to panic"),
            "panic-in-task" => {
                tokio::task::spawn_local(async { panic!("asked to panic in a task") });
                "started".to_owned()
            }
            "panic-in-thread" => {
                std::thread::spawn(|| panic!("asked to panic in a thread"));
                "started".to_owned()
            }
            "fail" => return Err("asked to fail".into()),
            "exit" => std::process::exit(word().parse()?),
            "exit-later" => {
                let code = word().parse()?;
                tokio::time::sleep(milliseconds(word())?).await;
                std::process::exit(code)
            }
            "hang" => pending().await,
            "sleep" => {
                tokio::time::sleep(milliseconds(word())?).await;
                "slept".to_owned()
            }
            "block" => {
                std::thread::sleep(milliseconds(word())?);
                "blocked".to_owned()
            }

            "keep-state" => outcome(session.keep_bytes(rest)),
            "keep-state-of" => outcome(context.session(word().parse()?).keep_bytes(word())),
            "keep-much" => outcome(session.keep_bytes(vec![b'k'; word().parse()?])),
            "state" => match session.load_bytes() {
                Some(state) if state.len() < 100 => String::from_utf8(state)?,
                Some(state) => format!("{} bytes", state.len()),
                None => "none".to_owned(),
            },
            "state-and-crash" => {
                session.keep_bytes(rest)?;
                session.send("kept").await?;
                // Once what was sent is on its way, and not before.
                tokio::time::sleep(Duration::from_millis(50)).await;
                std::process::abort()
            }
            "pause" => outcome(session.pause()),
            "pause-for" => {
                session.pause()?;
                let (time, session) = (milliseconds(word())?, session.clone());
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(time).await;
                    let _ = session.resume();
                });
                "ok".to_owned()
            }
            "resume" => outcome(context.session(word().parse()?).resume()),
            "keep" => outcome(session.set_idle_exempt(true)),
            "unkeep" => outcome(session.set_idle_exempt(false)),
            "bind" => outcome(session.bind(rest)),
            "key" => String::from_utf8(session.key())?,
            "info" => told_of(context.session(word().parse()?).info().await),
            "times" => times(&context.session(word().parse()?).info().await?),
            "list" => list(&context).await?,
            "sessions" => {
                let (mut sessions, mut ids) = (context.sessions(), Vec::new());
                while let Some(session) = sessions.next().await {
                    ids.push(session?.id);
                }
                ids.sort_unstable();
                let count = ids.len();
                ids.dedup();
                format!("{count} {}", ids.len())
            }
            "file" => match session.send_file(rest, ..).await {
                Ok(()) => return Ok(None),
                Err(error) => error.to_string(),
            },
            "file-part" => {
                let (from, to): (u64, u64) = (word().parse()?, word().parse()?);
                match session.send_file(word(), from..to).await {
                    Ok(()) => return Ok(None),
                    Err(error) => error.to_string(),
                }
            }
            "files" => {
                let count: u32 = word().parse()?;
                let path = word();
                for number in 0..count {
                    session.send(format!("before {number}")).await?;
                    session.send_file(path, ..).await?;
                }
                "all".to_owned()
            }
            "join" => outcome(context.group(rest).join(session)),
            "leave" => outcome(context.group(rest).leave(session)),
            "join-other" => {
                let other = context.session(word().parse()?);
                outcome(context.group(word()).join(&other))
            }
            "leave-other" => {
                let other = context.session(word().parse()?);
                outcome(context.group(word()).leave(&other))
            }
            "members" => {
                let mut ids: Vec<SessionId> = context
                    .group(rest)
                    .members()
                    .await?
                    .iter()
                    .map(|member| member.session.id())
                    .collect();
                ids.sort_unstable();
                format!("{ids:?}")
            }
            "label" => outcome(session.set_label(rest)),
            "labels" => {
                let members = context.group(rest).members().await?;
                let mut labels: Vec<_> = members
                    .iter()
                    .map(|member| String::from_utf8_lossy(&member.label))
                    .collect();
                labels.sort_unstable();
                labels.join(" ")
            }
            "members-count" => context.group(rest).members().await?.len().to_string(),
            "say" => {
                let group = context.group(word());
                return match group.send_text(words.collect::<Vec<_>>().join(" ")).await {
                    Ok(()) => Ok(None),
                    Err(error) => Ok(Some(format!("{error:?}"))),
                };
            }
            "say-others" => {
                let group = context.group(word());
                let text = words.collect::<Vec<_>>().join(" ");
                outcome(group.send_except(text, std::slice::from_ref(session)).await)
            }
            "say-much" => {
                let (group, count, size): (_, u32, usize) =
                    (context.group(word()), word().parse()?, word().parse()?);
                for _ in 0..count {
                    group.send(vec![b'm'; size]).await?;
                }
                "said".to_owned()
            }
            "say-and-tell" => {
                let (group, text) = (context.group(word()), word());
                group.send(format!("{text} to all")).await?;
                return Ok(Some(format!("{text} to you")));
            }
            "say-and-leave" => {
                let (name, text) = (word(), word());
                let group = context.group(name);
                group.send(text).await?;
                group.leave(session)?;
                group.send("not for those that have left").await?;
                return Ok(None);
            }
            "journal" => {
                self.note(format_args!("noted {rest}"));
                return Ok(None);
            }

            "close" => return told(session.close()),
            "close-twice" => {
                session.close()?;
                self.note(format_args!("second close {:?}", session.close()));
                return Ok(None);
            }
            "close-code" => return told(session.close_with(word().parse()?)),
            "close-now" => return told(session.close_now()),
            "close-then-now" => {
                session.close()?;
                self.note(format_args!("forced close {:?}", session.close_now()));
                return Ok(None);
            }
            "end" => outcome(context.session(word().parse()?).close()),
            "end-twice-then-now" => {
                let other = context.session(word().parse()?);
                other.close()?;
                tokio::time::sleep(milliseconds(word())?).await;
                let second = other.close();
                format!("{second:?} {:?}", other.close_now())
            }
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
            "timer" => {
                let (time, session) = (milliseconds(word())?, session.clone());
                let fire = async move |_: Context| {
                    let _ = session.push("after");
                };
                context.after(time, fire).detach();
                return Ok(None);
            }
            "timer-hang" => {
                let hang = async |_: Context| tokio::sync::Notify::new().notified().await;
                context.after(milliseconds(word())?, hang).detach();
                return Ok(None);
            }
            "timer-cleared" => {
                let (time, session) = (milliseconds(word())?, session.clone());
                let cleared = context.after(time, async move |_| {
                    let _ = session.push("after");
                });
                drop(cleared);
                return Ok(None);
            }
            "timer-every" => told_by(Ok(every(&context, milliseconds(word())?).await))?,
            "later" => {
                let (time, session) = (milliseconds(word())?, session.clone());
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(time).await;
                    let _ = session.push("later");
                });
                return Ok(None);
            }

            _ if lockers::COMMANDS.contains(&command) => {
                lockers::obey(self.build, session, command, rest)?
            }
            _ if tasks::COMMANDS.contains(&command) => {
                return tasks::obey(&context, session, command, rest).await;
            }
            _ if sending::COMMANDS.contains(&command) => {
                return sending::obey(self, session, command, rest).await;
            }
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
    type Settings = Settings;

    async fn start(context: Context, settings: Settings) -> Result<Self> {
        Self::new("unnamed", context, settings).await
    }

    async fn serving(self: Rc<Self>, context: Context) -> Result {
        self.note(format_args!("serving {}", std::process::id()));
        if self.settings.heralds_to.is_some() {
            context.group("all").send("serving").await?;
        }
        if self.journal.is_some() && !context.is_task() {
            tokio::task::spawn_local(herald::note_leadership(self, context));
        }
        Ok(())
    }

    async fn open(self: Rc<Self>, session: Session, opened: Opened) -> Result {
        self.block_in("open");
        self.note(format_args!("open {} {opened:?}", session.id()));
        let takes = self.settings.open_takes_ms;
        if takes > 0 {
            tokio::time::sleep(Duration::from_millis(takes)).await;
            self.note(format_args!("opened {} {opened:?}", session.id()));
        }
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
        let context = from.context();
        match &message[..] {
            b"listener" => from.reply(from.listener())?,
            b"slot" => from.reply(context.slot().to_string())?,
            b"send-to" => {
                let moorline::Peer::Ip(peer) = *from.peer() else {
                    return Err("a datagram without an address".into());
                };
                context.send_to(from.listener(), peer, b"sent")?;
            }
            bytes => from.reply(bytes)?,
        }
        Ok(())
    }

    async fn close(self: Rc<Self>, session: Session, reason: CloseReason) -> Result {
        self.block_in("close");
        self.note(format_args!("close {} {reason}", session.id()));
        if let Some(state) = session.load_bytes() {
            self.note(format_args!("state {} {} bytes", session.id(), state.len()));
        }
        self.note(format_args!(
            "closed-on {} {}",
            session.id(),
            session.listener()
        ));
        let info = told_of(session.info().await);
        self.note(format_args!("info {} {info}", session.id()));
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
    async fn post(self: Rc<Self>, context: Context, from: u16, message: Message) -> Result {
        self.block_in("post");
        let text = std::str::from_utf8(&message)?;
        let (id, rest) = text.split_once(' ').ok_or("a post without an id")?;
        if rest == "crash" {
            std::process::abort();
        }
        let answer = format!("{rest} from {from} in {}", context.slot());
        context.session(id.parse()?).send(answer).await?;
        Ok(())
    }

    async fn task(self: Rc<Self>, _: Context, task: Message) -> Result<Vec<u8>> {
        tasks::carry_out(&self, std::str::from_utf8(&task)?).await
    }

    async fn stop(self: Rc<Self>, _: Context) -> Result {
        self.note(format_args!("stop {}", std::process::id()));
        Ok(())
    }
}
