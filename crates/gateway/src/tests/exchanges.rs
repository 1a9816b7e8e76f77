//! Plain requests, between the main thread and the processes that answer them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::process::Process;
use super::script::{Script, config};
use crate::commands::{Command, Report};
use crate::exchange::{Answered, AppRequest, ExchangeOrder, Failure, Further, RequestContent};
use crate::features::exchanges::MOST_WAITING;
use crate::ids::ListenerId;
use moorline_protocol::control::{LoopCounter, Role};
use moorline_protocol::wire::exchange::{
    ANSWER_WINDOW, AnswerHead, MOST_EXCHANGES, PIECE_OVERHEAD, write_answer_head,
};
use moorline_protocol::wire::{FAILED, FromProcess, LAST, Peer};

const WEB: &str =
    "[workers]\ncount = 2\n[[listen]]\naddress = \"http://127.0.0.1:1001\"\nwebsocket = \"/\"\n";

/// A client's end of a request.
type Waiting = oneshot::Receiver<Answered>;

fn scene() -> Script {
    Script::serving(config(WEB), 2)
}

/// A client asks.
fn ask(script: &mut Script, number: u64, payload: &[u8]) -> Waiting {
    let (answer, answered) = oneshot::channel();
    let memory = Arc::clone(&script.gateway.tools.cx.shared.http_memory);
    let request = AppRequest {
        number,
        listener: ListenerId(0),
        peer: Peer::Unix,
        is_head: false,
        content: RequestContent {
            payload: Bytes::copy_from_slice(payload),
            _held: memory.hold(payload.len()),
        },
        answer,
    };
    script.command(Command::Exchange(ExchangeOrder::Ask(Box::new(request))));
    answered
}

/// The process that has a request, after it has taken all that came.
fn has(script: &mut Script, number: u64) -> Option<usize> {
    turns(script);
    for process in &mut script.processes {
        process.take(usize::MAX);
    }
    let mut all = script.processes.iter();
    all.position(|process| process.requests.contains_key(&number))
}

/// Enough turns to see a record, and to act on it.
fn turns(script: &mut Script) {
    for _ in 0..4 {
        script.turn();
    }
}

fn head(length: Option<u64>) -> Vec<u8> {
    write_answer_head(&AnswerHead {
        status: 200,
        fields: vec![("X".into(), b"y".to_vec())],
        length,
    })
}

/// The process of this place answers, to the end.
fn answer(script: &mut Script, at: usize, number: u64, body: &[u8]) {
    let mut payload = head(Some(body.len() as u64));
    payload.extend_from_slice(body);
    let process = &mut script.processes[at];
    process.respond(FromProcess::Respond, number, LAST, &payload);
    process.requests.remove(&number);
    turns(script);
}

fn failure(waiting: &mut Waiting) -> Option<Failure> {
    match waiting.try_recv() {
        Ok(Answered::Failed(failure)) => Some(failure),
        _ => None,
    }
}

/// The bytes of a whole answer.
fn body(waiting: &mut Waiting) -> Option<Bytes> {
    match waiting.try_recv() {
        Ok(Answered::Head {
            first, rest: None, ..
        }) => Some(first.bytes),
        _ => None,
    }
}

fn garbage(script: &mut Script) -> Option<String> {
    script
        .reports()
        .into_iter()
        .find_map(|report| match report {
            Report::Garbage(_, reason) => Some(reason),
            _ => None,
        })
}

#[test]
fn a_request_goes_whole_to_a_process_and_its_answer_to_the_client() {
    let mut script = scene();
    let large = vec![b'a'; 300_000];
    let mut waiting = ask(&mut script, 1, &large);
    let mut at = None;
    for _ in 0..100 {
        at = has(&mut script, 1);
    }
    let at = at.expect("a process has it");
    let asked = &script.processes[at].requests[&1];
    assert!(asked.is_whole && asked.payload == large);
    answer(&mut script, at, 1, b"hello");
    assert_eq!(body(&mut waiting).as_deref(), Some(&b"hello"[..]));
    assert_eq!(script.count(LoopCounter::RequestsAnswered), 1);
    assert_eq!(script.count(LoopCounter::Requests), 0);
    assert_eq!(script.gateway.tools.cx.shared.http_memory.bytes(), 0);
}

#[test]
fn requests_spread_over_the_processes() {
    let mut script = scene();
    let _waiting: Vec<_> = (1..=10)
        .map(|number| ask(&mut script, number, b"x"))
        .collect();
    has(&mut script, 0);
    let spread: Vec<_> = script
        .processes
        .iter()
        .map(|it| it.requests.len())
        .collect();
    assert_eq!(spread, [5, 5]);
}

