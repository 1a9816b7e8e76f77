//! Requests over HTTP: plain ones, and those that ask for sessions.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::ScriptedEngine;
use crate::app::{
    Accept, App, BodySender, ClientLeft, Context, Message, NoSettings, Request, Response, Result,
    Session,
};
use crate::wire::exchange::ANSWER_WINDOW;

/// What happens to an app's requests, and who waits for it.
#[derive(Default)]
struct Seen {
    dropped: Cell<u32>,
    left: Cell<u32>,
    sent: Cell<usize>,
    go_on: Notify,
}

struct Web(Rc<Seen>);

/// Counts when it is dropped.
struct Guard(Rc<Seen>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.dropped.set(self.0.dropped.get() + 1);
    }
}

impl App for Web {
    type Settings = NoSettings;

    async fn start(_: Context, _: NoSettings) -> Result<Self> {
        Ok(Self(Rc::default()))
    }

    async fn accept(self: Rc<Self>, request: Request) -> Result<Accept> {
        match request.query_value("do").as_deref() {
            Some("refuse") => Ok(Accept::refuse(401).body("log in first")),
            Some("panic") => panic!("as told"),
            _ => Ok(Accept::new()
                .protocol("v2")
                .header("X-Said", "hello")
                .label("anna")
                .remember(&request, &["cookie"])),
        }
    }

    async fn message(self: Rc<Self>, session: Session, _: Message) -> Result {
        let kept = session.request().ok_or("a request is kept")?;
        let cookie = kept.header("cookie").unwrap_or("none").to_owned();
        Ok(session.send(cookie).await?)
    }

    async fn request(self: Rc<Self>, request: Request) -> Result<Response> {
        let _guard = Guard(self.0.clone());
        match request.path() {
            "/echo" => Ok(Response::new(201)
                .header("X-Method", request.method())
                .body(request.into_body())),
            "/error" => Err("as told".into()),
            "/panic" => panic!("as told"),
            "/head" => Ok(Response::new(200).header("X", "a\r\nb: c")),
            "/wait" => {
                self.0.go_on.notified().await;
                Ok(Response::text("at last"))
            }
            "/pour" => {
                let (sender, response) = Response::new(200).channel();
                spawn_local(pour(sender, self.0.clone()));
                Ok(response)
            }
            "/broken" => {
                let (sender, response) = Response::new(200).channel();
                spawn_local(async move {
                    let _ = sender.send("half").await;
                });
                Ok(response)
            }
            "/short" => Ok(Response::new(200).stream(pieces(&["ab"])).length(3)),
            "/long" => Ok(Response::new(200).stream(pieces(&["ab", "cd"])).length(3)),
            "/stream" => Ok(Response::new(200)
                .stream(pieces(&["ab", "", "cd"]))
                .length(4)),
            _ => Ok(Response::new(404)),
        }
    }
}

/// Sends kilobytes until the client leaves.
async fn pour(sender: BodySender, seen: Rc<Seen>) {
    while sender.send(vec![b'x'; 1024]).await != Err(ClientLeft) {
        seen.sent.set(seen.sent.get() + 1024);
    }
    seen.left.set(seen.left.get() + 1);
}

/// A stream of these.
fn pieces(pieces: &'static [&'static str]) -> impl Stream<Item = Result<&'static str>> {
    struct Pieces(RefCell<std::slice::Iter<'static, &'static str>>);
    impl Stream for Pieces {
        type Item = Result<&'static str>;

        fn poll_next(
            self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.borrow_mut().next().copied().map(Ok))
        }
    }
    Pieces(RefCell::new(pieces.iter()))
}

async fn web(seen: &Rc<Seen>) -> ScriptedEngine {
    let engine = ScriptedEngine::start(another(seen), NoSettings {}).await;
    engine.expect("its start does nothing")
}

