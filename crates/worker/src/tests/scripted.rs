//! An app that does what its messages say.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::app::{
    App, CloseReason, Context, Datagram, Message, NoSettings, Opened, PostedBy, Result, Session,
    Timer,
};

/// What an app under test does is reported as one line each.
pub(super) struct Scripted {
    events: Sender<String>,
    release: Notify,
    /// Blocks the whole process until the test sends something.
    gate: Receiver<()>,
    held: RefCell<Option<Session>>,
    timer: RefCell<Option<Timer>>,
}

/// The hooks of this session that are not about messages fail.
pub(super) const ILL_FATED: u64 = 13;

impl App for Scripted {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        Err("this app is made by the fixture".into())
    }

    async fn open(self: Rc<Self>, session: Session, opened: Opened) -> Result {
        self.says(format!(
            "open {} {opened:?} {}",
            session.id().as_u64(),
            session.peer()
        ));
        if session.id().as_u64() == ILL_FATED {
            return Err("as told".into());
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each command")]
    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        let text = String::from_utf8_lossy(&message[..message.len().min(100)]).into_owned();
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let context = session.context();
        match verb {
            "echo" => session.try_send(rest)?,
            "twice" => {
                session.try_send("one")?;
                session.try_send("two")?;
            }
            "wait" => {
                self.says(format!("waits {rest}"));
                self.release.notified().await;
                session.send(rest).await?;
            }
            "doom" => {
                self.says("doomed".into());
                self.release.notified().await;
                panic!("as told");
            }
            "release" => self.release.notify_waiters(),
            "block" => {
                self.says("blocks".into());
                self.gate.recv()?;
            }
            "send" => {
                let result = session.send(pattern(rest.parse()?)).await;
                self.says(format!("sent {result:?}"));
            }
            "pour" => {
                let (count, bytes) = rest.split_once(' ').ok_or("no size")?;
                let (count, bytes) = (count.parse::<u64>()?, pattern(bytes.parse()?));
                for _ in 0..count {
                    session.send(&bytes).await?;
                }
            }
            "try" => self.says(format!(
                "try {:?}",
                session.try_send(pattern(rest.parse()?))
            )),
            "insist" => {
                let (bytes, mut sent, mut refused) = (pattern(1000), 0, 0);
                while sent < 500 && refused < 200 {
                    match session.try_send(&bytes) {
                        Ok(()) => (sent, refused) = (sent + 1, 0),
                        Err(_) => {
                            refused += 1;
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                }
                self.says(format!("insisted {sent}"));
            }
            "push" => self.says(format!("push {:?}", session.push(pattern(rest.parse()?)))),
            "flood" => {
                let bytes = pattern(rest.parse()?);
                let pushed = (0..100).take_while(|_| session.push(&bytes).is_ok());
                self.says(format!("pushed {}", pushed.count()));
            }
            "neglect" => {
                let mut sending = std::pin::pin!(session.send(pattern(rest.parse()?)));
                // Polled once, and no more.
                assert!(
                    poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx)))
                        .await
                        .is_pending()
                );
                self.says("neglected".into());
                self.release.notified().await;
            }
            "abandon" => {
                let sending = session.send(pattern(rest.parse()?));
                let result = tokio::time::timeout(Duration::from_millis(20), sending).await;
                self.says(format!("abandoned {}", result.is_err()));
            }
            "to" => {
                let (id, text) = rest.split_once(' ').ok_or("no text")?;
                self.says(format!(
                    "to {:?}",
                    context.session(id.parse()?).try_send(text)
                ));
            }
            "flood_to" => {
                let (id, bytes) = rest.split_once(' ').ok_or("no size")?;
                let (other, bytes) = (context.session(id.parse()?), pattern(bytes.parse()?));
                let pushed = (0..100).take_while(|_| other.push(&bytes).is_ok());
                self.says(format!("pushed {}", pushed.count()));
            }
            "hold" => *self.held.borrow_mut() = Some(context.session(rest.parse()?)),
            "held" => {
                let sent = self.held.borrow().as_ref().map(|held| held.try_send(rest));
                self.says(format!("held {sent:?}"));
            }
            "posts" => {
                let (slot, count) = rest.split_once(' ').ok_or("no count")?;
                let (slot, count) = (slot.parse()?, count.parse::<usize>()?);
                let accepted = (0..count)
                    .filter(|number| context.try_post(slot, number.to_string()).is_ok())
                    .count();
                self.says(format!("posted {accepted}"));
            }
            "task" => {
                let result = context
                    .task(rest)
                    .await
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                self.says(format!("task {result:?}"));
            }
            "close" => self.says(format!(
                "{:?} {:?} {:?}",
                session.close(),
                session.close(),
                session.try_send("x")
            )),
            "panic" => panic!("as told"),
            "fail" => return Err("as told".into()),
            "timer" => {
                let this = self.clone();
                let timer = context.after(Duration::from_millis(30), |_| this.late());
                timer.detach();
            }
            "every" => {
                let this = self.clone();
                let timer = context.every(Duration::from_millis(2), move |_| this.clone().tick());
                *self.timer.borrow_mut() = Some(timer);
            }
            "clear" => *self.timer.borrow_mut() = None,
            _ => self.says(format!(
                "message {} bytes {}",
                message.len(),
                *message == pattern(message.len())[..]
            )),
        }
        Ok(())
    }

    async fn datagram(self: Rc<Self>, from: Datagram, message: Message) -> Result {
        from.reply(&message)?;
        Ok(())
    }

    async fn close(self: Rc<Self>, session: Session, reason: CloseReason) -> Result {
        self.says(format!(
            "close {} {reason} {:?}",
            session.id().as_u64(),
            session.try_send("late")
        ));
        assert_ne!(session.id().as_u64(), ILL_FATED);
        Ok(())
    }

    async fn full(self: Rc<Self>, session: Session) -> Result {
        self.says(format!("full {}", session.is_full()));
        Ok(())
    }

    async fn drained(self: Rc<Self>, session: Session) -> Result {
        self.says(format!("drained {}", session.is_full()));
        Ok(())
    }

    async fn post(self: Rc<Self>, _: Context, from: PostedBy, message: Message) -> Result {
        self.says(format!("post {from} {}", String::from_utf8_lossy(&message)));
        Ok(())
    }

    async fn task(self: Rc<Self>, _: Context, task: Message) -> Result<Vec<u8>> {
        match &*task {
            b"fail" => Err("as told".into()),
            task => Ok([task, b" done"].concat()),
        }
    }

    async fn stop(self: Rc<Self>, _: Context) -> Result {
        self.says("stop".into());
        Ok(())
    }
}