#[test]
fn a_request_that_a_dead_process_had_not_taken_goes_to_the_next_one() {
    let mut script = scene();
    let mut first = ask(&mut script, 1, b"x");
    let at = has(&mut script, 1).expect("a process has it");
    let mut second = ask(&mut script, 2, b"y");
    let mut third = ask(&mut script, 3, b"z");
    turns(&mut script);
    script.kill(at);
    assert_eq!(failure(&mut first), Some(Failure::Died));
    assert_eq!(script.count(LoopCounter::RequestsFailed), 1);
    assert!(has(&mut script, 2).is_some() && has(&mut script, 3).is_some());
    answer(&mut script, 0, 2, b"two");
    answer(&mut script, 0, 3, b"three");
    assert_eq!(body(&mut second).as_deref(), Some(&b"two"[..]));
    assert_eq!(body(&mut third).as_deref(), Some(&b"three"[..]));
}

/// A lying process answered it before it took it. The loop no longer has its content.
#[test]
fn a_request_whose_answer_has_begun_goes_to_no_other_process() {
    let mut script = scene();
    let mut waiting = ask(&mut script, 1, b"x");
    turns(&mut script);
    let is_with = |process: &Process| {
        let at = script.gateway.tools.processes.find(process.id);
        at.is_some_and(|at| script.gateway.exchanges.of(at) == 1)
    };
    let at = script.processes.iter().position(is_with);
    let at = at.expect("a process has it");
    script.processes[at].respond(FromProcess::Respond, 1, 0, &head(None));
    turns(&mut script);
    let Ok(Answered::Head { rest, .. }) = waiting.try_recv() else {
        panic!("a head comes");
    };
    let mut rest: UnboundedReceiver<Further> = rest.expect("more may come");
    script.kill(at);
    assert_eq!(has(&mut script, 1), None);
    assert!(rest.try_recv().is_err() && rest.is_closed());
    assert_eq!(script.gateway.exchanges.len(), 0);
    assert_eq!(script.count(LoopCounter::RequestsFailed), 1);
}

#[test]
fn a_body_is_broken_off_when_its_process_dies() {
    let mut script = scene();
    let mut waiting = ask(&mut script, 1, b"x");
    let at = has(&mut script, 1).expect("a process has it");
    let process = &mut script.processes[at];
    process.respond(FromProcess::Respond, 1, 0, &head(None));
    process.respond(FromProcess::Body, 1, 0, b"half");
    turns(&mut script);
    let Ok(Answered::Head { rest, .. }) = waiting.try_recv() else {
        panic!("a head comes");
    };
    let mut rest: UnboundedReceiver<Further> = rest.expect("more may come");
    script.kill(at);
    assert!(matches!(rest.try_recv(), Ok(Further::Piece(it)) if it.bytes == "half"));
    assert!(rest.try_recv().is_err() && rest.is_closed());
}

#[test]
fn a_process_learns_what_a_client_has_taken_and_that_it_has_left() {
    let mut script = scene();
    let _waiting = ask(&mut script, 1, b"x");
    let at = has(&mut script, 1).expect("a process has it");
    script.processes[at].respond(FromProcess::Respond, 1, 0, &head(None));
    turns(&mut script);
    let bytes = head(None).len() + PIECE_OVERHEAD;
    script.command(Command::Exchange(ExchangeOrder::Taken { number: 1, bytes }));
    script.command(Command::Exchange(ExchangeOrder::Left(1)));
    has(&mut script, 1);
    let asked = &script.processes[at].requests[&1];
    assert_eq!((asked.taken, asked.is_gone), (bytes as u64, true));
    script.processes[at].respond(FromProcess::Body, 1, LAST | FAILED, b"");
    turns(&mut script);
    assert_eq!(script.count(LoopCounter::RequestsLeft), 1);
    assert_eq!(garbage(&mut script), None);
}

#[test]
fn a_request_whose_client_leaves_early_never_reaches_a_process() {
    let mut script = Script::new(config(WEB));
    let _waiting = ask(&mut script, 1, b"x");
    script.command(Command::Exchange(ExchangeOrder::Left(1)));
    script.attach(Role::Worker(0));
    script.activate(1);
    assert_eq!(has(&mut script, 1), None);
    assert_eq!(script.count(LoopCounter::RequestsLeft), 1);
}