fn another(seen: &Rc<Seen>) -> impl AsyncFnOnce(Context, NoSettings) -> Result<Web> + use<> {
    let seen = seen.clone();
    async move |_, _| Ok(Web(seen))
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_with_what_the_hook_returns() {
    let engine = web(&Rc::default()).await;
    let answer = engine.ask("POST", "/echo").body("hello").send().await;
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.header("x-method"), Some("POST"));
    assert_eq!(answer.body().await, b"hello");
    let large = vec![b'a'; 3_000_000];
    let answer = engine.ask("PUT", "/echo").body(large.clone()).send().await;
    assert_eq!(answer.body().await, large);
    let answer = engine.ask("HEAD", "/echo").body("hello").send().await;
    assert_eq!(answer.length(), Some(5));
    assert_eq!(answer.body().await, b"");
    assert_eq!(engine.ask("GET", "/none").send().await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_is_answered_with_500() {
    let engine = web(&Rc::default()).await;
    for path in ["/error", "/panic", "/head"] {
        let answer = engine.ask("GET", path).send().await;
        assert_eq!(answer.status(), 500, "{path}");
        assert_eq!(answer.body().await, b"", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_waits_for_its_client_and_ends_when_that_leaves() {
    let seen: Rc<Seen> = Rc::default();
    let engine = web(&seen).await;
    let mut answer = engine.ask("GET", "/pour").send().await;
    engine.advance(Duration::from_secs(1)).await;
    let before = seen.sent.get();
    assert!(before > 100 * 1024 && before <= ANSWER_WINDOW, "{before}");
    let mut taken = 0;
    while taken < ANSWER_WINDOW {
        taken += answer.piece().await.expect("it goes on").len();
    }
    engine.advance(Duration::from_secs(1)).await;
    assert!(seen.sent.get() >= before + taken - 64 * 1024, "{taken}");
    assert_eq!(seen.left.get(), 0);
    drop(answer);
    engine.advance(Duration::from_secs(1)).await;
    assert_eq!(seen.left.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hook_ends_when_its_client_leaves() {
    let seen: Rc<Seen> = Rc::default();
    let engine = web(&seen).await;
    let waiting = engine.ask("GET", "/wait").begin().await;
    engine.advance(Duration::from_secs(1)).await;
    assert_eq!(seen.dropped.get(), 0);
    drop(waiting);
    engine.advance(Duration::from_secs(1)).await;
    assert_eq!(seen.dropped.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_whole_is_broken_off() {
    let engine = web(&Rc::default()).await;
    let answer = engine.ask("GET", "/broken").send().await;
    assert_eq!(answer.broken_off().await, b"half");
    let answer = engine.ask("GET", "/short").send().await;
    assert_eq!(answer.broken_off().await, b"ab");
    let answer = engine.ask("GET", "/long").send().await;
    assert_eq!(answer.broken_off().await, b"ab");
    let answer = engine.ask("GET", "/stream").send().await;
    assert_eq!(answer.body().await, b"abcd");
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_502_or_breaks_a_body_off_and_a_reload_waits() {
    let seen: Rc<Seen> = Rc::default();
    let engine = web(&seen).await;
    let answer = engine.ask("GET", "/pour").send().await;
    engine.advance(Duration::from_secs(1)).await;
    let waiting = engine.ask("GET", "/wait").begin().await;
    engine.crash(another(&seen), NoSettings {}).await.unwrap();
    let asked = waiting.answer().await;
    assert_eq!(asked.status(), 502);
    assert!(answer.broken_off().await.len() > 100 * 1024);

    let waiting = engine.ask("GET", "/wait").begin().await;
    seen.go_on.notify_one();
    engine.reload(another(&seen), NoSettings {}).await.unwrap();
    let answer = waiting.answer().await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_session_begins_as_the_app_decides() {
    let engine = web(&Rc::default()).await;
    let peer = engine
        .ask("GET", "/ws")
        .header("Cookie", "a=b")
        .open()
        .await;
    let peer = peer.expect("it is accepted");
    assert_eq!(peer.protocol(), Some("v2"));
    assert_eq!(peer.response_header("x-said"), Some("hello"));
    peer.send("which cookie?").await;
    assert_eq!(peer.receive().await, b"a=b");

    let refused = engine.ask("GET", "/ws?do=refuse").open().await;
    let refused = refused.expect_err("it is refused");
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.body().await, b"log in first");
    let failed = engine.ask("GET", "/ws?do=panic").open().await;
    assert_eq!(failed.expect_err("it fails").status(), 503);
}
