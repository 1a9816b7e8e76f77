//! What apps can rely on, seen through the scripted engine; and the scripted engine itself.

mod posts;
mod requests;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ScriptedEngine, ScriptedPeer};
use crate::app::{
    App, CloseReason, Context, Error, LockerError, Message, NoSettings, Opened, PostedBy, Result,
    SendError, Session, Versioned,
};

/// An app that does with each message what it was made with.
struct Does<F>(F);

impl<F: AsyncFn(Session, String) -> Result + 'static> App for Does<F> {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        Err("a test makes it".into())
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        (self.0)(session, String::from_utf8(message.into_vec())?).await
    }

    async fn task(self: Rc<Self>, context: Context, task: Message) -> Result<Vec<u8>> {
        assert_eq!(context.slot(), 0);
        Ok(task.to_ascii_uppercase())
    }
}

fn does<F: AsyncFn(Session, String) -> Result + 'static>(
    work: F,
) -> impl AsyncFnOnce(Context, NoSettings) -> Result<Does<F>> {
    async move |_, _| Ok(Does(work))
}

async fn engine_that<F: AsyncFn(Session, String) -> Result + 'static>(work: F) -> ScriptedEngine {
    let engine = ScriptedEngine::start(does(work), NoSettings {}).await;
    engine.expect("its start does nothing")
}

