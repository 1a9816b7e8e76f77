//! What the probe does: a message is a command and its arguments, parted by spaces; anything else is echoed.

mod accepting;
mod answers;
mod closing;
mod data;
mod ends;
mod files;
mod groups;
mod herald;
mod itself;
mod later;
mod lockers;
mod misuse;
mod nodes;
mod opening;
mod order;
mod requests;
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

use moorline::{
    Accept, App, CloseReason, Context, Datagram, Message, Opened, PostedBy, Request, Response,
    Result, ServiceCall, Session, SessionId,
};
use serde::Deserialize;
use tokio::sync::Notify;

use answers::told_of;
use order::Order;

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
    /// Calls wait for it.
    held: Notify,
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
            held: Notify::new(),
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
    async fn obey(&self, order: &mut Order<'_>, message: &Message) -> Result<Option<String>> {
        let command = order.command;
        Ok(Some(match command {
            "panic" => panic!("asked to panic"),
            "panic-in-task" => {
                tokio::task::spawn_local(async { panic!("asked to panic in a task") });
                "started".to_owned()
            }
            "panic-in-thread" => {
                std::thread::spawn(|| panic!("asked to panic in a thread"));
                "started".to_owned()
            }
            "release" => {
                self.held.notify_waiters();
                "released".to_owned()
            }
            "queued" => message.queued().as_millis().to_string(),
            "journal" => {
                self.note(format_args!("noted {}", order.rest));
                return Ok(None);
            }
            _ if accepting::COMMANDS.contains(&command) => accepting::obey(order),
            _ if itself::COMMANDS.contains(&command) => itself::obey(order)?,
            _ if lockers::COMMANDS.contains(&command) => lockers::obey(order)?,
            _ if ends::COMMANDS.contains(&command) => return ends::obey(order).await,
            _ if data::COMMANDS.contains(&command) => return data::obey(order).await,
            _ if files::COMMANDS.contains(&command) => return files::obey(order).await,
            _ if groups::COMMANDS.contains(&command) => return groups::obey(order).await,
            _ if closing::COMMANDS.contains(&command) => return closing::obey(order).await,
            _ if later::COMMANDS.contains(&command) => return later::obey(order).await,
            _ if nodes::COMMANDS.contains(&command) => return nodes::obey(order).await,
            _ if tasks::COMMANDS.contains(&command) => return tasks::obey(order).await,
            _ if sending::COMMANDS.contains(&command) => return sending::obey(order).await,
            _ => {
                match message.is_text() {
                    true => {
                        order
                            .session
                            .send_text(std::str::from_utf8(message)?)
                            .await?
                    }
                    false => order.session.send(message).await?,
                }
                return Ok(None);
            }
        }))
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

    async fn accept(self: Rc<Self>, request: Request) -> Result<Accept> {
        accepting::decide(&self, &request).await
    }

    async fn request(self: Rc<Self>, request: Request) -> Result<Response> {
        requests::answer(self, request).await
    }

    async fn open(self: Rc<Self>, session: Session, opened: Opened) -> Result {
        self.block_in("open");
        self.note(format_args!("open {} {opened:?}", session.id()));
        let takes = self.settings.open_takes_ms;
        if takes > 0 {
            tokio::time::sleep(Duration::from_millis(takes)).await;
            self.note(format_args!("opened {} {opened:?}", session.id()));
        }
        match opened {
            Opened::Fresh => opening::obey(&self, &session).await,
            _ => Ok(()),
        }
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        let text = std::str::from_utf8(&message).unwrap_or_default();
        let mut order = Order::new(&self, &session, text);
        if let Some(answer) = self.obey(&mut order, &message).await? {
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
        if let Some(code) = session.close_code() {
            self.note(format_args!("close-code {} {code}", session.id()));
        }
        if let Some(text) = session.close_text() {
            self.note(format_args!("close-text {} {text}", session.id()));
        }
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
    async fn post(self: Rc<Self>, context: Context, from: PostedBy, message: Message) -> Result {
        self.block_in("post");
        let text = std::str::from_utf8(&message)?;
        let (id, rest) = text.split_once(' ').ok_or("a post without an id")?;
        if rest == "crash" {
            std::process::abort();
        }
        let from = match from {
            PostedBy::Worker(slot) => slot.to_string(),
            from => from.to_string(),
        };
        let answer = format!("{rest} from {from} in {}", context.slot());
        context.session(id.parse()?).send(answer).await?;
        Ok(())
    }

    async fn call(self: Rc<Self>, _: Context, call: ServiceCall) -> Result<Vec<u8>> {
        nodes::answer(&self, call).await
    }

    async fn task(self: Rc<Self>, _: Context, task: Message) -> Result<Vec<u8>> {
        tasks::carry_out(&self, std::str::from_utf8(&task)?).await
    }

    async fn stop(self: Rc<Self>, _: Context) -> Result {
        self.note(format_args!("stop {}", std::process::id()));
        Ok(())
    }
}