impl Scripted {
    pub(super) async fn begin(
        context: Context,
        events: Sender<String>,
        gate: Receiver<()>,
    ) -> Result<Self> {
        let scripted = Self::new(&context, events, gate)?;
        if context.name() == "waits" {
            scripted.wait_in_start(context).await?;
        }
        Ok(scripted)
    }

    /// Waits for posts and tasks for as long as it may: those of its own, and those of a task that it has spawned.
    async fn wait_in_start(&self, context: Context) -> Result {
        let spawned = context.clone();
        let spawned = spawn_local(async move {
            let (mut posts, mut tasks) = (0, 0);
            let no_posts = loop {
                match spawned.post(1, "x").await {
                    Ok(()) => posts += 1,
                    Err(error) => break error,
                }
            };
            let no_tasks = loop {
                match spawned.task("x").detach().await {
                    Ok(()) => tasks += 1,
                    Err(error) => break error,
                }
            };
            format!("{posts} posts {no_posts:?} {tasks} tasks {no_tasks:?}")
        });
        self.says(spawned.await?);
        let (post, task) = (context.post(1, "x").await, context.task("x").detach().await);
        self.says(format!("{post:?} {task:?}"));
        Ok(())
    }

    fn new(context: &Context, events: Sender<String>, gate: Receiver<()>) -> Result<Self> {
        if context.name() == "refuses" {
            return Err("no database".into());
        }
        Ok(Self {
            events,
            release: Notify::new(),
            gate,
            held: RefCell::new(None),
            timer: RefCell::new(None),
        })
    }

    fn says(&self, event: String) {
        // The test may have seen enough.
        let _ = self.events.send(event);
    }

    async fn late(self: Rc<Self>) {
        self.says("timer".into());
    }

    async fn tick(self: Rc<Self>) {
        self.says("tick".into());
        panic!("as told");
    }
}

/// Bytes that tell where they belong.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}