async fn ask(peer: &ScriptedPeer, question: &str) -> String {
    peer.send(question).await;
    peer.receive_text().await
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OldSeat {
    name: String,
}

impl Versioned for OldSeat {
    const VERSION: u32 = 1;
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Seat {
    name: String,
    score: u64,
}

impl Versioned for Seat {
    const VERSION: u32 = 2;
}

/// Says what a locker holds as a `Seat`, or keeps one.
async fn old_build(session: Session, message: String) -> Result {
    if message != "load" {
        session.keep(&OldSeat { name: message })?;
    }
    session
        .send(format!("{:?}", session.load::<OldSeat>()?))
        .await?;
    Ok(())
}

async fn new_build(session: Session, _: String) -> Result {
    let seat = match session.load() {
        Err(LockerError::Version { stored: 1, .. }) => {
            let old: Option<OldSeat> = session.load()?;
            old.map(|OldSeat { name }| Seat { name, score: 0 })
        }
        loaded => loaded?,
    };
    session.send(format!("{seat:?}")).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_locker_survives_reload_and_crash_and_the_next_build_can_migrate_it() {
    let engine = engine_that(old_build).await;
    let peer = engine.connect().await;
    let ada = r#"Some(OldSeat { name: "ada" })"#;
    assert_eq!(ask(&peer, "load").await, "None");
    assert_eq!(ask(&peer, "ada").await, ada);
    engine.reload(does(old_build), NoSettings {}).await.unwrap();
    assert_eq!(ask(&peer, "load").await, ada);
    engine.crash(does(old_build), NoSettings {}).await.unwrap();
    assert_eq!(ask(&peer, "load").await, ada);
    engine.reload(does(new_build), NoSettings {}).await.unwrap();
    assert_eq!(
        ask(&peer, "load").await,
        r#"Some(Seat { name: "ada", score: 0 })"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_locker_error_names_its_cause() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Changed(u64, u64, u64, u64, u64);
    impl Versioned for Changed {
        const VERSION: u32 = OldSeat::VERSION;
    }
    let engine = engine_that(async |session: Session, _| {
        let failure =
            |loaded: std::result::Result<(), LockerError>| loaded.unwrap_err().to_string();
        let name = "x".repeat(8190);
        session.push(failure(session.keep(&OldSeat { name: name + "x" })))?;
        session.keep(&OldSeat { name: "ada".into() })?;
        let other = session.load::<Seat>();
        if let Err(LockerError::Version { bytes, .. }) = &other {
            assert_eq!(bytes, b"\x03ada");
        }
        session.push(failure(other.map(|_| ())))?;
        session.push(failure(session.load::<Changed>().map(|_| ())))?;
        assert_eq!(session.load_bytes().unwrap(), b"\x03ada");
        session.keep_bytes("raw")?;
        session.push(failure(session.load::<Seat>().map(|_| ())))?;
        assert_eq!(session.load_bytes().unwrap(), b"raw");
        session.push(session.keep_bytes([0; 8193]).unwrap_err().to_string())?;
        session.keep_bytes([0; 8192])?;
        session.keep_bytes([])?;
        assert_eq!(session.load_bytes(), None);
        Ok(())
    })
    .await;
    let peer = engine.connect().await;
    let this = module_path!();
    assert_eq!(
        ask(&peer, "go").await,
        format!("a {this}::OldSeat of 8193 encoded bytes is larger than a locker of 8192")
    );
    assert_eq!(
        peer.receive_text().await,
        "the locker holds version 1, and this build reads version 2"
    );
    let changed = peer.receive_text().await;
    assert!(
        changed.starts_with("version 1 in the locker is no "),
        "{changed}"
    );
    assert_eq!(
        peer.receive_text().await,
        "the locker holds 3 raw bytes, not a value with a version"
    );
    assert_eq!(
        peer.receive_text().await,
        "a locker of 8193 bytes is over the limit of 8192"
    );
    assert_eq!(peer.try_receive().await, None);
}

#[tokio::test(start_paused = true)]
async fn labels_are_seen_in_groups_and_lists_and_survive_a_crash() {
    async fn names(session: Session, name: String) -> Result {
        let group = session.context().group("room");
        if !name.is_empty() {
            session.set_label(&name)?;
            group.join(&session)?;
        }
        let members = group.members().await?;
        let labels = members
            .iter()
            .map(|member| String::from_utf8_lossy(&member.label));
        let label = String::from_utf8(session.info().await?.label)?;
        let labels = labels.collect::<Vec<_>>().join(",");
        session.send(format!("{label} of {labels}")).await?;
        Ok(())
    }
    let engine = engine_that(names).await;
    let (ada, bob) = (engine.connect().await, engine.connect().await);
    assert_eq!(ask(&ada, "ada").await, "ada of ada");
    assert_eq!(ask(&bob, "bob").await, "bob of ada,bob");
    engine.crash(does(names), NoSettings {}).await.unwrap();
    assert_eq!(ask(&ada, "").await, "ada of ada,bob");
    let listed = engine
        .run(async |context| {
            let (mut sessions, mut labels) = (context.sessions(), Vec::new());
            while let Some(Ok(session)) = sessions.next().await {
                labels.push(session.label);
            }
            labels
        })
        .await;
    assert_eq!(listed, [b"ada", b"bob"]);
    let refused = engine
        .run(async |context| context.session(bob.id()).set_label([0; 65]))
        .await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "a label of 65 bytes is over the limit of 64"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_comes_back_gets_the_events_that_it_missed() {
    async fn room(session: Session, text: String) -> Result {
        let group = session.context().group("room");
        group.keep_events(3)?;
        match text.split_once(' ') {
            Some(("after", id)) => group.join_after(&session, id)?,
            Some((id, data)) => {
                group.send_event(id, "said", data).await?;
                // A repetition is nothing new.
                group.send_event(id, "said", "again").await?;
            }
            None => group.send_event_except("", "", text, &[session]).await?,
        }
        Ok(())
    }
    let engine = engine_that(room).await;
    let ada = engine.connect().await;
    ada.send("after ").await;
    ada.send("1 one").await;
    ada.send("2 two").await;
    assert_eq!(ada.receive_text().await, "one");
    assert_eq!(ada.receive_text().await, "two");
    engine.crash(does(room), NoSettings {}).await.unwrap();
    let bob = engine.connect().await;
    bob.send("after 1").await;
    assert_eq!(bob.receive_text().await, "two");
    ada.send("three").await;
    assert_eq!(bob.receive_text().await, "three");
    assert_eq!(ada.try_receive().await, None);
    ada.send("4 four").await;
    assert_eq!(ada.receive_text().await, "four");
    // The oldest of three that are kept is the second.
    let eve = engine.connect().await;
    eve.send("after 1").await;
    for data in ["two", "three", "four"] {
        assert_eq!(eve.receive_text().await, data);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_an_event_is_refused() {
    let engine = engine_that(async |_, _| Ok(())).await;
    let errors = engine
        .run(async |context| {
            let group = context.group("room");
            let mut errors = Vec::new();
            for (id, name) in [("a\nb", ""), ("", "a\0b"), (&"i".repeat(129), "")] {
                errors.push(
                    group
                        .send_event(id, name, "")
                        .await
                        .unwrap_err()
                        .to_string(),
                );
            }
            errors
        })
        .await;
    assert_eq!(
        errors,
        [
            "the id or the name of an event has a line break or a NUL byte in it",
            "the id or the name of an event has a line break or a NUL byte in it",
            "an event's id of 129 bytes is over the limit of 128",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_fails_says_why_and_the_old_app_goes_on() {
    let engine = engine_that(async |session, text| Ok(session.send(text).await?)).await;
    let peer = engine.connect().await;
    let refused = engine.reload(Refuses::start, NoSettings {}).await;
    assert_eq!(refused.unwrap_err().to_string(), "no database");
    let panics = engine
        .reload::<Refuses>(async |_, _| panic!("as told"), NoSettings {})
        .await;
    assert_eq!(panics.unwrap_err().to_string(), "panicked: as told");
    let late = engine
        .reload::<Refuses>(async |_, _| std::future::pending().await, NoSettings {})
        .await;
    assert!(late.unwrap_err().to_string().contains("start_timeout"));
    assert_eq!(ask(&peer, "still here").await, "still here");
}

struct Refuses;

impl App for Refuses {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        Err("no database".into())
    }

    async fn message(self: Rc<Self>, _: Session, _: Message) -> Result {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn timers_are_handed_the_context_and_fire_in_their_order() {
    let engine = engine_that(async |session: Session, _| {
        let (once, again) = (session.clone(), session.clone());
        let context = session.context();
        let late = async move |context: Context| {
            let _ = once.push(format!("after in slot {}", context.slot()));
        };
        context.after(Duration::from_secs(90), late).detach();
        let tick = async move |_: Context| {
            let _ = again.push("tick");
        };
        context.every(Duration::from_secs(60), tick).detach();
        Ok(())
    })
    .await;
    let peer = engine.connect().await;
    peer.send("go").await;
    assert_eq!(peer.try_receive().await, None);
    engine.advance(Duration::from_secs(125)).await;
    for expected in ["tick", "after in slot 0", "tick"] {
        assert_eq!(peer.receive_text().await, expected);
    }
    assert_eq!(peer.try_receive().await, None);
}

/// Never ends what it begins with "hang" the first time it sees it.
async fn hangs(session: Session, text: String) -> Result {
    if text == "hang" && session.context().generation() == 1 {
        std::future::pending::<()>().await;
    }
    Ok(session.send(text).await?)
}

async fn after_a_crash(on_crash: &str) -> (ScriptedEngine, ScriptedPeer, ScriptedPeer) {
    let config = format!(
        "[[listen]]\naddress = \"tcp://127.0.0.1:1\"\nframing = {{ kind = \"line\", max = \"64KiB\" }}\non_crash = \"{on_crash}\"\n"
    );
    let engine = ScriptedEngine::configured(&config, does(hangs), NoSettings {}).await;
    let engine = engine.unwrap();
    let (one, other) = (engine.connect().await, engine.connect().await);
    one.send("hang").await;
    engine.crash(does(hangs), NoSettings {}).await.unwrap();
    (engine, one, other)
}

#[tokio::test(start_paused = true)]
async fn messages_in_progress_in_a_crash_follow_on_crash() {
    let (_engine, one, other) = after_a_crash("close").await;
    assert_eq!(one.closed().await, CloseReason::Crash);
    assert_eq!(ask(&other, "here").await, "here");

    let (_engine, one, _) = after_a_crash("drop").await;
    assert_eq!(ask(&one, "next").await, "next");

    let (_engine, one, _) = after_a_crash("redeliver").await;
    assert_eq!(one.receive_text().await, "hang");
}

#[tokio::test(start_paused = true)]
async fn errors_of_anyhow_and_eyre_pass_through_hooks_and_ours_through_theirs() {
    fn ours_in_anyhow() -> anyhow::Result<()> {
        Err(SendError::Full)?
    }
    fn ours_in_eyre() -> eyre::Result<()> {
        Err(SendError::Full)?
    }
    fn a_locker_in_anyhow() -> anyhow::Result<()> {
        Err(LockerError::Session(SendError::Elsewhere))?
    }
    async fn fails(session: Session, with: String) -> Result {
        session.push(format!("with {with}"))?;
        match &*with {
            "anyhow" => Ok(ours_in_anyhow()?),
            "eyre" => Ok(ours_in_eyre()?),
            _ => Ok(a_locker_in_anyhow()?),
        }
    }
    let engine = engine_that(fails).await;
    for with in ["anyhow", "eyre", "a locker"] {
        let peer = engine.connect().await;
        assert_eq!(ask(&peer, with).await, format!("with {with}"));
        assert_eq!(peer.closed().await, CloseReason::Error);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_closed_is_no_error_whatever_wraps_it() {
    async fn in_anyhow(session: &Session) -> anyhow::Result<()> {
        Ok(session.send("late").await?)
    }
    async fn in_eyre(session: &Session) -> eyre::Result<()> {
        Ok(session.send("late").await?)
    }
    async fn talks_to_the_dead(session: Session, command: String) -> Result {
        let (with, id) = command.split_once(' ').ok_or("no id")?;
        let other = session.context().session(id.parse()?);
        other.close_now()?;
        // Until its end is known here.
        while !other.is_closed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match with {
            "anyhow" => in_anyhow(&other).await?,
            "eyre" => in_eyre(&other).await?,
            _ => other.keep(&OldSeat {
                name: "late".into(),
            })?,
        }
        Ok(())
    }
    let engine = engine_that(talks_to_the_dead).await;
    let peer = engine.connect().await;
    for with in ["anyhow", "eyre", "a-locker"] {
        let other = engine.connect().await;
        peer.send(format!("{with} {}", other.id())).await;
        assert_eq!(other.closed().await, CloseReason::Server);
        engine.advance(Duration::from_millis(5)).await;
        // Its session would be closed for an error.
        assert_eq!(peer.try_receive().await, None);
    }
    engine.reload(does(hangs), NoSettings {}).await.unwrap();
    assert_eq!(ask(&peer, "here").await, "here");
}

/// Notes its hooks, in order.
struct Notes(Context);

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Notes {
    fn note(&self, what: impl std::fmt::Display) {
        NOTES.with_borrow_mut(|notes| notes.push(what.to_string()));
    }
}

impl App for Notes {
    type Settings = NoSettings;

    async fn start(context: Context, _: NoSettings) -> Result<Self> {
        Ok(Self(context))
    }

    async fn serving(self: Rc<Self>, context: Context) -> Result {
        self.note(format_args!("serving {}", context.leader()));
        context.post(0, "ahoy").await?;
        Ok(())
    }

    async fn open(self: Rc<Self>, session: Session, opened: Opened) -> Result {
        self.note(format_args!("open {opened:?} {}", session.peer()));
        Ok(())
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        let result = session.context().task(&message).await;
        session.send(result?).await?;
        Ok(())
    }

    async fn close(self: Rc<Self>, _: Session, reason: CloseReason) -> Result {
        self.note(format_args!("close {reason}"));
        Ok(())
    }

    async fn post(self: Rc<Self>, context: Context, from: PostedBy, message: Message) -> Result {
        assert_eq!(context.generation(), self.0.generation());
        self.note(format_args!(
            "post {from} {}",
            String::from_utf8_lossy(&message)
        ));
        Ok(())
    }

    async fn task(self: Rc<Self>, _: Context, task: Message) -> Result<Vec<u8>> {
        Ok(task.to_ascii_uppercase())
    }

    async fn stop(self: Rc<Self>, context: Context) -> Result {
        self.note(format_args!("stop {}", context.generation()));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_run_in_the_order_of_an_engine() {
    let engine = ScriptedEngine::start(Notes::start, NoSettings {})
        .await
        .unwrap();
    let peer = engine.connect_from(([192, 0, 2, 1], 7).into()).await;
    assert_eq!(ask(&peer, "big").await, "BIG");
    engine.reload(Notes::start, NoSettings {}).await.unwrap();
    engine.stop().await;
    assert_eq!(peer.closed().await, CloseReason::Stopped);
    assert_eq!(
        NOTES.take(),
        [
            "serving true",
            "post worker 0 ahoy",
            "open Fresh 192.0.2.1:7",
            "open Adopted 192.0.2.1:7",
            "serving true",
            "post worker 0 ahoy",
            "stop 1",
            "close stopped",
            "stop 2",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_fills_its_queue_and_drains_it() {
    let engine = engine_that(async |session: Session, _| {
        while session.try_send(vec![0; 100_000]).is_ok() {
            tokio::task::yield_now().await;
        }
        session.send("room again").await?;
        Ok(())
    })
    .await;
    let peer = engine.connect().await;
    peer.send("go").await;
    let mut received = 0;
    while peer.receive().await.len() == 100_000 {
        received += 1;
    }
    assert!(received > 5, "{received}");
}

#[tokio::test]
async fn a_file_reaches_the_peer_and_large_messages_travel_in_parts() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..2_000_000u32).map(|at| at as u8).collect();
    std::fs::write(file.path(), &content).unwrap();
    let path = file.path().to_owned();
    let engine = engine_that(async move |session: Session, text: String| {
        session.send_file(&path, ..).await?;
        session.send(text).await?;
        Ok(())
    })
    .await;
    let peer = engine.connect().await;
    peer.send("x".repeat(1_500_000)).await;
    assert_eq!(peer.receive().await, content);
    assert_eq!(peer.receive_text().await, "x".repeat(1_500_000));
}

#[test]
fn an_error_is_one_for_threads() {
    fn is_shareable<T: Send + Sync>() {}
    is_shareable::<Error>();
    is_shareable::<LockerError>();
}
