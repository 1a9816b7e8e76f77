//! What arrives, and in which order the app sees it.

use moorline_ipc::Header;

use super::fixture::{Harness, Seen};
use super::scripted::pattern;
use crate::control::ProcessCounter;
use crate::wire::{CloseReason, DONE, ERRED, FAILED, FIRST, LAST, ToProcess, WHOLE};

#[test]
fn an_answer_and_the_end_of_its_handler_are_one_record() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 5, "echo ahoy");
    let answer = Seen {
        sequence: 5,
        time: 9,
        ..Seen::send(1, WHOLE | DONE, b"ahoy")
    };
    assert_eq!(harness.take(), answer);
    assert!(harness.has_nothing());
    harness.stop();
    assert_eq!(harness.counter(ProcessCounter::Handled), 1);
    assert_eq!(harness.counter(ProcessCounter::InProgress), 0);
}

#[test]
fn a_handler_without_an_answer_says_that_it_is_done() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "x");
    assert_eq!(harness.take(), Seen::done(1, 1, 1, 0));
    harness.message(1, 2, "twice");
    assert_eq!(harness.take(), Seen::send(1, WHOLE, b"one"));
    assert_eq!(
        harness.take(),
        Seen {
            sequence: 2,
            time: 5,
            ..Seen::send(1, WHOLE | DONE, b"two")
        }
    );
    harness.stop();
}

#[test]
fn a_panic_or_an_error_fails_that_message_alone() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.message(1, 1, "panic");
    harness.message(1, 2, "fail");
    harness.message(1, 3, "echo still here");
    assert_eq!(harness.take(), Seen::done(1, 1, 5, FAILED));
    assert_eq!(harness.take(), Seen::done(1, 2, 4, ERRED));
    assert_eq!(harness.take().payload, b"still here");
    harness.stop();
    assert_eq!(harness.counter(ProcessCounter::Failures), 2);
}

#[test]
fn messages_of_one_session_wait_for_each_other_and_others_do_not() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.open(2);
    harness.queue_message(1, 1, "wait first");
    for sequence in 2..=16 {
        harness.queue_message(1, sequence, &format!("echo {sequence}"));
    }
    harness.publish();
    assert_eq!(harness.event(), "waits first");
    harness.message(2, 1, "echo other");
    assert_eq!(harness.take().payload, b"other");
    assert!(harness.has_nothing());
    harness.message(2, 2, "release");
    assert_eq!(harness.take(), Seen::done(2, 2, 7, 0));
    assert_eq!(
        harness.take(),
        Seen {
            sequence: 1,
            time: 10,
            ..Seen::send(1, WHOLE | DONE, b"first")
        }
    );
    for sequence in 2..=16 {
        let seen = harness.take();
        assert_eq!(
            (seen.sequence, seen.payload),
            (sequence, sequence.to_string().into_bytes())
        );
    }
    harness.stop();
}

#[test]
fn close_comes_last_and_nothing_can_be_sent_then() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.open(2);
    harness.message(1, 1, "wait x");
    assert_eq!(harness.event(), "waits x");
    harness.close(1, CloseReason::Idle);
    harness.message(2, 1, "echo sync");
    assert_eq!(harness.take().payload, b"sync");
    harness.message(2, 2, "release");
    assert_eq!(harness.event(), "close 1 idle Err(Closed)");
    assert_eq!(harness.take(), Seen::done(2, 2, 7, 0));
    // It has sent to its session, which is closed: nobody's mistake.
    assert_eq!(harness.take(), Seen::done(1, 1, 6, 0));
    harness.stop();
    assert_eq!(harness.counter(ProcessCounter::Failures), 0);
    assert_eq!(harness.counter(ProcessCounter::Sessions), 1);
}

#[test]
fn parts_become_one_message_and_a_close_between_them_drops_it() {
    let mut harness = Harness::start();
    harness.open(1);
    let kind = ToProcess::Message as u8;
    let whole = pattern(30_000);
    for (flags, part) in [
        (FIRST, &whole[..10_000]),
        (0, &whole[10_000..20_000]),
        (LAST, &whole[20_000..]),
    ] {
        harness.give(
            Header {
                kind,
                flags,
                session: 1,
                sequence: 1,
                ..Header::default()
            },
            part,
        );
    }
    assert_eq!(harness.event(), "message 30000 bytes true");
    assert_eq!(harness.take(), Seen::done(1, 1, 30_000, 0));
    harness.give(
        Header {
            kind,
            flags: FIRST,
            session: 1,
            sequence: 2,
            ..Header::default()
        },
        &whole[..10],
    );
    harness.close(1, CloseReason::Peer);
    assert_eq!(harness.event(), "close 1 peer Err(Closed)");
    harness.give(
        Header {
            kind,
            flags: LAST,
            session: 1,
            sequence: 2,
            ..Header::default()
        },
        &whole[10..20],
    );
    harness.open(2);
    harness.stop();
    assert_eq!(harness.counter(ProcessCounter::Discarded), 1);
}

#[test]
fn a_moved_session_is_forgotten_without_a_hook_and_can_still_be_sent_to() {
    let mut harness = Harness::start();
    harness.open(1);
    harness.open(2);
    harness.give_kind(ToProcess::Moved, 1);
    harness.message(2, 1, "to 1 over there");
    assert_eq!(harness.event(), "to Ok(())");
    assert_eq!(harness.take(), Seen::send(1, WHOLE, b"over there"));
    assert_eq!(harness.take(), Seen::done(2, 1, 15, 0));
    harness.stop();
    assert_eq!(harness.event(), "stop");
    assert_eq!(harness.counter(ProcessCounter::Sessions), 1);
}

#[test]
fn a_datagram_is_answered_where_it_came_from() {
    let mut harness = Harness::start();
    let address =
        postcard::to_stdvec(&crate::wire::Peer::Ip("127.0.0.1:9".parse().unwrap())).unwrap();
    let payload = [&[address.len() as u8][..], &address, b"ping"].concat();
    harness.give(
        Header {
            kind: ToProcess::Datagram as u8,
            aux: 3,
            ..Header::default()
        },
        &payload,
    );
    let seen = harness.take();
    assert_eq!(
        (seen.kind, seen.aux, seen.payload),
        (crate::wire::FromProcess::SendTo as u8, 3, payload)
    );
    harness.stop();
}

#[test]
fn an_unknown_record_ends_the_process() {
    let mut harness = Harness::start();
    harness.give(
        Header {
            kind: 99,
            ..Header::default()
        },
        &[],
    );
    assert_eq!(
        harness.end().unwrap_err().kind(),
        std::io::ErrorKind::InvalidData
    );
}