#[test]
fn a_process_has_no_more_requests_than_it_may_and_the_next_wait() {
    let mut script = Script::serving(config(WEB), 1);
    let all = (MOST_EXCHANGES + MOST_WAITING) as u64;
    let mut waiting: Vec<_> = (1..=all)
        .map(|number| ask(&mut script, number, b"x"))
        .collect();
    let mut refused = ask(&mut script, all + 1, b"x");
    assert_eq!(failure(&mut refused), Some(Failure::Busy));
    for _ in 0..10 {
        has(&mut script, 1);
    }
    assert_eq!(script.processes[0].requests.len(), MOST_EXCHANGES);
    let next = MOST_EXCHANGES as u64 + 1;
    answer(&mut script, 0, 1, b"");
    assert_eq!(has(&mut script, next), Some(0));
    // One that has left makes room at once.
    script.command(Command::Exchange(ExchangeOrder::Left(all)));
    let mut late = ask(&mut script, all + 2, b"x");
    assert_eq!(failure(&mut late), None);
    assert!(waiting.iter_mut().skip(1).all(|it| it.try_recv().is_err()));
}

#[test]
fn a_request_waits_for_a_process_only_as_long_as_its_start_may_take() {
    let mut script = Script::new(config(WEB));
    let mut waiting = ask(&mut script, 1, b"x");
    let patience = script.config.workers.start_timeout.as_millis() as u64;
    script.pass(patience - 1000);
    assert_eq!(failure(&mut waiting), None);
    script.pass(2000);
    assert_eq!(failure(&mut waiting), Some(Failure::Busy));
    assert_eq!(script.count(LoopCounter::RequestsRefused), 1);
}

#[test]
fn a_replaced_process_ends_its_requests_before_it_is_released() {
    let mut script = Script::serving(config(WEB), 1);
    let mut waiting = ask(&mut script, 1, b"x");
    assert_eq!(has(&mut script, 1), Some(0));
    script.attach(Role::Worker(0));
    script.activate(1);
    script.pass(1000);
    assert!(
        script
            .end_released()
            .iter()
            .all(|it| !matches!(it, Report::Garbage(..)))
    );
    assert_eq!(script.processes.len(), 2, "it has a request in progress");
    let _next = ask(&mut script, 2, b"y");
    assert_eq!(has(&mut script, 2), Some(1));
    answer(&mut script, 0, 1, b"late");
    assert_eq!(body(&mut waiting).as_deref(), Some(&b"late"[..]));
    script.pass(1000);
    script.end_released();
    assert_eq!(script.processes.len(), 1);
}

#[test]
fn an_answer_that_no_honest_process_gives_is_garbage() {
    let body = |bytes: &[u8]| [&head(Some(2))[..], bytes].concat();
    let piece = vec![b'x'; 10_000];
    let too_many: Vec<_> = (0..=ANSWER_WINDOW / piece.len())
        .map(|_| (FromProcess::Body, 0, piece.clone()))
        .collect();
    let wrong_head = write_answer_head(&AnswerHead {
        status: 200,
        fields: vec![("Content-Length".into(), b"3".to_vec())],
        length: None,
    });
    use FromProcess::{Body, Respond};
    for (what, records) in [
        ("no head", vec![(Body, 0, b"x".to_vec())]),
        (
            "two heads",
            vec![(Respond, 0, head(None)), (Respond, 0, head(None))],
        ),
        ("not a head", vec![(Respond, LAST, vec![0xff; 50])]),
        ("a wrong head", vec![(Respond, LAST, wrong_head)]),
        ("too long", vec![(Respond, LAST, body(b"xyz"))]),
        ("too short", vec![(Respond, LAST, body(b"x"))]),
        (
            "too long in pieces",
            vec![(Respond, 0, body(b"x")), (Body, 0, b"yz".to_vec())],
        ),
        (
            "a failure that goes on",
            vec![(Respond, FAILED, Vec::new())],
        ),
        (
            "endless",
            [vec![(Respond, 0, head(None))], too_many].concat(),
        ),
        (
            "after the end",
            vec![(Respond, LAST, body(b"xy")), (Body, LAST, Vec::new())],
        ),
    ] {
        let mut script = scene();
        let _waiting = ask(&mut script, 1, b"x");
        let at = has(&mut script, 1).expect("a process has it");
        for (kind, flags, payload) in records {
            script.processes[at].respond(kind, 1, flags, &payload);
            turns(&mut script);
        }
        assert!(garbage(&mut script).is_some(), "{what}");
    }
    let mut script = scene();
    let _waiting = ask(&mut script, 1, b"x");
    let at = has(&mut script, 1).expect("a process has it");
    script.processes[1 - at].respond(Respond, 1, LAST, &body(b"xy"));
    turns(&mut script);
    assert!(garbage(&mut script).is_some(), "another process's request");
}
